"""LocalFolder: a folder on a disk or a shared file system; files are written beside their names, synced and renamed."""

import errno
import fcntl
import os
import re
import secrets
from collections.abc import Iterable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from shardkit.storage.files import (
    TEMPORARY_SUFFIX,
    atomic_file,
    map_file,
    read_bytes,
    storage_errors,
    sync_folder,
    write_atomic,
)

_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}
_NO_LINKS = {errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP}
"""What file systems answer that know no locks, or no links, as some shared ones are mounted."""
_TEMPORARY = re.compile(r"(\.[0-9a-f]{8})?" + re.escape(TEMPORARY_SUFFIX) + "$")
"""The end of a temporary file's name."""


class LocalFolder:
    """A folder that the operating system knows; see `Folder`."""

    def __init__(self, path: Path, *, alone: bool = True) -> None:
        self._path = path
        self._tag = "" if alone else f".{secrets.token_hex(4)}"

    def __repr__(self) -> str:
        return f"LocalFolder({str(self._path)!r})"

    @property
    def location(self) -> str:
        """The path."""
        return str(self._path)

    def make(self, below: str = "") -> bool:
        """Makes the folder with its parents, or one in it."""
        path = self._path / below
        with storage_errors(self._path):
            if path.is_dir():
                return False
            path.mkdir(parents=True, exist_ok=True)
            return True

    def unmake(self, below: str = "") -> None:
        """Removes an empty folder."""
        with suppress(OSError):  # it holds something, or is gone
            (self._path / below).rmdir()

    def lock(self, name: str, *, shared: bool = False) -> "LocalLock | None":
        """A lock on a file of this name, which is made."""
        path = self._path / name
        with storage_errors(self._path):
            try:
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            except FileNotFoundError:  # a run that ends has removed the folder
                return None
            try:
                held = _flock(descriptor, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
                # A run that ended meanwhile has removed the file, and with it the lock on it.
                if held and path.exists() and os.path.samestat(os.fstat(descriptor), path.stat()):
                    return LocalLock(descriptor)
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)
            return None

    def exists(self, name: str) -> bool:
        """Whether a file is there."""
        with storage_errors(self._path / name):
            return (self._path / name).exists()

    def sizes(self, below: str = "") -> dict[str, int]:
        """Name to size of the files in the folder, or in one in it."""
        found: dict[str, int] = {}
        with storage_errors(self._path / below), suppress(FileNotFoundError), os.scandir(self._path / below) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):  # another writer's temporary file
                    if entry.is_file():
                        found[entry.name] = entry.stat().st_size
        return found

    def read(self, name: str) -> bytes:
        """A whole file."""
        return read_bytes(self._path / name)

    def buffer(self, name: str) -> Any:
        """A file mapped into memory."""
        return map_file(self._path / name)

    def write(self, name: str, data: bytes) -> None:
        """Writes a whole file."""
        write_atomic(self._path / name, data, tag=self._tag)

    def create(self, name: str, data: bytes) -> None:
        """Writes a whole file, unless one is there; of several that try at once one does."""
        path = self._path / name
        own = path.with_name(f"{path.name}.{secrets.token_hex(4)}{TEMPORARY_SUFFIX}")
        with storage_errors(path):
            try:
                write_atomic(own, data)
                _name_if_new(own, path)
                sync_folder(path.parent)
            finally:
                own.unlink(missing_ok=True)

    def writer(self, name: str) -> AbstractContextManager[BinaryIO]:
        """A file to write."""
        return atomic_file(self._path / name, tag=self._tag)

    def remove(self, names: Iterable[str]) -> None:
        """Removes files, and temporary files that were to become them."""
        wanted = set(names)
        self.sweep(wanted)
        with storage_errors(self._path):
            for name in wanted:
                (self._path / name).unlink(missing_ok=True)

    def sweep(self, names: Iterable[str]) -> None:
        """Removes temporary files that were to become these."""
        wanted = set(names)
        for below in {os.path.dirname(name) for name in wanted}:  # noqa: PTH120 - names are text
            for found in self.sizes(below):
                written_for = _TEMPORARY.sub("", found)
                if written_for != found and (f"{below}/{written_for}" if below else written_for) in wanted:
                    with storage_errors(self._path):
                        (self._path / below / found).unlink(missing_ok=True)


class LocalLock:
    """A lock on an open file; the system frees it when its process ends."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def close(self) -> None:
        """Lets go of the lock."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _flock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as exc:
        if exc.errno not in _NO_LOCKS:
            raise
    return True


def _name_if_new(own: Path, path: Path) -> None:
    """Gives a file a second name, unless that is taken."""
    # A link and no renaming, which would replace the file of another.
    try:
        os.link(own, path)
    except FileExistsError:
        pass
    except OSError as exc:
        if exc.errno not in _NO_LINKS:
            raise
        if not path.exists():
            own.replace(path)
