"""Other labels, events, splits and columns for a data set: index and manifest are rewritten, media stay.

The `KEY.msg` members in the tars keep what they were packed with; shardkit reads the index.
"""

import signal
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shardkit.annotations.annotation_set import AnnotationSet
from shardkit.annotations.flags import ROW_FLAGS
from shardkit.annotations.request import AnnotationRequest
from shardkit.clip import BACKGROUND, UNKNOWN_EVENTS, Clip
from shardkit.errors import UsageError
from shardkit.format.index import (
    COLUMN_PREFIX,
    LABEL_PREFIX,
    SPLIT_PREFIX,
    column_type,
    column_value,
    counts_of_splits,
    event_values,
    feature_names,
    index_schema,
    rows_with,
    split_sets,
)
from shardkit.format.manifest import MANIFEST_NAME
from shardkit.packing.annotation_file import read_annotation_file
from shardkit.packing.background import background_clips, unknown_ids
from shardkit.packing.keys import key_without_ordinal, without_ordinal
from shardkit.packing.output import PackOutput
from shardkit.packing.splits import assign_splits, default_splits
from shardkit.storage.folders import check_writable, open_folder
from shardkit.storage.locations import Location
from shardkit.taxonomy import UNKNOWN, LabelSet

ABOUT_MEDIA = ("plan", "background", "already_cut")
"""What the manifest says beside its annotations that other ones do not change."""
SAME_SPAN_S = 1e-3
"""Spans that differ by less are the same: keys count in milliseconds too."""


@dataclass(frozen=True, slots=True)
class RelabelReport:
    """What relabelling did."""

    relabelled: int
    """Clips that the annotation file names."""
    unnamed: int
    """Clips that it does not name: their labels are unknown now; background is none of them."""
    unused: int
    """Good rows of the annotation file that no packed clip belongs to."""
    unread: int
    """Rows of the annotation file that cannot be used, such as those without an id."""
    packed: bool
    """Whether the tars were packed: if so, their `msg` members keep what they said; else there are none."""
    background: int = 0
    """Clips of a background folder, which no annotation file names: they stay what they are."""


