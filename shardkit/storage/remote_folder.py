"""RemoteFolder: a folder of an object store, or of anything else that fsspec writes to.

On S3 a large file is uploaded in parts while it is written; its name appears when the upload is completed. Elsewhere it
is first written to a temporary file on this machine and sent when it is whole, because not every file system of fsspec
can let go of a half-written file. There are no folders to make and no locks: writers of one data set write the same
bytes, and the last one wins.
"""

import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from shardkit.errors import StorageError
from shardkit.storage.failures import MissingFileError
from shardkit.storage.files import atomic_file
from shardkit.storage.filesystems import open_filesystem
from shardkit.storage.locations import S3, Location
from shardkit.storage.trying import storage_failures, tried

UPLOAD_PART_BYTES = 32 << 20
"""Held in memory for each shard that is being written; S3 takes 10,000 parts, so shards of up to 335 GB."""
DELETES_AT_ONCE = 16

Result = TypeVar("Result")


class RemoteFolder:
    """A folder at a URL; see `Folder`."""

    def __init__(self, location: Location) -> None:
        self._url = location.url
        # A file of these appears when it is committed, and not before.
        self._is_streamed = location.scheme in S3
        self._files, self._root = open_filesystem(location.url, location.storage_options)

    def __repr__(self) -> str:
        return f"RemoteFolder({self._url!r})"

    @property
    def location(self) -> str:
        """The URL."""
        return self._url

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root

    def _try(self, name: str, action: Callable[[], Result]) -> Result:
        return tried(f"{self._url}/{name}" if name else self._url, action)

    def make(self, below: str = "") -> bool:  # noqa: ARG002 - as the interface has it
        """Nothing: names are made of slashes here."""
        return False

    def unmake(self, below: str = "") -> None:
        """Nothing."""

    def lock(self, name: str, *, shared: bool = False) -> "NoLock":  # noqa: ARG002
        """No lock."""
        return NoLock()

    def exists(self, name: str) -> bool:
        """Whether a file is there."""
        # What was listed before is not asked again otherwise.
        self._files.invalidate_cache()
        return bool(self._try(name, lambda: self._files.exists(self._path(name))))

    def sizes(self, below: str = "") -> dict[str, int]:
        """Name to size of the files in the folder, or in one in it."""
        self._files.invalidate_cache()
        root = self._path(below)

        try:
            entries = self._try(below, lambda: self._files.ls(root, detail=True))
        except MissingFileError:
            return {}
        return {
            entry["name"].rpartition("/")[2]: int(entry["size"])
            for entry in entries
            # A file of the folder's own name is not in it.
            if entry["type"] == "file" and entry["name"].rstrip("/") != root
        }

    def read(self, name: str) -> bytes:
        """A whole file."""
        return bytes(self._try(name, lambda: self._files.cat_file(self._path(name))))

    def buffer(self, name: str) -> Any:
        """A whole file, in memory."""
        return self.read(name)

    def write(self, name: str, data: bytes) -> None:
        """Writes a whole file."""
        self._try(name, lambda: self._files.pipe_file(self._path(name), data))

    def create(self, name: str, data: bytes) -> None:
        """Writes a whole file, unless one is there; of several that try at once the last one wins."""
        if not self.exists(name):
            self.write(name, data)

    @contextmanager
    def writer(self, name: str) -> Iterator[BinaryIO]:
        """A file to write."""
        url = f"{self._url}/{name}"
        with self._upload(name, url) if self._is_streamed else self._spool(name, url) as file:
            yield file

    @contextmanager
    def _upload(self, name: str, url: str) -> Iterator[BinaryIO]:
        with storage_failures(url):
            file = self._files.open(self._path(name), "wb", block_size=UPLOAD_PART_BYTES, autocommit=False)
        writer = _Upload(file, url)
        try:
            yield writer  # type: ignore[misc]
            with storage_failures(url):
                file.close()
                file.commit()
        except BaseException:
            with suppress(Exception):  # what happened first is what matters
                file.discard()
            # Else the file would be sent after all when it is garbage.
            file.closed = True
            raise
        self._check_size(name, writer.size_bytes)

    @contextmanager
    def _spool(self, name: str, url: str) -> Iterator[BinaryIO]:
        with tempfile.TemporaryDirectory(prefix="shardkit-") as folder:
            path = Path(folder, "upload")
            with atomic_file(path) as file:
                yield file
            size_bytes = path.stat().st_size
            try:
                tried(url, lambda: self._files.put_file(str(path), self._path(name)))
                self._check_size(name, size_bytes)
            except StorageError:
                with suppress(StorageError):
                    self.remove([name])
                raise

    def _check_size(self, name: str, size_bytes: int) -> None:
        self._files.invalidate_cache()
        found = self._try(name, lambda: self._files.info(self._path(name)))["size"]
        if found != size_bytes:
            raise StorageError(
                f"{self._url}/{name}: has {found:,} bytes there, {size_bytes:,} were sent; check the server"
            )

    def remove(self, names: Iterable[str]) -> None:
        """Removes files."""
        wanted = set(names)
        there = {
            f"{below}/{name}" if below else name
            for below in {name.rpartition("/")[0] for name in wanted}
            for name in self.sizes(below)
        }

        def remove(name: str) -> None:
            with suppress(MissingFileError):  # another was quicker
                # One by one: what removes several takes names for patterns.
                self._try(name, lambda: self._files.rm_file(self._path(name)))

        with ThreadPoolExecutor(DELETES_AT_ONCE) as threads:
            list(threads.map(remove, sorted(wanted & there)))

    def sweep(self, names: Iterable[str]) -> None:
        """Nothing: what was not completed has no name."""


class NoLock:
    """Stands where a lock is held elsewhere."""

    def close(self) -> None:
        """Nothing."""


class _Upload:
    """A file under way to a server, whose failed writes are StorageErrors."""

    def __init__(self, file: Any, url: str) -> None:
        self._file = file
        self._url = url
        self.size_bytes = 0

    @property
    def closed(self) -> bool:
        """Whether the file is closed."""
        return bool(self._file.closed)

    def write(self, data: Any) -> int:
        """Writes all of the data, sending a part now and then."""
        with storage_failures(self._url):
            self.size_bytes += len(data)
            return int(self._file.write(data))
