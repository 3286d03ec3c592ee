"""ShardReader: byte ranges of local shard files into reused memory.

`preadv` and not mmap: a truncated file under a map ends the process (SIGBUS), and its page faults hold the GIL.
"""

import os
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import numpy as np

from shardkit.errors import CorruptShardError
from shardkit.storage.files import storage_error
from shardkit.storage.ranges import Bytes, Range

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

    def has_room(self) -> bool:
        """See RangeReader: a disk is read when its bytes are needed."""
        return False

    def begin(self, clips: Sequence[tuple[int, Sequence[Range]]]) -> list[None]:
        """See RangeReader."""
        return [None] * len(clips)

    def forget(self, begun: None) -> None:
        """See RangeReader."""

    def read(
        self,
        shard: int,
        ranges: Sequence[Range],
        into: Sequence[Bytes] | None = None,
        *,
        begun: None = None,  # noqa: ARG002 - nothing was
    ) -> list[Bytes]:
        """See RangeReader."""
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

    def read_anew(self, shard: int, ranges: Sequence[Range], into: Sequence[Bytes] | None = None) -> None:
        """See RangeReader."""

    def _read_beside(self, handle: int, shard: int, ranges: Sequence[Range]) -> list[Bytes]:
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
        ranges: Sequence[Range],
        into: Sequence[Bytes],
    ) -> None:
        """Ranges that adjoin are read in one call, each to its own place."""
        first = 0
        for place, (offset, size) in enumerate(ranges, start=1):
            if place == len(ranges) or ranges[place][0] != offset + size or place - first == MAX_PIECES:
                self._fill(handle, shard, ranges[first][0], into[first:place])
                first = place

    def _fill(self, handle: int, shard: int, offset: int, pieces: Sequence[Bytes]) -> None:
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


def _buffers(pieces: Sequence[Bytes]) -> list[memoryview]:
    return [piece.data for piece in pieces]


def _aligned(size: int) -> Bytes:
    memory = np.empty(size + LINE_BYTES, dtype=np.uint8)
    start = -memory.ctypes.data % LINE_BYTES
    return memory[start : start + size]


def _spans(ranges: Sequence[Range]) -> list[Range]:
    """The (offset, size) reads that cover `ranges`, close ones together."""
    spans: list[Range] = []
    for offset, size in ranges:
        if not size:
            continue
        if spans and offset - (spans[-1][0] + spans[-1][1]) <= GAP_BYTES:
            spans[-1] = (spans[-1][0], offset + size - spans[-1][0])
        else:
            spans.append((offset, size))
    return spans
