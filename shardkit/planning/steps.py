"""Steps and ranks: which positions of the epoch's order a rank takes in a step, and what they weigh.

`batch_size` b is per rank, `world` W is the number of ranks, G = b·W is the global batch, n the clips of the
epoch, `delivered` D the positions already delivered over all ranks. The next step covers [D, D + G), and a
position from n on is padding. Nothing here depends on how the positions before D were divided, so a run goes
on with any b and W.
"""

import numpy as np
from numpy.typing import NDArray

from shardkit.errors import UsageError

__all__ = ["after_step", "loss_scale", "rank_on_nodes", "rank_positions", "step_count", "weights"]


def step_count(n: int, *, delivered: int, global_batch: int, drop_last: bool) -> int:
    """Steps left in the epoch, the same on every rank.

    Args:
        n: Clips of the epoch.
        delivered: Positions delivered so far, over all ranks.
        global_batch: Positions a step covers, over all ranks.
        drop_last: A last batch that would be short is not delivered; otherwise it is padded.

    Raises:
        UsageError: More was delivered than there is, or `global_batch` is not positive.
    """
    left = _left(n, delivered)
    if global_batch < 1:
        raise UsageError(f"global_batch is {global_batch}: batch_size and world must be at least 1")
    return left // global_batch if drop_last else -(-left // global_batch)


def rank_positions(delivered: int, *, rank: int, world: int, batch_size: int) -> NDArray[np.int64]:
    """The positions that `rank` takes in the next step: D + r + W·i.

    Returns:
        int64 [b], increasing; positions from the epoch's number of clips on are padding.

    Raises:
        UsageError: A number is out of range.
    """
    _global_batch(world, batch_size)
    if not 0 <= rank < world:
        raise UsageError(f"rank {rank} of {world}: ranks count from 0 to {world - 1}")
    if delivered < 0:
        raise UsageError(f"delivered is {delivered}: it counts from 0")
    return np.arange(batch_size, dtype=np.int64) * world + (delivered + rank)


def rank_on_nodes(rank: int, *, world: int, nodes: int, delivered: int) -> int:
    """The rank that a process takes the positions of, where each of L nodes reads a share of its own.

    Position p belongs to node p mod L; ranks r of a node are neighbours: node r // (W ÷ L).

    Raises:
        UsageError: The nodes do not have equally many ranks.
    """
    if nodes < 1 or world % nodes:
        raise UsageError(f"{world} ranks on {nodes} nodes: locality needs equally many on each")
    on_node = world // nodes
    node, place = divmod(rank, on_node)
    return place * nodes + (node - delivered) % nodes


def weights(positions: NDArray[np.int64], n: int) -> NDArray[np.float32]:
    """1 for a position that holds a clip of its own, 0 for padding; float32, the shape of `positions`."""
    return (positions < n).astype(np.float32)


def loss_scale(n: int, *, delivered: int, world: int, batch_size: int) -> float:
    """W ÷ the real clips of the next global batch.

    DDP averages over ranks, so `(loss * weight).sum() * loss_scale` becomes the mean over real clips.

    Raises:
        UsageError: A number is out of range, or the epoch has no clip left.
    """
    real_clips = min(_left(n, delivered), _global_batch(world, batch_size))
    if real_clips == 0:
        raise UsageError(f"all {n} clips are delivered: there is no next batch to scale")
    return world / real_clips


def after_step(n: int, *, delivered: int, global_batch: int) -> int:
    """Positions delivered once the next step is: min(n, D + G)."""
    return min(n, delivered + global_batch)


def _left(n: int, delivered: int) -> int:
    """Clips not delivered yet."""
    if not 0 <= delivered <= n:
        raise UsageError(f"{delivered} of {n} clips are delivered: the state belongs to another data set or selection")
    return n - delivered


def _global_batch(world: int, batch_size: int) -> int:
    if world < 1 or batch_size < 1:
        raise UsageError(f"batch_size {batch_size} on {world} ranks: both must be at least 1")
    return world * batch_size
