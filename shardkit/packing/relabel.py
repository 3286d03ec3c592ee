"""Other labels, events, splits and columns for a packed data set: index and manifest are rewritten, media stay.

The `KEY.msg` members in the tars keep what they were packed with; shardkit reads the index.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from shardkit.annotations.annotation_set import AnnotationSet
from shardkit.annotations.reading import FormatName, read_annotations
from shardkit.clip import Clip
from shardkit.errors import UsageError
from shardkit.format.index import (
    COLUMN_PREFIX,
    LABEL_PREFIX,
    column_type,
    column_value,
    event_values,
    index_schema,
)
from shardkit.format.manifest import MANIFEST_NAME
from shardkit.packing.keys import key_without_ordinal, without_ordinal
from shardkit.packing.output import PackOutput
from shardkit.packing.provenance import about_annotations
from shardkit.packing.splits import assign_splits
from shardkit.taxonomy import UNKNOWN, LabelSet

SAME_SPAN_S = 1e-3
"""Spans that differ by less are the same: keys count in milliseconds too."""


@dataclass(frozen=True, slots=True)
class RelabelReport:
    """What relabelling did."""

    relabelled: int
    """Clips that the annotation file names."""
    unnamed: int
    """Clips that it does not name: their labels are unknown now."""
    unused: int
    """Good rows of the annotation file that no packed clip belongs to."""
    unread: int
    """Rows of the annotation file that cannot be used, such as those without an id."""


def relabel_dataset(
    folder: Path,
    annotations: Path,
    *,
    format: FormatName = "auto",
    column: Mapping[str, str] | None = None,
    split: Mapping[str, float] | None = None,
    split_group: str = "id",
    stratify: str | None = None,
    seed: int = 0,
) -> RelabelReport:
    """See `shardkit.relabel`."""
    if stratify is not None and split is None:
        raise UsageError(f"stratify={stratify!r} says how to split: give the shares too, as split")
    if not (folder / MANIFEST_NAME).exists():
        raise UsageError(f"{folder}: no data set to relabel; check the path, or finish packing with --resume")
    annotated = read_annotations(annotations, format=format, column=column)
    with PackOutput(folder) as output:
        manifest, batch = output.read()
        clips = _matched(batch, annotated.clips)
        named = [clip for clip in clips if clip is not None]
        if not named:
            raise UsageError(
                f"{annotations}: names none of the {len(clips)} clips (the first is "
                f"{batch.column('key')[0].as_py()!r}: id and start in ms); check the file and --column",
            )
        splits = _splits(batch, annotated, clips, split, split_group, stratify, seed)
        relabelled = _relabelled(batch, annotated, clips, splits)
        index = output.write_index(relabelled)
        output.commit(
            replace(
                manifest,
                label_sets=annotated.label_sets,
                event_classes=annotated.event_classes,
                columns=annotated.columns,
                splits=dict(sorted(Counter(splits).items())),
                index=index,
                annotations=about_annotations(annotations, annotated),
            )
        )
    return RelabelReport(len(named), len(clips) - len(named), len(annotated.clips) - len(named), len(annotated.rejects))


def _matched(batch: pa.RecordBatch, annotated: Sequence[Clip]) -> list[Clip | None]:
    """The annotated clip of every packed one: of the same id, start and end, in row order where several are.

    Keys do not tell: which of two clips that start together has an ordinal depends on the order of the rows.
    """
    waiting: dict[str, list[Clip]] = {}
    for clip in annotated:
        waiting.setdefault(key_without_ordinal(clip), []).append(clip)
    packed = [batch.column(name).to_pylist() for name in ("key", "source_id", "duration_s", "row")]
    matched: list[Clip | None] = [None] * batch.num_rows
    for place, (key, id, duration_s, _) in sorted(enumerate(zip(*packed, strict=True)), key=lambda item: item[1][3]):
        candidates = waiting.get(without_ordinal(key, id), [])
        # A row that names no end is any clip's, after those that name this one's.
        fitting = [clip for clip in candidates if _has_duration(clip, duration_s)]
        fitting += [clip for clip in candidates if clip.end_s is None]
        if fitting:
            matched[place] = fitting[0]
            candidates.remove(fitting[0])
    return matched


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
    named = [clip for clip in clips if clip is not None]
    if shares is not None:
        assigned = assign_splits(
            annotated.clips,
            shares=shares,
            group=group,
            stratify=stratify,
            label_sets=annotated.label_sets,
            seed=seed,
        )
        by_row = dict(zip((clip.row for clip in annotated.clips), assigned, strict=True))
        return ["" if clip is None else by_row[clip.row] for clip in clips]
    if any(clip.split for clip in named):
        return ["" if clip is None else clip.split or "" for clip in clips]
    old: list[str] = batch.column("split").to_pylist()
    return old


def _relabelled(
    batch: pa.RecordBatch, annotated: AnnotationSet, clips: Sequence[Clip | None], splits: Sequence[str]
) -> pa.RecordBatch:
    extra: dict[str, list[Any]] = {
        name: [None if clip is None else clip.columns.get(name) for clip in clips] for name in annotated.columns
    }
    schema = index_schema(annotated.label_sets, {name: column_type(values) for name, values in extra.items()})
    new: dict[str, list[Any]] = {
        "row": [0 if clip is None else clip.row for clip in clips],
        "split": list(splits),
        "events": [event_values(() if clip is None else clip.events) for clip in clips],
    }
    for label_set in annotated.label_sets:
        new[LABEL_PREFIX + label_set.name] = [_ids(label_set, clip) for clip in clips]
    for name, values in extra.items():
        kind = schema.field(COLUMN_PREFIX + name).type
        new[COLUMN_PREFIX + name] = [column_value(value, kind) for value in values]
    columns = [
        pa.array(new[field.name], field.type) if field.name in new else batch.column(field.name) for field in schema
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _ids(label_set: LabelSet, clip: Clip | None) -> tuple[int, ...]:
    if clip is not None:
        return clip.labels[label_set.name]
    return () if label_set.kind == "multi" else (UNKNOWN,) * label_set.depth
