"""Audio-visual clips packed once into WebDataset tar shards, then streamed fast and safely into PyTorch training.

shardkit.pack     annotation file + media folder → tar shards, index, manifest
shardkit.open     a packed data set: random access, selection
shardkit.loader   batches for a training loop
shardkit.decode   one raw sample of a `webdataset` pipeline
shardkit.relabel  other labels and splits for packed media
"""

from typing import TYPE_CHECKING, Any

from shardkit.clip import MODALITIES
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
from shardkit.taxonomy import UNKNOWN, LabelSet

if TYPE_CHECKING:
    from shardkit.front_door import decode, loader, open, pack, relabel
    from shardkit.loading.batch import Batch, Events
    from shardkit.loading.dataset import Dataset
    from shardkit.loading.loader import Loader
    from shardkit.loading.sample import Sample

__version__ = "0.1.0"

__all__ = [
    "MODALITIES",
    "UNKNOWN",
    "Batch",
    "CorruptShardError",
    "DataError",
    "Dataset",
    "Events",
    "FormatVersionError",
    "LabelSet",
    "Loader",
    "Sample",
    "ShardkitError",
    "StorageError",
    "TooManyRejectsError",
    "UsageError",
    "WorkerError",
    "decode",
    "loader",
    "open",
    "pack",
    "relabel",
]

# Imported when first used: `import shardkit` costs neither torch nor a decoder.
_HOMES = {
    "decode": "shardkit.front_door",
    "loader": "shardkit.front_door",
    "open": "shardkit.front_door",
    "pack": "shardkit.front_door",
    "relabel": "shardkit.front_door",
    "Batch": "shardkit.loading.batch",
    "Events": "shardkit.loading.batch",
    "Dataset": "shardkit.loading.dataset",
    "Loader": "shardkit.loading.loader",
    "Sample": "shardkit.loading.sample",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'shardkit' has no attribute {name!r}")
    from importlib import import_module

    value = globals()[name] = getattr(import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
