"""Spectrograms on the mel scale, for whole batches: Fbank as Kaldi computes it, LogMel as most others do."""

import torch
from torch import Tensor
from torch.nn import functional as F

from shardkit.errors import UsageError
from shardkit.transforms.mel import MelScale, WindowName, mel_filters, window_function
from shardkit.transforms.precision import ExactModule, full_precision
from shardkit.transforms.waveforms import framed, frames_in, mono


class Fbank(ExactModule):
    """Kaldi's log mel filterbank energies, equal to `torchaudio.compliance.kaldi.fbank` without dither.

    That function takes one waveform; this takes a batch. Each frame loses its mean, is pre-emphasised and windowed;
    frames that the audio does not fill are left out.

    Args:
        sample_rate_hz: Of the audio.
        mels: Filters.
        window: `hanning`, `hamming` or `povey`.
        frame_ms: Length of a frame in milliseconds.
        hop_ms: From one frame to the next, in milliseconds.
        low_hz: Where the first filter begins.
        high_hz: Where the last one ends; None: half the sample rate.
        preemphasis: Share of the sample before that is taken off.

    Raises:
        UsageError: A value that does not fit, or torchaudio is not installed.
    """

    window: Tensor
    filters: Tensor

    def __init__(
        self,
        sample_rate_hz: int = 16000,
        *,
        mels: int = 128,
        window: WindowName = "hanning",
        frame_ms: float = 25.0,
        hop_ms: float = 10.0,
        low_hz: float = 20.0,
        high_hz: float | None = None,
        preemphasis: float = 0.97,
    ) -> None:
        super().__init__()
        self.sample_rate_hz, self.mels, self.preemphasis = sample_rate_hz, mels, preemphasis
        # Rounded down, as Kaldi does.
        self.frame_samples = int(sample_rate_hz * frame_ms * 0.001)
        self.hop_samples = int(sample_rate_hz * hop_ms * 0.001)
        if self.frame_samples < 2 or self.hop_samples < 1:
            raise UsageError(f"frame_ms={frame_ms:g}, hop_ms={hop_ms:g}: too short at {sample_rate_hz} Hz")
        self.n_fft = 1 << (self.frame_samples - 1).bit_length()
        filters = mel_filters(
            "kaldi",
            mels=mels,
            n_fft=self.n_fft,
            sample_rate_hz=sample_rate_hz,
            low_hz=low_hz,
            high_hz=sample_rate_hz / 2 if high_hz is None else high_hz,
        )
        self.register_buffer("window", window_function(window, self.frame_samples), persistent=False)
        self.register_buffer("filters", filters, persistent=False)

    def forward(self, audio: Tensor) -> Tensor:
        """[..., C, S], mixed to mono, to float [..., frames, mels].

        Raises:
            UsageError: Less audio than a frame, or samples of another type than floats and int16.
        """
        return self.of_mono(mono(audio))

    def of_mono(self, samples: Tensor) -> Tensor:
        """Float [..., S] to [..., frames, mels]."""
        # Rounding decides what is left between a loud tone's harmonics: the same operations in the same order as
        # torchaudio's, for the same features. In place, since fresh memory costs a processor more than the arithmetic.
        frames = framed(samples, self.frame_samples, self.hop_samples)
        frames = frames - frames.mean(dim=-1, keepdim=True)
        window = self.window.to(samples.dtype)
        first = (frames[..., :1] - self.preemphasis * frames[..., :1]) * window[:1]
        rest = (self.preemphasis * frames[..., :-1]).neg_().add_(frames[..., 1:]).mul_(window[1:])
        zeros = frames.new_zeros(()).expand(*frames.shape[:-1], self.n_fft - self.frame_samples)
        frames = torch.cat([first, rest, zeros], dim=-1)
        energies = _mel_energies(frames, self.filters, n_fft=self.n_fft, power=2)
        return energies.clamp_(min=torch.finfo(torch.float32).eps).log_()

    def frame_count(self, samples: Tensor) -> Tensor:
        """int64 [B]: frames in as many samples, such as `batch.audio_samples`."""
        return frames_in(samples, self.frame_samples, self.hop_samples)

    def extra_repr(self) -> str:
        """The arguments that matter most."""
        return f"{self.sample_rate_hz} Hz, mels={self.mels}, frame={self.frame_samples}, hop={self.hop_samples}"


