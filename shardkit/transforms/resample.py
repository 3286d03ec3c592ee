"""Resample: another sample rate, by torchaudio's windowed sinc filter."""

import math

from torch import Tensor
from torch.nn import functional as F

from shardkit.errors import UsageError
from shardkit.transforms.precision import ExactModule, full_precision
from shardkit.transforms.torchaudio_import import torchaudio
from shardkit.transforms.waveforms import as_float


class Resample(ExactModule):
    """Audio at another sample rate, equal to `torchaudio.transforms.Resample`.

    Args:
        from_hz: Sample rate of the input.
        to_hz: Sample rate of the output.
        lowpass_filter_width: Zero crossings of the filter: more are sharper and slower.
        rolloff: Cut-off as a share of the lower Nyquist frequency.

    Raises:
        UsageError: A rate that is no whole number above 0, or torchaudio is not installed.
    """

    kernel: Tensor

    def __init__(self, from_hz: int, to_hz: int, *, lowpass_filter_width: int = 6, rolloff: float = 0.99) -> None:
        super().__init__()
        for name, rate in (("from_hz", from_hz), ("to_hz", to_hz)):
            if not isinstance(rate, int) or rate < 1:
                raise UsageError(f"{name}={rate!r}: a whole number of Hz above 0 is needed")
        self.from_hz, self.to_hz = from_hz, to_hz
        common = math.gcd(from_hz, to_hz)
        self._step, self._phases = from_hz // common, to_hz // common
        if from_hz != to_hz:
            # Only the filter is kept: torchaudio's module could not be pickled where its package cannot be imported.
            theirs = torchaudio().transforms.Resample(
                from_hz, to_hz, lowpass_filter_width=lowpass_filter_width, rolloff=rolloff
            )
            self.register_buffer("kernel", theirs.kernel.detach(), persistent=False)
            self._reach = int(theirs.width)

    def forward(self, audio: Tensor) -> Tensor:
        """[..., S] to float [..., sample_count(S)]; int16 is scaled to [-1, 1].

        Raises:
            UsageError: Samples of another type.
        """
        samples = as_float(audio)
        if self.from_hz == self.to_hz:
            return samples
        lines = F.pad(samples.reshape(-1, 1, samples.shape[-1]), (self._reach, self._reach + self._step))
        with full_precision(samples.device):
            phases = F.conv1d(lines, self.kernel.to(lines.dtype), stride=self._step)
        length = -(-samples.shape[-1] * self._phases // self._step)
        resampled = phases.transpose(1, 2).flatten(1)[:, :length]
        return resampled.reshape(*samples.shape[:-1], length)

    def sample_count(self, samples: Tensor) -> Tensor:
        """int64 [B]: what `batch.audio_samples` becomes."""
        return -(-samples * self._phases).div(self._step, rounding_mode="floor")

    def extra_repr(self) -> str:
        """The arguments."""
        return f"{self.from_hz} Hz to {self.to_hz} Hz"
