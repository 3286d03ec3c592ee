"""Balanced draws: every class about equally often, each draw a pure function of (seed, epoch, position)."""

import csv
import tracemalloc
from bisect import bisect_right
from collections import Counter
from itertools import accumulate
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardkit.errors import UsageError
from shardkit.planning.balance import BalancedOrder, ClipWeights, clip_weights
from shardkit.planning.hashing import uniform
from shardkit.planning.steps import after_step, rank_positions, step_count

RELEASED = Path(__file__).parents[2] / "../shared/data/annotations/AVO-65.csv"
NUMBERS = st.integers(0, 2**64 - 1)
CLASS_IDS = st.lists(st.sampled_from([-100, 0, 1, 2, 5]), min_size=1, max_size=60).filter(lambda ids: max(ids) >= 0)


GOLDEN = [[8, 0, 3, 7, 6, 6, 1, 6, 8, 8], [5, 8, 5, 6, 8, 0, 4, 7, 8, 8]]


def order_of(ids: list[int], *, seed: int = 0, epoch: int = 0, clips_a_shard: int = 4) -> BalancedOrder:
    """The draws among clips of these classes."""
    shard_of = (np.arange(len(ids)) // clips_a_shard).astype(np.int32)
    weights = clip_weights(np.array(ids, dtype=np.int32), class_count=6)
    return BalancedOrder(ClipWeights(weights, shard_of), seed=seed, epoch=epoch)


def whole(order: BalancedOrder) -> list[int]:
    """All draws of an epoch in their order."""
    return order.take(np.arange(len(order))).tolist()


@pytest.fixture(scope="module")
def avo65_ids() -> np.ndarray:
    """The level-4 id of every row of AVO-65."""
    if not RELEASED.exists():
        pytest.skip("../shared/data/annotations/AVO-65.csv is not there")
    with RELEASED.open(newline="", encoding="utf-8") as file:
        return np.array([int(row["level_4"]) for row in csv.DictReader(file)], dtype=np.int32)


def chi_square(drawn: Counter, expected: np.ndarray) -> float:
    """How far counts by class are from what is expected."""
    counts = np.array([drawn[place] for place in range(len(expected))])
    return float(((counts - expected) ** 2 / expected).sum())


def test_a_clip_weighs_the_inverse_of_its_class_count():
    """1 ÷ (count + 0.01) for each label, as in PSLA's and AST's recipes; nothing without a known one."""
    ids = np.array([2, 0, 0, -100, 0], dtype=np.int32)
    assert clip_weights(ids, class_count=3).tolist() == [1 / 1.01, 1 / 3.01, 1 / 3.01, 0, 1 / 3.01]


def test_the_weights_of_several_labels_add_up():
    """A clip of two classes weighs what both weigh together, one of none nothing."""
    ids, label_counts = np.array([0, 1, 1, 1, -100], dtype=np.int32), np.array([2, 0, 1, 2], dtype=np.int64)
    weights = clip_weights(ids, class_count=2, label_counts=label_counts)
    assert weights.tolist() == [1 / 1.01 + 1 / 3.01, 0, 1 / 3.01, 1 / 3.01]


@given(CLASS_IDS, NUMBERS, NUMBERS)
def test_draws_follow_the_rule(ids, seed, epoch):
    """Position p is the clip at which the running sum of weights passes its hash's share of the total."""
    counts = Counter(ids)
    sums = list(accumulate(0.0 if id < 0 else 1 / (counts[id] + 0.01) for id in ids))
    expected = [bisect_right(sums, uniform(seed, epoch, 8, counter=place) * sums[-1]) for place in range(len(ids))]
    assert whole(order_of(ids, seed=seed, epoch=epoch)) == expected


def test_the_draws_of_order_version_1_are_what_they_were():
    """Saved states count in them: if a value here has to change, ORDER_VERSION has to go up."""
    ids = [0, 0, 0, 0, 0, 0, 1, 1, 2, -100]
    assert whole(order_of(ids)) == GOLDEN[0]
    assert whole(order_of(ids, seed=7, epoch=1)) == GOLDEN[1]


@given(CLASS_IDS, NUMBERS, st.data())
def test_any_ranks_and_batches_give_the_same_sequence(ids, seed, data):
    """Ranks and batch sizes may change at every step: what all ranks take, by position, is the epoch's draws."""
    order = order_of(ids, seed=seed)
    taken: dict[int, int] = {}
    delivered = 0
    while step_count(len(order), delivered=delivered, global_batch=1, drop_last=False):
        world, batch_size = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 9))
        for rank in range(world):
            positions = rank_positions(delivered, rank=rank, world=world, batch_size=batch_size)
            # An order of its own, as on another rank or after a restart.
            clips = order_of(ids, seed=seed).take(positions)
            taken |= zip(positions.tolist(), clips.tolist(), strict=True)
        delivered = after_step(len(order), delivered=delivered, global_batch=world * batch_size)
    draws = whole(order)
    assert taken == {position: draws[position % len(draws)] for position in taken}
    assert set(range(len(draws))) <= set(taken)


