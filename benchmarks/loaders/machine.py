"""What a run ran on, and which versions it measured."""

import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from shardkit.cli.machine import machine
from shardkit.cli.machine import versions as own_versions

__all__ = ["commit", "machine", "version_of", "versions"]

PEERS = ("webdataset", "litdata", "spdl_core", "spdl_io", "megatron-energon")


def versions() -> dict[str, str | None]:
    """Versions of everything that is measured; None is not installed."""
    return own_versions() | {name: version_of(name) for name in PEERS}


def commit(repository: Path) -> str | None:
    """The commit that is measured, with `-dirty` where files differ from it; None outside a repository."""
    command = ["git", "-C", str(repository), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def version_of(name: str) -> str | None:
    """Version of a package; None is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None
