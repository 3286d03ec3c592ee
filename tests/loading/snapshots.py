"""Copies of batches, to compare after their memory has been used again."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from shardkit import Batch


@dataclass(eq=False)
class Snapshot:
    """What a batch held."""

    keys: list[str]
    weight: list[float]
    loss_scale: float
    arrays: dict[str, np.ndarray]

    __hash__ = None

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Snapshot)
            and (self.keys, self.weight, self.loss_scale) == (other.keys, other.weight, other.loss_scale)
            and self.arrays.keys() == other.arrays.keys()
            and all(np.array_equal(array, other.arrays[name]) for name, array in self.arrays.items())
        )

    @property
    def real_keys(self) -> list[str]:
        """The keys of the slots with weight 1."""
        return [key for key, weight in zip(self.keys, self.weight, strict=True) if weight]


def snapshot(batch: Batch) -> Snapshot:
    """A copy of all that `batch` holds."""
    arrays: dict[str, np.ndarray] = {}

    def add(name: str, value: Any) -> None:
        if isinstance(value, dict):
            for inner, item in value.items():
                add(f"{name}.{inner}", item)
        elif hasattr(value, "numpy"):
            arrays[name] = value.numpy().copy()

    for name, value in batch.as_dict().items():
        add(name, value)
    return Snapshot(list(batch.keys), batch.weight.tolist(), batch.loss_scale, arrays)


def snapshots(loader: Any) -> list[Snapshot]:
    """One iteration's batches, copied."""
    return [snapshot(batch) for batch in loader]


def real_keys(loader: Any) -> list[str]:
    """Keys of one iteration's real clips, in order."""
    return [key for taken in snapshots(loader) for key in taken.real_keys]
