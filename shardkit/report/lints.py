"""Lints of a data set: what is doubtful about its splits, classes, labels and events, read off its index."""

from collections.abc import Collection, Iterator, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from shardkit.annotations.lints import DEFAULT_SCHEME, Finding
from shardkit.clip import BACKGROUND
from shardkit.format.index import SPLIT_PREFIX, ClipIndex, split_sets
from shardkit.format.manifest import REJECTS_NAME, Manifest
from shardkit.taxonomy import UNKNOWN, LabelSet

SPECIAL_FLAGS = frozenset({BACKGROUND})
"""Flags that say what a clip is for, and nothing odd."""
MOST_NAMED = 6
"""Rows, or classes, that a message names one by one."""

_Integers = npt.NDArray[np.int64]


def lint_dataset(manifest: Manifest, index: ClipIndex) -> list[Finding]:
    """What a person should look at in a data set; rows are those of its annotation file.

    Kinds: `reject` (rows that were turned away), `leak` (a source stands in several splits), `missing_class` (a split
    has no clip of a class that others have), `no_split` and `unlabelled` (clips without, where others have one),
    `empty_class` (no clip at all), `orphan_class` (nobody has told its parent), `event_span` (an event without length,
    or outside its clip), `flag` (odd media or rows).
    """
    return [
        *(
            Finding("reject", f"{reason}: {count:,} {_plural('row', count)}, each told in {REJECTS_NAME}", ())
            for reason, count in manifest.reject_counts.items()
        ),
        *(leak for scheme, column in _schemes(index) for leak in _leaks(scheme, column, index)),
        *(
            missing
            for scheme, column in _schemes(index)
            for label_set in manifest.label_sets
            for missing in _missing_classes(scheme, column, label_set, index)
        ),
        *_without_split(index),
        *(finding for label_set in manifest.label_sets for finding in _odd_labels(label_set, index)),
        *_odd_events(index),
        *_flags(index),
    ]


def _schemes(index: ClipIndex) -> Iterator[tuple[str, pa.Array]]:
    """Each division into splits: its name, and its column."""
    yield DEFAULT_SCHEME, index.batch.column("split")
    for name in split_sets(index.batch.schema):
        yield name, index.batch.column(SPLIT_PREFIX + name)


def _coded(column: pa.Array) -> tuple[_Integers, list[str]]:
    """A text column as places in a list of its values."""
    coded = column.dictionary_encode()
    return coded.indices.to_numpy(zero_copy_only=False).astype(np.int64), coded.dictionary.to_pylist()


