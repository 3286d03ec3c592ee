"""HierarchyMetrics: by hand, and on AVO-65's own tree."""

import math
from pathlib import Path

import pytest
import torch

from shardkit import UsageError
from shardkit.annotations import read_annotations
from shardkit.tasks.metrics import HierarchyMetrics
from shardkit.taxonomy import UNKNOWN, Level, Taxonomy

RELEASED = Path(__file__).parents[2] / "../shared/data/annotations/AVO-65.csv"

#       a        b          level "top"
#      / \       |
#     c   d      e          level "middle"
#    / \  |     / \
#   f  g  h    i   j        level "leaf"
LEVELS = (Level("top", ("a", "b")), Level("middle", ("c", "d", "e")), Level("leaf", ("f", "g", "h", "i", "j")))
TREE = Taxonomy(LEVELS, ((0, 0, 1), (0, 0, 1, 2, 2)))
# As TREE, but nothing is known above d.
HALF_KNOWN = Taxonomy(LEVELS, ((0, UNKNOWN, 1), (0, 0, 1, 2, 2)))


def values_of(probabilities, target, tree=TREE, **options):
    """What the metric says of one batch of leaf probabilities."""
    metric = HierarchyMetrics(tree, scores="probabilities")
    metric.update(torch.as_tensor(probabilities), torch.tensor(target), **options)
    return metric.compute()


def one_hot(ids, classes):
    """Probabilities, float32 [B, classes], that leave no doubt."""
    return torch.nn.functional.one_hot(torch.as_tensor(ids), classes).float()


def test_values_of_four_clips_by_hand():
    """Predicted f, g, h, i; true f, f, f, f, whose path is a c f.

    f: right, three nodes shared. g: wrong, a and c shared, height 1. h (a d h): a shared, height 2. i (b e i): nothing
    shared, height 3. Levels: top 3/4, middle 2/4, leaf 1/4. hP = hR = hF = (3 + 2 + 1 + 0) / 12. Severity
    (1 + 2 + 3) / 3. All predictions are paths.
    """
    assert values_of(one_hot([0, 1, 2, 3], 5), [[0, 0, 0]] * 4) == pytest.approx(
        {
            "top_acc": 3 / 4,
            "middle_acc": 2 / 4,
            "leaf_acc": 1 / 4,
            "hP": 1 / 2,
            "hR": 1 / 2,
            "hF": 1 / 2,
            "mistake_severity": 2,
            "path_consistency": 1,
            "clips": 4,
            "unknown": 0,
            "mistakes": 3,
            "mistakes_without_ancestor": 0,
        }
    )


def test_levels_are_predicted_by_the_sums_of_their_leaves():
    """The highest leaf is j, 0.4, but c has 0.3 + 0.25 and a 0.6: predictions a, c, j, which are no path."""
    values = values_of([[0.3, 0.25, 0.05, 0.0, 0.4]], [[0, 0, 0]])
    assert [values[f"{name}_acc"] for name in ("top", "middle", "leaf")] == [1, 1, 0]
    assert values["path_consistency"] == 0


def test_logits_are_summed_as_probabilities():
    """Logits -2, -2 and -1.5 are 0.27, 0.27 and 0.45 of the probability: the first two win, unlike their sum of -4."""
    metric = HierarchyMetrics(Taxonomy((Level("top", ("a", "b")), Level("leaf", ("f", "g", "h"))), ((0, 0, 1),)))
    metric.update(torch.tensor([[-2.0, -2.0, -1.5]]), torch.tensor([[0, 0]]))
    assert metric.compute()["top_acc"] == 1


def test_heads_are_judged_by_their_own_scores():
    """Two clips of path a c f. Heads say a c f, and b c g, where c is not below b.

    Accuracies 1/2, 2/2 and 1/2; one of two is a path. What leaf scores say is told apart: h, so 2/2 at the top.
    """
    heads = [one_hot([0, 1], 2), one_hot([0, 0], 3), one_hot([0, 1], 5)]
    values = values_of(one_hot([2, 2], 5), [[0, 0, 0]] * 2, level_scores=heads)
    assert [values[f"{name}_heads_acc"] for name in ("top", "middle", "leaf")] == [1 / 2, 1, 1 / 2]
    assert values["heads_path_consistency"] == 1 / 2
    assert (values["top_acc"], values["path_consistency"]) == (1, 1)


def test_padding_is_removed_from_heads_too():
    """A slot of weight 0 counts at no level's own scores."""
    heads = [one_hot([0, 1], 2), one_hot([0, 0], 3), one_hot([0, 1], 5)]
    weight = torch.tensor([1.0, 0.0])
    values = values_of(one_hot([0, 2], 5), [[0, 0, 0]] * 2, level_scores=heads, weight=weight)
    assert (values["top_heads_acc"], values["leaf_heads_acc"], values["heads_path_consistency"]) == (1, 1, 1)


def test_classes_unknown_at_a_level_are_left_out_there():
    """A clip of which only the top is known counts at the top alone, not in hF nor among mistakes."""
    values = values_of(one_hot([3, 0], 5), [[1, -100, -100], [0, 0, 0]])
    assert [values[f"{name}_acc"] for name in ("top", "middle", "leaf")] == [1, 1, 1]
    assert (values["hF"], values["mistakes"], values["unknown"], values["clips"]) == (1, 0, 1, 2)
    assert math.isnan(values["mistake_severity"])


