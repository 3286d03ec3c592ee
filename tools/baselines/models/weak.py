"""Weak supervision: segments are scored, clips are what is known."""

import torch
from torch import Tensor, nn

from shardkit.loading.batch import Batch


class Weak(nn.Module):
    """Adds clip scores to a model of segments: multiple-instance learning.

    A clip has a class where one of its segments has it, and is background where none has any. So what is pooled over
    segments is by how much a class beats background there; a clip's score of background is 0, which the pooled ones
    have to beat.

    Args:
        segments: Batches to scores [B, N, classes + 1], background last.
        pool: Such as `shardkit.tasks.MaxPool` (AVE): [B, N, C] to [B, C], given the count of segments that lie in the
            clip.
    """

    def __init__(self, segments: nn.Module, pool: nn.Module) -> None:
        super().__init__()
        self.segments, self.pool = segments, pool

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """A batch to segment scores [B, N, classes + 1] and clip scores [B, classes + 1]."""
        scores = self.segments(batch)
        beaten = scores[..., :-1] - scores[..., -1:]
        pooled = self.pool(beaten, batch.segment_count)
        return scores, torch.cat([pooled, pooled.new_zeros(len(pooled), 1)], dim=1)
