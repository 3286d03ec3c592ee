"""NodeCache: files from afar on a node's own disk, shared by all its processes, within a limit.

    NAME         a whole file, checked; whoever uses it holds a shared lock on it
    NAME.part    one that is being fetched, in its full size; whoever fetches it holds an exclusive lock on it
    .lock        held for the moment in which room is made and a part begun

The kernel frees the locks of a process that is killed, so a part without a lock has no owner any more, and whoever
wants it begins anew. Nothing is removed that anybody uses: what was used longest ago goes first, and where all is in
use there is no room, which costs those who want more a request for each clip, but no wait.
"""

import errno
import fcntl
import hashlib
import os
import re
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from shardkit.errors import StorageError
from shardkit.storage.files import storage_error

PART_SUFFIX = ".part"
LOCK_NAME = ".lock"
OWN_NAME = re.compile(r".*\.[0-9a-f]{16}\.[0-9a-f]+(\.part)?")
"""Of what a cache has put into its folder: whatever else lies there neither counts nor is removed."""
LOCK_POLL_S = 0.01
LOCK_TIMEOUT_S = 5.0
"""A process that was stopped while it made room must not stop the others."""


@dataclass(frozen=True, slots=True)
class CachedFile:
    """A file as a cache knows it."""

    url: str
    size_bytes: int
    digest: str
    """xxh3_128 of its bytes, hex: what was replaced behind the same URL is another file."""

    @property
    def name(self) -> str:
        """Its name in a cache: readable, and another for every URL and content."""
        plain = re.sub(r"[^A-Za-z0-9._-]", "_", self.url.rsplit("/", 1)[-1])[-80:]
        return f"{plain}.{hashlib.blake2b(self.url.encode(), digest_size=8).hexdigest()}.{self.digest}"


class _Entry(NamedTuple):
    """A file in the folder."""

    used_s: float
    path: Path
    size_bytes: int
    is_part: bool


class HeldFile:
    """A cached file that stays as long as this is open; it is closed with its last reference at the latest."""

    def __init__(self, descriptor: int, path: Path) -> None:
        self.descriptor = descriptor
        self.path = path
        # Data sets hold their index, and nobody closes a data set.
        self._let_go = weakref.finalize(self, os.close, descriptor)

    def is_there(self) -> bool:
        """Whether it still has a name; it has none where it was damaged and dropped."""
        return os.fstat(self.descriptor).st_nlink > 0

    def close(self) -> None:
        """Lets go of it; may be called again."""
        self.descriptor = -1
        self._let_go()

    def __enter__(self) -> "HeldFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class NoRoomError(StorageError):
    """All of a cache's files are in use, and there is no room for another."""


class PartFile:
    """A file that this process has begun to fetch."""

    def __init__(self, descriptor: int, cache: "NodeCache", path: Path, part_path: Path) -> None:
        self.descriptor = descriptor
        self._cache = cache
        self._path = path
        self._part_path = part_path
        self._removing = threading.Lock()
        self._is_removed = False
        """After which the name may be that of another process's part."""

    def finish(self) -> HeldFile | None:
        """Gives the file its name, and holds it; None where it was removed meanwhile."""
        with self._cache.errors():
            os.fdatasync(self.descriptor)
            # A lock is let go of for a moment when it becomes a shared one: nobody may make room then.
            with self._cache.locked(), self._removing:
                if self._is_removed:
                    return None
                self._part_path.rename(self._path)
                fcntl.flock(self.descriptor, fcntl.LOCK_SH)
                descriptor, self.descriptor = self.descriptor, -1
        return HeldFile(descriptor, self._path)

    def remove(self) -> None:
        """Removes what was fetched, if it was not finished, though it may still be written to."""
        with self._removing:
            if self.descriptor >= 0 and not self._is_removed:
                self._is_removed = True
                with suppress(OSError):
                    self._part_path.unlink()

    def abandon(self) -> None:
        """Removes what was fetched, if it was not finished, and lets go of it."""
        self.remove()
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


