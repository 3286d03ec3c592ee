"""SpecAugment: bands of time and frequency are masked, others for every clip."""

import torch
from torch import Tensor, nn

from shardkit.errors import UsageError
from shardkit.transforms.draws import check_share, uniform
from shardkit.transforms.waveforms import per_clip


class SpecAugment(nn.Module):
    """Masks of time and frequency (Park et al. 2019, "SpecAugment", without its time warping); none in evaluation mode.

    A mask's width is uniform below its parameter, its place uniform among those that it fits, as in torchaudio's
    `TimeMasking` and `FrequencyMasking` with `iid_masks`.

    Args:
        time: Largest width of a time mask, in frames. AST and PaSST use 192 of ten seconds' 1,000.
        frequency: Largest width of a frequency mask, in filters. AST and PaSST use 48 of 128.
        time_masks: How many of them.
        frequency_masks: How many of them.
        max_time_share: Largest share of a clip's frames that one mask covers.
        value: What masked places become. 0 is the mean of normalised features; AST and PaSST mask before they
            normalise: `frontend.padding_value` is what their 0 becomes.

    Raises:
        UsageError: A width or number below 0, or no share.
    """

    def __init__(
        self,
        time: int = 192,
        frequency: int = 48,
        *,
        time_masks: int = 1,
        frequency_masks: int = 1,
        max_time_share: float = 1.0,
        value: float = 0.0,
    ) -> None:
        super().__init__()
        if min(time, frequency, time_masks, frequency_masks) < 0:
            raise UsageError(
                f"time={time!r}, frequency={frequency!r}, time_masks={time_masks!r}, frequency_masks="
                f"{frequency_masks!r}: numbers of at least 0 are needed"
            )
        check_share("max_time_share", max_time_share)
        self.time, self.frequency = time, frequency
        self.time_masks, self.frequency_masks = time_masks, frequency_masks
        self.max_time_share, self.value = max_time_share, value

    def forward(
        self, features: Tensor, frame_count: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """[..., frames, mels] to the same, masked; other masks for each of the leading places.

        Args:
            features: Of a front end.
            frame_count: int64 [B]: frames that are real; time masks stay inside them. None: all are.
            generator: Of the CPU; None: torch's default one.

        Raises:
            UsageError: Features without a clip's dimension, or counts that do not fit them.
        """
        if features.dim() < 3:
            raise UsageError(f"features of shape {list(features.shape)}: [B, frames, mels] is needed")
        if not self.training:
            return features
        clips, (frames, mels) = features.shape[:-2], features.shape[-2:]
        drawn = uniform(2, *clips, self.time_masks + self.frequency_masks, device=features.device, generator=generator)
        real = torch.tensor(frames) if frame_count is None else per_clip(frame_count, clips).unsqueeze(-1)
        in_time, in_frequency = drawn[..., : self.time_masks], drawn[..., self.time_masks :]
        widest = (real * self.max_time_share).floor().clamp(max=self.time)
        times = _bands(in_time, widest=widest, extent=real, length=frames)
        frequencies = _bands(in_frequency, widest=min(self.frequency, mels), extent=mels, length=mels)
        return features.masked_fill(times.unsqueeze(-1) | frequencies.unsqueeze(-2), self.value)

    def extra_repr(self) -> str:
        """The arguments that matter most."""
        return f"time={self.time_masks} of {self.time}, frequency={self.frequency_masks} of {self.frequency}"


def _bands(drawn: Tensor, *, widest: Tensor | int, extent: Tensor | int, length: int) -> Tensor:
    """Whether each of the places [..., length] lies inside one of the bands that were drawn.

    Args:
        drawn: float64 [2, ..., bands] in [0, 1): width and place.
        widest: Bound of the width, [..., 1] or one for all.
        extent: Places that a band may cover, likewise.
        length: Of the result.
    """
    width = drawn[0] * widest
    start = (drawn[1] * (extent - width)).floor()
    end = start + width.floor()
    places = torch.arange(length, device=drawn.device)
    return ((places >= start.unsqueeze(-1)) & (places < end.unsqueeze(-1))).any(dim=-2)
