"""ClassificationMetrics: by hand, and beside scikit-learn."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import accuracy_score, average_precision_score, balanced_accuracy_score, roc_auc_score

from shardkit import UsageError
from shardkit.tasks.metrics import ClassificationMetrics


def values_of(output, target, **options):
    """What the metric says of one batch."""
    output = torch.as_tensor(output)
    metric = ClassificationMetrics(output.shape[1], **options)
    metric.update(output, torch.as_tensor(target))
    return metric.compute()


def test_values_of_five_clips_by_hand():
    """Five clips of two classes, and a third class that none has.

    acc: clips 0, 2 and 4 are right, 3/5. Per class 1/2 and 2/3, their mean 7/12.
    Class 0 is ranked + - + - -: AP = (1/1 + 2/3) / 2 = 5/6; AUC: its 2·3 pairs are right but one, 5/6.
    Class 1 is ranked + + - + -: AP = (1/1 + 2/2 + 3/4) / 3 = 11/12; AUC: its 3·2 pairs are right but one, 5/6.
    """
    scores = [[0.7, 0.2, 0.1], [0.4, 0.5, 0.1], [0.2, 0.6, 0.2], [0.5, 0.3, 0.2], [0.1, 0.8, 0.1]]
    values = values_of(scores, [0, 0, 1, 1, 1], scores="probabilities")
    assert values == pytest.approx(
        {
            "acc": 3 / 5,
            "mean_class_acc": 7 / 12,
            "mAP": (5 / 6 + 11 / 12) / 2,
            "mAUC": 5 / 6,
            "clips": 5,
            "unknown": 0,
            "without_class": 0,
            "classes_without_positives": 1,
            "classes_without_negatives": 0,
        }
    )


def test_values_of_several_classes_by_hand():
    """Four clips with {0, 1}, {0}, none and {0, 1, 2}, whose highest classes are 0, 1, 2 and 2.

    acc: of the three clips with a class, clips 0 and 3 have one of theirs on top, 2/3.
    Per class, the share of such clips: class 0 in 2 of its 3, class 1 in 2 of 2, class 2 in 1 of 1; mean 8/9.
    Class 0 is ranked (2, 3, 0.5, 0): clips 1, 0, 3, 2, + + + -: AP 1, AUC 1.
    Class 1, (0, 4, 1, 1): clip 1 -, then clips 2 - and 3 + at once, then clip 0 +: AP = 1/2·1/3 + 1/2·2/4 = 5/12;
    AUC: of its 2·2 pairs half a one, 1/8.
    Class 2, (1, -1, 3, 3): clips 2 - and 3 + at once: AP = 1/2; AUC: 2.5 of 3 pairs, 5/6.
    """
    scores = [[2.0, 0.0, 1.0], [3.0, 4.0, -1.0], [0.0, 1.0, 3.0], [0.5, 1.0, 3.0]]
    values = values_of(scores, [[1, 1, 0], [1, 0, 0], [0, 0, 0], [1, 1, 1]], multilabel=True)
    assert values == pytest.approx(
        {
            "acc": 2 / 3,
            "mean_class_acc": 8 / 9,
            "mAP": (1 + 5 / 12 + 1 / 2) / 3,
            "mAUC": (1 + 1 / 8 + 5 / 6) / 3,
            "clips": 4,
            "unknown": 0,
            "without_class": 1,
            "classes_without_positives": 0,
            "classes_without_negatives": 0,
        }
    )


coarse = st.integers(-4, 4).map(lambda step: step / 2)  # many equal scores


@settings(max_examples=60)
@given(data=st.data(), clips=st.integers(2, 30), classes=st.integers(2, 5))
def test_one_class_a_clip_equals_scikit_learn(data, clips, classes):
    """Accuracy, mAP and mAUC are scikit-learn's, of the softmax, over the classes that occur."""
    scores = data.draw(arrays(np.float64, (clips, classes), elements=coarse))
    target = data.draw(arrays(np.int64, clips, elements=st.integers(0, classes - 1)))
    values = values_of(scores, target)
    present = sorted(set(target.tolist()))
    separable = [c for c in present if (target != c).any()]
    p = torch.from_numpy(scores).softmax(dim=1).numpy()  # to the last bit, so that what is equal there is equal here
    assert values["acc"] == pytest.approx(accuracy_score(target, scores.argmax(axis=1)), abs=1e-6)
    recalls = [(scores.argmax(axis=1) == c)[target == c].mean() for c in present]
    assert values["mean_class_acc"] == pytest.approx(np.mean(recalls), abs=1e-6)
    expected = np.mean([average_precision_score(target == c, p[:, c]) for c in present])
    assert values["mAP"] == pytest.approx(expected, abs=1e-6)
    expected = np.mean([roc_auc_score(target == c, p[:, c]) for c in separable]) if separable else np.nan
    assert values["mAUC"] == pytest.approx(expected, abs=1e-6, nan_ok=True)
    assert values["classes_without_positives"] == classes - len(present)
    assert values["classes_without_negatives"] == len(present) - len(separable)


