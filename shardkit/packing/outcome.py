"""What a packing run says of itself, under way and at its end."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class PackProgress:
    """How far a packing run is."""

    done: int
    """Clips packed or rejected."""
    total: int
    rejected: int
    """Of all rows of the annotation file, and of all background files."""
    elapsed_s: float
    fresh: int
    """Clips that this run decoded itself, not an earlier one that it resumes."""


@dataclass(frozen=True, slots=True)
class PackReport:
    """What a packing run did."""

    out: str
    rows: int
    """Rows of the annotation file; of one that makes several clips, as many, and none that joins another's clip."""
    packed: int
    """Of the rows."""
    rejected: Mapping[str, int]
    """Reason to number of rows."""
    flags: Mapping[str, int]
    """Quality flag to number of packed clips."""
    shards: int
    size_bytes: int
    media_s: float
    """Length of the packed clips together."""
    fresh: int
    """Clips that this run decoded itself; 0 where the data set was complete already."""
    elapsed_s: float
    part: str | None = None
    """Which part this is about, such as `3/16`; rows, shards and all else are that part's."""
    background: int = 0
    """Clips of the background folder, packed beside the rows'; flags, media_s and sizes are of all clips."""
    background_rejected: int = 0
    """Files of the background folder that could not be packed."""

    @property
    def clips_per_s(self) -> float:
        """Clips that this run decoded, by the second."""
        return self.fresh / self.elapsed_s

    def to_json(self) -> dict[str, Any]:
        """The report as plain values."""
        return asdict(self) | {"clips_per_s": self.clips_per_s}
