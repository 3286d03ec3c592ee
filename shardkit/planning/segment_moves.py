"""Where segments go when they are shuffled: pure functions of (seed, epoch, position in the epoch's order).

A stream is one permutation: what uses the same one moves together.
"""

import numpy as np
from numpy.typing import NDArray

from shardkit.planning.hashing import Domain, counter_hash, hash_int

__all__ = ["drawn_groups", "moves_across", "moves_within", "unmoved"]

Ints = NDArray[np.int64]
_GROUPS = 1 << 32
"""Stream of the groups: none of the permutations'."""


def unmoved(clips: int, segments: int) -> Ints:
    """Every segment as its own source, int64 [B, N, 2]: clip and segment."""
    own = np.empty((clips, segments, 2), dtype=np.int64)
    own[..., 0] = np.arange(clips)[:, None]
    own[..., 1] = np.arange(segments)
    return own


def moves_within(
    real: Ints, positions: Ints, movable: NDArray[np.bool_], *, segments: int, seed: int, epoch: int, stream: int
) -> Ints:
    """The segments of each clip in another order; what is behind a clip's end stays there.

    A clip's order hangs on its position alone, and not on the batch that it is in.

    Args:
        real: int64 [B], segments that lie in the clip.
        positions: int64 [B], in the epoch's order.
        movable: bool [B]; other clips stay as they are.
        segments: N.
        seed: Of the shuffle.
        epoch: Of the order.
        stream: Which permutation.

    Returns:
        int64 [B, N, 2]: clip (place in the batch) and segment that comes to each place.
    """
    source = unmoved(len(real), segments)
    for clip in np.flatnonzero(movable).tolist():
        drawn = _drawn(int(real[clip]), int(positions[clip]), seed=seed, epoch=epoch, stream=stream)
        source[clip, : real[clip], 1] = np.argsort(drawn, kind="stable")
    return source


def moves_across(
    real: Ints,
    positions: Ints,
    movable: NDArray[np.bool_],
    groups: Ints,
    *,
    segments: int,
    seed: int,
    epoch: int,
    stream: int,
) -> Ints:
    """The segments of all clips of a group in another order, over all of its clips; see `moves_within`.

    Args:
        real: int64 [B].
        positions: int64 [B].
        movable: bool [B].
        groups: int64 [B]: clips of one number exchange segments, perhaps with themselves.
        segments: N.
        seed: Of the shuffle.
        epoch: Of the order.
        stream: Which permutation.

    Returns:
        int64 [B, N, 2], as of `moves_within`.
    """
    source = unmoved(len(real), segments)
    by_position = np.argsort(positions, kind="stable")
    for group in np.unique(groups[movable]).tolist():
        clips = [clip for clip in by_position.tolist() if movable[clip] and groups[clip] == group]
        places = np.concatenate([source[clip, : real[clip]] for clip in clips])
        drawn = np.concatenate(
            [_drawn(int(real[clip]), int(positions[clip]), seed=seed, epoch=epoch, stream=stream) for clip in clips]
        )
        source[places[:, 0], places[:, 1]] = places[np.argsort(drawn, kind="stable")]
    return source


def drawn_groups(members: NDArray[np.bool_], positions: Ints, *, seed: int, epoch: int) -> Ints:
    """One of its classes for every clip, drawn, so that clips of one group have a class in common.

    Args:
        members: bool [B, C], the classes of every clip.
        positions: int64 [B], in the epoch's order.
        seed: Of the shuffle.
        epoch: Of the order.

    Returns:
        int64 [B]: a class; a number below 0, another for each, for clips that have none.
    """
    groups = -1 - np.arange(len(members), dtype=np.int64)
    for clip in np.flatnonzero(members.any(axis=1)).tolist():
        classes = np.flatnonzero(members[clip])
        groups[clip] = classes[
            hash_int(seed, epoch, Domain.SEGMENTS, _GROUPS, counter=int(positions[clip])) % len(classes)
        ]
    return groups


def _drawn(count: int, position: int, *, seed: int, epoch: int, stream: int) -> NDArray[np.uint64]:
    """A number for each segment of the clip at a position; their order is the shuffled one."""
    counters = np.arange(count, dtype=np.uint64)
    return counter_hash(seed, epoch, Domain.SEGMENTS, stream, position, counters=counters)
