"""The order of an epoch: position → clip, as a pure function of seed, epoch and the clips' shards.

Shards are permuted; K neighbours in that order form a window; the clips of a window are permuted among
themselves. A loader thus needs K shards at a time, and K = all shards is a full permutation. A permutation is the
stable argsort of a counter-based hash, which is the same on every NumPy version.

With L nodes that each read a share of the shards only, the permuted shards are cut into L stretches of equally many
clips, and position p is the next one of stretch p mod L: every node has its own stretch, whatever batch sizes are, and
all have as many steps.

    permuted shards    [ c  a | b  f  d | e  g ]        L = 3 stretches; a shard at a border belongs to two
    positions          0 3 6 … | 1 4 7 …  | 2 5 8 …     each in windows of K shards
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
        nodes: int = 1,
        shuffle: bool = True,
    ) -> None:
        """Prepares the order of one epoch.

        Args:
            shard_of: int [N], shard of the i-th selected clip, non-decreasing.
            seed: 0 to 2**64 - 1.
            epoch: 0 to 2**64 - 1.
            window_shards: K, counted in shards that hold selected clips; None is all of them.
            nodes: L, the nodes that share the shards.
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
        if nodes < 1:
            raise UsageError(f"nodes is {nodes}: give at least 1")
        self._nodes = nodes
        self._seed = seed
        self._epoch = epoch
        self._shuffle = shuffle
        self._clip_count = len(shard_of)
        # Shards are counted among those that hold selected clips.
        self._first_clip = np.flatnonzero(np.diff(shard_of, prepend=shard_of[:1] - 1)).astype(np.int64)
        self._shard_clips = np.diff(self._first_clip, append=self._clip_count)
        self._shard_numbers = shard_of[self._first_clip].astype(np.int64)
        count = len(self._first_clip)
        self._window_shards = max(1, min(window_shards or count, count))
        self._shards = self._permutation(count, Domain.SHARDS, 0) if shuffle else np.arange(count, dtype=np.int64)
        # Where each of the permuted shards begins, and each stretch; what is permuted together begins at all of those
        # and at every K-th shard of a stretch.
        self._shard_start = np.cumsum(self._shard_clips[self._shards]) - self._shard_clips[self._shards]
        lengths = (self._clip_count - np.arange(nodes, dtype=np.int64) + nodes - 1) // nodes
        self._stretch_start = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
        self._window_start = np.unique(np.concatenate([self._borders(node) for node in range(nodes)]))
        self._windows: OrderedDict[int, NDArray[np.int64]] = OrderedDict()

    def _borders(self, node: int) -> NDArray[np.int64]:
        """Where the windows of a stretch begin."""
        start, stop = self._stretch_start[node : node + 2]
        inside = self._shard_start[(self._shard_start > start) & (self._shard_start < stop)]
        borders: NDArray[np.int64] = np.concatenate(([start], inside[self._window_shards - 1 :: self._window_shards]))
        return borders

    def __len__(self) -> int:
        return self._clip_count

    def __repr__(self) -> str:
        return (
            f"EpochOrder({self._clip_count} clips in {len(self._first_clip)} shards, seed={self._seed}, "
            f"epoch={self._epoch}, window_shards={self._window_shards}, nodes={self._nodes}, shuffle={self._shuffle})"
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
        places: NDArray[np.int64] = self._places(positions)
        if not self._shuffle:
            return places
        window_of = np.searchsorted(self._window_start, places, side="right") - 1
        clips = np.empty_like(places)
        # A set: for the few positions of a batch np.unique takes four times as long.
        for window in sorted(set(window_of.ravel().tolist())):
            inside = window_of == window
            clips[inside] = self._window(window)[places[inside] - self._window_start[window]]
        return clips

    def _places(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Places of positions in the permuted shards, side by side."""
        inside: NDArray[np.int64] = positions % self._clip_count
        if self._nodes == 1:
            return inside
        places: NDArray[np.int64] = self._stretch_start[inside % self._nodes] + inside // self._nodes
        return places

    def window_of(self, position: int) -> int:
        """Number of the window that a position is in; of its shard, without shuffling."""
        place = int(self._places(np.array([position]))[0])
        starts = self._window_start if self._shuffle else self._shard_start
        return int(np.searchsorted(starts, place, side="right")) - 1

    def shards_from(self, position: int) -> list[int]:
        """Numbers of the shards that a node needs from a position on: those of its window, then of the next one.

        Without shuffling, where a window is as good as any, the shard itself and the next. They stay the same as long
        as `window_of` does.
        """
        place = int(self._places(np.array([position]))[0])
        stretch = int(np.searchsorted(self._stretch_start, place, side="right")) - 1
        start, stop = place, int(self._stretch_start[stretch + 1])
        if self._shuffle:
            window = int(np.searchsorted(self._window_start, place, side="right")) - 1
            start = int(self._window_start[window])
            ends = self._window_start[window + 1 : window + 3]
            stop = min(stop, int(ends[1])) if len(ends) > 1 else stop
        first = int(np.searchsorted(self._shard_start, start, side="right")) - 1
        last = int(np.searchsorted(self._shard_start, stop, side="left"))
        shards = self._shards[first:last] if self._shuffle else self._shards[first : min(last, first + 2)]
        return [int(number) for number in self._shard_numbers[shards]]

    def _window(self, window: int) -> NDArray[np.int64]:
        """The clips of one window in their order, computed when first asked for."""
        kept = self._windows.get(window)
        if kept is not None:
            self._windows.move_to_end(window)
            return kept
        start = int(self._window_start[window])
        is_last = window + 1 == len(self._window_start)
        stop = self._clip_count if is_last else int(self._window_start[window + 1])
        first = int(np.searchsorted(self._shard_start, start, side="right")) - 1
        last = int(np.searchsorted(self._shard_start, stop, side="left"))
        shards = self._shards[first:last]
        # The part of each shard that is inside, shard after shard: its first clip, less what stands before it, plus
        # 0, 1, 2 …
        before = np.maximum(start - self._shard_start[first:last], 0)
        counts = np.minimum(self._shard_clips[shards], stop - self._shard_start[first:last]) - before
        offsets = self._first_clip[shards] + before - (np.cumsum(counts) - counts)
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