def _leaks(scheme: str, column: pa.Array, index: ClipIndex) -> Iterator[Finding]:
    """The sources whose clips stand in several splits; a clip that is in none leaks nowhere."""
    split_of, splits = _coded(column)
    source_of, sources = _coded(index.batch.column("source_id"))
    inside = np.array([bool(split) for split in splits], dtype=np.bool_)[split_of]
    pairs = np.unique(source_of[inside] * len(splits) + split_of[inside])
    held, counts = np.unique(pairs // len(splits), return_counts=True)
    leaking = held[counts > 1]
    clips = np.flatnonzero(inside & np.isin(source_of, leaking))
    clips = clips[np.argsort(source_of[clips], kind="stable")]
    for own in np.split(clips, np.flatnonzero(np.diff(source_of[clips])) + 1) if len(clips) else ():
        by_split = " and in ".join(
            f"{splits[split]!r} ({_rows_text(index.row[own[split_of[own] == split]])})"
            for split in dict.fromkeys(split_of[own].tolist())
        )
        yield Finding("leak", f"{scheme}: source {sources[source_of[own[0]]]!r} is in {by_split}", _rows(index, own))


def _labelled(label_set: LabelSet, index: ClipIndex) -> tuple[_Integers, _Integers]:
    """Clips and their classes at the deepest level: a pair for every known label, by clip."""
    if label_set.kind == "multi":
        lists = index.label_lists(label_set)
        clips, ids = np.repeat(np.arange(len(index)), np.diff(lists.offsets)), lists.values.astype(np.int64)
    else:
        clips, ids = np.arange(len(index)), index.labels(label_set)[:, -1].astype(np.int64)
    return clips[ids >= 0], ids[ids >= 0]


def _missing_classes(scheme: str, column: pa.Array, label_set: LabelSet, index: ClipIndex) -> Iterator[Finding]:
    """The classes of the deepest level that some split has and another has not."""
    split_of, splits = _coded(column)
    clips, ids = _labelled(label_set, index)
    classes = label_set.leaf.classes
    counts = np.bincount(split_of[clips] * len(classes) + ids, minlength=len(splits) * len(classes))
    counts = counts.reshape(len(splits), len(classes))
    named = [place for place, split in enumerate(splits) if split]
    for split in named:
        for id in np.flatnonzero((counts[split] == 0) & (counts[named].sum(axis=0) > 0)).tolist():
            others = [place for place in named if counts[place, id]]
            own = clips[(ids == id) & np.isin(split_of[clips], others)]
            has = f"{' and '.join(repr(splits[place]) for place in others)} {'has' if len(others) == 1 else 'have'}"
            yield Finding(
                "missing_class",
                f"{scheme}: split {splits[split]!r} has no clip of {label_set.name} {classes[id]!r}; {has}: "
                f"{_rows_text(index.row[own])}",
                _rows(index, own),
            )


def _without_split(index: ClipIndex) -> Iterator[Finding]:
    split_of, splits = _coded(index.batch.column("split"))
    without = np.flatnonzero(~np.array([bool(split) for split in splits], dtype=np.bool_)[split_of])
    if 0 < len(without) < len(index):
        yield Finding(
            "no_split",
            f"{_clips_text(without)} no split, others have: {_rows_text(index.row[without])}",
            _rows(index, without),
        )


def _odd_labels(label_set: LabelSet, index: ClipIndex) -> Iterator[Finding]:
    labelled, ids = _labelled(label_set, index)
    without = np.setdiff1d(np.arange(len(index)), np.concatenate([labelled, _flagged(SPECIAL_FLAGS, index)]))
    if len(labelled) and len(without):
        yield Finding(
            "unlabelled",
            f"{_clips_text(without)} no known class of {label_set.name}: {_rows_text(index.row[without])}",
            _rows(index, without),
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
                "event_span", f"{_clips_text(clips)} {what}: {_rows_text(index.row[clips])}", _rows(index, clips)
            )


def _flagged(flags: Collection[str], index: ClipIndex) -> _Integers:
    """The clips that have one of the flags, ascending."""
    column = index.batch.column("flags")
    clip_of = pc.list_parent_indices(column).to_numpy(zero_copy_only=False)
    has = pc.is_in(column.flatten(), pa.array(flags, pa.large_string())).to_numpy(zero_copy_only=False)
    clips: _Integers = np.unique(clip_of[has])
    return clips


def _flags(index: ClipIndex) -> Iterator[Finding]:
    for flag in sorted(set(index.batch.column("flags").flatten().unique().to_pylist()) - SPECIAL_FLAGS):
        clips = _flagged([flag], index)
        yield Finding(
            "flag", f"{_clips_text(clips)} the flag {flag}: {_rows_text(index.row[clips])}", _rows(index, clips)
        )


def _rows(index: ClipIndex, clips: _Integers) -> tuple[int, ...]:
    return tuple(np.unique(index.row[clips]).tolist())


def _rows_text(rows: _Integers) -> str:
    distinct = np.unique(rows).tolist()
    return f"{_plural('row', len(distinct))} {_listed(distinct)}"


def _names_text(names: Sequence[str]) -> str:
    return _listed([repr(name) for name in names])


def _listed(items: Sequence[object]) -> str:
    more = f" and {len(items) - MOST_NAMED:,} more" if len(items) > MOST_NAMED else ""
    return ", ".join(map(str, items[:MOST_NAMED])) + more


def _clips_text(clips: _Integers) -> str:
    return f"{len(clips):,} {_plural('clip', len(clips))} {'has' if len(clips) == 1 else 'have'}"


def _plural(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"
