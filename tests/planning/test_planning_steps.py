"""Steps, ranks and resume, played through: what all ranks together deliver in an epoch."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardkit.errors import UsageError
from shardkit.planning.order import EpochOrder
from shardkit.planning.steps import (
    after_step,
    loss_scale,
    rank_on_nodes,
    rank_positions,
    step_count,
    weights,
)

CLIPS = st.integers(1, 300)
BATCH = st.integers(1, 9)
WORLD = st.integers(1, 9)


def order_of(n: int, window_shards: int | None = None) -> EpochOrder:
    """An epoch of n clips in shards of seven."""
    return EpochOrder((np.arange(n) // 7).astype(np.int32), seed=2, epoch=1, window_shards=window_shards)


def run(order, *, delivered=0, world, batch_size, drop_last=False, steps=None):
    """Plays `steps` steps, or all that are left, on all ranks.

    Returns:
        Global order of the real clips, all ranks' batches as (clips, weights) [step][rank], and D at the end.
    """
    n = len(order)
    real, batches = [], []
    left = step_count(n, delivered=delivered, global_batch=world * batch_size, drop_last=drop_last)
    for _ in range(left if steps is None else min(steps, left)):
        ranks = []
        slots = {}
        for rank in range(world):
            positions = rank_positions(delivered, rank=rank, world=world, batch_size=batch_size)
            weight = weights(positions, n)
            clips = order.take(positions)
            ranks.append((clips, weight))
            slots.update(zip(positions.tolist(), zip(clips.tolist(), weight.tolist(), strict=True), strict=True))
        assert sorted(slots) == list(range(delivered, delivered + world * batch_size))
        real += [clip for _, (clip, weight) in sorted(slots.items()) if weight]
        batches.append(ranks)
        delivered = after_step(n, delivered=delivered, global_batch=world * batch_size)
    return real, batches, delivered


@given(CLIPS, BATCH, WORLD, st.none() | st.integers(1, 50))
def test_every_clip_is_delivered_exactly_once_an_epoch(n, batch_size, world, window_shards):
    """Over all ranks the clips of weight 1 are each clip of the epoch once, and the epoch then is over."""
    real, _, delivered = run(order_of(n, window_shards), world=world, batch_size=batch_size)
    assert sorted(real) == list(range(n))
    assert delivered == n
    assert step_count(n, delivered=delivered, global_batch=world * batch_size, drop_last=False) == 0


@given(CLIPS, BATCH, WORLD, st.none() | st.integers(1, 50))
def test_the_global_order_is_the_same_for_every_batch_size_and_world(n, batch_size, world, window_shards):
    """Read position by position, any b and W deliver the epoch's order."""
    order = order_of(n, window_shards)
    real, _, _ = run(order, world=world, batch_size=batch_size)
    assert real == order.take(np.arange(n)).tolist()


@given(CLIPS, st.data(), BATCH, WORLD, st.booleans())
def test_steps_cover_what_is_left(n, data, batch_size, world, drop_last):
    """Steps are the ceiling of the clips left over the global batch; with drop_last the floor."""
    delivered = data.draw(st.integers(0, n))
    steps = step_count(n, delivered=delivered, global_batch=world * batch_size, drop_last=drop_last)
    whole_batches, rest = divmod(n - delivered, world * batch_size)
    assert steps == whole_batches + (rest > 0 and not drop_last)


