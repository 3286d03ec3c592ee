"""Local files: read, mapped, and written so that readers see the old file, the new file or none: never half of one."""

import errno
import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from shardkit.errors import StorageError, UsageError

TEMPORARY_SUFFIX = ".tmp"


def local_path(path: str | os.PathLike[str]) -> Path:
    """A local path.

    Raises:
        UsageError: It is a URL.
    """
    text = os.fspath(path)
    if "://" in text:
        raise UsageError(f"{text}: a path on this machine is needed")
    return Path(text)


@contextmanager
def storage_errors(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turns an OSError about `path` into a StorageError that says what to do."""
    try:
        yield
    except OSError as exc:
        raise storage_error(path, exc) from exc


def storage_error(path: str | os.PathLike[str], exc: OSError) -> Exception:
    """The StorageError that says what `exc` about `path` means; `exc` itself where the system gave no number."""
    if exc.errno is None:
        return exc
    return StorageError(f"{os.fspath(path)}: {os.strerror(exc.errno)}; {_remedy(exc.errno)}")


def _remedy(number: int) -> str:
    match number:
        case errno.ENOENT:
            return "check the path"
        case errno.ENOSPC | errno.EDQUOT:
            return "make room on that disk"
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return "choose another folder or change its permissions"
        case errno.ENOTDIR | errno.EISDIR | errno.EEXIST:
            return "a file stands where a folder is needed, or the other way round"
        case _:
            return "check the disk and the path"


def read_bytes(path: Path) -> bytes:
    """A whole file.

    Raises:
        StorageError: It cannot be read.
    """
    with storage_errors(path):
        return path.read_bytes()


def map_file(path: Path) -> Any:
    """A file mapped into memory (an Arrow buffer): pages are shared by all processes that map it.

    Raises:
        StorageError: It cannot be read.
    """
    with storage_errors(path):
        if path.stat().st_size == 0:
            return pa.py_buffer(b"")
        with pa.memory_map(str(path)) as source:
            return source.read_buffer()


class _TemporaryFile(io.FileIO):
    """A file whose failed writes are StorageErrors about `path`, whenever a buffer gets to them."""

    def __init__(self, temporary: Path, path: Path) -> None:
        super().__init__(temporary, "wb")
        self._path = path

    def write(self, data: Any, /) -> int:
        with storage_errors(self._path):
            return super().write(data)


@contextmanager
def atomic_file(path: Path, *, tag: str = "") -> Iterator[BinaryIO]:
    """A file to write that appears under `path` complete and synced, or not at all.

    What the caller's own code raises meanwhile, OSErrors too, comes out as it is.

    Args:
        path: Its name.
        tag: Part of the temporary file's name, where several may write the same file at once.

    Raises:
        StorageError: It cannot be written.
    """
    temporary = path.with_name(path.name + tag + TEMPORARY_SUFFIX)
    try:
        with storage_errors(path):
            raw = _TemporaryFile(temporary, path)
        with io.BufferedWriter(raw) as file:
            yield file
            file.flush()
            with storage_errors(path):
                os.fsync(file.fileno())
        with storage_errors(path):
            temporary.replace(path)
            sync_folder(path.parent)
    except BaseException:
        with suppress(OSError):  # what happened first is what matters
            temporary.unlink()
        raise


def write_atomic(path: Path, data: bytes, *, tag: str = "") -> None:
    """Writes a whole file that appears complete or not at all.

    Raises:
        StorageError: It cannot be written.
    """
    with atomic_file(path, tag=tag) as file:
        file.write(data)


def write_named(path: Path, data: bytes) -> None:
    """Writes what a user asked for under a name of theirs: `write_atomic`, unless something else than a file is there.

    A symbolic link stays, and its target is what is replaced. A pipe or a device is written to as it is, and so is
    standard output or error, whatever it goes to.

    Raises:
        StorageError: It cannot be written.
    """
    with storage_errors(path):
        if not is_stream(path):
            # The link's own name would be replaced, and not followed.
            write_atomic(Path(os.path.realpath(path)), data)
        elif (descriptor := _standard_stream(path)) is not None:
            # Opened a second time, a file that it goes to would be written from its beginning by both.
            with open(descriptor, "wb", closefd=False) as file:
                file.write(data)
        else:
            with path.open("wb") as file:
                file.write(data)


def is_stream(path: Path) -> bool:
    """Whether what is written under a name goes on to somebody: to a pipe, a device, standard output or error.

    Raises:
        StorageError: It cannot be found out.
    """
    with storage_errors(path):
        try:
            found = path.stat()
        except FileNotFoundError:
            return False
    return not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)) or _standard_stream(path) is not None


def _standard_stream(path: Path) -> int | None:
    """The descriptor of standard output or error, where a name means one of them."""
    for descriptor in (1, 2):
        with suppress(OSError):  # it is closed
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
    return None


def sync_folder(folder: Path) -> None:
    """Makes renames inside `folder` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
