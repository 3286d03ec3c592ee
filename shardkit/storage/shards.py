"""ShardReader: byte ranges of shard files into reused memory.

`preadv` and not mmap: a truncated file under a map ends the process (SIGBUS), and its page faults hold the GIL.
"""

import os
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt

from shardkit.errors import CorruptShardError
from shardkit.storage.files import storage_error

MAX_OPEN_SHARDS = 64
"""Files that a reader keeps open where others need descriptors too; well under the usual limit of 1,024."""
GAP_BYTES = 8192
"""Ranges this close are read in one call: a system call costs about as much as copying the gap."""
LINE_BYTES = 64
MAX_PIECES = 1024
"""Linux's limit of one `preadv`."""


class ShardReader:
    """Reads byte ranges of one data set's shards; not for use by several threads at once."""

    def __init__(self, folder: Path, names: Sequence[str], *, max_open: int = MAX_OPEN_SHARDS) -> None:
        self._folder = folder
        self._names = names
        self._max_open = max_open
        self._open: OrderedDict[int, int] = OrderedDict()
        self._scratch = _aligned(1 << 20)

    def __repr__(self) -> str:
        return f"ShardReader({str(self._folder)!r}, {len(self._names)} shards, {len(self._open)} open)"

    def name(self, shard: int) -> str:
        """Path of a shard, for messages."""
        return str(self._folder / self._names[shard])

    def read(
        self,
        shard: int,
        ranges: Sequence[tuple[int, int]],
        into: Sequence[npt.NDArray[np.uint8]] | None = None,
    ) -> list[npt.NDArray[np.uint8]]:
        """The bytes of each (offset, size) range; the ranges ascend.

        Args:
            shard: Number of the shard.
            ranges: What to read.
            into: Where to read the last len(into) ranges to: uint8 [size], contiguous. The others go to memory that
                is valid until the next call.

        Raises:
            StorageError: The shard cannot be read.
            CorruptShardError: It ends before a range does.
        """
        try:
            handle = self._handle(shard)
            beside = len(ranges) - len(into or ())
            views = self._read_beside(handle, shard, ranges[:beside])
            if into:
                self._read_runs(handle, shard, ranges[beside:], into)
                views += into
        except OSError as exc:
            raise storage_error(self.name(shard), exc) from exc
        return views

    def _read_beside(self, handle: int, shard: int, ranges: Sequence[tuple[int, int]]) -> list[npt.NDArray[np.uint8]]:
        spans = _spans(ranges)
        # Everything keeps its place within a cache line, so samples that are aligned in the file are so in memory.
        needed = sum(size + 2 * LINE_BYTES for _, size in spans)
        if needed > len(self._scratch):
            self._scratch = _aligned(needed * 5 // 4)
        scratch = self._scratch
        views = []
        place = -1  # in the scratch, less the offset in the file
        filled = 0
        span = iter(spans)
        stop = -1
        for offset, size in ranges:
            if offset + size > stop and size:
                start, length = next(span)
                stop = start + length
                place = filled + (start - filled) % LINE_BYTES - start
                filled = stop + place
                self._fill(handle, shard, start, [scratch[start + place : filled]])
            views.append(scratch[offset + place : offset + size + place])
        return views

    def _read_runs(
        self,
        handle: int,
        shard: int,
        ranges: Sequence[tuple[int, int]],
        into: Sequence[npt.NDArray[np.uint8]],
    ) -> None:
        """Ranges that adjoin are read in one call, each to its own place."""
        first = 0
        for place, (offset, size) in enumerate(ranges, start=1):
            if place == len(ranges) or ranges[place][0] != offset + size or place - first == MAX_PIECES:
                self._fill(handle, shard, ranges[first][0], into[first:place])
                first = place

    def _fill(self, handle: int, shard: int, offset: int, pieces: Sequence[npt.NDArray[np.uint8]]) -> None:
        wanted = sum(map(len, pieces))
        done = os.preadv(handle, _buffers(pieces), offset)
        while done < wanted:
            skip, rest = done, []
            for piece in pieces:
                if skip < len(piece):
                    rest.append(piece[skip:])
                skip = max(0, skip - len(piece))
            count = os.preadv(handle, _buffers(rest), offset + done)
            if count == 0:
                size = os.fstat(handle).st_size
                raise CorruptShardError(
                    f"{self.name(shard)}: ends at byte {size:,}, the index says that a clip reaches to byte "
                    f"{offset + wanted:,}; the shard was cut, or the index overwritten: copy it again",
                )
            done += count

    def _handle(self, shard: int) -> int:
        if shard in self._open:
            self._open.move_to_end(shard)
        else:
            self._open[shard] = os.open(self.name(shard), os.O_RDONLY | os.O_CLOEXEC)
            if len(self._open) > self._max_open:
                os.close(self._open.popitem(last=False)[1])
        return self._open[shard]

    def close(self) -> None:
        """Closes the files; the reader can be used again."""
        while self._open:
            os.close(self._open.popitem()[1])

    def __enter__(self) -> "ShardReader":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _buffers(pieces: Sequence[npt.NDArray[np.uint8]]) -> list[memoryview]:
    return [piece.data for piece in pieces]


def _aligned(size: int) -> npt.NDArray[np.uint8]:
    memory = np.empty(size + LINE_BYTES, dtype=np.uint8)
    start = -memory.ctypes.data % LINE_BYTES
    return memory[start : start + size]


def _spans(ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The (offset, size) reads that cover `ranges`, close ones together."""
    spans: list[tuple[int, int]] = []
    for offset, size in ranges:
        if not size:
            continue
        if spans and offset - (spans[-1][0] + spans[-1][1]) <= GAP_BYTES:
            spans[-1] = (spans[-1][0], offset + size - spans[-1][0])
        else:
            spans.append((offset, size))
    return spans
