"""Scores a segment to scores a clip."""

import pytest
import torch

from shardkit.errors import UsageError
from shardkit.tasks import AttentionPool, MaxPool, MeanPool

SCORES = torch.tensor([[[1.0, -2.0], [3.0, -4.0], [9.0, 9.0]], [[0.0, 5.0], [2.0, 1.0], [1.0, 0.0]]])
COUNT = torch.tensor([2, 3])


def test_max_pool_takes_the_highest_score_of_real_segments():
    """Also where all are below 0, and never one behind the clip's end."""
    assert MaxPool()(SCORES, COUNT).tolist() == [[3, -2], [2, 5]]
    assert MaxPool()(SCORES).tolist() == [[9, 9], [2, 5]]


def test_mean_pool_averages_real_segments():
    """Over as many as the clip has."""
    assert MeanPool()(SCORES, COUNT).tolist() == [[2, -3], [1, 2]]
    assert MeanPool()(SCORES[:1])[0].tolist() == pytest.approx([13 / 3, 1])


def test_attention_pool_weighs_real_segments():
    """Without a preference it is the mean; with a strong one for a class's own score, the maximum."""
    pool = AttentionPool(2)
    torch.nn.init.zeros_(pool.attention.weight)
    assert torch.allclose(pool(SCORES, COUNT), MeanPool()(SCORES, COUNT))
    with torch.no_grad():
        pool.attention.weight.copy_(torch.eye(2) * 1000)
    assert torch.allclose(pool(SCORES, COUNT), MaxPool()(SCORES, COUNT))


def test_attention_pool_can_look_at_features():
    """Weights come from [B, N, D], scores stay what is averaged."""
    pool = AttentionPool(2, features=3)
    features = torch.zeros(2, 3, 3)
    features[:, 1, 0] = 1.0
    with torch.no_grad():
        pool.attention.weight.copy_(torch.tensor([[1000.0, 0, 0], [1000.0, 0, 0]]))
    assert torch.allclose(pool(SCORES, COUNT, features=features), SCORES[:, 1])


@pytest.mark.parametrize("pool", [MaxPool(), MeanPool(), AttentionPool(2)])
def test_a_clip_without_segments_has_scores_of_zero(pool):
    """And gradients that are numbers, whatever stands behind its end."""
    scores = SCORES.clone().requires_grad_()
    pooled = pool(scores, torch.tensor([0, 3]))
    assert pooled[0].tolist() == [0, 0]
    pooled.sum().backward()
    assert torch.isfinite(scores.grad).all()
    assert not scores.grad[0].any()


@pytest.mark.parametrize("pool", [MaxPool(), MeanPool(), AttentionPool(2)])
def test_scores_have_three_dimensions(pool):
    """Anything else is refused."""
    with pytest.raises(UsageError, match=r"\[B, N, C\]"):
        pool(SCORES[0])


def test_attention_needs_classes():
    """A number below 1 is refused."""
    with pytest.raises(UsageError, match="classes=0"):
        AttentionPool(0)


@pytest.mark.parametrize(("pool", "features"), [(AttentionPool(3), None), (AttentionPool(2, features=4), None)])
def test_attention_looks_at_what_it_was_made_for(pool, features):
    """Another number of scores or features is refused, with what it was made for."""
    with pytest.raises(UsageError, match=f"looks at {pool.attention.in_features}"):
        pool(SCORES, features=features)
