"""Mel filters and windows: torchaudio's, as buffers of the modules that use them."""

import warnings
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from shardkit.errors import UsageError
from shardkit.transforms.torchaudio_import import torchaudio

MelScale = Literal["kaldi", "htk", "slaney"]
WindowName = Literal["hanning", "hamming", "povey"]


def mel_filters(
    scale: MelScale, *, mels: int, n_fft: int, sample_rate_hz: int, low_hz: float, high_hz: float
) -> Tensor:
    """float32 [n_fft // 2 + 1, mels]: triangles from `low_hz` to `high_hz` on a mel scale.

    Args:
        scale: `kaldi`: HTK's formula, triangles straight on the mel scale (also VGGish's); `htk`: the same formula,
            straight in Hz; `slaney`: the scale and area norm of Slaney's Auditory Toolbox, librosa's default.
        mels: Filters.
        n_fft: Length of the transform.
        sample_rate_hz: Of the audio.
        low_hz: Where the first triangle begins.
        high_hz: Where the last one ends.

    Raises:
        UsageError: Frequencies that do not fit the sample rate, another scale, or torchaudio is not installed.
    """
    if not 0 <= low_hz < high_hz <= sample_rate_hz / 2:
        raise UsageError(
            f"low_hz={low_hz:g}, high_hz={high_hz:g}: two frequencies from 0 to {sample_rate_hz / 2:g}, half the "
            "sample rate, are needed, the lower first"
        )
    if scale == "kaldi":
        filters, _ = torchaudio().compliance.kaldi.get_mel_banks(
            mels, n_fft, float(sample_rate_hz), low_hz, high_hz, 100.0, -500.0, 1.0
        )
        # Kaldi leaves out the last bin, at half the sample rate.
        return F.pad(filters.float(), (0, 1)).T.contiguous()
    if scale not in ("htk", "slaney"):
        raise UsageError(f"scale={scale!r}: one of 'kaldi', 'htk', 'slaney' is needed")
    with warnings.catch_warnings():
        # Filters so narrow that they hold no bin are the caller's choice, and common in published settings.
        warnings.filterwarnings("ignore", message="At least one mel filterbank", category=UserWarning)
        bank: Tensor = torchaudio().functional.melscale_fbanks(
            n_fft // 2 + 1,
            low_hz,
            high_hz,
            mels,
            sample_rate_hz,
            norm="slaney" if scale == "slaney" else None,
            mel_scale=scale,
        )
    return bank


def window_function(name: WindowName, length: int, *, periodic: bool = False) -> Tensor:
    """float32 [length]; Kaldi's `povey` is the Hann window to the power of 0.85.

    Raises:
        UsageError: Another name.
    """
    if name == "hamming":
        return torch.hamming_window(length, periodic=periodic)
    if name in ("hanning", "povey"):
        return torch.hann_window(length, periodic=periodic).pow(0.85 if name == "povey" else 1.0)
    raise UsageError(f"window={name!r}: one of 'hanning', 'hamming', 'povey' is needed")
