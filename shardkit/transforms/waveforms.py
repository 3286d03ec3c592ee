"""Audio as front ends take it: float samples, one channel, and frames of them."""

import torch
from torch import Tensor

from shardkit.errors import UsageError

INT16_SCALE = 1 / 32768


def as_float(audio: Tensor) -> Tensor:
    """Samples in [-1, 1]: int16 is scaled, floats are float32 at least.

    Raises:
        UsageError: Samples of another type.
    """
    if audio.dtype == torch.int16:
        return audio.float().mul_(INT16_SCALE)
    if not audio.is_floating_point():
        raise UsageError(f"audio of {audio.dtype}: floats in [-1, 1], or int16, are needed")
    return audio.float() if audio.dtype in (torch.float16, torch.bfloat16) else audio


def mono(audio: Tensor) -> Tensor:
    """The mean of the channels: [..., C, S] to float [..., S].

    Raises:
        UsageError: No channels, or samples of another type than floats and int16.
    """
    if audio.dim() < 2:
        raise UsageError(f"audio of shape {list(audio.shape)}: [B, C, S], as `batch.audio` has it, is needed")
    samples = as_float(audio)
    return samples[..., 0, :] if samples.shape[-2] == 1 else samples.mean(dim=-2)


def per_clip(counts: Tensor, clips: torch.Size) -> Tensor:
    """`counts` [B], or one a clip and view, in the shape of `clips` ([B], or [B, V])."""
    if counts.shape != clips[: counts.dim()]:
        raise UsageError(f"counts of shape {list(counts.shape)} for clips of shape {list(clips)}")
    return counts.reshape(*counts.shape, *(1,) * (len(clips) - counts.dim())).expand(clips)


def is_real(counts: Tensor, length: int) -> Tensor:
    """Whether each place lies before the clip's count: [...] to bool [..., length]."""
    return torch.arange(length, device=counts.device) < counts.unsqueeze(-1)


def framed(samples: Tensor, length: int, hop: int) -> Tensor:
    """Overlapping frames of `samples` [..., S] as a view [..., frames, length]; what is left over is cut.

    Raises:
        UsageError: Fewer samples than one frame has.
    """
    if samples.shape[-1] < length:
        raise UsageError(f"{samples.shape[-1]} samples are less than one frame of {length}; load longer clips")
    return samples.unfold(-1, length, hop)


def frames_in(samples: Tensor, length: int, hop: int) -> Tensor:
    """int64: how many whole frames of `length` fit into as many samples."""
    return ((samples - length).div(hop, rounding_mode="floor") + 1).clamp(min=0)