@given(CLIPS, st.data(), st.tuples(BATCH, WORLD), st.tuples(BATCH, WORLD))
def test_a_run_resumed_anywhere_with_any_division_neither_replays_nor_loses(n, data, division, other_division):
    """Stopped after any step and continued with another b and W, a run delivers each clip once, in order."""
    order = order_of(n)
    batch_size, world = division
    steps = data.draw(st.integers(0, -(-n // (batch_size * world))))
    before, _, delivered = run(order, world=world, batch_size=batch_size, steps=steps)
    batch_size, world = other_division
    after, _, end = run(order, delivered=delivered, world=world, batch_size=batch_size)
    assert len(before) == delivered
    assert before + after == order.take(np.arange(n)).tolist()
    assert end == n


@given(CLIPS, st.lists(st.tuples(BATCH, WORLD, st.integers(1, 3)), max_size=20))
def test_a_run_resumed_many_times_still_delivers_a_prefix_of_the_order(n, legs):
    """However often b and W change on the way, what was delivered is the first D clips of the order."""
    order = order_of(n)
    real: list[int] = []
    delivered = 0
    for batch_size, world, steps in legs:
        leg, _, delivered = run(order, delivered=delivered, world=world, batch_size=batch_size, steps=steps)
        real += leg
    assert real == order.take(np.arange(n)).tolist()[:delivered]


@given(CLIPS, BATCH, WORLD)
def test_padding_repeats_the_order_from_its_start_with_weight_0(n, batch_size, world):
    """A last batch that is short is filled with order[p mod N] at weight 0; no other batch has weight 0."""
    order = order_of(n)
    epoch = order.take(np.arange(n)).tolist()
    _, batches, _ = run(order, world=world, batch_size=batch_size)
    for step, ranks in enumerate(batches):
        for rank, (clips, weight) in enumerate(ranks):
            positions = [step * batch_size * world + rank + world * i for i in range(batch_size)]
            assert clips.tolist() == [epoch[p % n] for p in positions]
            assert weight.tolist() == [float(p < n) for p in positions]
            assert weight.dtype == np.float32


@given(CLIPS, BATCH, WORLD)
def test_drop_last_delivers_whole_batches_only(n, batch_size, world):
    """With drop_last all weights are 1, and fewer clips than a global batch are left out."""
    real, batches, delivered = run(order_of(n), world=world, batch_size=batch_size, drop_last=True)
    assert all(weight.all() for ranks in batches for _, weight in ranks)
    assert 0 <= n - len(real) < batch_size * world
    assert delivered == len(real)


@given(CLIPS, st.data(), BATCH, WORLD)
def test_loss_scale_makes_the_mean_over_ranks_the_mean_over_real_clips(n, data, batch_size, world):
    """The average over ranks of (loss * weight).sum() * loss_scale is the mean loss of the real clips."""
    delivered = data.draw(st.integers(0, n - 1))
    loss_of = np.random.default_rng(0).uniform(size=n)
    order = order_of(n)
    scale = loss_scale(n, delivered=delivered, world=world, batch_size=batch_size)
    per_rank = []
    for rank in range(world):
        positions = rank_positions(delivered, rank=rank, world=world, batch_size=batch_size)
        per_rank.append((loss_of[order.take(positions)] * weights(positions, n)).sum() * scale)
    real = order.take(np.arange(delivered, min(n, delivered + world * batch_size)))
    assert np.mean(per_rank) == pytest.approx(loss_of[real].mean())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: step_count(5, delivered=6, global_batch=1, drop_last=False), "6 of 5 clips"),
        (lambda: step_count(5, delivered=-1, global_batch=1, drop_last=False), "-1 of 5 clips"),
        (lambda: step_count(5, delivered=0, global_batch=0, drop_last=False), "global_batch is 0"),
        (lambda: rank_positions(0, rank=2, world=2, batch_size=1), "rank 2 of 2"),
        (lambda: rank_positions(0, rank=-1, world=2, batch_size=1), "rank -1 of 2"),
        (lambda: rank_positions(0, rank=0, world=1, batch_size=0), "batch_size 0 on 1 ranks"),
        (lambda: rank_positions(0, rank=0, world=0, batch_size=1), "batch_size 1 on 0 ranks"),
        (lambda: rank_positions(-1, rank=0, world=1, batch_size=1), "delivered is -1"),
        (lambda: loss_scale(5, delivered=5, world=1, batch_size=1), "no next batch"),
        (lambda: loss_scale(5, delivered=6, world=1, batch_size=1), "6 of 5 clips"),
    ],
)
def test_numbers_out_of_range_are_refused(call, message):
    """A division into ranks that cannot be is a UsageError that names the numbers."""
    with pytest.raises(UsageError, match=message):
        call()


@given(st.integers(1, 6), st.integers(1, 4), st.integers(0, 1000))
def test_ranks_of_a_node_take_the_positions_of_that_node(nodes, on_node, delivered):
    """Whatever was delivered before, rank r takes positions p with p mod L = its node, and all ranks take each once."""
    world = nodes * on_node
    taken = [rank_on_nodes(rank, world=world, nodes=nodes, delivered=delivered) for rank in range(world)]
    assert sorted(taken) == list(range(world))
    for rank, acting in enumerate(taken):
        positions = rank_positions(delivered, rank=acting, world=world, batch_size=3)
        assert set((positions % nodes).tolist()) == {rank // on_node}


def test_nodes_with_different_numbers_of_ranks_are_refused():
    """Five ranks on two nodes: UsageError."""
    with pytest.raises(UsageError, match="5 ranks on 2 nodes"):
        rank_on_nodes(0, world=5, nodes=2, delivered=0)
