"""Balance: which classes of a data set a loader draws equally often, and what each clip weighs for that."""

import logging
from dataclasses import dataclass

from shardkit.errors import UsageError
from shardkit.format.index import ragged_places
from shardkit.loading.dataset import Dataset
from shardkit.planning.balance import ClipWeights, clip_weights
from shardkit.taxonomy import find_level

_log = logging.getLogger("shardkit")


@dataclass(frozen=True, slots=True)
class Balance:
    """The clips' weights, and what they are of."""

    name: str
    """Label set and level: the same for all names that mean the same level."""
    weights: ClipWeights

    @classmethod
    def of(cls, dataset: Dataset, name: str) -> "Balance":
        """The weights of a selection's clips; how many are never drawn, for want of a known class, is logged.

        Args:
            dataset: The selection; classes are counted in it.
            name: Of a level, or of a label set, which is its deepest level.

        Raises:
            UsageError: There is no such level, or no clip has a known class.
        """
        try:
            label_set, depth = find_level(dataset.label_sets, name)
        except UsageError as exc:
            raise UsageError(f"{dataset.folder}: balance={exc}") from exc
        classes = len(label_set.levels[depth].classes)
        index, rows = dataset.index, dataset.rows
        if label_set.kind == "multi":
            ids = index.label_lists(label_set)
            places, counts = ragged_places(ids.offsets, rows)
            weights = clip_weights(ids.values[places], class_count=classes, label_counts=counts)
        else:
            weights = clip_weights(index.labels(label_set)[:, depth][rows], class_count=classes)
        try:
            summed = ClipWeights(weights, index.shard[rows])
        except UsageError as exc:
            raise UsageError(f"{dataset.folder}: balance={name!r}: {exc}") from exc
        if summed.drawable < len(dataset):
            _log.warning(
                "%s: balance=%r: %d of %d clips have no known class there and are never drawn",
                dataset.folder,
                name,
                len(dataset) - summed.drawable,
                len(dataset),
            )
        return cls(f"{label_set.name}/{label_set.levels[depth].name}", summed)