class NodeCache:
    """A folder of cached files; any number of processes may use it at once."""

    def __init__(self, folder: Path, *, limit_bytes: int | None = None) -> None:
        """Uses a folder, which is made.

        Raises:
            StorageError: It cannot be made, or not be written to, or its disk knows no locks.
        """
        self.folder = folder
        self.limit_bytes = limit_bytes
        with self.errors():
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                _try_lock(descriptor)
            finally:
                os.close(descriptor)

    def __repr__(self) -> str:
        return f"NodeCache({str(self.folder)!r}, limit_bytes={self.limit_bytes})"

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turns an OSError about the folder into a StorageError that says what to do."""
        try:
            yield
        except OSError as exc:
            if exc.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StorageError(
                    f"{self.folder}: {os.strerror(exc.errno)}; make room on that disk, or choose a smaller cache_limit "
                    "or another cache_dir"
                ) from exc
            if exc.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise StorageError(
                    f"{self.folder}: {os.strerror(exc.errno)}; choose a cache_dir that can be written to"
                ) from exc
            if exc.errno in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                raise StorageError(
                    f"{self.folder}: {os.strerror(exc.errno)}; a cache needs locks: choose a cache_dir on a local disk"
                ) from exc
            raise storage_error(self.folder, exc) from exc

    def names(self) -> set[str]:
        """Of all that is in the folder."""
        with self.errors(), os.scandir(self.folder) as found:
            return {each.name for each in found}

    def hold(self, file: CachedFile) -> HeldFile | None:
        """A cached file, kept until it is closed; None where it is not there, or no more files can be opened."""
        path = self.folder / file.name
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as exc:
            if exc.errno in (errno.ENOENT, errno.EMFILE, errno.ENFILE):
                return None
            raise storage_error(path, exc) from exc
        held = HeldFile(descriptor, path)
        with self.errors():
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
                if held.is_there():  # else it was removed before the lock
                    with suppress(OSError):  # of another user: it is not known then when it was used
                        os.utime(descriptor)
                    return held
            except BlockingIOError:
                pass  # it is being removed
            except OSError:
                held.close()
                raise
        held.close()
        return None

    def drop(self, held: HeldFile) -> None:
        """Removes a file whose bytes turned out to be damaged; those who read it go on reading it."""
        # Others who held it may have dropped it, and what has its name by now be a good one.
        with suppress(OSError):
            if held.is_there():
                held.path.unlink()

    def begin(self, file: CachedFile) -> PartFile | None:
        """Begins to fetch a file that is not there; None where another process has or does.

        Raises:
            NoRoomError: All that is here is in use, and takes too much of the limit.
            StorageError: The folder cannot be written to, or its disk is full.
        """
        path = self.folder / file.name
        part_path = path.with_name(path.name + PART_SUFFIX)
        with self.errors(), self.locked() as is_locked:
            if not is_locked or path.exists():
                return None
            entries = self._swept()
            if part_path.exists():
                return None
            self._make_room(entries, file)
            descriptor = os.open(part_path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            part = PartFile(descriptor, self, path, part_path)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _allocate(descriptor, file.size_bytes)
            except BaseException:
                part.abandon()
                raise
            return part

    def ensure(
        self, file: CachedFile, fetch: Callable[[int], None], *, poll_s: float = 0.1, timeout_s: float = 3600.0
    ) -> HeldFile:
        """A file, fetched by this process or by another one that is waited for.

        Args:
            file: Which.
            fetch: Writes its bytes into a descriptor; what it raises comes out of here.
            poll_s: Between two looks whether another process has fetched it.
            timeout_s: How long that one may take.

        Raises:
            StorageError: There is no room for it, or another process has not fetched it in time.
        """
        until_s = time.monotonic() + timeout_s
        while (held := self.hold(file)) is None:
            part = self.begin(file)
            if part is not None:
                try:
                    with self.errors():
                        fetch(part.descriptor)
                    if (held := part.finish()) is not None:
                        return held
                finally:
                    part.abandon()
            if time.monotonic() > until_s:
                raise StorageError(
                    f"{self.folder}: another process has been fetching {file.url} for {timeout_s:g} s; stop it"
                )
            time.sleep(poll_s)
        return held

    @contextmanager
    def locked(self) -> Iterator[bool]:
        """Holds the folder's lock; False where another process does not let go of it."""
        descriptor = os.open(self.folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            until_s = time.monotonic() + LOCK_TIMEOUT_S
            while not _try_lock(descriptor):
                if time.monotonic() > until_s:
                    yield False
                    return
                time.sleep(LOCK_POLL_S)
            yield True
        finally:
            os.close(descriptor)

    def _swept(self) -> list[_Entry]:
        """The files that are here, the one used longest ago first, after parts without an owner were removed."""
        entries = []
        with os.scandir(self.folder) as found:
            for each in found:
                if not OWN_NAME.fullmatch(each.name) or not each.is_file(follow_symlinks=False):
                    continue
                path = Path(each.path)
                is_part = each.name.endswith(PART_SUFFIX)
                if is_part and _remove_unused(path):
                    continue
                with suppress(FileNotFoundError):
                    about = each.stat()
                    entries.append(_Entry(about.st_mtime, path, about.st_size, is_part))
        return sorted(entries)

    def _make_room(self, entries: list[_Entry], file: CachedFile) -> None:
        if self.limit_bytes is None:
            return
        excess_bytes = sum(entry.size_bytes for entry in entries) + file.size_bytes - self.limit_bytes
        whole = [entry for entry in entries if not entry.is_part]
        # Nothing goes where that would not be enough.
        unused_bytes = 0
        for entry in whole:
            if unused_bytes < excess_bytes and _is_unused(entry.path):
                unused_bytes += entry.size_bytes
        for entry in whole if unused_bytes >= excess_bytes else ():
            if excess_bytes > 0 and _remove_unused(entry.path):
                excess_bytes -= entry.size_bytes
        if excess_bytes > 0:
            raise NoRoomError(
                f"{self.folder}: no room for {file.url} ({file.size_bytes:,} bytes): what else is here is in use, and "
                f"cache_limit is {self.limit_bytes:,} bytes; choose a larger one"
            )


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_unused(path: Path, *, then: Callable[[Path], None] = lambda _: None) -> bool:
    """Whether nobody has a lock on a file; if so, something is done with it under one."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        if not _try_lock(descriptor):
            return False
        then(path)
    except OSError:  # another user's, in a folder that many share
        return False
    else:
        return True
    finally:
        os.close(descriptor)


def _remove_unused(path: Path) -> bool:
    """Removes a file that nobody has a lock on; whether it did."""
    return _is_unused(path, then=Path.unlink)


def _allocate(descriptor: int, size_bytes: int) -> None:
    """Takes a file's whole room at once: a full disk is found out now, and what others count is right."""
    if not size_bytes:
        return
    try:
        os.posix_fallocate(descriptor, 0, size_bytes)
    except OSError as exc:
        if exc.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
            raise
        os.ftruncate(descriptor, size_bytes)
