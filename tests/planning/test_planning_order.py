"""The order of an epoch: a permutation, made of windows of shards, that never changes unnoticed."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardkit.errors import UsageError
from shardkit.planning.hashing import hash_int
from shardkit.planning.order import ORDER_VERSION, EpochOrder

# Shard numbers may have gaps: a selection can leave shards out.
SHARD_SIZES = st.lists(st.integers(0, 12), min_size=1, max_size=12).filter(any)
NUMBERS = st.integers(0, 2**64 - 1)


def shards(sizes: list[int]) -> np.ndarray:
    """The shard of every clip, for shards of these sizes."""
    return np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)


def whole(order: EpochOrder) -> list[int]:
    """All clips of an epoch in their order."""
    return order.take(np.arange(len(order))).tolist()


def reference_order(sizes: list[int], seed: int, epoch: int, window_shards: int) -> list[int]:
    """The rule of DESIGN.md, one clip at a time."""
    held = [shard for shard, size in enumerate(sizes) if size]
    clips_of = {shard: list(range(sum(sizes[:shard]), sum(sizes[: shard + 1]))) for shard in held}
    drawn = sorted(range(len(held)), key=lambda i: hash_int(seed, epoch, 1, 0, counter=i))
    order = []
    for window, start in enumerate(range(0, len(drawn), window_shards)):
        clips = [clip for i in drawn[start : start + window_shards] for clip in clips_of[held[i]]]
        order += [
            clips[i] for i in sorted(range(len(clips)), key=lambda i: hash_int(seed, epoch, 2, window, counter=i))
        ]
    return order


GOLDEN = [
    ({"seed": 0, "epoch": 0}, [11, 5, 4, 2, 8, 0, 6, 3, 9, 1, 7, 10]),
    ({"seed": 0, "epoch": 1}, [5, 11, 7, 10, 2, 4, 8, 6, 0, 1, 3, 9]),
    ({"seed": 7, "epoch": 0, "window_shards": 1}, [10, 9, 11, 7, 8, 5, 6, 2, 4, 0, 1, 3]),
    ({"seed": 7, "epoch": 0, "window_shards": 2}, [8, 10, 9, 11, 5, 6, 7, 2, 3, 0, 4, 1]),
]


@pytest.mark.parametrize(("settings", "expected"), GOLDEN)
def test_the_order_of_version_1_is_what_it_was(settings, expected):
    """Saved states count in this order: if a value here has to change, ORDER_VERSION has to go up."""
    assert ORDER_VERSION == 1
    assert whole(EpochOrder(shards([5, 0, 4, 3]), **settings)) == expected


@given(SHARD_SIZES, NUMBERS, NUMBERS, st.integers(1, 14))
def test_the_order_follows_the_rule(sizes, seed, epoch, window_shards):
    """Shards are permuted, then clips within each window of K shards, both by the hash."""
    order = EpochOrder(shards(sizes), seed=seed, epoch=epoch, window_shards=window_shards)
    assert whole(order) == reference_order(sizes, seed, epoch, window_shards)


@given(SHARD_SIZES, NUMBERS, NUMBERS, st.none() | st.integers(1, 14))
def test_every_clip_comes_exactly_once(sizes, seed, epoch, window_shards):
    """An epoch is a permutation of the selected clips."""
    order = EpochOrder(shards(sizes), seed=seed, epoch=epoch, window_shards=window_shards)
    assert sorted(whole(order)) == list(range(sum(sizes)))


@given(SHARD_SIZES, NUMBERS, st.integers(1, 14))
def test_a_window_never_mixes_with_another(sizes, seed, window_shards):
    """Of K shards every clip has come before the first clip of any further shard."""
    shard_of = shards(sizes)
    visited = shard_of[whole(EpochOrder(shard_of, seed=seed, epoch=0, window_shards=window_shards))]
    first_seen = list(dict.fromkeys(visited.tolist()))
    groups = []
    position = 0
    while position < len(visited):
        # The next K shards of the order fill the next positions, all of them.
        size = 0
        remaining = visited[position:]
        members: set[int] = set()
        for shard in remaining.tolist():
            if shard not in members and len(members) == window_shards:
                break
            members.add(shard)
            size += 1
        groups.append(members)
        assert size == int(np.isin(shard_of, list(members)).sum())
        position += size
    assert sum(len(members) for members in groups) == len(first_seen)


@given(SHARD_SIZES, NUMBERS, NUMBERS)
def test_no_window_is_a_window_of_all_shards(sizes, seed, epoch):
    """K = None, K = the shards there are and any larger K are the same order, and say the same K."""
    shard_of = shards(sizes)
    held = len(set(shard_of.tolist()))
    orders = [EpochOrder(shard_of, seed=seed, epoch=epoch, window_shards=k) for k in (None, held, held + 5)]
    assert {tuple(whole(order)) for order in orders} == {tuple(whole(orders[0]))}
    assert [order.window_shards for order in orders] == [held] * 3


@given(
    SHARD_SIZES,
    NUMBERS,
    st.integers(1, 14),
    st.lists(st.integers(0, 500), max_size=40),
    st.booleans(),
)
def test_any_position_can_be_asked_for_at_any_time(sizes, seed, window_shards, positions, shuffle):
    """`take` of any positions, in any order, picks from the same epoch; position p ≥ N repeats p mod N."""
    order = EpochOrder(shards(sizes), seed=seed, epoch=3, window_shards=window_shards, shuffle=shuffle)
    taken = order.take(np.array(positions, dtype=np.int64))
    epoch = whole(EpochOrder(shards(sizes), seed=seed, epoch=3, window_shards=window_shards, shuffle=shuffle))
    assert taken.dtype == np.int64
    assert taken.tolist() == [epoch[position % len(epoch)] for position in positions]


@given(SHARD_SIZES, NUMBERS, st.integers(1, 14))
def test_without_shuffling_clips_come_as_stored(sizes, seed, window_shards):
    """shuffle=False is the identity, whatever seed and window."""
    order = EpochOrder(shards(sizes), seed=seed, epoch=1, window_shards=window_shards, shuffle=False)
    assert whole(order) == list(range(sum(sizes)))


@given(NUMBERS, NUMBERS, NUMBERS, NUMBERS)
def test_seed_and_epoch_each_change_the_order(seed, other_seed, epoch, other_epoch):
    """The same pair gives the same order; another seed or epoch gives another one (200 clips)."""
    shard_of = shards([50] * 4)
    order = whole(EpochOrder(shard_of, seed=seed, epoch=epoch))
    assert (whole(EpochOrder(shard_of, seed=other_seed, epoch=epoch)) == order) == (seed == other_seed)
    assert (whole(EpochOrder(shard_of, seed=seed, epoch=other_epoch)) == order) == (epoch == other_epoch)


def test_the_order_of_shards_and_of_clips_within_a_window_both_change_with_the_epoch():
    """With K = 1, two epochs differ in the order of 20 shards, and in that of the clips of one shard."""
    shard_of = shards([30] * 20)
    first, second = (whole(EpochOrder(shard_of, seed=4, epoch=e, window_shards=1)) for e in (0, 1))
    assert [c // 30 for c in first] != [c // 30 for c in second]
    assert [c for c in first if c < 30] != [c for c in second if c < 30]


@pytest.mark.parametrize("sizes", [[8], [1] * 8, [2, 2, 2, 2]])
def test_the_permutation_is_not_visibly_biased(sizes):
    """Over 3,000 epochs each of 8 clips is as often at each place: chi-square, six deviations."""
    seen = np.zeros((8, 8))
    for epoch in range(3000):
        seen[np.arange(8), whole(EpochOrder(shards(sizes), seed=11, epoch=epoch))] += 1
    expected = 3000 / 8
    chi_square = float(((seen - expected) ** 2 / expected).sum())
    degrees = 7 * 7
    assert chi_square < degrees + 6 * np.sqrt(2 * degrees)


def test_neighbours_are_not_visibly_biased():
    """Over 3,000 epochs each ordered pair of 6 clips is as often at the first two places."""
    seen = np.zeros((6, 6))
    for epoch in range(3000):
        first, second = EpochOrder(shards([3, 3]), seed=5, epoch=epoch).take(np.arange(2)).tolist()
        seen[first, second] += 1
    expected = 3000 / 30
    pairs = seen[~np.eye(6, dtype=bool)]
    assert float(((pairs - expected) ** 2 / expected).sum()) < 29 + 6 * np.sqrt(2 * 29)


def test_a_walk_through_small_windows_keeps_only_two_of_them():
    """Three million clips in windows of 30,000 are walked in under a tenth of their permutation's memory."""
    order = EpochOrder(shards([10_000] * 300), seed=0, epoch=0, window_shards=3)
    tracemalloc.start()
    try:
        for position in range(0, len(order), 15_000):
            order.take(np.arange(position, position + 8))
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 3_000_000 * 8 // 10