@settings(max_examples=60)
@given(data=st.data(), clips=st.integers(2, 30), classes=st.integers(2, 5))
def test_several_classes_a_clip_equal_scikit_learn(data, clips, classes):
    """Macro mAP and mAUC are scikit-learn's of the scores as they are, equal ones included."""
    scores = data.draw(arrays(np.float64, (clips, classes), elements=coarse))
    target = data.draw(arrays(np.int64, (clips, classes), elements=st.integers(0, 1)))
    target[0, 0] = 1
    values = values_of(scores, target, multilabel=True)
    present = [c for c in range(classes) if target[:, c].any()]
    separable = [c for c in present if not target[:, c].all()]
    expected = average_precision_score(target[:, present], scores[:, present], average="macro")
    assert values["mAP"] == pytest.approx(expected, abs=1e-6)
    expected = roc_auc_score(target[:, separable], scores[:, separable], average="macro") if separable else np.nan
    assert values["mAUC"] == pytest.approx(expected, abs=1e-6, nan_ok=True)


def test_thousands_of_clips_equal_scikit_learn():
    """The sums of 20,000 clips and 8 classes, given as float32, are as exact as those of a few."""
    random = np.random.default_rng(3)
    target = random.integers(0, 8, 20_000)
    scores = (random.normal(size=(20_000, 8)) + 0.8 * np.eye(8)[target]).astype(np.float32)
    values = values_of(scores, target)
    p, one_hot = torch.from_numpy(scores).double().softmax(dim=1).numpy(), np.eye(8)[target]
    assert values["acc"] == pytest.approx(accuracy_score(target, scores.argmax(axis=1)), abs=1e-6)
    assert values["mean_class_acc"] == pytest.approx(balanced_accuracy_score(target, scores.argmax(axis=1)), abs=1e-6)
    assert values["mAP"] == pytest.approx(average_precision_score(one_hot, p, average="macro"), abs=1e-6)
    assert values["mAUC"] == pytest.approx(roc_auc_score(target, p, multi_class="ovr", average="macro"), abs=1e-6)


def test_a_constant_on_all_logits_of_a_clip_changes_nothing():
    """With one class a clip, classes are ranked by probability: where a clip's logits start at does not matter."""
    random = torch.Generator().manual_seed(1)
    logits, target = torch.randn(30, 4, generator=random), torch.randint(4, (30,), generator=random)
    shifted = logits.double() + 100 * torch.randn(30, 1, generator=random)
    assert values_of(shifted, target) == pytest.approx(values_of(logits, target))
    assert values_of(shifted, target, scores="probabilities")["mAP"] != pytest.approx(values_of(logits, target)["mAP"])


def test_a_sigmoid_changes_nothing_with_several_classes():
    """With several classes a clip, logits and their sigmoids give the same values."""
    random = torch.Generator().manual_seed(2)
    logits, target = torch.randn(30, 4, generator=random).double(), torch.randint(2, (30, 4), generator=random)
    assert values_of(logits, target, multilabel=True) == values_of(logits.sigmoid(), target, multilabel=True)


def test_logits_that_are_sure_keep_their_order():
    """Probabilities that all round to 1 in float32 are still told apart: 25 above the other class beats 20."""
    assert values_of([[25.0, 0.0], [20.0, 0.0], [22.5, 0.0]], [0, 1, 0])["mAP"] == 1


def test_of_equal_scores_the_first_class_is_predicted():
    """Two clips with equal scores for all classes: the one of class 0 is right."""
    assert values_of(torch.zeros(2, 3), [0, 2])["acc"] == 1 / 2


def test_unknown_classes_are_left_out_and_counted():
    """A clip of class -100, and of several classes one with -100 among them, changes only `unknown`."""
    scores = torch.tensor([[3.0, 1.0], [0.0, 1.0], [9.0, 2.0]])
    for known, unknown, options in (([0, 1], -100, {}), ([[1, 0], [0, 1]], [-100, 0], {"multilabel": True})):
        with_it = values_of(scores, [*known, unknown], **options)
        assert with_it["unknown"] == 1
        assert with_it | {"unknown": 0} == values_of(scores[:2], known, **options)


def test_labels_of_several_classes_may_be_of_any_type():
    """`batch.labels` are uint8, targets float32: the values are the same."""
    scores, target = torch.tensor([[3.0, 1.0], [0.0, 1.0]]), torch.tensor([[1, 0], [1, 1]])
    values = [values_of(scores, target.to(kind), multilabel=True) for kind in (torch.uint8, torch.float32, torch.bool)]
    assert values[0] == values[1] == values[2]


def test_a_class_that_all_clips_have_is_left_out_of_auc_only():
    """AUC needs negatives: a class without them counts in mAP with 1, and in `classes_without_negatives`."""
    values = values_of([[1.0, 2.0], [3.0, 1.0]], [[1, 0], [1, 1]], multilabel=True)
    assert values["classes_without_negatives"] == 1
    assert values["mAP"] == (1 + 1 / 2) / 2
    assert values["mAUC"] == 0


@pytest.mark.parametrize(
    ("target", "options", "told"),
    [
        ([0, 3], {}, "class id 3: ids from 0 to 1"),
        ([0, -1], {}, "class id -1"),
        ([0.0, 1.0], {}, "class ids are whole numbers"),
        ([[1, 0], [0, 0.5]], {"multilabel": True}, "mixed targets are for training"),
        ([[1, 0], [0, -1]], {"multilabel": True}, "0, 1 and -100 are needed"),
    ],
)
def test_an_impossible_class_is_refused(target, options, told):
    """Ids that the label set does not have, and shares of classes, are a UsageError."""
    with pytest.raises(UsageError, match=told):
        values_of(torch.zeros(2, 2), target, **options)
