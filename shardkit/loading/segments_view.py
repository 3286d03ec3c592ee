"""Batches segment by segment."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from shardkit.errors import UsageError


@dataclass(frozen=True, slots=True)
class SegmentsView:
    """B clips of N segments; lies in the batch's memory where it can."""

    video: Tensor | None
    """uint8 [B, N, K, 3, H, W], or what the batch's video has become. None where there is no video."""
    audio: Tensor | None
    """float32 [B, N, C, S]. None where there is no audio."""


def segments_view(
    video: Tensor | None, audio: Tensor | None, *, segments: int, segment_s: float, context_s: float | None
) -> SegmentsView:
    """See `Batch.segments_view`.

    Args:
        video: [B, T, 3, H, W].
        audio: [B, C, S], of `segments` * `segment_s` seconds.
        segments: N.
        segment_s: Length of a segment.
        context_s: Length of each segment's sound.
    """
    if video is not None:
        if video.dim() != 5 or video.shape[1] % segments:
            raise UsageError(f"video {list(video.shape)} does not divide into {segments} segments of [B, T, 3, H, W]")
        video = video.reshape(len(video), segments, video.shape[1] // segments, *video.shape[2:])
    if audio is not None:
        if audio.dim() != 3 or audio.shape[2] < segments:
            raise UsageError(f"audio {list(audio.shape)} does not divide into {segments} segments of [B, C, S]")
        audio = _sound(audio, segments, segment_s, context_s)
    return SegmentsView(video, audio)


def _sound(audio: Tensor, segments: int, segment_s: float, context_s: float | None) -> Tensor:
    total = audio.shape[2]
    if context_s is None:
        size = total // segments
        starts = [place * total // segments for place in range(segments)]
    else:
        if not (math.isfinite(context_s) and context_s > 0):
            raise UsageError(f"context_s={context_s!r}: a number of seconds above 0 is needed")
        size = max(1, round(context_s * total / (segments * segment_s)))
        # The nearest sample in whole numbers: floats would move some segments by one.
        starts = [((2 * place + 1) * total - segments * (size - 1)) // (2 * segments) for place in range(segments)]
    before, behind = max(0, -starts[0]), max(0, starts[-1] + size - total)
    if before or behind:
        audio = F.pad(audio, (before, behind))
        starts = [start + before for start in starts]
    step = (starts[-1] - starts[0]) // max(1, segments - 1)
    if starts == [starts[0] + place * step for place in range(segments)]:
        return audio[..., starts[0] :].unfold(2, size, max(1, step))[:, :, :segments].movedim(2, 1)
    return torch.stack([audio[..., start : start + size] for start in starts], dim=1)
