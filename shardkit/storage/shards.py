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
from shardkit.storage.files import storage_errors

MAX_OPEN_SHARDS = 64
"""Files kept open by one reader; well under the usual limit of 1,024 descriptors."""
GAP_BYTES = 8192
"""Ranges this close are read in one call: a system call costs about as much as copying the gap."""


class ShardReader:
    """Reads byte ranges of one data set's shards; not for use by several threads at once."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self._folder = folder
        self._names = names
        self._open: OrderedDict[int, int] = OrderedDict()
        self._scratch = np.empty(1 << 20, dtype=np.uint8)

    def __repr__(self) -> str:
        return f"ShardReader({str(self._folder)!r}, {len(self._names)} shards, {len(self._open)} open)"

    def name(self, shard: int) -> str:
        """Path of a shard, for messages."""
        return str(self._folder / self._names[shard])

    def read(self, shard: int, ranges: Sequence[tuple[int, int]]) -> list[npt.NDArray[np.uint8]]:
        """The bytes of each (offset, size) range, in ascending order; views that are valid until the next call.

        Raises:
            StorageError: The shard cannot be read.
            CorruptShardError: It ends before a range does.
        """
        spans = _spans(ranges)
        needed = sum(size for _, size in spans)
        if needed > len(self._scratch):
            self._scratch = np.empty(needed * 5 // 4, dtype=np.uint8)
        base: dict[int, int] = {}
        filled = 0
        with storage_errors(self.name(shard)):
            handle = self._handle(shard)
            for offset, size in spans:
                self._fill(handle, shard, offset, self._scratch[filled : filled + size])
                base[offset] = filled
                filled += size
        views = []
        span = iter(spans)
        start, length = next(span, (0, 0))
        for offset, size in ranges:
            while offset >= start + length and size:
                start, length = next(span)
            place = base.get(start, 0) + offset - start
            views.append(self._scratch[place : place + size])
        return views

    def _fill(self, handle: int, shard: int, offset: int, out: npt.NDArray[np.uint8]) -> None:
        done = 0
        while done < len(out):
            count = os.preadv(handle, [out[done:].data], offset + done)
            if count == 0:
                raise CorruptShardError(
                    f"{self.name(shard)}: ends at byte {offset + done:,}, the index says that a clip reaches to byte "
                    f"{offset + len(out):,}; the file was cut: copy it again",
                )
            done += count

    def _handle(self, shard: int) -> int:
        if shard in self._open:
            self._open.move_to_end(shard)
        else:
            self._open[shard] = os.open(self.name(shard), os.O_RDONLY | os.O_CLOEXEC)
            if len(self._open) > MAX_OPEN_SHARDS:
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
