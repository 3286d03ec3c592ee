"""What a run ran on, and which versions it measured."""

from importlib.metadata import PackageNotFoundError, version

from shardkit.cli.machine import machine
from shardkit.cli.machine import versions as own_versions

__all__ = ["machine", "versions"]

PEERS = ("webdataset", "litdata", "spdl_core", "spdl_io", "megatron-energon")


def versions() -> dict[str, str | None]:
    """Versions of everything that is measured; None is not installed."""
    return own_versions() | {name: _version(name) for name in PEERS}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
