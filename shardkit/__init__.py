"""Audio-visual clips packed once into WebDataset tar shards, then streamed fast and safely into PyTorch training.

shardkit.pack     annotation file + media folder → tar shards, index, manifest
shardkit.index    WebDataset tars as others wrote them → index, manifest
shardkit.open     a data set: random access, selection
shardkit.loader   batches for a training loop
shardkit.decode   one raw sample of a `webdataset` pipeline
shardkit.relabel  other labels and splits for packed media
shardkit.tasks    what batches are for: targets, shuffled segments, pooling, scoring
shardkit.transforms  augmentation and front ends for batches on their device
"""

from typing import TYPE_CHECKING, Any

from shardkit.clip import EVENT_MODALITIES, Event
from shardkit.errors import (
    CorruptShardError,
    DataError,
    FormatVersionError,
    ShardkitError,
    StorageError,
    TooManyRejectsError,
    UsageError,
    WorkerError,
)
from shardkit.taxonomy import UNKNOWN, LabelSet, Taxonomy

if TYPE_CHECKING:
    from shardkit import tasks, transforms
    from shardkit.front_door import index, loader, pack, relabel
    from shardkit.indexing.outcome import IndexProgress, IndexReport
    from shardkit.loading.batch import Batch, Events
    from shardkit.loading.dataset import Dataset
    from shardkit.loading.dataset import open_dataset as open
    from shardkit.loading.loader import Loader
    from shardkit.loading.sample import Sample, decode
    from shardkit.packing.outcome import PackProgress, PackReport
    from shardkit.packing.relabel import RelabelReport

__version__ = "0.1.0"

__all__ = [
    "EVENT_MODALITIES",
    "UNKNOWN",
    "Batch",
    "CorruptShardError",
    "DataError",
    "Dataset",
    "Event",
    "Events",
    "FormatVersionError",
    "IndexProgress",
    "IndexReport",
    "LabelSet",
    "Loader",
    "PackProgress",
    "PackReport",
    "RelabelReport",
    "Sample",
    "ShardkitError",
    "StorageError",
    "Taxonomy",
    "TooManyRejectsError",
    "UsageError",
    "WorkerError",
    "decode",
    "index",
    "loader",
    "open",
    "pack",
    "relabel",
    "tasks",
    "transforms",
]

# Imported when first used: `import shardkit` costs neither torch nor a decoder.
_HOMES = {
    "Batch": ("shardkit.loading.batch", "Batch"),
    "Dataset": ("shardkit.loading.dataset", "Dataset"),
    "Events": ("shardkit.loading.batch", "Events"),
    "IndexProgress": ("shardkit.indexing.outcome", "IndexProgress"),
    "IndexReport": ("shardkit.indexing.outcome", "IndexReport"),
    "Loader": ("shardkit.loading.loader", "Loader"),
    "PackProgress": ("shardkit.packing.outcome", "PackProgress"),
    "PackReport": ("shardkit.packing.outcome", "PackReport"),
    "RelabelReport": ("shardkit.packing.relabel", "RelabelReport"),
    "Sample": ("shardkit.loading.sample", "Sample"),
    "decode": ("shardkit.loading.sample", "decode"),
    "index": ("shardkit.front_door", "index"),
    "loader": ("shardkit.front_door", "loader"),
    "open": ("shardkit.loading.dataset", "open_dataset"),
    "pack": ("shardkit.front_door", "pack"),
    "relabel": ("shardkit.front_door", "relabel"),
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in ("tasks", "transforms"):
        return import_module(f"shardkit.{name}")
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'shardkit' has no attribute {name!r}")
    module, original = home
    value = globals()[name] = getattr(import_module(module), original)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
