"""DiskClient: ranged reads of a file system that is far away, by as many threads as there are reads under way."""

import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

from shardkit.storage.clients import Engine
from shardkit.storage.locations import Location

PIECE_BYTES = 4 << 20


class _OpenFile:
    """A file that is closed with its last reference: never while another thread reads it."""

    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self.descriptor)


class DiskClient:
    """Reads files of a folder, and keeps those open that were read last: each opening asks one server for all."""

    engine: Engine = "disk"

    def __init__(self, location: Location, *, max_open: int) -> None:
        self.location = location
        self._max_open = max_open
        self._open: OrderedDict[str, _OpenFile] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, name: str, start: int, stop: int) -> bytes:
        """See RangeClient."""
        parts = []
        file = self._file(name)
        try:
            while start < stop and (part := os.pread(file.descriptor, stop - start, start)):
                parts.append(part)
                start += len(part)
        except OSError:  # such as ESTALE: the next try opens it anew
            with self._lock:
                self._open.pop(name, None)
            raise
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _file(self, name: str) -> _OpenFile:
        with self._lock:
            if name in self._open:
                self._open.move_to_end(name)
                return self._open[name]
        opened = _OpenFile(self.location.path / name)
        with self._lock:
            self._open[name] = opened
            if len(self._open) > self._max_open:
                self._open.popitem(last=False)
        return opened

    def begin(self, name: str, start: int, stop: int) -> None:
        """See RangeClient."""

    def pieces(self, name: str, start: int, stop: int, *, small: bool = False) -> Iterator[bytes]:  # noqa: ARG002
        """See RangeClient: a disk gives what it has, or an error at once."""
        for place in range(start, stop, PIECE_BYTES):
            yield self.read(name, place, min(stop, place + PIECE_BYTES))

    def read_all(self, name: str) -> bytes:
        """See RangeClient."""
        return (self.location.path / name).read_bytes()

    def telling(self) -> "DiskClient":
        """See RangeClient."""
        return self
