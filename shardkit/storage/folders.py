"""Folder: a place to write a data set to, on a disk or anywhere that fsspec reaches, behind one interface.

Names are relative and may have one folder before them (`.packing/plan.json`). What is written appears complete or not
at all. Every method raises StorageError where the storage does not do what it is asked.
"""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any, BinaryIO, Protocol

from shardkit.errors import UsageError
from shardkit.storage.local_folder import LocalFolder
from shardkit.storage.locations import WEB, Location


class Lock(Protocol):
    """A lock that is held, until it is closed or its process ends."""

    def close(self) -> None:
        """Lets go of it."""


class Folder(Protocol):
    """Files in a folder."""

    @property
    def location(self) -> str:
        """Path or URL, for messages."""

    def make(self, below: str = "") -> bool:
        """Makes the folder, or one in it; returns whether it was missing."""

    def unmake(self, below: str = "") -> None:
        """Removes the folder, or one in it, if nothing is in it."""

    def lock(self, name: str, *, shared: bool = False) -> Lock | None:
        """A lock of this name; None where another has it.

        Where storage knows no locks everybody gets one: whoever writes the same data set there writes the same bytes.
        """

    def exists(self, name: str) -> bool:
        """Whether a file is there."""

    def sizes(self, below: str = "") -> dict[str, int]:
        """Name to size in bytes of all files directly in the folder, or in one in it; none where it is missing."""

    def read(self, name: str) -> bytes:
        """A whole file."""

    def buffer(self, name: str) -> Any:
        """The bytes of a large file, mapped where that can be."""

    def write(self, name: str, data: bytes) -> None:
        """Writes a whole file, in place of an old one."""

    def create(self, name: str, data: bytes) -> None:
        """Writes a whole file, unless one is there."""

    def writer(self, name: str) -> AbstractContextManager[BinaryIO]:
        """A file to write, in place of an old one once it is complete.

        What the caller's own code raises meanwhile comes out as it is, and nothing of the file is left.
        """

    def remove(self, names: Iterable[str]) -> None:
        """Removes those of the files that are there, and what is left of writing them."""

    def sweep(self, names: Iterable[str]) -> None:
        """Removes what is left of writing these files where that was cut short."""


def check_writable(location: Location) -> None:
    """Passes if a folder can be written at a location, as far as its URL tells; asks no server.

    Raises:
        UsageError: It is on a web server.
    """
    if location.scheme in WEB:
        raise UsageError(
            f"{location}: a web server is not written to; choose a folder or a bucket with --out, or work on a copy"
        )


def open_folder(location: Location, *, alone: bool = True) -> Folder:
    """The folder at a location; nothing is looked at or made yet.

    Args:
        location: Where.
        alone: False: others may write the same files at the same time, perhaps where no lock is seen.

    Raises:
        UsageError: The URL or the options make no sense.
        StorageError: A package for the URL is missing.
    """
    if location.is_local:
        return LocalFolder(location.path, alone=alone)
    from shardkit.storage.remote_folder import RemoteFolder  # noqa: PLC0415 - a local folder costs no fsspec

    return RemoteFolder(location)
