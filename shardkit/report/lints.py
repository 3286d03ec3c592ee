"""Lints of a data set: what is doubtful about its splits, classes, labels and events, read off its index."""

from collections.abc import Collection, Iterator, Sequence
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shardkit.annotations.lints import DEFAULT_SCHEME
from shardkit.annotations.sources import source_names
from shardkit.annotations.split_lints import (
    Coded,
    Finding,
    Integers,
    distinct,
    leaks,
    listed,
    missing_classes,
    rows_text,
)
from shardkit.clip import BACKGROUND, UNKNOWN_EVENTS
from shardkit.format.index import SPLIT_PREFIX, ClipIndex, rows_with, split_sets
from shardkit.format.manifest import REJECTS_NAME, Manifest
from shardkit.taxonomy import UNKNOWN, LabelSet

PLAIN_FLAGS = frozenset({BACKGROUND, *UNKNOWN_EVENTS.values()})
"""Flags that say what a clip is for, or what labels it has: nothing odd."""


def lint_dataset(manifest: Manifest, index: ClipIndex) -> list[Finding]:
    """What a person should look at in a data set; rows are those of its annotation file.

    Kinds: `reject` (rows that were turned away), `leak` (a source stands in several splits), `missing_class` (a split
    has no clip of a class that others have), `no_split` and `unlabelled` (clips without, where others have one),
    `empty_class` (no clip at all), `orphan_class` (nobody has told its parent), `event_span` (an event without length,
    or outside its clip), `flag` (odd media or rows).
    """
    schemes, sources = _schemes(index), _sources(index, is_packed=manifest.packed)
    return [
        *(
            Finding("reject", f"{reason}: {count:,} {_plural('row', count)}, each told in {REJECTS_NAME}", ())
            for reason, count in manifest.reject_counts.items()
        ),
        *(leak for scheme, splits in schemes for leak in leaks(scheme, splits, sources, index.row)),
        *(
            missing
            for scheme, splits in schemes
            for each in manifest.label_sets
            for missing in missing_classes(
                scheme, splits, each.name, each.leaf.classes, *_labelled(each, index), rows=index.row
            )
        ),
        *_without_split(index),
        *(finding for label_set in manifest.label_sets for finding in _odd_labels(label_set, index)),
        *_odd_events(index),
        *_flags(index),
    ]


def _schemes(index: ClipIndex) -> list[tuple[str, Coded]]:
    """Each division into splits: its name, and the split of every clip."""
    named = [(name, SPLIT_PREFIX + name) for name in split_sets(index.batch.schema)]
    return [(name, _coded(index.batch.column(column))) for name, column in [(DEFAULT_SCHEME, "split"), *named]]


def _coded(column: pa.Array) -> Coded:
    coded = column.dictionary_encode()
    places = coded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    return Coded(places, coded.dictionary.to_pylist())


def _sources(index: ClipIndex, *, is_packed: bool) -> Coded:
    """The source of every clip: clips share one by their id, or by their media file."""
    ids, media = _coded(index.batch.column("source_id")), _coded(index.batch.column("source"))
    if not is_packed:  # what was indexed has no media files but the tars' members
        return ids
    pairs = np.unique(media.places[media.is_named] * len(ids.texts) + ids.places[media.is_named])
    of_media, of_id = np.divmod(pairs, max(1, len(ids.texts)))
    # Those of which a file has several ids: for all others the id is enough.
    several = np.bincount(of_media, minlength=len(media.texts))[of_media] > 1
    shared = [(ids.texts[id], media.texts[file]) for file, id in zip(of_media[several], of_id[several], strict=True)]
    if not shared:
        return ids
    name_of = {id: name for (id, _), name in zip(shared, source_names(shared), strict=True)}
    names = Coded.of(name_of.get(id, id) for id in ids.texts)
    return Coded(names.places[ids.places], names.texts)


def _labelled(label_set: LabelSet, index: ClipIndex) -> tuple[Integers, Integers]:
    """Clips and their classes at the deepest level: a pair for every known label, by clip."""
    if label_set.kind == "multi":
        lists = index.label_lists(label_set)
        clips, ids = np.repeat(np.arange(len(index)), np.diff(lists.offsets)), lists.values.astype(np.int64)
    else:
        clips, ids = np.arange(len(index)), index.labels(label_set)[:, -1].astype(np.int64)
    return clips[ids >= 0], ids[ids >= 0]


def _without_split(index: ClipIndex) -> Iterator[Finding]:
    without = np.flatnonzero(~_coded(index.batch.column("split")).is_named)
    if 0 < len(without) < len(index):
        yield Finding(
            "no_split",
            f"{_clips_text(without)} no split, others have: {rows_text(index.row[without])}",
            distinct(index.row[without]),
        )


def _odd_labels(label_set: LabelSet, index: ClipIndex) -> Iterator[Finding]:
    labelled, ids = _labelled(label_set, index)
    without = np.setdiff1d(np.arange(len(index)), np.concatenate([labelled, _flagged([BACKGROUND], index)]))
    if len(labelled) and len(without):
        yield Finding(
            "unlabelled",
            f"{_clips_text(without)} no known class of {label_set.name}: {rows_text(index.row[without])}",
            distinct(index.row[without]),
        )
    classes = label_set.leaf.classes
    empty = [classes[id] for id in np.flatnonzero(np.bincount(ids, minlength=len(classes)) == 0)]
    if empty:
        yield Finding("empty_class", f"{label_set.name}: no clip of {_names_text(empty)}", ())
    for (upper, lower), parents in zip(pairwise(label_set.levels), label_set.parents, strict=True):
        orphans = [lower.classes[id] for id, parent in enumerate(parents) if parent == UNKNOWN]
        if orphans:
            yield Finding(
                "orphan_class",
                f"{label_set.name}: no clip tells the {upper.name} of {lower.name} {_names_text(orphans)}",
                (),
            )


def _odd_events(index: ClipIndex) -> Iterator[Finding]:
    clip_of = np.repeat(np.arange(len(index)), np.diff(index.event_offsets))
    start_s, end_s, duration_s = index.event_start_s, index.event_end_s, index.duration_s[clip_of]
    for odd, what in (
        (end_s <= start_s, "an event without length"),
        ((end_s > start_s) & ((start_s < 0) | (end_s > duration_s)), "an event that is not inside the clip"),
    ):
        clips = np.unique(clip_of[odd])
        if len(clips):
            yield Finding(
                "event_span", f"{_clips_text(clips)} {what}: {rows_text(index.row[clips])}", distinct(index.row[clips])
            )


def _flagged(flags: Collection[str], index: ClipIndex) -> Integers:
    """The clips that have one of the flags, ascending."""
    column = index.batch.column("flags")
    clips: Integers = np.flatnonzero(rows_with(column, pc.is_in(column.values, pa.array(flags, pa.large_string()))))
    return clips


def _flags(index: ClipIndex) -> Iterator[Finding]:
    for flag in sorted(set(index.batch.column("flags").flatten().unique().to_pylist()) - PLAIN_FLAGS):
        clips = _flagged([flag], index)
        yield Finding(
            "flag", f"{_clips_text(clips)} the flag {flag}: {rows_text(index.row[clips])}", distinct(index.row[clips])
        )


def _names_text(names: Sequence[str]) -> str:
    return listed([repr(name) for name in names])


def _clips_text(clips: Integers) -> str:
    return f"{len(clips):,} {_plural('clip', len(clips))} {'has' if len(clips) == 1 else 'have'}"


def _plural(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"
