"""From scores a segment to scores a clip, for training on what is known of clips only (multiple-instance learning).

Segments behind a clip's end have no part; a clip without segments has scores of 0.
"""

import torch
from torch import Tensor, nn

from shardkit.errors import UsageError


class MaxPool(nn.Module):
    """The highest score of each class: AVE's choice for weak supervision (Tian et al. 2018)."""

    def forward(self, scores: Tensor, segment_count: Tensor | None = None) -> Tensor:
        """Pools floats [B, N, C] to [B, C].

        Args:
            scores: Logits, or probabilities.
            segment_count: int64 [B], `batch.segment_count`; None, or a number above N: all segments are real.
        """
        real = _real(scores, segment_count)
        pooled = scores.masked_fill(~real, -torch.inf).amax(dim=1)
        return pooled.masked_fill(~real.any(dim=1), 0.0)


class MeanPool(nn.Module):
    """The mean score of each class: PSP's choice for weak supervision (Zhou et al. 2021)."""

    def forward(self, scores: Tensor, segment_count: Tensor | None = None) -> Tensor:
        """Pools floats [B, N, C] to [B, C]; see MaxPool."""
        real = _real(scores, segment_count)
        return scores.masked_fill(~real, 0.0).sum(dim=1) / real.sum(dim=1).clamp(min=1)


class AttentionPool(nn.Module):
    """The mean of each class's scores, weighted by an attention that is learnt for each class.

    As in multi-modal multiple-instance learning for AVVP (Tian et al. 2020): the weights are a softmax over the
    segments of a linear map of what is known of each.

    Args:
        classes: C.
        features: D, of the features that the attention looks at; None: at the scores themselves.

    Raises:
        UsageError: Not whole numbers of at least 1.
    """

    def __init__(self, classes: int, *, features: int | None = None) -> None:
        super().__init__()
        if classes < 1 or (features is not None and features < 1):
            raise UsageError(f"classes={classes!r}, features={features!r}: whole numbers of at least 1 are needed")
        self.attention = nn.Linear(classes if features is None else features, classes)

    def forward(self, scores: Tensor, segment_count: Tensor | None = None, *, features: Tensor | None = None) -> Tensor:
        """Pools floats [B, N, C] to [B, C].

        Args:
            scores: Logits, or probabilities.
            segment_count: int64 [B], `batch.segment_count`; None: all segments are real.
            features: Floats [B, N, D], if it was made for features.
        """
        real = _real(scores, segment_count)
        known = scores if features is None else features
        if known.shape[-1] != self.attention.in_features:
            raise UsageError(
                f"{known.shape[-1]} {'scores' if features is None else 'features'} a segment, and this pool looks at "
                f"{self.attention.in_features}: make it for as many, or give the features that it was made for"
            )
        looked_at = self.attention(known)
        # Not -inf: a clip without segments would have a softmax of nothing.
        weights: Tensor = looked_at.masked_fill(~real, torch.finfo(looked_at.dtype).min).softmax(dim=1)
        return (weights * scores).masked_fill(~real, 0.0).sum(dim=1)


def _real(scores: Tensor, segment_count: Tensor | None) -> Tensor:
    """The segments that lie in their clip, bool [B, N, 1]."""
    if scores.dim() != 3 or not scores.is_floating_point():
        raise UsageError(f"scores of shape {list(scores.shape)} and {scores.dtype}: floats [B, N, C] are needed")
    places = torch.arange(scores.shape[1], device=scores.device)
    count = scores.new_full((len(scores),), scores.shape[1]) if segment_count is None else segment_count
    return (places < count[:, None]).unsqueeze(2)
