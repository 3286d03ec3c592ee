"""Loaders that are quick to start, and what they were asked for."""

from pathlib import Path
from typing import Any

import shardkit


def small_loader(source: Path, **options: Any) -> shardkit.Loader:
    """Sound only, in batches of five, from one thread; or as `options` say."""
    defaults = {"batch_size": 5, "seed": 3, "workers": 1, "worker_type": "thread", "modalities": ("audio",)}
    return shardkit.loader(source, **(defaults | options))


def real_keys(batch: shardkit.Batch) -> list[str]:
    """The keys of the clips that are no padding."""
    return [key for key, weight in zip(batch.keys, batch.weight.tolist(), strict=True) if weight]
