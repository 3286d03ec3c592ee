"""Tasks and shuffles do the same on every device."""

import pytest
import torch

from shardkit.tasks import AVEL, AVVP, CML, AttentionPool, MaxPool, MeanPool, SegmentShuffle, localize

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def _same(one, other):
    assert len(one) == len(other)
    for mine, theirs in zip(one, other, strict=True):
        assert theirs.device.type == "cuda"
        assert torch.equal(mine, theirs.cpu())


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("scope", ["within", "across"])
def test_a_batch_on_a_gpu_is_shuffled_as_on_the_cpu(spelled_batches, scope):
    """Media, targets, labels, events and sources, and what tasks make of them."""
    batch = spelled_batches(task="avel")[1]
    shuffle = SegmentShuffle("both_independent", scope=scope, seed=1)
    one, other = shuffle(batch), shuffle(batch.to("cuda"))
    _same(one.tensors(), other.tensors())
    for task in (AVEL(), AVVP(), CML()):
        assert torch.equal(task(one).target, task(other).target.cpu())


@pytest.mark.gpu
@needs_cuda
def test_events_are_localized_and_scores_pooled_on_a_gpu():
    """Whole numbers give the same places, and the same scores."""
    distance = torch.randint(5, (6, 10, 10), generator=torch.Generator().manual_seed(1))
    seconds = torch.arange(10)
    event = (seconds >= 2) & (seconds < torch.arange(3, 9)[:, None])
    one, other = localize(distance, event), localize(distance.cuda(), event.cuda())
    assert torch.equal(one.start_a2v, other.start_a2v.cpu())
    assert torch.equal(one.start_v2a, other.start_v2a.cpu())
    count = torch.tensor([10, 3, 0, 1, 10, 7])
    for pool in (MaxPool(), MeanPool(), AttentionPool(10)):
        scores = pool(distance.float(), count).detach()
        assert torch.allclose(scores, pool.cuda()(distance.float().cuda(), count.cuda()).detach().cpu(), atol=1e-5)
