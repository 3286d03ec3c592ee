"""Sites: where the data of one case lie, and the servers and proxies that put them there."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.storage.cases import Route, Server
from benchmarks.storage.fault_proxy import RunningProxy, fault_proxy
from benchmarks.storage.faults import mixed_faults
from benchmarks.storage.servers import HttpServer, S3Server, nginx_server, s3_server

STALL_S = 1.0
"""Of the stalls among the faults; longer ones would be most of an epoch that takes seconds."""


@dataclass(frozen=True, slots=True)
class Site:
    """A folder of data sets, as a client sees it."""

    server: Server
    root: str
    """The folder's path on a disk; a server's address, or that of the proxy before it."""

    @property
    def is_store(self) -> bool:
        """Whether it speaks S3; the data sets are its buckets then."""
        return self.server not in ("disk", "http")

    def url(self, name: str) -> str:
        """Path or URL of a data set."""
        return f"s3://{name}" if self.is_store else f"{self.root}/{name}"

    @property
    def storage_options(self) -> dict[str, Any]:
        """What fsspec's file systems want, and shardkit with them."""
        return S3Server(self.root).storage_options if self.is_store else {}

    @property
    def obstore_options(self) -> dict[str, Any]:
        """What obstore wants."""
        return S3Server(self.root).obstore_options if self.is_store else {"client_options": {"allow_http": True}}

    @property
    def boto_options(self) -> dict[str, str]:
        """What boto3 wants, and litdata with it."""
        server = S3Server(self.root)
        return {
            "endpoint_url": server.url,
            "aws_access_key_id": server.access_key,
            "aws_secret_access_key": server.secret_key,
        }

    def shell_url(self, name: str, file: str) -> str:
        """A file as webdataset opens it: over HTTP it calls curl by itself; for S3 a command of ours does.

        `aws s3 cp`, which its documentation shows, takes half a second of CPU time to start, for every shard; curl
        signs as well.
        """
        if not self.is_store:
            return f"{self.url(name)}/{file}"
        server = S3Server(self.root)
        signed = f"--aws-sigv4 aws:amz:{self.storage_options['client_kwargs']['region_name']}:s3"
        keys = f"--user {server.access_key}:{server.secret_key} -H x-amz-content-sha256:UNSIGNED-PAYLOAD"
        return f"pipe:curl -f -s {signed} {keys} {server.url}/{name}/{file}"


class Servers:
    """nginx and rclone over one folder, each started when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running = ExitStack()
        self._urls: dict[str, str] = {}

    def __enter__(self) -> "Servers":
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    @contextmanager
    def site(self, route: Route, *, seed: int) -> Iterator[tuple[Site, RunningProxy | None]]:
        """Where a case reads that takes this route, and the proxy on it, if there is one.

        Args:
            route: The way.
            seed: Of the faults.

        Raises:
            ServerMissingError: A server is not installed.
        """
        if route.server == "disk":
            yield Site("disk", str(self._folder)), None
            return
        url = self._rclone() if route.server.startswith("rclone") else self._nginx()
        if route.link is None:
            yield Site(route.server, url), None
            return
        rules = mixed_faults(route.faulty_share or 0.0, stall_s=STALL_S)
        with fault_proxy(url, link=route.link, rules=rules, seed=seed) as proxy:
            yield Site(route.server, proxy.url), proxy

    def _nginx(self) -> str:
        return self._url("nginx", nginx_server(self._folder))

    def _rclone(self) -> str:
        return self._url("rclone", s3_server(self._folder))

    def _url(self, name: str, server: AbstractContextManager[HttpServer] | AbstractContextManager[S3Server]) -> str:
        if name not in self._urls:
            self._urls[name] = self._running.enter_context(server).url
        return self._urls[name]
