"""FeatureFiller: arrays that were packed with the clips, from their .npy members to their places in a slot.

Members are read whole, and are float16 there; slots are float32. A clip that has no array gets zeros.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from shardkit.errors import DataError
from shardkit.format.index import ClipIndex
from shardkit.format.npy import stored_bytes, stored_values
from shardkit.loading.plan import Bytes, FeaturePlan, Slot
from shardkit.planning.sampling import rows_at


class FeaturePart:
    """One clip's array of one feature on its way into a slot."""

    __slots__ = ("_digest", "_filler", "_out", "_rows", "into", "member", "ranges")

    def __init__(
        self, filler: "FeatureFiller", place: tuple[int, int], digest: int, rows: Sequence[npt.NDArray[np.int64]] | None
    ) -> None:
        self._filler = filler
        self._digest = digest
        self._rows = rows
        self.member = filler.plan.field
        self.ranges = [place]
        self.into: list[Bytes] = []

    def place(self, slot: Slot) -> None:
        """From here on it is known where the values go."""
        self._out: npt.NDArray[Any] = slot[self._filler.plan.field]

    def pieces(self, data: Sequence[Bytes]) -> Iterable[tuple[Bytes, int, int]]:
        """What is checked: bytes, their digest, their place in the shard."""
        return [(data[0], self._digest, self.ranges[0][0])]

    def fill(self, data: Sequence[Bytes]) -> None:
        """Writes each view's values, and zeros behind the clip's end."""
        values = stored_values(data[0], self._filler.plan.shape)
        if self._rows is None:
            self._out[...] = values
            return
        for out, rows in zip(self._out, self._rows, strict=True):
            out[...] = values[rows]
            out[rows < 0] = 0


class FeatureFiller:
    """Makes the parts of one feature for one clip after another."""

    def __init__(self, index: ClipIndex, plan: FeaturePlan) -> None:
        self.plan = plan
        self._index = index
        self._columns = index.feature(plan.name)

    def part(self, row: int, windows_s: Sequence[tuple[float, float]]) -> FeaturePart | None:
        """The part that brings the values of a clip's windows; None of a clip that has no array.

        Raises:
            DataError: The index says that the array has fewer bytes than its shape takes.
        """
        plan, columns = self.plan, self._columns
        size_bytes = int(columns.size_bytes[row])
        if not size_bytes:
            return None
        if size_bytes < stored_bytes(plan.shape):
            raise DataError(f"{plan.field}: {size_bytes:,} bytes in the index, its shape {plan.shape} takes more")
        place = int(columns.offset[row]), size_bytes
        rows = None
        if plan.rows is not None:
            duration_s = float(self._index.duration_s[row])
            rows = [rows_at(plan.shape[0], duration_s, *window_s, count=plan.rows) for window_s in windows_s]
        return FeaturePart(self, place, int(columns.xxh3[row]), rows)
