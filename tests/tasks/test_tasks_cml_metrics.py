"""CMLMetrics: hits, chance and position prior, by hand."""

import math

import pytest
import torch

from shardkit import UsageError
from shardkit.tasks import localize
from shardkit.tasks.metrics import CMLMetrics


def events(*texts):
    """Bool [B, N] of strings such as `0110`."""
    return torch.tensor([[letter == "1" for letter in text] for text in texts])


def starts(*segments):
    """int64 [B]."""
    return torch.tensor(segments)


def test_values_of_five_clips_by_hand():
    """Five clips of four segments: one without an event, one that is all event, and three that count.

    0110 (l 2, start 1, 3 windows): A2V says 1, right; V2A says 0, wrong.
    0001 (l 1, start 3, 4 windows): A2V says 0, wrong; V2A says 3, right.
    1100 (l 2, start 0, 3 windows): both right. So A2V 2/3, V2A 2/3, chance (1/3 + 1/4 + 1/3) / 3.
    Training has l 2 at 1, 1, 0 and l 1 at 2: the prior says 1 for l 2 and 2 for l 1, right in one clip of three.
    """
    metric = CMLMetrics(4)
    metric.update_prior(events("0110", "0110", "1100", "0010", "0000", "1111"))
    metric.update(starts(1, 0, 0, 9, 9), starts(0, 3, 0, 9, 9), events("0110", "0001", "1100", "0000", "1111"))
    assert metric.compute() == pytest.approx(
        {
            "a2v": 2 / 3,
            "v2a": 2 / 3,
            "random": (1 / 3 + 1 / 4 + 1 / 3) / 3,
            "position_prior": 1 / 3,
            "clips": 3,
            "excluded_without_event": 1,
            "excluded_all_event": 1,
            "excluded_in_pieces": 0,
        }
    )


def test_a2v_is_the_position_that_was_found_for_an_audio_query():
    """A2V counts `start_a2v` alone, V2A `start_v2a` alone."""
    metric = CMLMetrics(4)
    metric.update(start_a2v=starts(1), start_v2a=starts(0), event=events("0110"))
    values = metric.compute()
    assert (values["a2v"], values["v2a"]) == (1, 0)


def test_guessing_three_of_ten_segments_reaches_an_eighth():
    """With l = 3 of N = 10 there are eight windows: random is 12.5 %."""
    metric = CMLMetrics()
    metric.update(starts(0, 5), starts(0, 5), events("1110000000", "0000001110"))
    assert metric.compute()["random"] == 0.125


def test_events_in_pieces_are_excluded_and_counted():
    """No window fits 0101: it changes nothing else, neither as a test clip nor as a training clip."""
    metric = CMLMetrics(4)
    metric.update_prior(events("0101", "0101", "0011"))
    metric.update(starts(2, -1), starts(2, -1), events("0011", "0101"))
    values = metric.compute()
    assert (values["a2v"], values["position_prior"], values["clips"], values["excluded_in_pieces"]) == (1, 1, 1, 1)


def test_segments_behind_a_clips_end_are_no_windows():
    """Of four segments a clip has three: one event segment has 3 windows, and 1110 is all event."""
    metric = CMLMetrics(4)
    metric.update(starts(2, 0), starts(2, 0), events("0010", "1110"), segment_count=torch.tensor([3, 3]))
    values = metric.compute()
    assert (values["random"], values["excluded_all_event"]) == (pytest.approx(1 / 3), 1)


def test_starts_that_localize_finds_are_taken():
    """What `localize` gives fits: the same clips are excluded, and a perfect matcher always hits."""
    event = events("0110", "0101", "0000", "1111", "0001", "1100")
    labels = torch.tensor([[0, 1, 2, 3]] * 6)
    distance = (labels[:, :, None] - labels[:, None, :]).abs().double()
    count = torch.tensor([4, 4, 4, 4, 4, 2])
    found = localize(distance, event, segment_count=count)
    metric = CMLMetrics(4)
    metric.update(found.start_a2v, found.start_v2a, event, segment_count=count)
    values = metric.compute()
    assert (values["a2v"], values["v2a"], values["clips"]) == (1, 1, 2)
    excluded = [values[f"excluded_{name}"] for name in ("without_event", "all_event", "in_pieces")]
    assert excluded == [found.no_event, found.all_event, found.in_pieces] == [1, 2, 1]


def test_without_training_clips_there_is_no_prior():
    """`position_prior` is NaN until training clips were given; everything else stands."""
    metric = CMLMetrics(4)
    metric.update(starts(1), starts(1), events("0110"))
    assert math.isnan(metric.compute()["position_prior"])


def test_the_prior_of_a_length_that_training_lacks_is_the_first_segment():
    """Where no training clip has this l, all starts are equally rare, and the first of equals is 0."""
    metric = CMLMetrics(4)
    metric.update_prior(events("0001"))
    metric.update(starts(0, 0), starts(0, 0), events("1100", "0110"))
    assert metric.compute()["position_prior"] == 1 / 2


def test_a_prior_outlives_a_reset_and_can_be_handed_on():
    """Training clips are counted once: `reset` keeps them, and `train_starts` is another metric's `prior`."""
    metric = CMLMetrics(4)
    metric.update_prior(events("0011"))
    metric.reset()
    for same in (metric, CMLMetrics(4, prior=metric.train_starts)):
        same.update(starts(2), starts(2), events("0011"))
        assert same.compute()["position_prior"] == 1


def test_training_clips_that_come_after_a_value_count():
    """A value that was computed without a prior is not kept when there is one."""
    metric = CMLMetrics(4)
    metric.update(starts(2), starts(2), events("0011"))
    metric.compute()
    metric.update_prior(events("0011"))
    assert metric.compute()["position_prior"] == 1


def test_padding_among_training_clips_is_removed():
    """A training slot of weight 0 does not make its start more frequent."""
    metric = CMLMetrics(4)
    metric.update_prior(events("1100", "0011", "0011"), torch.tensor([1.0, 0.0, 0.0]))
    metric.update(starts(0), starts(0), events("1100"))
    assert metric.compute()["position_prior"] == 1


@pytest.mark.parametrize("start", [starts(3), starts(-1), torch.tensor([1.0])])
def test_a_start_that_no_window_has_is_refused(start):
    """A window of two of four segments cannot begin at 3 or before 0, nor at a float: a UsageError."""
    with pytest.raises(UsageError, match=r"start_v2a is .* where the event has 2 of 4 segments"):
        CMLMetrics(4).update(starts(1), start, events("0110"))


def test_events_that_are_no_bools_are_refused():
    """Class ids a segment, say, are a UsageError and not taken for events."""
    with pytest.raises(UsageError, match=r"event of torch.int64: bool"):
        CMLMetrics(4).update(starts(1), starts(1), events("0110").long())