class LogMel(ExactModule):
    """log(mel spectrogram + offset); the spectrogram is that of `torchaudio.transforms.MelSpectrogram`.

    Args:
        sample_rate_hz: Of the audio.
        mels: Filters.
        n_fft: Length of the transform.
        frame_samples: Length of a frame; None: `n_fft`.
        hop_samples: From one frame to the next; None: half a frame.
        low_hz: Where the first filter begins.
        high_hz: Where the last one ends; None: half the sample rate.
        scale: `htk`, `slaney` or `kaldi`; see `mel_filters`.
        power: 2 sums energies, 1 magnitudes.
        centered: Frame i has its middle at sample i · hop, beyond the ends the audio is mirrored; otherwise it begins
            there, and frames that the audio does not fill are left out.
        periodic: The Hann window's period is its length, not its length less one.
        offset: Added before the logarithm.

    Raises:
        UsageError: A value that does not fit, or torchaudio is not installed.
    """

    window: Tensor
    filters: Tensor

    def __init__(
        self,
        sample_rate_hz: int = 16000,
        *,
        mels: int = 64,
        n_fft: int = 1024,
        frame_samples: int | None = None,
        hop_samples: int | None = None,
        low_hz: float = 0.0,
        high_hz: float | None = None,
        scale: MelScale = "htk",
        power: int = 2,
        centered: bool = True,
        periodic: bool = True,
        offset: float = 1e-6,
    ) -> None:
        super().__init__()
        self.sample_rate_hz, self.mels, self.n_fft = sample_rate_hz, mels, n_fft
        self.frame_samples = n_fft if frame_samples is None else frame_samples
        self.hop_samples = self.frame_samples // 2 if hop_samples is None else hop_samples
        self.power, self.centered, self.offset = power, centered, offset
        if not 2 <= self.frame_samples <= n_fft or self.frame_samples % 2 or self.hop_samples < 1:
            raise UsageError(
                f"frame_samples={self.frame_samples}, hop_samples={self.hop_samples}: an even number up to n_fft="
                f"{n_fft}, and one above 0, are needed"
            )
        if power not in (1, 2) or not offset > 0:
            raise UsageError(f"power={power!r}, offset={offset!r}: 1 or 2, and a number above 0, are needed")
        filters = mel_filters(
            scale,
            mels=mels,
            n_fft=n_fft,
            sample_rate_hz=sample_rate_hz,
            low_hz=low_hz,
            high_hz=sample_rate_hz / 2 if high_hz is None else high_hz,
        )
        window = window_function("hanning", self.frame_samples, periodic=periodic)
        self.register_buffer("window", window, persistent=False)
        self.register_buffer("filters", filters, persistent=False)

    def forward(self, audio: Tensor) -> Tensor:
        """[..., C, S], mixed to mono, to float [..., frames, mels].

        Raises:
            UsageError: Less audio than a frame, or samples of another type than floats and int16.
        """
        return self.of_mono(mono(audio))

    def of_mono(self, samples: Tensor) -> Tensor:
        """Float [..., S] to [..., frames, mels]."""
        if self.centered:
            reach = self.frame_samples // 2
            if samples.shape[-1] <= reach:
                raise UsageError(f"{samples.shape[-1]} samples cannot be mirrored over {reach}; load longer clips")
            lines = samples.reshape(-1, samples.shape[-1])
            lines = F.pad(lines, (reach, reach), mode="reflect")
            samples = lines.reshape(*samples.shape[:-1], lines.shape[-1])
        frames = framed(samples, self.frame_samples, self.hop_samples) * self.window
        energies = _mel_energies(frames, self.filters, n_fft=self.n_fft, power=self.power)
        return energies.add_(self.offset).log_()

    def frame_count(self, samples: Tensor) -> Tensor:
        """int64 [B]: frames in as many samples, such as `batch.audio_samples`; centred ones have their middle in it."""
        if self.centered:
            return (samples + self.hop_samples - 1).div(self.hop_samples, rounding_mode="floor")
        return frames_in(samples, self.frame_samples, self.hop_samples)

    def extra_repr(self) -> str:
        """The arguments that matter most."""
        return f"{self.sample_rate_hz} Hz, mels={self.mels}, frame={self.frame_samples}, hop={self.hop_samples}"


def _mel_energies(frames: Tensor, filters: Tensor, *, n_fft: int, power: int) -> Tensor:
    """Windowed frames [..., frames, length] to [..., frames, mels], in single precision also under autocast."""
    with full_precision(frames.device):
        spectrum = torch.fft.rfft(frames, n=n_fft)
        real: Tensor = spectrum.real
        imaginary: Tensor = spectrum.imag
        powers = real.square().addcmul_(imaginary, imaginary)
        if power == 1:
            powers = powers.sqrt()
        return powers @ filters.to(powers.dtype)
