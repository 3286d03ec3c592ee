"""Balanced draws: position → clip, where every class is drawn about equally often, as AudioSet practice has it.

An epoch is N draws with replacement among the N selected clips. A clip is drawn in proportion to its weight: the sum
over its labels of 1 ÷ (clips of that class in the selection + 0.01), which is what the training code of PSLA and AST
gives to PyTorch's WeightedRandomSampler (Gong, Chung, Glass: PSLA, 2021; there times 1,000, which changes
nothing). Rare clips come several times an epoch, others not at all; over epochs all do. A clip without a known
label weighs nothing and is never drawn.

Where PyTorch's sampler draws a list from a generator, here each draw is a pure function of (seed, epoch, position):

    hash (seed, epoch, DRAW; position) → u in [0, 1) → the clip at which the running sum of weights passes u · total
"""

import numpy as np
from numpy.typing import NDArray

from shardkit.errors import UsageError
from shardkit.planning.hashing import MASK_64, Domain, counter_hash

__all__ = ["COUNT_OFFSET", "BalancedOrder", "ClipWeights", "clip_weights"]

COUNT_OFFSET = 0.01
"""Added to a class's number of clips, in the AudioSet practice: no class weighs infinitely."""

_LOW_BITS = np.uint64(11)
"""What a hash has beyond the 53 bits of a float."""


def clip_weights(
    ids: NDArray[np.integer], *, class_count: int, label_counts: NDArray[np.int64] | None = None
) -> NDArray[np.float64]:
    """How often each clip is to be drawn, relative to the others.

    Args:
        ids: int [N], the class of every clip; or int [M], the classes of one clip after another. Below 0 is unknown.
        class_count: C, number of classes.
        label_counts: int64 [N], how many of the ids each clip has; None: one.

    Returns:
        float64 [N], the sum over a clip's labels of 1 ÷ (count of the class + 0.01); 0 for a clip without a known one.
    """
    known = ids >= 0
    counts = np.bincount(ids[known], minlength=class_count)
    of_class = 1.0 / (counts + COUNT_OFFSET)
    if label_counts is None:
        weights: NDArray[np.float64] = np.zeros(len(ids))
        weights[known] = of_class[ids[known]]
        return weights
    clip_of = np.repeat(np.arange(len(label_counts)), label_counts)[known]
    # bincount adds in the order of its input, so that the sums are the same on every machine.
    summed = np.bincount(clip_of, weights=of_class[ids[known]], minlength=len(label_counts))
    return summed.astype(np.float64, copy=False)


class ClipWeights:
    """The running sum of the weights of the N selected clips, which all epochs draw from.

    Cost: 8 bytes a clip are kept, 80 MB for ten million clips. Making them by `clip_weights`, once in a loader's life,
    peaks at 21 bytes a clip of one label (210 MB, half a second), or 21 bytes a label where clips have several. A draw
    is a binary search.
    """

    def __init__(self, weights: NDArray[np.float64], shard_of: NDArray[np.int32]) -> None:
        """Sums the weights up, in place: they are the caller's no longer.

        Args:
            weights: float64 [N], none negative.
            shard_of: int [N], shard of the i-th selected clip, non-decreasing.

        Raises:
            UsageError: No clip weighs anything.
        """
        positive = weights > 0
        self.drawable = int(np.count_nonzero(positive))
        """Clips that weigh something."""
        if not self.drawable:
            raise UsageError("no selected clip has a known class, so none can be drawn: check selection and labels")
        self.last = len(positive) - 1 - int(np.argmax(positive[::-1]))
        """The last of them."""
        first_clip = np.flatnonzero(np.diff(shard_of, prepend=shard_of[:1] - 1))
        self.shard_count = len(first_clip)
        """Shards that hold selected clips."""
        of_shard = np.add.reduceat(weights, first_clip)
        heaviest = np.argsort(-of_shard, kind="stable")
        self.shards = tuple(shard_of[first_clip[heaviest[of_shard[heaviest] > 0]]].tolist())
        """Numbers of the shards that are drawn from, the one with most draws first."""
        # One after another, and not pairwise: the same on every machine and NumPy version.
        self.cumulative: NDArray[np.float64] = np.cumsum(weights, out=weights)

    def __len__(self) -> int:
        return len(self.cumulative)

    def at(self, shares: NDArray[np.float64]) -> NDArray[np.int64]:
        """The clips at which the running sum passes these shares (in [0, 1)) of the total."""
        found = np.searchsorted(self.cumulative, shares * self.cumulative[-1], side="right")
        # A share just below 1 may be rounded up to the total.
        clips: NDArray[np.int64] = np.minimum(found, self.last).astype(np.int64, copy=False)
        return clips


class BalancedOrder:
    """The draws of one epoch, with what a loader asks of an `EpochOrder`.

    Costs nothing beyond the `ClipWeights`: each draw is computed when it is asked for.
    """

    def __init__(self, weights: ClipWeights, *, seed: int, epoch: int) -> None:
        """Prepares the draws of one epoch.

        Raises:
            UsageError: A number is not between 0 and 2**64 - 1.
        """
        for name, value in (("seed", seed), ("epoch", epoch)):
            if not 0 <= value <= MASK_64:
                raise UsageError(f"{name} is {value}: it must lie between 0 and 2**64 - 1")
        self._weights = weights
        self._seed = seed
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._weights)

    def __repr__(self) -> str:
        return (
            f"BalancedOrder({len(self)} draws among {self._weights.drawable} clips, seed={self._seed}, "
            f"epoch={self._epoch})"
        )

    @property
    def window_shards(self) -> int:
        """K: all shards that hold selected clips."""
        return self._weights.shard_count

    def take(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """The clips at `positions`, as places in the selection; position p ≥ N repeats p mod N.

        Args:
            positions: int64, any shape, not negative.

        Returns:
            int64, the shape of `positions`.

        Raises:
            UsageError: A position is negative.
        """
        if positions.size == 0:
            return np.empty_like(positions)
        if int(positions.min()) < 0:
            raise UsageError(f"position {int(positions.min())} is negative: positions count from 0")
        drawn = counter_hash(self._seed, self._epoch, Domain.DRAW, counters=(positions % len(self)).astype(np.uint64))
        return self._weights.at((drawn >> _LOW_BITS) * 2.0**-53)

    def window_of(self, position: int) -> int:  # noqa: ARG002 - as that of EpochOrder
        """0: any shard may be drawn from at any position."""
        return 0

    def shards_from(self, position: int) -> list[int]:  # noqa: ARG002 - as that of EpochOrder
        """Numbers of the shards that draws come from: those with most first, which a cache does best to keep."""
        return list(self._weights.shards)
