"""Cross-modality localization: where windows of the other modality are found."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from shardkit.errors import UsageError
from shardkit.tasks import localize

N = 10


def _run(start, length, count=N):
    seconds = torch.arange(count)
    return ((seconds >= start) & (seconds < start + length)).unsqueeze(0)


def _in_words(distance, seconds):
    """What AVE's cmm_test.py does, both ways, for one clip; `distance[i][j]` from sound i to picture j."""
    count, length = len(distance), len(seconds)
    a2v = [sum(distance[seconds[k]][s + k] for k in range(length)) for s in range(count - length + 1)]
    v2a = [sum(distance[s + k][seconds[k]] for k in range(length)) for s in range(count - length + 1)]
    return a2v.index(min(a2v)), v2a.index(min(v2a))


distances = st.lists(st.lists(st.integers(0, 5), min_size=N, max_size=N), min_size=N, max_size=N)


@given(distances, st.integers(1, N - 1), st.integers(0, N - 1))
def test_the_window_with_the_least_sum_is_found_first_of_equals(distance, length, start):
    """A2V with the sound as query, V2A with the picture as query, in every clip that has an answer."""
    start = min(start, N - length)
    found = localize(torch.tensor([distance]), _run(start, length))
    assert (int(found.start_a2v), int(found.start_v2a)) == _in_words(distance, range(start, start + length))
    assert int(found.query_a2v) == int(found.query_v2a) == start
    assert int(found.length) == length


@given(st.permutations(range(N)), st.integers(0, N - 1))
def test_an_exact_matcher_finds_where_a_second_went(order, second):
    """One second (l = 1), pictures in another order, distance 0 to the one that belongs: A2V says where it is now."""
    order = torch.tensor(order)
    distance = (torch.arange(N)[:, None] != order[None, :]).float().unsqueeze(0)
    found = localize(distance, _run(second, 1))
    assert order[int(found.start_a2v)] == second
    assert int(found.start_v2a) == int(order[second])


def test_a_function_measures_the_same_distances():
    """Called with the places of a second of sound and one of picture."""
    distance = torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(1))
    event = torch.cat([_run(start, length, 4) for start, length in ((0, 1), (1, 2), (2, 2))])
    asked = []

    def measure(i, j):
        asked.append((i, j))
        return distance[:, i, j]

    one, other = localize(measure, event), localize(distance, event)
    assert torch.equal(one.start_a2v, other.start_a2v)
    assert torch.equal(one.start_v2a, other.start_v2a)
    assert set(asked) == set(itertools.product(range(4), repeat=2))


def test_clips_without_an_answer_are_left_out_and_counted():
    """No event second, nothing but event seconds, or event seconds in pieces: -1 and a count."""
    event = torch.cat([_run(0, 0), _run(0, N), _run(1, 2) | _run(6, 1), _run(4, 3)])
    found = localize(torch.zeros(4, N, N), event)
    assert found.start_a2v.tolist() == found.start_v2a.tolist() == [-1, -1, -1, 0]
    assert found.query_a2v.tolist() == [-1, -1, -1, 4]
    assert (found.no_event, found.all_event, found.in_pieces) == (1, 1, 1)


def test_a_shorter_clip_has_fewer_windows():
    """What is behind its end is no part of any, and seven event seconds of seven are all there is."""
    distance = torch.zeros(2, N, N)
    distance[:, :, :7] = 1.0
    event = torch.cat([_run(2, 3), _run(0, 7)])
    found = localize(distance, event, segment_count=torch.tensor([7, 7]))
    assert found.start_a2v.tolist() == [0, -1]
    assert found.all_event == 1
    assert localize(distance[:1], event[:1]).start_a2v.tolist() == [7]


def test_sound_and_picture_may_have_been_shuffled_apart():
    """The query of A2V is where the event is in the sound, that of V2A where it is in the picture."""
    distance = torch.ones(1, N, N)
    distance[0, 2, 7] = 0.0
    found = localize(distance, _run(2, 1), _run(7, 1))
    assert (found.start_a2v.item(), found.query_a2v.item()) == (7, 2)
    assert (found.start_v2a.item(), found.query_v2a.item()) == (2, 7)


@pytest.mark.parametrize(
    ("distance", "event", "visual", "message"),
    [
        (torch.zeros(1, N, N - 1), _run(1, 2), None, r"\[B, N, N\]"),
        (torch.zeros(1, N, N), _run(1, 2).float(), None, r"bool \[B, N\]"),
        (torch.zeros(1, N, N), _run(1, 2), _run(1, 3), "same number of event seconds"),
        (torch.full((1, N, N), torch.nan), _run(1, 2), None, "NaN among the distances"),
    ],
)
def test_what_does_not_fit_is_refused(distance, event, visual, message):
    """Shapes, types, and masks that cannot belong together."""
    with pytest.raises(UsageError, match=message):
        localize(distance, event, visual)
