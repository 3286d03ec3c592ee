"""What is in a data set, in numbers."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from shardkit.format.index import SPLIT_PREFIX, ClipIndex, counts_of, split_sets
from shardkit.format.manifest import Manifest, ShardInfo
from shardkit.taxonomy import LabelSet


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """Counts of a data set."""

    path: str
    name: str
    clips: int
    hours: float
    size_bytes: int
    """Of the shards."""
    shards: int
    with_video: int
    with_audio: int
    events: int
    features: dict[str, dict[str, int]]
    """Feature to shape of its arrays, such as 10x128, to number of clips."""
    splits: dict[str, int]
    split_sets: dict[str, dict[str, int]]
    """Named division into splits to split to number of clips; "" is those in none of its splits."""
    classes: dict[str, dict[str, dict[str, int]]]
    """Label set to level to class to number of clips; classes without clips count 0."""
    event_classes: dict[str, int]
    """Event class to number of events."""
    flags: dict[str, int]
    """Quality flag to number of clips."""
    rejects: dict[str, int]
    """Reason to number of rows of the annotation file, all of it."""
    settings: dict[str, Any]
    libraries: dict[str, str]
    annotations: dict[str, Any]
    digest: str
    packed: bool
    """Whether shardkit wrote the shards, or only indexed them."""
    base: str | None
    """Where the shards lie; None: beside the index."""

    def to_json(self) -> dict[str, Any]:
        """The counts as plain values."""
        return asdict(self)


def dataset_info(path: str, manifest: Manifest, index: ClipIndex, rows: npt.NDArray[np.int64]) -> DatasetInfo:
    """Counts what is in a data set, or in some of its shards.

    Args:
        path: Where it is.
        manifest: Of all of it.
        index: Of all of it.
        rows: int64 [N]: the clips to count, by their place in the index.
    """
    shards: Sequence[ShardInfo] = manifest.shards
    if len(rows) < len(index.row):
        index = ClipIndex(index.batch.take(pa.array(rows)), path=index.path)
        shards = [shards[number] for number in np.unique(index.shard)]
    flags = Counter(index.batch.column("flags").flatten().to_pylist())
    event_counts = np.bincount(index.event_class_id, minlength=len(manifest.event_classes))
    return DatasetInfo(
        path=path,
        name=manifest.name,
        clips=len(rows),
        hours=float(index.duration_s.sum()) / 3600,
        size_bytes=sum(shard.size_bytes for shard in shards),
        shards=len(shards),
        with_video=int(np.count_nonzero(index.video_bytes)),
        with_audio=int(np.count_nonzero(index.audio_bytes)),
        events=len(index.event_class_id),
        features={name: _shape_counts(index, name) for name in manifest.features},
        splits=counts_of(index.batch.column("split")),
        split_sets={
            name: counts_of(index.batch.column(SPLIT_PREFIX + name)) for name in split_sets(index.batch.schema)
        },
        classes={label_set.name: _class_counts(label_set, index) for label_set in manifest.label_sets},
        event_classes=dict(zip(manifest.event_classes, event_counts.tolist(), strict=True)),
        flags=dict(sorted(flags.items())),
        rejects=dict(manifest.reject_counts),
        settings=dict(manifest.settings),
        libraries=dict(manifest.libraries),
        annotations=dict(manifest.annotations),
        digest=manifest.digest(),
        packed=manifest.packed,
        base=manifest.base,
    )


def _shape_counts(index: ClipIndex, name: str) -> dict[str, int]:
    """Shape to number of clips; those that have no array count nowhere."""
    columns = index.feature(name)
    found = np.flatnonzero(columns.size_bytes)
    ranks = columns.shape.counts(found)
    counts: dict[str, int] = {}
    for rank in np.unique(ranks).tolist():
        firsts = columns.shape.offsets[found[ranks == rank]]
        shapes, clips = np.unique(columns.shape.values[firsts[:, None] + np.arange(rank)], axis=0, return_counts=True)
        counts |= {"x".join(map(str, shape)): many for shape, many in zip(shapes.tolist(), clips.tolist(), strict=True)}
    return counts


def _class_counts(label_set: LabelSet, index: ClipIndex) -> dict[str, dict[str, int]]:
    """Level to class to number of clips."""
    counts = {}
    for depth, level in enumerate(label_set.levels):
        ids = index.label_lists(label_set).values if label_set.kind == "multi" else index.labels(label_set)[:, depth]
        per_class = np.bincount(ids[ids >= 0], minlength=len(level.classes))
        counts[level.name] = dict(zip(level.classes, per_class.tolist(), strict=True))
    return counts
