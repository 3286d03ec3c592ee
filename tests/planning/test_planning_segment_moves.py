"""Where segments go when they are shuffled."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from shardkit.planning.segment_moves import drawn_groups, moves_across, moves_within, unmoved

N = 6
batches = st.integers(1, 8).flatmap(
    lambda size: st.tuples(
        st.lists(st.integers(0, N), min_size=size, max_size=size),
        st.lists(st.integers(0, 1000), min_size=size, max_size=size, unique=True),
        st.lists(st.booleans(), min_size=size, max_size=size),
        st.lists(st.integers(-3, 2), min_size=size, max_size=size),
    )
)
draws = st.fixed_dictionaries({"seed": st.integers(0, 9), "epoch": st.integers(0, 9), "stream": st.integers(0, 1)})


def _arrays(batch):
    real, positions, movable, groups = batch
    return np.array(real), np.array(positions), np.array(movable), np.array(groups)


def _is_bijection(source):
    flat = source[..., 0] * N + source[..., 1]
    return sorted(flat.reshape(-1).tolist()) == list(range(flat.size))


@given(batches, draws)
def test_within_clips_every_segment_comes_from_its_own(batch, draw):
    """A bijection that keeps clips, what is behind their end, and clips that may not move."""
    real, positions, movable, _ = _arrays(batch)
    source = moves_within(real, positions, movable, segments=N, **draw)
    assert _is_bijection(source)
    assert (source[..., 0] == np.arange(len(real))[:, None]).all()
    kept = (np.arange(N) >= real[:, None]) | ~movable[:, None]
    assert np.array_equal(source[kept], unmoved(len(real), N)[kept])


@given(batches, draws)
def test_across_clips_every_segment_comes_from_its_group(batch, draw):
    """A bijection that keeps groups, what is behind a clip's end, and clips that may not move."""
    real, positions, movable, groups = _arrays(batch)
    source = moves_across(real, positions, movable, groups, segments=N, **draw)
    assert _is_bijection(source)
    assert (groups[source[..., 0]] == groups[:, None]).all()
    kept = (np.arange(N) >= real[:, None]) | ~movable[:, None]
    assert np.array_equal(source[kept], unmoved(len(real), N)[kept])


@given(batches, draws)
def test_within_a_clip_the_batch_around_it_does_not_matter(batch, draw):
    """The clip at a position is shuffled alike alone and among others."""
    real, positions, _, _ = _arrays(batch)
    movable = np.ones(len(real), bool)
    source = moves_within(real, positions, movable, segments=N, **draw)
    for clip in range(len(real)):
        alone = moves_within(real[[clip]], positions[[clip]], movable[:1], segments=N, **draw)
        assert np.array_equal(alone[0, :, 1], source[clip, :, 1])


@given(batches, draws, st.randoms(use_true_random=False))
def test_across_clips_their_order_in_the_batch_does_not_matter(batch, draw, random):
    """Places of clips in the batch are not drawn from, only their positions in the epoch's order."""
    real, positions, movable, groups = _arrays(batch)
    source = moves_across(real, positions, movable, groups, segments=N, **draw)
    other = np.array(random.sample(range(len(real)), len(real)))
    again = moves_across(real[other], positions[other], movable[other], groups[other], segments=N, **draw)
    assert np.array_equal(other[again[..., 0]], source[other][..., 0])
    assert np.array_equal(again[..., 1], source[other][..., 1])


def test_every_order_of_segments_is_drawn():
    """Of three segments all six orders come up, about as often as each other."""
    count = 3000
    source = moves_within(
        np.full(count, 3), np.arange(count), np.ones(count, bool), segments=3, seed=1, epoch=0, stream=0
    )
    orders, counts = np.unique(source[..., 1], axis=0, return_counts=True)
    assert len(orders) == 6
    assert (abs(counts - 500) < 5 * 500**0.5).all()


def test_seed_epoch_and_stream_change_the_order():
    """Each names draws of its own."""
    base = {"seed": 1, "epoch": 2, "stream": 0}
    found = {
        moves_within(np.array([N]), np.array([5]), np.array([True]), segments=N, **(base | change)).tobytes()
        for change in ({}, {"seed": 2}, {"epoch": 3}, {"stream": 1})
    }
    assert len(found) == 4


def test_a_clip_of_several_classes_is_in_the_group_of_any_of_them():
    """Over many positions both, about as often; a clip without a class is in no other's group."""
    members = np.tile(np.array([[False, True, False, True]]), (1000, 1))
    members[::10] = False
    groups = drawn_groups(members, np.arange(1000), seed=1, epoch=0)
    assert set(groups[groups >= 0].tolist()) == {1, 3}
    assert abs((groups == 1).sum() - 450) < 5 * 225**0.5
    assert len(set(groups[groups < 0].tolist())) == 100
