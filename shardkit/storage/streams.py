"""Streams: files that are read once from their beginning to their end, from a disk or from afar."""

import io
import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import BinaryIO, cast

from shardkit.errors import CorruptShardError, StorageError
from shardkit.storage.clients import RangeClient
from shardkit.storage.fetching import Patience, fetch
from shardkit.storage.files import storage_errors
from shardkit.storage.ranges import Bytes
from shardkit.storage.request_meter import RequestMeter
from shardkit.storage.stores import ReadFolder

PART_BYTES = 4 << 20
PARTS_AT_ONCE = 8
"""Held in memory, and under way at once; the first are asked for one by one, since some streams are soon closed."""


class Streams:
    """The files of one folder as streams."""

    def __init__(self, folder: ReadFolder, *, patience: Patience | None = None) -> None:
        """Takes a folder.

        Args:
            folder: Where they are.
            patience: How long each part of what comes from afar is tried.

        Raises:
            StorageError: A package is missing.
        """
        self._location = folder.location
        self._patience = patience or Patience()
        self._client = folder.client(self._patience) if folder.is_far else None

    def open(self, name: str, size_bytes: int) -> BinaryIO:
        """A file's bytes as a stream without a buffer of its own, which the caller closes.

        Args:
            name: Of the file, relative to the folder.
            size_bytes: Its size.

        Raises:
            StorageError: It cannot be read.
        """
        if self._client is None:
            path = self._location.path / name
            with storage_errors(path):
                return path.open("rb", buffering=0)
        return cast("BinaryIO", FarStream(self._client, name, size_bytes, patience=self._patience))


class FarStream(io.RawIOBase):
    """A file from afar: parts are fetched ahead of the one that is read."""

    def __init__(self, client: RangeClient, name: str, size_bytes: int, *, patience: Patience) -> None:
        """Takes a file.

        Args:
            client: Makes the requests.
            name: Of the file, in the client's folder.
            size_bytes: Its size.
            patience: How long each part is tried.
        """
        super().__init__()
        self._client = client
        self._name = name
        self._size_bytes = size_bytes
        self._patience = patience
        self._meter = RequestMeter()
        self._closing = threading.Event()
        self._threads = ThreadPoolExecutor(PARTS_AT_ONCE, thread_name_prefix="shardkit-stream")
        self._parts: deque[Future[Bytes]] = deque()
        self._asked = 0
        self._most_parts = 1
        self._part = memoryview(b"")

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: "memoryview | bytearray") -> int:  # type: ignore[override]
        """The next bytes, as many as have come; 0 at the end.

        Raises:
            StorageError: They could not be had in time, or not at all, or the file is shorter than it was.
        """
        if not self._part:
            self._part = self._next_part()
        size = min(len(buffer), len(self._part))
        buffer[:size] = self._part[:size]
        self._part = self._part[size:]
        return size

    def _next_part(self) -> memoryview:
        while self._asked < self._size_bytes and len(self._parts) < self._most_parts:
            start, self._asked = self._asked, min(self._asked + PART_BYTES, self._size_bytes)
            self._parts.append(self._threads.submit(self._fetch, start, self._asked))
        self._most_parts = min(self._most_parts + 1, PARTS_AT_ONCE)
        return self._parts.popleft().result().data if self._parts else memoryview(b"")

    def _fetch(self, start: int, stop: int) -> Bytes:
        try:
            return fetch(
                self._client,
                self._name,
                start,
                stop,
                patience=self._patience,
                meter=self._meter,
                closing=self._closing,
            )
        except CorruptShardError as exc:
            raise StorageError(
                f"{self._client.location.child(self._name)}: ends before byte {stop:,}, and had {self._size_bytes:,} "
                "bytes when this began; it was replaced meanwhile: begin again"
            ) from exc

    def close(self) -> None:
        """Gives up what is under way."""
        if not self.closed:
            self._closing.set()
            self._threads.shutdown(cancel_futures=True)
        super().close()
