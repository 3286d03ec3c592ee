"""AnnotationSet: what an annotation file says, every row accounted for."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from shardkit.clip import Clip, Reject
from shardkit.taxonomy import LabelSet


@dataclass(frozen=True)
class AnnotationSet:
    """The clips of an annotation file, the rows turned away, and what the class ids mean."""

    format: str
    """Name of the format that was read, such as `avo65` or `table`."""
    row_count: int
    """Number of data rows in the file, and in the further ones, whose rows are numbered on. Each is the row of a clip
    or of several, or of a reject, or one of `joined_rows`."""
    clips: tuple[Clip, ...]
    """In row order; several of one row in the order of their starts."""
    rejects: tuple[Reject, ...]
    """In row order."""
    label_sets: tuple[LabelSet, ...]
    event_classes: tuple[str, ...]
    """Names of the event classes; `Event.class_id` is a place in it."""
    columns: tuple[str, ...]
    """Names of the other columns that `Clip.columns` carries, in file order."""
    joined_rows: tuple[int, ...] = ()
    """Rows that add an event to the clip of another row; ascending."""
    also_rows: Mapping[str, int] = field(default_factory=dict)
    """Role of a further file to the number of its rows, in the order in which rows are numbered on; the annotation
    file's own come first."""
    split_sets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Name of a division of the data set to its splits, which `Clip.splits` names."""

    @property
    def entry_count(self) -> int:
        """Number of clips and rejects: `row_count`, unless a row makes several clips or joins another's."""
        return len(self.clips) + len(self.rejects)

    def __repr__(self) -> str:
        sets = ", ".join(
            f"{labels.name} ({'/'.join(str(len(level.classes)) for level in labels.levels)})"
            for labels in self.label_sets
        )
        return (
            f"AnnotationSet(format={self.format!r}, {self.row_count} rows = {len(self.clips)} clips + "
            f"{len(self.rejects)} rejects, label sets: {sets or 'none'}, "
            f"{len(self.event_classes)} event classes, columns: {', '.join(self.columns) or 'none'})"
        )
