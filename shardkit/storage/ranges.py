"""RangeReader: what every way to read a data set's shards offers to a worker."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
"""uint8 [size]: what was read."""
Range = tuple[int, int]
"""Offset in a shard, and size."""


class RangeReader(Protocol):
    """Reads byte ranges of one data set's shards, for one thread."""

    def name(self, shard: int) -> str:
        """Path or URL of a shard, for messages."""

    def has_room(self) -> bool:
        """Whether more should be begun, ahead of what has been."""

    def begin(self, clips: Sequence[tuple[int, Sequence[Range]]]) -> Sequence[Any]:
        """Begins to read the ranges of several clips, each of one shard, where that can be done ahead.

        Returns:
            What `read` or `forget` wants back, once a clip.
        """

    def forget(self, begun: Any) -> None:
        """Gives up what was begun for a clip."""

    def read(
        self, shard: int, ranges: Sequence[Range], into: Sequence[Bytes] | None = None, *, begun: Any = None
    ) -> list[Bytes]:
        """The bytes of each range; the ranges ascend, apart from those with a place of their own.

        Args:
            shard: Number of the shard.
            ranges: What to read.
            into: Where to read the last len(into) ranges to: uint8 [size], contiguous. The others go to memory that
                is valid until the next call.
            begun: What `begin` returned for the same ranges; None where it was not called.

        Raises:
            StorageError: The shard cannot be read.
            CorruptShardError: It ends before a range does.
        """

    def read_anew(self, shard: int, ranges: Sequence[Range], into: Sequence[Bytes] | None = None) -> list[Bytes] | None:
        """What turned out to be damaged once more, past any copy; None where that would be the same bytes."""

    def close(self) -> None:
        """Lets go of files and connections."""