def relabel_dataset(
    location: Location,
    annotations: Location,
    *,
    request: AnnotationRequest | None = None,
    split: Mapping[str, float] | None = None,
    split_group: str = "id",
    stratify: str | None = None,
    seed: int = 0,
) -> RelabelReport:
    """See `shardkit.relabel`."""
    if stratify is not None and split is None:
        raise UsageError(f"stratify={stratify!r} says how to split: give the shares too, as split")
    check_writable(location)
    folder = open_folder(location)
    if not folder.exists(MANIFEST_NAME):
        raise UsageError(f"{location}: no data set to relabel; check the path, or finish packing with --resume")
    annotated, about = read_annotation_file(annotations, request or AnnotationRequest())
    with PackOutput(folder) as output:
        manifest, batch = output.read()
        clips = _matched(batch, annotated, manifest.label_sets, has_own_keys=manifest.packed)
        named = [clip for clip in clips if clip is not None and clip.row]
        background = sum(clip is not None and not clip.row for clip in clips)
        if not named:
            raise UsageError(
                f"{annotations}: names none of the {len(clips)} clips (the first is "
                f"{batch.column('key')[0].as_py()!r}: id and start in ms); check the file and --column",
            )
        splits = _splits(batch, annotated, clips, split, split_group, stratify, seed)
        relabelled = _relabelled(batch, annotated, clips, splits)
        changed = replace(
            manifest,
            label_sets=annotated.label_sets,
            event_classes=annotated.event_classes,
            columns=annotated.columns,
            splits=dict(sorted(Counter(splits).items())),
            split_sets=counts_of_splits(relabelled),
            # What is said of the media is theirs still, such as the plan of tars, by which `index --resume` goes.
            annotations=about | {name: said for name, said in manifest.annotations.items() if name in ABOUT_MEDIA},
        )
        with _uninterrupted():  # an index without its manifest is of no use
            output.commit(replace(changed, index=output.write_index(relabelled)))
    return RelabelReport(
        relabelled=len(named),
        unnamed=len(clips) - len(named) - background,
        unused=len(annotated.clips) - len(named),
        unread=len(annotated.rejects),
        packed=manifest.packed,
        background=background,
    )


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ctrl-C and SIGTERM wait for the end; after an error, which says more, nothing is left of them."""
    if threading.current_thread() is not threading.main_thread():  # no other is interrupted
        yield
        return
    came: list[int] = []
    usual = {
        each: signal.signal(each, lambda number, _: came.append(number)) for each in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for each, handler in usual.items():
            signal.signal(each, handler)
    if came:
        signal.raise_signal(came[0])


def _matched(
    batch: pa.RecordBatch, annotated: AnnotationSet, label_sets: Sequence[LabelSet], *, has_own_keys: bool
) -> list[Clip | None]:
    """The annotated clip of every packed one: of the same id, start and end.

    Where several are (AVE repeats ids with other classes), those with the same labels belong together; the rest do in
    row order. Keys do not tell: which of two clips that start together has an ordinal depends on the order of the rows.
    The id of a clip that was indexed is its key in the tar, and it is the whole of what is there. Background stays
    background, of row 0.
    """
    waiting: dict[str, list[Clip]] = {}
    for clip in annotated.clips:
        waiting.setdefault(key_without_ordinal(clip), []).append(clip)
    packed = [batch.column(name).to_pylist() for name in ("key", "source_id", "duration_s", "row")]
    matched: list[Clip | None] = [None] * batch.num_rows
    flags = batch.column("flags")
    background = np.flatnonzero(rows_with(flags, pc.equal(flags.values, BACKGROUND)))
    sources = batch.column("source").take(pa.array(background)).to_pylist()
    for place, clip in zip(background.tolist(), background_clips(sources, annotated), strict=True):
        matched[place] = clip
    names = [
        without_ordinal(key, id) if has_own_keys else key_without_ordinal(Clip(row=0, id=id))
        for key, id in zip(*packed[:2], strict=True)
    ]
    alike = Counter(names)
    # Those that have their labels choose first.
    for by_labels in (True, False):
        for place in sorted(range(len(names)), key=packed[3].__getitem__):
            candidates, duration_s = waiting.get(names[place], []), packed[2][place]
            is_clear = len(candidates) < 2 and alike[names[place]] < 2
            if matched[place] is not None or (by_labels and is_clear):
                continue
            # A row that names no end is any clip's, after those that name this one's.
            fitting = [clip for clip in candidates if _has_duration(clip, duration_s)]
            fitting += [clip for clip in candidates if clip.end_s is None]
            if by_labels:
                old = _old_names(batch, place, label_sets)
                fitting = [clip for clip in fitting if _names(clip.labels, annotated.label_sets) == old]
            if fitting:
                matched[place] = fitting[0]
                candidates.remove(fitting[0])
    return matched


def _old_names(batch: pa.RecordBatch, place: int, label_sets: Sequence[LabelSet]) -> dict[str, list[str | None]]:
    ids = {each.name: batch.column(LABEL_PREFIX + each.name)[place].as_py() for each in label_sets}
    return _names(ids, label_sets)


def _names(labels: Mapping[str, Sequence[int]], label_sets: Sequence[LabelSet]) -> dict[str, list[str | None]]:
    """Label set to the classes that a clip has in it, by name: ids are others in another file."""
    named = {}
    for each in label_sets:
        ids = labels[each.name]
        levels = each.levels if each.kind == "hierarchy" else each.levels * len(ids)
        named[each.name] = [None if id == UNKNOWN else level.classes[id] for level, id in zip(levels, ids, strict=True)]
    return named


def _has_duration(clip: Clip, duration_s: float) -> bool:
    return clip.end_s is not None and abs(clip.end_s - (clip.start_s or 0.0) - duration_s) < SAME_SPAN_S


def _splits(
    batch: pa.RecordBatch,
    annotated: AnnotationSet,
    clips: Sequence[Clip | None],
    shares: Mapping[str, float] | None,
    group: str,
    stratify: str | None,
    seed: int,
) -> list[str]:
    """A split a clip; the old ones where the annotation file names none."""
    named = [clip for clip in clips if clip is not None and clip.row]
    if shares is not None:
        assigned = assign_splits(
            annotated.clips,
            shares=shares,
            group=group,
            stratify=stratify,
            label_sets=annotated.label_sets,
            seed=seed,
        )
    elif annotated.split_sets or any(clip.split for clip in named):
        assigned = default_splits(annotated)
    else:
        old: list[str] = batch.column("split").to_pylist()
        return old
    # Of one row are several clips that start one after another.
    by_place = {(clip.row, clip.start_s): split for clip, split in zip(annotated.clips, assigned, strict=True)}
    # Background is of no row, and has its split.
    return ["" if clip is None else by_place.get((clip.row, clip.start_s), clip.split or "") for clip in clips]


def _relabelled(
    batch: pa.RecordBatch, annotated: AnnotationSet, clips: Sequence[Clip | None], splits: Sequence[str]
) -> pa.RecordBatch:
    extra: dict[str, list[Any]] = {
        name: [None if clip is None else clip.columns.get(name) for clip in clips] for name in annotated.columns
    }
    schema = index_schema(
        annotated.label_sets,
        {name: column_type(values) for name, values in extra.items()},
        # The old ones stay where no files name others of that name, as with `split`.
        split_sets=dict.fromkeys((*annotated.split_sets, *split_sets(batch.schema))),
        features=feature_names(batch.schema),
    )
    new: dict[str, list[Any]] = {
        "row": [0 if clip is None else clip.row for clip in clips],
        "split": list(splits),
        "flags": [
            sorted({*set(old).difference(ROW_FLAGS), *_row_flags(clip, annotated)})
            for old, clip in zip(batch.column("flags").to_pylist(), clips, strict=True)
        ],
        "events": [event_values(() if clip is None else clip.events) for clip in clips],
    }
    for name in annotated.split_sets:
        new[SPLIT_PREFIX + name] = ["" if clip is None else clip.splits.get(name, "") for clip in clips]
    for label_set in annotated.label_sets:
        new[LABEL_PREFIX + label_set.name] = [_ids(label_set, clip) for clip in clips]
    for name, values in extra.items():
        kind = schema.field(COLUMN_PREFIX + name).type
        new[COLUMN_PREFIX + name] = [column_value(value, kind) for value in values]
    columns = [
        pa.array(new[field.name], field.type) if field.name in new else batch.column(field.name) for field in schema
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _row_flags(clip: Clip | None, annotated: AnnotationSet) -> Iterable[str]:
    """What a clip's row flags; of one that the file does not name nobody knows the events, if there are any."""
    if clip is not None:
        return clip.flags
    return UNKNOWN_EVENTS.values() if annotated.event_classes else ()


def _ids(label_set: LabelSet, clip: Clip | None) -> tuple[int, ...]:
    if clip is not None:
        return clip.labels[label_set.name]
    return unknown_ids(label_set)
