"""AVELMetrics: by hand, and beside AVE's own accuracy."""

import json
from pathlib import Path

import pytest
import torch
from golden_inputs import AVE_CLASSES, AVE_SEED, ave_inputs, digest

from shardkit import UsageError
from shardkit.tasks.metrics import AVELMetrics

GOLDEN = json.loads((Path(__file__).parent / "golden_ave.json").read_text())


def scores_of(predictions, classes):
    """Scores whose argmax these class ids are."""
    return torch.nn.functional.one_hot(torch.tensor(predictions), classes + 1).float()


def test_values_of_two_clips_by_hand():
    """Two classes, background 2; of eight segments one is unknown.

    Clip 0 of class 0: labels 2 0 0 2, predicted 2 0 1 0: background right 1 of 2, event right 1 of 2.
    Clip 1 of class 1: labels 1 1 2 ?, predicted 1 1 2 2: background right 1 of 1, event right 2 of 2.
    acc (1 + 1 + 1 + 2) / 7; background 3/7; the clip's class is right in the 4 event segments; recalls 2/3 and 3/4.
    """
    metric = AVELMetrics(2)
    metric.update(
        scores_of([[2, 0, 1, 0], [1, 1, 2, 2]], 2),
        torch.tensor([[2, 0, 0, 2], [1, 1, 2, -100]]),
        torch.tensor([0, 1]),
    )
    assert metric.compute() == pytest.approx(
        {
            "acc": 5 / 7,
            "always_background": 3 / 7,
            "clip_class_oracle": 4 / 7,
            "background_recall": 2 / 3,
            "event_recall": 3 / 4,
            "segments": 7,
            "unknown": 1,
        }
    )


def test_accuracy_is_that_of_aves_code():
    """On seeded inputs `acc` is what the validation of AVE's repository gave."""
    scores, one_hot = ave_inputs()
    assert digest(scores, one_hot) == GOLDEN["inputs_sha256"]
    assert GOLDEN["seed"] == AVE_SEED
    metric = AVELMetrics(AVE_CLASSES)
    labels = torch.from_numpy(one_hot).argmax(dim=2)
    metric.update(torch.from_numpy(scores), labels, labels[:, 0])
    assert metric.compute()["acc"] == pytest.approx(GOLDEN["acc"], abs=1e-9)


def test_the_two_lines_are_the_accuracies_of_the_models_that_they_name():
    """`always_background` and `clip_class_oracle` are `acc` of a model that predicts just that."""
    _, one_hot = ave_inputs()
    labels = torch.from_numpy(one_hot).argmax(dim=2)
    clip_class = torch.where((labels < AVE_CLASSES).any(dim=1), labels.min(dim=1).values, AVE_CLASSES)
    by_rule = {
        "always_background": torch.full_like(labels, AVE_CLASSES),
        "clip_class_oracle": clip_class.unsqueeze(1).expand_as(labels),
    }
    for name, predictions in by_rule.items():
        metric = AVELMetrics(AVE_CLASSES)
        metric.update(scores_of(predictions.tolist(), AVE_CLASSES), labels, clip_class)
        values = metric.compute()
        assert values["acc"] == values[name] > 0


def test_the_oracle_knows_clips_of_background_but_not_unknown_ones():
    """Of two clips of background, the oracle is right in the one whose class is background, wrong in that of -100."""
    metric = AVELMetrics(2)
    metric.update(scores_of([[0, 0], [0, 0]], 2), torch.tensor([[2, 2], [2, 2]]), torch.tensor([2, -100]))
    metric.update(scores_of([[0, 0]], 2), torch.tensor([[-100, -100]]), torch.tensor([-100]))  # no segments
    values = metric.compute()
    assert values["clip_class_oracle"] == 1 / 2
    assert values["event_recall"] != values["event_recall"]  # NaN: there is no event


def test_background_of_another_number_of_classes_is_refused():
    """A background id of 28 in a metric of 5 classes is a UsageError."""
    with pytest.raises(UsageError, match="segment_labels has class id 28: ids from 0 to 5"):
        AVELMetrics(5).update(scores_of([[0]], 5), torch.tensor([[28]]), torch.tensor([0]))
