"""The order of an epoch: position → clip, as a pure function of seed, epoch and the clips' shards.

Shards are permuted; K neighbours in that order form a window; the clips of a window are permuted among
themselves. A remote loader thus has K shards in flight at a time, and K = all shards is a full permutation. A
permutation is the stable argsort of a counter-based hash, which is the same on every NumPy version.
"""

from collections import OrderedDict

import numpy as np
from numpy.typing import NDArray

from shardkit.errors import UsageError
from shardkit.planning.hashing import MASK_64, Domain, counter_hash

__all__ = ["ORDER_VERSION", "EpochOrder"]

ORDER_VERSION = 1
"""Goes up when any (seed, epoch, position) gives another clip than before; saved states are then refused."""

# A batch that crosses from one window into the next needs both.
_WINDOWS_KEPT = 2


class EpochOrder:
    """The order in which one epoch visits the N selected clips.

    Cost: one pass over `shard_of` to build, of which O(shards) memory is kept. A window is permuted when it
    is first asked for; that peaks at about 40 bytes a clip of the window and keeps 8. At most two windows are
    kept. Ten million clips in windows of 16 shards of 5,000 clips cost 1.3 MB, and 10 ms a window; as one
    window they cost 80 MB (400 MB at the peak) and three seconds, once an epoch. Not thread-safe.
    """

    def __init__(
        self,
        shard_of: NDArray[np.int32],
        *,
        seed: int,
        epoch: int,
        window_shards: int | None = None,
        shuffle: bool = True,
    ) -> None:
        """Prepares the order of one epoch.

        Args:
            shard_of: int [N], shard of the i-th selected clip, non-decreasing.
            seed: 0 to 2**64 - 1.
            epoch: 0 to 2**64 - 1.
            window_shards: K, counted in shards that hold selected clips; None is all of them.
            shuffle: False visits the clips as they are stored.

        Raises:
            UsageError: `shard_of` decreases, or a number is out of range.
        """
        if shard_of.ndim != 1 or bool(np.any(shard_of[1:] < shard_of[:-1])):
            raise UsageError(
                "shard_of must be one row of shard numbers that never decrease: select clips in stored order"
            )
        for name, value in (("seed", seed), ("epoch", epoch)):
            if not 0 <= value <= MASK_64:
                raise UsageError(f"{name} is {value}: it must lie between 0 and 2**64 - 1")
        if window_shards is not None and window_shards < 1:
            raise UsageError(f"window_shards is {window_shards}: give at least 1, or None for all shards")
        self._seed = seed
        self._epoch = epoch
        self._shuffle = shuffle
        self._clip_count = len(shard_of)
        # Shards are counted among those that hold selected clips.
        self._first_clip = np.flatnonzero(np.diff(shard_of, prepend=shard_of[:1] - 1)).astype(np.int64)
        self._shard_clips = np.diff(self._first_clip, append=self._clip_count)
        self._window_shards = max(1, min(window_shards or len(self._first_clip), len(self._first_clip)))
        self._shards = self._permutation(len(self._first_clip), Domain.SHARDS, 0)
        # Window w holds the shards _shards[w * K : (w + 1) * K] and begins at position _window_start[w].
        passed = np.cumsum(self._shard_clips[self._shards]) - self._shard_clips[self._shards]
        self._window_start = passed[:: self._window_shards]
        self._windows: OrderedDict[int, NDArray[np.int64]] = OrderedDict()

    def __len__(self) -> int:
        return self._clip_count

    def __repr__(self) -> str:
        return (
            f"EpochOrder({self._clip_count} clips in {len(self._first_clip)} shards, seed={self._seed}, "
            f"epoch={self._epoch}, window_shards={self._window_shards}, shuffle={self._shuffle})"
        )

    @property
    def window_shards(self) -> int:
        """K as it applies: never more than the shards there are."""
        return self._window_shards

    def take(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """The clips at `positions`, as places in the selection; position p ≥ N repeats p mod N.

        Args:
            positions: int64, any shape, not negative.

        Returns:
            int64, the shape of `positions`.

        Raises:
            UsageError: A position is negative, or there are no clips.
        """
        if positions.size == 0:
            return np.empty_like(positions)
        if self._clip_count == 0:
            raise UsageError("no clip is selected, so no position holds one: check split and selection")
        if int(positions.min()) < 0:
            raise UsageError(f"position {int(positions.min())} is negative: positions count from 0")
        places: NDArray[np.int64] = positions % self._clip_count
        if not self._shuffle:
            return places
        window_of = np.searchsorted(self._window_start, places, side="right") - 1
        clips = np.empty_like(places)
        # A set: for the few positions of a batch np.unique takes four times as long.
        for window in sorted(set(window_of.ravel().tolist())):
            inside = window_of == window
            clips[inside] = self._window(window)[places[inside] - self._window_start[window]]
        return clips

    def _window(self, window: int) -> NDArray[np.int64]:
        """The clips of one window in their order, computed when first asked for."""
        kept = self._windows.get(window)
        if kept is not None:
            self._windows.move_to_end(window)
            return kept
        shards = self._shards[window * self._window_shards : (window + 1) * self._window_shards]
        counts = self._shard_clips[shards]
        # The shards' clips side by side: each shard's first clip, less what stands before it, plus 0, 1, 2 …
        offsets = self._first_clip[shards] - (np.cumsum(counts) - counts)
        stored = np.repeat(offsets, counts) + np.arange(int(counts.sum()), dtype=np.int64)
        clips: NDArray[np.int64] = stored[self._permutation(len(stored), Domain.CLIPS, window)]
        self._windows[window] = clips
        if len(self._windows) > _WINDOWS_KEPT:
            self._windows.popitem(last=False)
        return clips

    def _permutation(self, count: int, domain: Domain, window: int) -> NDArray[np.int64]:
        """The numbers 0..count-1 in the order that (seed, epoch, domain, window) draws."""
        counters = np.arange(count, dtype=np.uint64)
        drawn = counter_hash(self._seed, self._epoch, domain, window, counters=counters)
        order: NDArray[np.int64] = np.argsort(drawn, kind="stable").astype(np.int64, copy=False)
        return order
