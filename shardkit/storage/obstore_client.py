"""ObstoreClient: ranged reads through obstore, which on S3 takes a third of the CPU time of fsspec's own client.

Options are fsspec's, as for s3fs, gcsfs, adlfs and fsspec's HTTP: users know those, and every other client here takes
them. Where one has no counterpart in obstore, fsspec's own client serves.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from importlib.util import find_spec
from typing import Any
from urllib.parse import quote

from shardkit.errors import ShardkitError, StorageError, UsageError
from shardkit.storage.clients import Engine, RangeClient
from shardkit.storage.fsspec_client import FsspecClient
from shardkit.storage.locations import URL_MARK, WEB, Location

MOST_PIECE_BYTES = 1 << 20
LEAST_PIECE_BYTES = 1 << 16
"""Handing over a piece costs some 50 µs. What a piece lacks to its size when its connection breaks is lost."""


_used_by: int | None = None
"""The process that made the first client. A fork of it lacks obstore's threads, and would wait for ever."""


def is_forked() -> bool:
    """Whether this process is a fork of one that used obstore."""
    return _used_by not in (None, os.getpid())


class _UnknownOptionError(Exception):
    """An option without a counterpart in obstore."""


class ObstoreClient:
    """Reads files of one folder through an obstore store."""

    engine: Engine = "obstore"

    def __init__(self, location: Location, store: Any, *, stall_s: float, deadline_s: float) -> None:
        import obstore  # noqa: PLC0415 - an optional package

        self.location = location
        self._obstore = obstore
        self._store = store
        self._stall_s = stall_s
        self._deadline_s = deadline_s
        self._telling: RangeClient | None = None

    def read(self, name: str, start: int, stop: int) -> Any:
        """See RangeClient."""
        return self._obstore.get_range(self._store, name, start=start, end=stop)

    def begin(self, name: str, start: int, stop: int) -> None:
        """See RangeClient."""

    def pieces(self, name: str, start: int, stop: int, *, small: bool = False) -> Iterator[Any]:
        """See RangeClient."""
        answer = self._obstore.get(self._store, name, options={"range": (start, stop)})
        piece_bytes = 1 if small else min(MOST_PIECE_BYTES, max(LEAST_PIECE_BYTES, (stop - start) // 16))
        return iter(answer.stream(min_chunk_size=piece_bytes))

    def read_all(self, name: str) -> Any:
        """See RangeClient."""
        return self._obstore.get(self._store, name).bytes()

    def telling(self) -> RangeClient:
        """See RangeClient: obstore drops the headers of answers."""
        if self._telling is None:
            try:
                self._telling = FsspecClient(self.location, stall_s=self._stall_s, deadline_s=self._deadline_s)
            except ShardkitError:  # that one's package is not installed
                return self
        return self._telling


def obstore_client(location: Location, *, stall_s: float, deadline_s: float) -> ObstoreClient | None:
    """A client for a location; None where obstore is not installed, or does not know its scheme or options.

    Raises:
        UsageError: The URL is none, or lacks an option.
        StorageError: There are no credentials.
    """
    configure = _CONFIGURATIONS.get(location.scheme)
    if configure is None or find_spec("obstore") is None:
        return None
    from obstore import store  # noqa: PLC0415

    try:
        config, client_options = configure(dict(location.storage_options))
    except _UnknownOptionError:
        return None
    except UsageError:
        raise
    except Exception as exc:  # boto3's provider found none, or not the profile that it was to take
        raise StorageError(
            f"{location}: no credentials were found ({exc}); give key and secret in storage_options, set the "
            "environment up as for boto3, or pass anon=True for public data"
        ) from exc
    # obstore knows more places than these options where an endpoint may be named, such as AWS_ENDPOINT_URL.
    endpoint = str(config.get("endpoint", location.url))
    client_options |= {
        "allow_http": not endpoint.startswith("https://"),
        "connect_timeout": f"{1000 * stall_s:.0f}ms",
        "timeout": f"{1000 * deadline_s:.0f}ms",
        "read_timeout": f"{1000 * stall_s:.0f}ms",
    }
    made: Any = store.from_url  # its overloads want the options of each cloud spelt out
    url = location.url
    if location.scheme not in WEB:
        # A key, which fsspec takes as it stands, and obstore for a part of a URL.
        url = f"{location.scheme}{URL_MARK}{quote(url.split(URL_MARK, 1)[1], safe='/@:')}"
    # Without a slash at its end: over HTTP there would be two before each name, which not every server takes for one.
    try:
        opened = made(url, client_options=client_options, retry_config={"max_retries": 0}, **config)
    except Exception as exc:  # a URL that is none, or an option that is missing: its errors share no class
        said = str(exc).splitlines()[0]
        if "read_timeout" in said:  # an obstore before 0.11, which cannot tell a stalled connection from a slow one
            return None
        raise UsageError(f"{location}: {said}; check the URL and storage_options") from exc
    global _used_by  # noqa: PLW0603 - as obstore's threads are of the process
    _used_by = os.getpid()
    return ObstoreClient(location, opened, stall_s=stall_s, deadline_s=deadline_s)


_Configuration = tuple[dict[str, Any], dict[str, Any]]
"""Keywords of the store, and of its HTTP client."""


def _take(options: dict[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Takes what `names` translates out of `options`."""
    return {theirs: options.pop(ours) for ours, theirs in names.items() if options.get(ours) is not None}


def _none_left(options: Mapping[str, Any]) -> None:
    if unknown := [name for name, value in options.items() if value is not None]:
        raise _UnknownOptionError(unknown[0])


def _s3(options: dict[str, Any]) -> _Configuration:
    client = dict(options.pop("client_kwargs", None) or {})
    config = _take(client, {"endpoint_url": "endpoint", "region_name": "region"})
    config |= _take(
        client,
        {
            "aws_access_key_id": "access_key_id",
            "aws_secret_access_key": "secret_access_key",
            "aws_session_token": "session_token",
        },
    )
    config |= _take(
        options,
        {
            "endpoint_url": "endpoint",
            "key": "access_key_id",
            "secret": "secret_access_key",
            "token": "session_token",
            "anon": "skip_signature",
        },
    )
    _none_left(client)
    _none_left(options)
    if "endpoint" in config and not re.fullmatch(r"https?://[^\s/]+(/\S*)?", str(config["endpoint"])):
        # obstore would panic, which is no Exception.
        raise UsageError(f"endpoint_url={config['endpoint']!r}: a URL such as https://host:9000 is needed")
    if "region" not in config:
        config["region"] = _region()
    if "access_key_id" not in config and not config.get("skip_signature"):
        # The credentials that boto's users have: environment, ~/.aws, roles; obstore alone knows fewer of these places.
        if find_spec("boto3") is None:
            raise _UnknownOptionError("key")
        from obstore.auth.boto3 import Boto3CredentialProvider  # noqa: PLC0415

        config["credential_provider"] = Boto3CredentialProvider()
    return config, {}


def _region() -> str:
    """Of a user who names none in the options: from the environment, or the file that boto reads."""
    named = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if not named and find_spec("boto3") is not None:
        import boto3  # noqa: PLC0415 - an optional package
        from botocore.exceptions import ProfileNotFound  # noqa: PLC0415

        with suppress(ProfileNotFound):  # which matters to those only whose keys are to be there
            named = boto3.Session().region_name
    return named or "us-east-1"


def _gs(options: dict[str, Any]) -> _Configuration:
    options.pop("project", None)
    token = options.pop("token", None)
    _none_left(options)
    if token == "anon":  # noqa: S105 - gcsfs's word for none
        return {"skip_signature": True}, {}
    if isinstance(token, str) and token.endswith(".json"):
        return {"application_credentials": token}, {}
    if token not in (None, "google_default"):
        raise _UnknownOptionError("token")
    return {}, {}


def _az(options: dict[str, Any]) -> _Configuration:
    config = _take(options, {"account_name": "account_name", "account_key": "account_key", "sas_token": "sas_key"})
    config |= _take(options, {"tenant_id": "tenant_id", "client_id": "client_id", "client_secret": "client_secret"})
    if options.pop("anon", None):
        config["skip_signature"] = True
    _none_left(options)
    return config, {}


def _http(options: dict[str, Any]) -> _Configuration:
    client = dict(options.pop("client_kwargs", None) or {})
    headers = _take(client, {"headers": "default_headers"})
    _none_left(client)
    _none_left(options)
    return {}, headers


_CONFIGURATIONS: dict[str, Callable[[dict[str, Any]], _Configuration]] = {
    "s3": _s3,
    "s3a": _s3,
    "gs": _gs,
    "gcs": _gs,
    "az": _az,
    "abfs": _az,
    "http": _http,
    "https": _http,
}
