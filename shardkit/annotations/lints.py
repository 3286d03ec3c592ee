"""Lints: what is doubtful about an annotation file and its splits, though it can be read."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from shardkit.annotations.annotation_set import AnnotationSet
from shardkit.annotations.labels import TwoParentsError
from shardkit.annotations.sources import source_names
from shardkit.clip import Clip
from shardkit.taxonomy import UNKNOWN, LabelSet

DEFAULT_SCHEME = "split"
"""Name of the annotation file's own division into splits, as the index calls it."""
MOST_ROWS = 6
"""Rows that a message names one by one; `Finding.rows` has all."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a person should look at."""

    kind: str
    """What sort of thing; here `leak`: clips of one source stand in several splits, `missing_class`: a split has no
    clip of a class that others have, and `two_parents`: rows put a class below several others."""
    message: str
    rows: tuple[int, ...]
    """Of the annotation file, ascending, from 1 on; for `missing_class` those of the class in the other splits; none
    where it is not about rows."""


def lint_annotations(annotated: AnnotationSet) -> list[Finding]:
    """What the splits of an annotation set, its own and the named ones, should not be like.

    Leaks come first; both kinds in the order of the schemes.
    """
    schemes = [
        *([(DEFAULT_SCHEME, [clip.split or "" for clip in annotated.clips])] if _has_splits(annotated.clips) else []),
        *((name, [clip.splits.get(name, "") for clip in annotated.clips]) for name in annotated.split_sets),
    ]
    sources = source_names(annotated.clips) if schemes else []
    leaks = [leak for scheme, splits in schemes for leak in _leaks(scheme, annotated.clips, sources, splits)]
    missing = [
        finding
        for scheme, splits in schemes
        for label_set in annotated.label_sets
        for finding in _missing_classes(scheme, label_set, annotated.clips, splits)
    ]
    return leaks + missing


def lint_parents(error: TwoParentsError) -> list[Finding]:
    """What is wrong with a hierarchy that could not be read: every class that stands below several, with all rows."""
    return [
        Finding(
            "two_parents",
            f"{conflict.level} {conflict.name!r} stands below "
            + " and below ".join(
                f"{conflict.above} {parent!r} ({_rows_text(rows)})" for parent, rows in conflict.rows.items()
            ),
            tuple(sorted(row for rows in conflict.rows.values() for row in rows)),
        )
        for conflict in error.conflicts
    ]


def _has_splits(clips: Iterable[Clip]) -> bool:
    return any(clip.split for clip in clips)


def _leaks(scheme: str, clips: Sequence[Clip], sources: Sequence[str], splits: Sequence[str]) -> list[Finding]:
    """The sources whose clips stand in several splits; a clip that is in none leaks nowhere."""
    rows_of: dict[str, dict[str, list[int]]] = {}
    for clip, source, split in zip(clips, sources, splits, strict=True):
        if split:
            rows_of.setdefault(source, {}).setdefault(split, []).append(clip.row)
    return [
        Finding(
            "leak",
            f"{scheme}: source {source!r} is in "
            + " and in ".join(f"{split!r} ({_rows_text(rows)})" for split, rows in by_split.items()),
            tuple(sorted({row for rows in by_split.values() for row in rows})),
        )
        for source, by_split in rows_of.items()
        if len(by_split) > 1
    ]


def _missing_classes(scheme: str, label_set: LabelSet, clips: Sequence[Clip], splits: Sequence[str]) -> list[Finding]:
    """The classes of the deepest level that some split has and another has not."""
    rows_of: dict[int, dict[str, list[int]]] = {}
    for clip, split in zip(clips, splits, strict=True):
        ids = clip.labels.get(label_set.name, ())
        for id in ids if label_set.kind == "multi" else ids[-1:]:
            if split and id != UNKNOWN:
                rows_of.setdefault(id, {}).setdefault(split, []).append(clip.row)
    findings = []
    for split in dict.fromkeys(filter(None, splits)):
        for id, by_split in sorted(rows_of.items()):
            if split not in by_split:
                rows = sorted({row for rows in by_split.values() for row in rows})
                message = (
                    f"{scheme}: split {split!r} has no clip of {label_set.name} {label_set.leaf.classes[id]!r}; "
                    f"{' and '.join(map(repr, by_split))} {'has' if len(by_split) == 1 else 'have'}: {_rows_text(rows)}"
                )
                findings.append(Finding("missing_class", message, tuple(rows)))
    return findings


def _rows_text(rows: Sequence[int]) -> str:
    rows = tuple(dict.fromkeys(rows))  # several clips of a row name it once
    first = ", ".join(map(str, rows[:MOST_ROWS]))
    more = f" and {len(rows) - MOST_ROWS} more" if len(rows) > MOST_ROWS else ""
    return f"{'row' if len(rows) == 1 else 'rows'} {first}{more}"
