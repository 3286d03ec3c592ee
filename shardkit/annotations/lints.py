"""Lints: what is doubtful about an annotation file and its splits, though it can be read."""

from collections.abc import Sequence

import numpy as np

from shardkit.annotations.annotation_set import AnnotationSet
from shardkit.annotations.labels import TwoParentsError
from shardkit.annotations.sources import source_names
from shardkit.annotations.split_lints import Coded, Finding, Integers, distinct, leaks, missing_classes, rows_text
from shardkit.clip import UNKNOWN_EVENTS, Clip
from shardkit.taxonomy import LabelSet

DEFAULT_SCHEME = "split"
"""Name of the annotation file's own division into splits, as the index calls it."""


def lint_annotations(annotated: AnnotationSet) -> list[Finding]:
    """What the splits of an annotation set, its own and the named ones, should not be like; then rows that are odd.

    Leaks come first, then classes that a split lacks; both in the order of the schemes.
    """
    clips = annotated.clips
    rows = np.fromiter((clip.row for clip in clips), dtype=np.int64)
    own = [(DEFAULT_SCHEME, Coded.of(clip.split or "" for clip in clips))] if any(clip.split for clip in clips) else []
    schemes = [*own, *((name, Coded.of(clip.splits.get(name, "") for clip in clips)) for name in annotated.split_sets)]
    sources = Coded.of(source_names((clip.id, clip.media) for clip in clips)) if schemes else Coded.of(())
    return [
        *(leak for scheme, splits in schemes for leak in leaks(scheme, splits, sources, rows)),
        *(
            finding
            for scheme, splits in schemes
            for each in annotated.label_sets
            for finding in missing_classes(
                scheme, splits, each.name, each.leaf.classes, *_labelled(each, clips), rows=rows
            )
        ),
        *_flags(clips),
    ]


def _flags(clips: Sequence[Clip]) -> list[Finding]:
    """What rows say of themselves that is odd."""
    rows_of: dict[str, list[int]] = {}
    for clip in clips:
        for flag in set(clip.flags).difference(UNKNOWN_EVENTS.values()):
            rows_of.setdefault(flag, []).append(clip.row)
    return [
        Finding(
            "flag",
            f"{len(rows):,} {'clip has' if len(rows) == 1 else 'clips have'} the flag {flag}: {rows_text(rows)}",
            distinct(np.array(rows)),
        )
        for flag, rows in sorted(rows_of.items())
    ]


def lint_parents(error: TwoParentsError) -> list[Finding]:
    """What is wrong with a hierarchy that could not be read: every class that stands below several, with all rows."""
    return [
        Finding(
            "two_parents",
            f"{conflict.level} {conflict.name!r} stands below "
            + " and below ".join(
                f"{conflict.above} {parent!r} ({rows_text(rows)})" for parent, rows in conflict.rows.items()
            ),
            tuple(sorted(row for rows in conflict.rows.values() for row in rows)),
        )
        for conflict in error.conflicts
    ]


def _labelled(label_set: LabelSet, clips: Sequence[Clip]) -> tuple[Integers, Integers]:
    """Clips and their classes at the deepest level: a pair for every known label, by clip."""
    labels = [clip.labels[label_set.name] for clip in clips]
    if label_set.kind != "multi":
        labels = [ids[-1:] for ids in labels]
    places = np.repeat(np.arange(len(clips)), np.fromiter(map(len, labels), dtype=np.int64))
    ids = np.fromiter((id for own in labels for id in own), dtype=np.int64)
    return places[ids >= 0], ids[ids >= 0]
