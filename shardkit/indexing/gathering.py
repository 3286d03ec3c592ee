"""The parts of all shards as one index: rows numbered, keys made distinct, class names made ids.

The parts are gone through twice: what a column or a label set is, only all of them know; and as Python objects, what
samples say takes several times as much as in the index.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from pathlib import PurePosixPath
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shardkit.annotations.labels import LabelCoding, LabelText, LevelCoding, classes_of
from shardkit.clip import Reject, Scalar
from shardkit.format.index import (
    COLUMN_PREFIX,
    LABEL_PREFIX,
    column_type,
    column_value,
    index_batch,
    index_schema,
    joined,
)
from shardkit.format.receipt import Receipt
from shardkit.format.record import Placed
from shardkit.indexing.sample_texts import CLS, Said, TextRules
from shardkit.taxonomy import LabelKind, LabelSet

TEXTS = "texts"
"""Column of a part: labels and columns as the samples say them, since what all of them say is known at the end only."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """Everything that was found."""

    batch: pa.RecordBatch
    """The index."""
    label_sets: tuple[LabelSet, ...]
    columns: tuple[str, ...]
    audio_codec: Literal["source", "pcm"]
    rejects: tuple[Reject, ...]
    sample_count: int


def part_batch(rows: Sequence[Placed]) -> pa.RecordBatch:
    """Index rows of one shard, whose records have the column TEXTS and neither labels nor other columns."""
    return index_batch(rows, index_schema((), {TEXTS: pa.large_string()}))


def gather(parts: Sequence[Receipt], rules: TextRules) -> Gathered:
    """The index of the shards that the parts are of, in their order.

    Raises:
        DataError: An integer label is too high to be a place in a list of classes.
    """
    samples = [part.batch.num_rows + len(part.rejects) for part in parts]
    before = [0, *accumulate(samples)]
    found = _Found()
    for part in parts:
        found.add(part.batch)
    codings = found.codings(rules)
    label_sets = tuple(coding.label_set for coding in codings)
    kinds = {name: column_type(examples.values()) for name, examples in found.columns.items()}
    audio_codec: Literal["source", "pcm"] = "pcm" if found.has_sound and not found.has_other_sound else "source"
    schema = index_schema(label_sets, kinds)
    repeats = _repeat([part.batch.column("key") for part in parts])

    def gathered(part: Receipt, first: int) -> pa.RecordBatch:
        batch = part.batch
        new: dict[str, Any] = {"row": batch.column("row").to_numpy() + first}
        if repeats:
            folder = PurePosixPath(part.info.name).with_suffix("")
            new["key"] = [f"{folder}/{key}" for key in batch.column("key").to_pylist()]
        if audio_codec == "source":
            # Where seconds lie is known of plain PCM only.
            new["second_xxh3"] = [[]] * batch.num_rows
            new["audio_data_offset"] = np.zeros(batch.num_rows, np.int32)
        said = list(_said(batch))
        for coding in codings:
            name, kind = coding.label_set.name, coding.label_set.kind
            new[LABEL_PREFIX + name] = [coding.ids(_texts(labels.get(name), kind)) for labels, _ in said]
        for name, kind in kinds.items():
            new[COLUMN_PREFIX + name] = [column_value(columns.get(name), kind) for _, columns in said]
        arrays = [
            pa.array(new[field.name], field.type) if field.name in new else batch.column(field.name) for field in schema
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=schema)

    return Gathered(
        batch=joined([gathered(part, first) for part, first in zip(parts, before, strict=False)], schema),
        label_sets=label_sets,
        columns=tuple(kinds),
        audio_codec=audio_codec,
        rejects=tuple(
            replace(reject, row=reject.row + first)
            for part, first in zip(parts, before, strict=False)
            for reject in part.rejects
        ),
        sample_count=before[-1],
    )


@dataclass(slots=True)
class _Found:
    """What the samples of all parts have in common."""

    columns: dict[str, dict[type, Scalar]] = field(default_factory=dict)
    """A value of each type that a column has."""
    classes: dict[str, set[str]] = field(default_factory=dict)
    """Of each label set."""
    lists: set[str] = field(default_factory=set)
    """Label sets of which a sample has several classes."""
    has_sound: bool = False
    has_other_sound: bool = False
    """Sound that is not plain PCM, whose seconds are known."""

    def add(self, batch: pa.RecordBatch) -> None:
        has_sound = batch.column("audio_bytes").to_numpy() > 0
        seconds = np.diff(batch.column("second_xxh3").offsets.to_numpy())
        self.has_sound |= bool(has_sound.any())
        self.has_other_sound |= not seconds[has_sound].all()
        for labels, columns in _said(batch):
            for name, value in columns.items():
                self.columns.setdefault(name, {}).setdefault(type(value), value)
            for name, said in labels.items():
                self.classes.setdefault(name, set()).update(text for text in _texts(said, "multi") if text is not None)
                if isinstance(said, list):
                    self.lists.add(name)

    def codings(self, rules: TextRules) -> list[LabelCoding]:
        """The label sets that samples speak of, and the id of every class."""
        codings = []
        for name in (*([CLS] if CLS in self.classes else []), *rules.label_fields):
            classes = rules.classes if name == CLS else None
            if classes is None:
                classes = classes_of(self.classes.get(name, set()), where=f"label set {name!r}")
            kind: LabelKind = "multi" if name in self.lists else "single"
            level = LevelCoding.of_classes(name, tuple(classes))
            codings.append(LabelCoding(LabelSet(name, kind, (level.level,)), (level,)))
        return codings


def _said(batch: pa.RecordBatch) -> Iterator[tuple[Mapping[str, Said], Mapping[str, Scalar]]]:
    """Labels and columns of every sample."""
    for text in batch.column(COLUMN_PREFIX + TEXTS).to_pylist():
        labels, columns = json.loads(text)
        yield labels, columns


def _repeat(keys: Sequence[pa.Array]) -> bool:
    """Whether a key stands in several shards."""
    return bool(pc.count_distinct(pa.chunked_array(keys, pa.large_string())).as_py() < sum(map(len, keys)))


def _texts(value: Said, kind: LabelKind) -> LabelText:
    if isinstance(value, list):
        return tuple(value)
    return () if value is None and kind == "multi" else (value,)
