"""AVVPMetrics: by hand, and beside the evaluation of the data set's authors."""

import json
from pathlib import Path

import pytest
import torch
from golden_inputs import AVVP_SEED, avvp_inputs, digest

from shardkit.errors import UsageError
from shardkit.tasks.metrics import AVVPMetrics

GOLDEN = json.loads((Path(__file__).parent / "golden_avvp.json").read_text())


def bits(text):
    """float32 [N] of a string such as `0110`."""
    return torch.tensor([float(letter) for letter in text])


def clip(segments=4, classes=2, **rows):
    """[1, N, 2, C] with strings of segments by modality and class, such as `a0="0110"`."""
    tensor = torch.zeros(1, segments, 2, classes)
    for name, text in rows.items():
        tensor[0, :, "av".index(name[0]), int(name[1])] = bits(text)
    return tensor


def values_of(scores, targets, clip_scores=None):
    """What the metric says of one batch; clips have every class unless told otherwise."""
    clips, _, _, classes = scores.shape
    metric = AVVPMetrics(classes)
    metric.update(scores, torch.ones(clips, classes) if clip_scores is None else clip_scores, targets)
    return metric.compute()


def test_values_of_two_clips_by_hand():
    """One clip with something, and one with nothing in prediction and truth, which scores 1 everywhere.

    Class 0, audio: true 1110, predicted 0110: TP 2, FP 0, FN 1, F = 4/5; as an event IoU 2/3, a match, F = 1.
    Class 0, visual: true 0110, predicted 1100: TP 1, FP 1, FN 1, F = 1/2; as an event IoU 1/3, no match, F = 0.
    Both at once: true 0110, predicted 0100: TP 1, FP 0, FN 1, F = 2/3; as an event IoU 1/2, a match, F = 1.
    Audio and visual added up: TP 3, FP 1, FN 2, F = 6/9; events TP 1, FP 1, FN 1, F = 1/2.
    Class 1, audio 0001, is ruled out by its clip probability of 0.4.
    """
    values = values_of(
        torch.cat([clip(a0="0110", v0="1100", a1="0001"), clip()]),
        torch.cat([clip(a0="1110", v0="0110"), clip()]),
        torch.tensor([[0.6, 0.4], [1.0, 1.0]]),
    )
    one = {
        "segment_A": 4 / 5,
        "segment_V": 1 / 2,
        "segment_AV": 2 / 3,
        "segment_Type@AV": (4 / 5 + 1 / 2 + 2 / 3) / 3,
        "segment_Event@AV": 2 / 3,
        "event_A": 1,
        "event_V": 0,
        "event_AV": 1,
        "event_Type@AV": 2 / 3,
        "event_Event@AV": 1 / 2,
    }
    assert values == pytest.approx({name: (value + 1) / 2 for name, value in one.items()} | {"clips": 2, "unknown": 0})


def test_inputs_are_those_that_the_golden_values_are_of():
    """The seeded inputs have the bytes that the reference was given."""
    assert GOLDEN["seed"] == AVVP_SEED
    assert digest(*avvp_inputs()) == GOLDEN["inputs_sha256"]


def test_means_are_those_of_the_reference():
    """All ten values over 48 clips agree with the authors' code to 1e-9."""
    scores, clip_scores, targets = map(torch.from_numpy, avvp_inputs())
    values = values_of(scores, targets, clip_scores)
    assert {name: values[name] for name in GOLDEN["means"]} == pytest.approx(GOLDEN["means"], abs=1e-9)
    assert values.keys() - GOLDEN["means"].keys() == {"clips", "unknown"}


def test_every_clip_agrees_with_the_reference():
    """Each clip by itself scores what the authors' code gives it, from empty to full, at both ends and in between."""
    scores, clip_scores, targets = map(torch.from_numpy, avvp_inputs())
    for number in range(len(scores)):
        one = slice(number, number + 1)
        values = values_of(scores[one], targets[one], clip_scores[one])
        for kind in ("segment", "event"):
            found = [values[f"{kind}_{name}"] for name in GOLDEN["order"]]
            assert found == pytest.approx(GOLDEN[kind][number], abs=1e-9), (number, kind)


def test_runs_may_be_of_any_number_of_segments():
    """One segment, and seven with four runs, are parsed like ten: a prediction that is the truth scores 1."""
    for text in ("1", "1010101", "1101011"):
        truth = clip(len(text), 1, a0=text, v0=text)
        values = values_of(truth, truth)
        assert {values[name] for name in GOLDEN["means"]} == {1.0}
        assert values_of(truth, 1 - truth)["event_A"] == 0


def test_unknown_segments_are_neither_predicted_nor_true():
    """Without a segment that has -100 somewhere, truth and prediction are both 0110; it counts in `unknown`."""
    targets = clip(a0="0111", v0="0110")
    targets[0, 3, 1, 1] = -100
    values = values_of(clip(a0="0110", v0="0111"), targets)
    assert {values[name] for name in GOLDEN["means"]} == {1.0}
    assert values["unknown"] == 1


def test_segments_behind_a_clips_end_count_for_nothing():
    """A clip of three segments, padded to four: what is predicted in the fourth is no error."""
    scores, targets = clip(a0="0111", v0="0111"), clip(a0="0110", v0="0110")
    metric = AVVPMetrics(2)
    metric.update(scores, torch.ones(1, 2), targets, segment_count=torch.tensor([3]))
    values = metric.compute()
    assert {values[name] for name in GOLDEN["means"]} == {1.0}
    assert values["unknown"] == 1


def test_probabilities_of_exactly_a_half_count():
    """float16 probabilities of exactly 0.5 count as predicted, as in the reference."""
    half = torch.full((1, 4, 2, 1), 0.5, dtype=torch.float16)
    assert values_of(half, torch.ones(1, 4, 2, 1), torch.full((1, 1), 0.5))["segment_A"] == 1


def test_a_clip_of_which_nothing_is_known_is_no_perfect_clip():
    """It is left out, also where only one modality is known; without any clip left there is no number."""
    scores, targets = clip(a0="0110"), clip(a0="1110")
    unknown = targets.clone()
    unknown[:, :, 1] = -100
    both = values_of(torch.cat([scores, scores]), torch.cat([targets, unknown]))
    alone = values_of(scores, targets)
    assert (both["clips"], both["unknown"]) == (1, 4)
    assert {name: value for name, value in both.items() if name != "unknown"} == {
        name: value for name, value in alone.items() if name != "unknown"
    }
    with pytest.raises(UsageError, match="clip"):
        values_of(scores, unknown)


def test_scores_that_are_no_probabilities_are_refused():
    """Logits would be compared with 0.5."""
    with pytest.raises(UsageError, match="segment_scores: probabilities"):
        values_of(3 * clip(a0="0110"), clip())
    with pytest.raises(UsageError, match="clip_scores: probabilities"):
        values_of(clip(), clip(), torch.tensor([[-1.0, 0.5]]))
