"""A taxonomy as tensors: parents, ancestors, and probabilities summed upwards."""

import doctest
from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy, nll_loss

from shardkit.annotations import read_annotations
from shardkit.errors import UsageError
from shardkit.tasks import hierarchy
from shardkit.tasks.hierarchy import ancestor_mask, parent_map, sum_to_level
from shardkit.taxonomy import UNKNOWN, Level, Taxonomy

RELEASED = Path(__file__).parents[2] / "../shared/data/annotations/AVO-65.csv"
TREE = Taxonomy(
    (Level("top", ("x", "y")), Level("mid", ("m", "n", "o")), Level("leaf", tuple("pqrst"))),
    ((0, 1, 1), (0, 0, 2, 1, UNKNOWN)),
)


@pytest.fixture(scope="module")
def avo65() -> Taxonomy:
    """AVO-65's tree."""
    if not RELEASED.exists():
        pytest.skip("../shared/data/annotations/AVO-65.csv is not there")
    return read_annotations(RELEASED).label_sets[0].taxonomy


def test_parents_are_ids_of_the_level_above():
    """int64, one a class; UNKNOWN where no clip told it."""
    assert parent_map(TREE, "mid").tolist() == [0, 1, 1]
    leaf = parent_map(TREE, -1)
    assert leaf.dtype == torch.int64
    assert leaf.tolist() == [0, 0, 2, 1, UNKNOWN]


def test_the_top_level_has_no_parents():
    """UsageError, also for a level that is not there."""
    with pytest.raises(UsageError, match="level 'top' is the top one"):
        parent_map(TREE, 0)
    with pytest.raises(UsageError, match="no level 'stem'"):
        parent_map(TREE, "stem")


def test_a_leaf_is_below_one_class_of_each_level():
    """A bool [C_leaf, C_level]; a row without any where the ancestor is not known; at its own level, itself."""
    mask = ancestor_mask(TREE, "top")
    assert mask.dtype == torch.bool
    assert mask.tolist() == [[True, False], [True, False], [False, True], [False, True], [False, False]]
    assert torch.equal(ancestor_mask(TREE, "leaf"), torch.eye(5, dtype=torch.bool))


def test_probabilities_of_avo65_add_up_on_every_level(avo65):
    """Sums over the leaves below each class: all 1 in total, and those of a level are sums of the next one's."""
    leaves = torch.softmax(torch.randn(7, 65, generator=torch.Generator().manual_seed(0), dtype=torch.float64), dim=1)
    below = leaves
    for level in (3, 2, 1, 0):
        sums = sum_to_level(leaves, avo65, level)
        assert sums.shape == (7, avo65.level_sizes[level])
        torch.testing.assert_close(sums, leaves @ ancestor_mask(avo65, level).double())
        torch.testing.assert_close(sums.sum(dim=1), torch.ones(7, dtype=torch.float64))
        if level < 3:
            expected = torch.zeros_like(sums).index_add(1, parent_map(avo65, level + 1), below)
            torch.testing.assert_close(sums, expected)
        below = sums


def test_a_loss_on_an_upper_level_trains_the_leaves(avo65):
    """The gradient of the summed probability's loss reaches the leaf logits, most those below the right class."""
    logits = torch.zeros(1, 65, requires_grad=True)
    probabilities = sum_to_level(torch.softmax(logits, dim=1), avo65, "level_1")
    nll_loss(probabilities.log(), torch.tensor([3])).backward()
    right = ancestor_mask(avo65, "level_1")[:, 3]
    assert logits.grad is not None
    assert (logits.grad[0, right] < 0).all()
    assert (logits.grad[0, ~right] > 0).all()


def test_an_unknown_parent_is_left_out_of_losses():
    """parent_map of labels is a target for the level above: the id -100 weighs nothing in PyTorch's losses."""
    targets = parent_map(TREE, "leaf")[torch.tensor([0, 4])]
    logits = torch.tensor([[2.0, 0.0, 1.0], [0.0, 5.0, 1.0]])
    assert cross_entropy(logits, targets) == cross_entropy(logits[:1], targets[:1])


def test_what_leaves_of_unknown_ancestors_have_is_in_no_sum():
    """Shapes before the last are kept, dtype too."""
    sums = sum_to_level(torch.full((2, 3, 5), 0.2, dtype=torch.float16), TREE, "top")
    assert (sums.shape, sums.dtype) == ((2, 3, 2), torch.float16)
    assert sums[1, 2].tolist() == pytest.approx([0.4, 0.4], abs=1e-3)


def test_probabilities_of_another_number_of_leaves_are_refused():
    """The error names shape and level."""
    with pytest.raises(UsageError, match=r"shape \(2, 3\): the last dimension is needed to be the 5 classes of 'leaf'"):
        sum_to_level(torch.zeros(2, 3), TREE, "top")


def test_the_example_runs():
    """What the docstring shows is what comes."""
    assert doctest.testmod(hierarchy).failed == 0
