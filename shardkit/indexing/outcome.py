"""What an indexing run says of itself, under way and at its end."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class IndexProgress:
    """How far an indexing run is."""

    read_bytes: int
    """Of the tars, by this run and those that it resumes; workers may still be busy with what was read last."""
    total_bytes: int
    done: int
    """Samples indexed or rejected."""
    rejected: int
    elapsed_s: float
    fresh: int
    """Samples that this run decoded itself."""


@dataclass(frozen=True, slots=True)
class IndexReport:
    """What an indexing run did."""

    out: str
    samples: int
    indexed: int
    rejected: Mapping[str, int]
    """Reason to number of samples."""
    flags: Mapping[str, int]
    """Quality flag to number of clips."""
    shards: int
    size_bytes: int
    """Of the tars."""
    compressed: int
    """Compressed tars in their folder, which are passed over."""
    media_s: float
    """Length of the clips together."""
    label_sets: tuple[str, ...]
    columns: tuple[str, ...]
    splits: Mapping[str, int]
    fresh: int
    """Samples that this run decoded itself; 0 where the index was complete already."""
    elapsed_s: float

    @property
    def clips_per_s(self) -> float:
        """Samples that this run decoded, by the second."""
        return self.fresh / self.elapsed_s

    def to_json(self) -> dict[str, Any]:
        """The report as plain values."""
        return asdict(self) | {"clips_per_s": self.clips_per_s}