@given(CLASS_IDS, NUMBERS)
def test_a_clip_without_a_known_class_is_never_drawn(ids, seed):
    """Only clips that weigh something come, whatever the hash says."""
    order = order_of(ids, seed=seed)
    assert {ids[clip] >= 0 for clip in order.take(np.arange(500)).tolist()} == {True}


def test_a_share_that_is_rounded_up_to_the_total_draws_the_last_clip_that_can_be():
    """The largest hash is a share just below 1: it does not fall off the end."""
    weights = ClipWeights(clip_weights(np.array([0, 1, -100], dtype=np.int32), class_count=2), np.zeros(3, np.int32))
    assert weights.at(np.array([0.0, 1 - 2**-53, 1.0])).tolist() == [0, 1, 1]


def test_epochs_and_seeds_differ():
    """Each epoch, and each seed, has draws of its own."""
    ids = [0, 1, 2] * 10
    drawn = {tuple(whole(order_of(ids, seed=seed, epoch=epoch))) for seed in (0, 1) for epoch in (0, 1)}
    assert len(drawn) == 4


def test_avo65_weighs_by_the_counts_of_its_classes(avo65_ids):
    """On the real annotations, 6 to 337 clips a class, every clip's weight is the formula's."""
    counts = Counter(avo65_ids.tolist())
    assert (len(counts), min(counts.values()), max(counts.values())) == (65, 6, 337)
    weights = clip_weights(avo65_ids, class_count=65)
    assert weights.tolist() == [1 / (counts[id] + 0.01) for id in avo65_ids.tolist()]


def test_avo65_is_drawn_flat(avo65_ids):
    """Over 20 epochs each of the 65 classes is drawn as often as its weight says: 1 of 65, within 0.2 %.

    The chi-square statistic of 64 degrees of freedom has mean 64 and standard deviation √128: six of them above is a
    chance of less than one in a million. Without balance the same draws would be hundreds of times further off.
    """
    counts = np.bincount(avo65_ids)
    shares = counts / (counts + 0.01)
    shares /= shares.sum()
    assert np.abs(65 * shares - 1).max() < 0.002
    weights = ClipWeights(clip_weights(avo65_ids, class_count=65), np.zeros(len(avo65_ids), np.int32))
    epochs = 20
    clips = np.concatenate(
        [BalancedOrder(weights, seed=3, epoch=e).take(np.arange(len(avo65_ids))) for e in range(epochs)]
    )
    drawn, bound = Counter(avo65_ids[clips].tolist()), 64 + 6 * 128**0.5
    expected = shares * epochs * len(avo65_ids)
    assert chi_square(drawn, expected) < bound
    assert chi_square(Counter((avo65_ids.tolist()) * epochs), expected) > 100 * bound


def test_ten_million_clips_keep_80_megabytes():
    """The running sums are all that is kept; making them peaks below 25 bytes a clip, and a batch costs nearly none."""
    count = 10_000_000
    ids = (np.arange(count) % 527 - 1).astype(np.int32)
    shard_of = (np.arange(count) // 5000).astype(np.int32)
    tracemalloc.start()
    try:
        weights = ClipWeights(clip_weights(ids, class_count=527), shard_of)
        kept, peak = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        BalancedOrder(weights, seed=0, epoch=0).take(np.arange(512))
        _, drawing = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 80e6 <= kept < 81e6
    assert peak < 25 * count
    assert drawing - kept < 1e6


def test_shards_with_most_draws_come_first_for_a_cache():
    """All shards that are drawn from, by weight; one without a known class among its clips is never needed."""
    order = order_of([0, 0, 0, 0, -100, -100, -100, -100, 1, 2, 0, 0])
    assert order.shards_from(0) == order.shards_from(7) == [2, 0]
    assert order.window_of(0) == order.window_of(11) == 0
    assert order.window_shards == 3


def test_what_cannot_be_drawn_is_refused():
    """No known class, a negative position, a seed out of range: UsageError."""
    with pytest.raises(UsageError, match="no selected clip has a known class"):
        order_of([-100, -100])
    with pytest.raises(UsageError, match="position -1 is negative"):
        order_of([0]).take(np.array([-1]))
    with pytest.raises(UsageError, match="epoch is -1"):
        order_of([0], epoch=-1)
    assert order_of([0]).take(np.empty(0, np.int64)).tolist() == []


def test_the_repr_says_what_is_drawn():
    """Draws, clips that can be drawn, seed, epoch."""
    assert repr(order_of([0, -100, 1], seed=4, epoch=2)) == "BalancedOrder(3 draws among 2 clips, seed=4, epoch=2)"
