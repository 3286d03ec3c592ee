"""fsspec file systems: made in one place, with errors that say what to install or mend."""

from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from typing import Any

from shardkit.errors import StorageError, UsageError
from shardkit.storage.failures import explain
from shardkit.storage.locations import S3, WEB

STALL_S = 30.0
"""A server on which no byte moves for so long is asked again, by s3fs five times."""
CONNECTIONS = 256
"""Of boto's own limit, ten, threads that share a client would have little each."""

PACKAGES = {
    "s3": "s3fs",
    "s3a": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "az": "adlfs",
    "abfs": "adlfs",
    "abfss": "adlfs",
    "http": "aiohttp",
    "https": "aiohttp",
    "hf": "huggingface_hub",
}
"""What serves the schemes that fsspec does not serve by itself."""


def open_filesystem(
    url: str, storage_options: Mapping[str, Any] | None = None, *, stall_s: float | None = None
) -> tuple[Any, str]:
    """The fsspec file system that serves a URL, and the URL's path in it.

    Args:
        url: Any that fsspec knows.
        storage_options: What the file system's constructor takes. An option that is a mapping and has the name of a
            protocol is for that protocol only: `{"s3": {"key": …}, "gs": {"token": …}}`.
        stall_s: See STALL_S, which None is.

    Raises:
        UsageError: fsspec does not know the scheme, or the file system not an option.
        StorageError: A package is missing, or what it connects to cannot be reached.
    """
    import fsspec  # noqa: PLC0415 - local data sets do without

    scheme = url.split("://", 1)[0]
    options = _own_options(url, storage_options or {})
    if isinstance(own := options.get(scheme), Mapping):
        del options[scheme]
        options |= own
    try:
        files, path = fsspec.url_to_fs(url, **_with_timeouts(scheme, options, stall_s or STALL_S))
    except (ImportError, ValueError, TypeError) as exc:
        # Some schemes fsspec learns from the package that serves them.
        unknown = scheme not in fsspec.available_protocols()
        if not (isinstance(exc, ImportError) or (unknown and scheme in PACKAGES)):
            raise UsageError(f"{url}: {exc}; check the URL and storage_options") from exc
        remedy = f"pip install {PACKAGES[scheme]}" if scheme in PACKAGES else "install it"
        raise StorageError(f"{url}: a package for {scheme}:// is missing ({exc}); {remedy}") from exc
    except Exception as exc:  # some connect at once, each with errors of its library
        failure = explain(exc)
        raise StorageError(f"{url}: {failure.reason}; check the URL, storage_options and the network") from exc
    return files, path.rstrip("/")


def _own_options(url: str, options: Mapping[str, Any]) -> dict[str, Any]:
    import fsspec  # noqa: PLC0415

    protocols = {link.partition("://")[0] for link in url.split("::")}
    others = set(fsspec.available_protocols()) - protocols
    # Copies: fsspec adds to them.
    return {
        name: dict(value) if isinstance(value, Mapping) else value
        for name, value in options.items()
        if not (isinstance(value, Mapping) and name in others)
    }


def _with_timeouts(scheme: str, options: dict[str, Any], stall_s: float) -> dict[str, Any]:
    """Options by which a connection that says nothing for `stall_s` fails, and is not tried again below fsspec."""
    if scheme in S3 and find_spec("s3fs"):
        mine = {
            "connect_timeout": stall_s,
            "read_timeout": stall_s,
            "retries": {"max_attempts": 0},
            "max_pool_connections": CONNECTIONS,
        }
        config = mine | dict(options.get("config_kwargs") or {})
        return {"session": _session(options.get("profile"))} | options | {"config_kwargs": config}
    if scheme in WEB and find_spec("aiohttp"):
        from aiohttp import ClientTimeout  # noqa: PLC0415 - what fsspec's HTTP is made of

        timeout = ClientTimeout(total=None, sock_connect=stall_s, sock_read=stall_s)
        return options | {"client_kwargs": {"timeout": timeout} | dict(options.get("client_kwargs") or {})}
    return options


@cache
def _session(profile: str | None) -> Any:
    """A session for s3fs whose requests do not wait for the server's word before they send their bodies.

    No timeout holds for that wait: aiohttp has none.
    """
    from aiobotocore.session import AioSession  # noqa: PLC0415 - an optional package
    from botocore.handlers import add_expect_header  # noqa: PLC0415

    session = AioSession(profile=profile)
    session.unregister("before-call.s3", add_expect_header)
    return session