def test_probability_below_an_unknown_parent_goes_nowhere():
    """Nothing is known above d: h's 0.6 is nobody's at the top, where f's 0.1 loses against i's 0.3."""
    values = values_of([[0.1, 0.0, 0.6, 0.3, 0.0]], [[1, 1, 2]], HALF_KNOWN)
    assert [values[f"{name}_acc"] for name in ("top", "middle", "leaf")] == [1, 1, 1]


def test_a_level_that_no_path_reaches_has_no_prediction():
    """Where no parent is known at all, nothing is right at the top, whatever its id."""
    tree = Taxonomy(LEVELS, ((UNKNOWN,) * 3, (0, 0, 1, 2, 2)))
    values = values_of(one_hot([0, 3], 5), [[0, 0, 0], [1, 2, 3]], tree)
    assert (values["top_acc"], values["middle_acc"]) == (0, 1)
    assert values["path_consistency"] == 1


def test_nodes_above_an_unknown_parent_are_in_no_set():
    """True h, whose path is only d h; predicted f (a c f): hP 0/3 and 0/2. Predicted h: 2/2 of both."""
    values = values_of(one_hot([0, 2], 5), [[-100, 1, 2]] * 2, HALF_KNOWN)
    assert (values["hP"], values["hR"], values["hF"]) == pytest.approx((2 / 5, 2 / 4, 2 * 2 / 9))


def test_a_mistake_below_an_unknown_parent_may_have_no_known_ancestor():
    """Above d nothing is known: h and f have no known lowest ancestor. That of g and f is c, of i and f the root."""
    values = values_of(one_hot([2, 1, 3], 5), [[0, 0, 0]] * 3, HALF_KNOWN)
    assert (values["mistakes"], values["mistakes_without_ancestor"]) == (3, 1)
    assert values["mistake_severity"] == (1 + 3) / 2


def test_nothing_contradicts_an_unknown_parent():
    """Heads that say b d h are consistent where what is above d is not known; b c f are not."""
    heads = [one_hot([1, 1], 2), one_hot([1, 0], 3), one_hot([2, 0], 5)]
    values = values_of(one_hot([2, 0], 5), [[-100, 1, 2], [0, 0, 0]], HALF_KNOWN, level_scores=heads)
    assert values["heads_path_consistency"] == 1 / 2


def test_a_flat_label_set_is_a_tree_of_one_level():
    """Of one level, hF is accuracy and every mistake has height 1."""
    flat = Taxonomy((Level("class", ("f", "g", "h")),))
    values = values_of(one_hot([0, 1, 2], 3), [[0], [0], [2]], flat)
    assert (values["class_acc"], values["hF"], values["mistake_severity"]) == pytest.approx((2 / 3, 2 / 3, 1))


@pytest.mark.parametrize(
    ("target", "options", "told"),
    [
        ([[1, 0, 0]], {}, r"target \[1, 0, 0\] is no path of the tree, which has \[0, 0, 0\]"),
        ([[0, 0, 5]], {}, "target at level 2 has class id 5: ids from 0 to 4"),
        ([[0, 0, 0]], {"level_scores": [torch.zeros(1, 2)]}, "level_scores for 1 levels: the tree has 3"),
        ([[0, 0, 0]], {"level_scores": [torch.zeros(1, 5)] * 3}, r"level_scores\[0\] of shape \[1, 5\]: \[1, 2\]"),
    ],
)
def test_labels_and_scores_of_another_tree_are_refused(target, options, told):
    """A target that is no path, and heads of other sizes, are a UsageError."""
    with pytest.raises(UsageError, match=told):
        values_of(one_hot([0], 5), target, **options)


@pytest.fixture(scope="module")
def avo65():
    """The taxonomy of the released AVO-65, and the paths of its clips, int64 [5959, 4]."""
    if not RELEASED.exists():
        pytest.skip("../shared/data/annotations/AVO-65.csv is not there")
    found = read_annotations(RELEASED)
    return found.label_sets[0].taxonomy, torch.tensor([clip.labels["instrument"] for clip in found.clips])


def test_right_leaves_of_avo65_are_right_everywhere(avo65):
    """Of all 5,959 clips with their leaf as prediction, every share is 1 and no mistake is left."""
    tree, paths = avo65
    values = values_of(one_hot(paths[:, 3], 65), paths.tolist(), tree)
    shares = {"hP", "hR", "hF", "path_consistency"} | {f"level_{level}_acc" for level in range(1, 5)}
    assert {values[name] for name in shares} == {1.0}
    assert (values["clips"], values["mistakes"]) == (5959, 0)


def test_all_pairs_of_avo65s_leaves_agree_with_sets_of_ancestors(avo65):
    """HF and severity over all 65·65 pairs are those of a count with Python's sets."""
    tree, _ = avo65
    nodes = [set(enumerate(tree.path(3, leaf))) for leaf in range(65)]
    pairs = [(predicted, true) for predicted in range(65) for true in range(65)]
    values = values_of(
        one_hot([predicted for predicted, _ in pairs], 65), [tree.path(3, true) for _, true in pairs], tree
    )
    shared = [len(nodes[predicted] & nodes[true]) for predicted, true in pairs]
    heights = [4 - count for (predicted, true), count in zip(pairs, shared, strict=True) if predicted != true]
    assert values["hF"] == pytest.approx(sum(shared) / (4 * len(pairs)))
    assert values["mistake_severity"] == pytest.approx(sum(heights) / len(heights))