def test_an_empty_selection_has_no_order_but_no_positions_either():
    """Zero clips make an order of length 0 that answers an empty question and refuses any other."""
    order = EpochOrder(shards([0]), seed=0, epoch=0)
    assert len(order) == 0
    assert order.take(np.array([], dtype=np.int64)).tolist() == []
    with pytest.raises(UsageError, match="no clip is selected"):
        order.take(np.array([0]))


def test_a_negative_position_is_refused():
    """Positions count from 0; NumPy's counting from the end must not slip in."""
    with pytest.raises(UsageError, match="position -1"):
        EpochOrder(shards([4]), seed=0, epoch=0).take(np.array([2, -1]))


@pytest.mark.parametrize(
    ("shard_of", "settings", "message"),
    [
        ([1, 0], {}, "never decrease"),
        ([[0, 1]], {}, "one row"),
        ([0, 1], {"window_shards": 0}, "window_shards is 0"),
        ([0, 1], {"seed": -1}, "seed is -1"),
        ([0, 1], {"seed": 2**64}, "seed is 18446744073709551616"),
        ([0, 1], {"epoch": -3}, "epoch is -3"),
    ],
)
def test_what_has_no_order_is_refused_by_name(shard_of, settings, message):
    """Shards out of order and numbers out of range are UsageErrors that name the argument."""
    with pytest.raises(UsageError, match=message):
        EpochOrder(np.array(shard_of, dtype=np.int32), **{"seed": 0, "epoch": 0, **settings})


