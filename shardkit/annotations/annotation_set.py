"""AnnotationSet: what an annotation file says, every row accounted for."""

from dataclasses import dataclass

from shardkit.clip import Clip, Reject
from shardkit.taxonomy import LabelSet


@dataclass(frozen=True)
class AnnotationSet:
    """The clips of an annotation file, the rows turned away, and what the class ids mean."""

    format: str
    """Name of the format that was read: `avo65` or `table`."""
    row_count: int
    """Number of data rows in the file; always `len(clips) + len(rejects)`."""
    clips: tuple[Clip, ...]
    """In row order."""
    rejects: tuple[Reject, ...]
    """In row order."""
    label_sets: tuple[LabelSet, ...]
    event_classes: tuple[str, ...]
    """Names of the event classes; `Event.class_id` is a place in it."""
    columns: tuple[str, ...]
    """Names of the other columns that `Clip.columns` carries, in file order."""

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