def test_the_repr_says_what_the_order_covers():
    """The repr names clips, shards, seed, epoch and window."""
    text = repr(EpochOrder(shards([2, 3]), seed=1, epoch=2))
    assert text == "EpochOrder(5 clips in 2 shards, seed=1, epoch=2, window_shards=2, nodes=1, shuffle=True)"


# --- nodes that read a share of the shards each


@given(SHARD_SIZES, NUMBERS, st.none() | st.integers(1, 14), st.integers(1, 9), st.booleans())
def test_nodes_share_an_epoch_exactly(sizes, seed, window_shards, nodes, shuffle):
    """Whatever the number of nodes, an epoch is a permutation of the selected clips."""
    order = EpochOrder(shards(sizes), seed=seed, epoch=1, window_shards=window_shards, nodes=nodes, shuffle=shuffle)
    assert sorted(whole(order)) == list(range(sum(sizes)))


@given(SHARD_SIZES, NUMBERS, st.integers(1, 14), st.integers(1, 6))
def test_a_node_reads_neighbouring_shards_only(sizes, seed, window_shards, nodes):
    """All nodes together open each shard once, and once more for each border between two of them."""
    shard_of = shards(sizes)
    order = EpochOrder(shard_of, seed=seed, epoch=0, window_shards=window_shards, nodes=nodes)
    clips = whole(order)
    opened = sum(len(set(shard_of[clips[node::nodes]].tolist())) for node in range(nodes))
    assert opened <= len(set(shard_of.tolist())) + nodes - 1


def test_another_epoch_gives_a_node_other_shards():
    """Locality lasts an epoch: in the next one the shards are dealt anew."""
    shard_of = shards([10] * 40)
    first, second = (whole(EpochOrder(shard_of, seed=1, epoch=epoch, nodes=4))[::4] for epoch in (0, 1))
    assert set(shard_of[first]) != set(shard_of[second])


@given(SHARD_SIZES, NUMBERS, st.none() | st.integers(1, 14), st.integers(1, 5), st.booleans(), st.data())
def test_the_shards_that_are_needed_from_a_position_on_are_known(sizes, seed, window_shards, nodes, shuffle, data):
    """shards_from names the shard of its position and of all that its node visits before two windows are over."""
    shard_of = shards(sizes)
    order = EpochOrder(shard_of, seed=seed, epoch=2, window_shards=window_shards, nodes=nodes, shuffle=shuffle)
    position = data.draw(st.integers(0, len(order) - 1))
    named = order.shards_from(position)
    assert len(named) == len(set(named))
    own = shard_of[order.take(np.arange(position, len(order), nodes))].tolist()
    assert own[0] in named
    least = min(order.window_shards, len(set(own))) if shuffle else 1
    assert len(named) >= least
    if shuffle and window_shards is None:
        assert set(own) <= set(named)
