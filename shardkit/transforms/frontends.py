"""Front ends of published models: audio in, the features that the model was trained on out.

Each is computed for a whole batch on its device, and tested against the definition that its docstring names. All give
[..., frames, mels]; PaSST takes [B, 1, mels, frames], which is `features.transpose(-1, -2).unsqueeze(1)`.
"""

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from shardkit.errors import UsageError
from shardkit.transforms.mel import WindowName
from shardkit.transforms.spectrograms import Fbank, LogMel
from shardkit.transforms.waveforms import frames_in, is_real, mono, per_clip

FrontEndName = Literal["ast", "psla", "passt", "mbt", "vggish"]


class FrontEnd(nn.Module):
    """Audio to normalised features; made by `frontend`.

    Attributes:
        name: The preset's.
        sample_rate_hz: What the audio must have.
        mean: Is subtracted from the features.
        std: They are divided by `std_factor` times this.
        std_factor: 2 for AST, else 1.
    """

    name: FrontEndName
    default_mean: float
    default_std: float
    std_factor = 1.0
    native_rate_hz = 16000

    def __init__(self, *, mean: float | None, std: float | None) -> None:
        super().__init__()
        self.sample_rate_hz = self.native_rate_hz
        self.mean = self.default_mean if mean is None else float(mean)
        self.std = self.default_std if std is None else float(std)
        if not self.std > 0:
            raise UsageError(f"std={std!r}: a number above 0 is needed")

    @property
    def padding_value(self) -> float:
        """What a feature of 0 becomes: the value of frames that AST and PSLA pad and mask."""
        return -self.mean / (self.std_factor * self.std)

    def forward(self, audio: Tensor, audio_samples: Tensor | None = None) -> Tensor:
        """Audio [..., C, S], mixed to mono, to normalised features [..., frames, mels].

        Args:
            audio: Floats in [-1, 1] or int16, at `sample_rate_hz`: `batch.audio`.
            audio_samples: int64 [B], `batch.audio_samples`: what of it is real. With it the result is that of each
                clip alone, padded as the model's own code pads; without it padding counts as silence.

        Raises:
            UsageError: Less audio than a frame, or samples of another type than floats and int16.
        """
        return (self.features(audio, audio_samples) - self.mean) / (self.std_factor * self.std)

    def features(self, audio: Tensor, audio_samples: Tensor | None = None) -> Tensor:
        """As `forward`, before normalisation: what `mean` and `std` are statistics of."""
        raise NotImplementedError

    def frame_count(self, samples: Tensor) -> Tensor:
        """int64: frames (VGGish: patches) that hold nothing but as many real samples."""
        raise NotImplementedError

    def extra_repr(self) -> str:
        """The arguments."""
        return f"{self.name!r}, sample_rate_hz={self.sample_rate_hz}, mean={self.mean:g}, std={self.std:g}"


class _FbankFrontEnd(FrontEnd):
    """Kaldi features; frames that are not real are 0 before normalisation, as the authors of AST and PSLA pad them."""

    window: WindowName = "hanning"

    def __init__(self, *, mean: float | None, std: float | None, frames: int | None = None) -> None:
        super().__init__(mean=mean, std=std)
        self.frames = frames
        self.fbank = Fbank(self.sample_rate_hz, mels=128, window=self.window)

    def prepared(self, samples: Tensor, real: Tensor | None) -> Tensor:
        """Mono audio before the features: without its mean, which is that of the real samples."""
        if real is None:
            return samples - samples.mean(dim=-1, keepdim=True)
        kept = samples * real
        mean = kept.sum(dim=-1, keepdim=True) / real.sum(dim=-1, keepdim=True).clamp(min=1)
        return (kept - mean) * real

    def features(self, audio: Tensor, audio_samples: Tensor | None = None) -> Tensor:
        samples = mono(audio)
        counts = None if audio_samples is None else per_clip(audio_samples, samples.shape[:-1])
        real = None if counts is None else is_real(counts, samples.shape[-1])
        features = self.fbank.of_mono(self.prepared(samples, real))
        if counts is not None:
            features = features * is_real(self.frame_count(counts), features.shape[-2]).unsqueeze(-1)
        if self.frames is not None:
            features = F.pad(features, (0, 0, 0, self.frames - features.shape[-2]))
        return features

    def frame_count(self, samples: Tensor) -> Tensor:
        count = self.fbank.frame_count(samples)
        return count if self.frames is None else count.clamp(max=self.frames)


class _Ast(_FbankFrontEnd):
    """AST: Gong, Chung, Glass 2021; github.com/YuanGongND/ast, src/dataloader.py; mean and deviation of AudioSet."""

    name = "ast"
    default_mean, default_std = -4.2677393, 4.5689974
    std_factor = 2.0


class _Psla(_FbankFrontEnd):
    """PSLA: Gong, Chung, Glass 2021; github.com/YuanGongND/psla, src/dataloaders/audioset_dataset.py and src/run.py.

    As AST, but divided by the deviation once, and with another mean.
    """

    name = "psla"
    default_mean, default_std = -4.6476, 4.5699


class _Mbt(_FbankFrontEnd):
    """MBT: Nagrani et al. 2021, "Attention bottlenecks for multimodal fusion", section 4.2.

    AST's features with a Hamming window, 100 frames for every second; (x - mean) / std. The paper does not publish the
    scale of its spectrograms, to which the mean and deviation in its code (1.102, 2.762) belong; those of AudioSet on
    this scale are AST's.
    """

    name = "mbt"
    default_mean, default_std = -4.2677393, 4.5689974
    window = "hamming"

    def prepared(self, samples: Tensor, real: Tensor | None) -> Tensor:
        kept = samples if real is None else samples * real
        # So much more that a frame begins at every hop.
        return F.pad(kept, (0, self.fbank.frame_samples - self.fbank.hop_samples))

    def frame_count(self, samples: Tensor) -> Tensor:
        count = samples.div(self.fbank.hop_samples, rounding_mode="floor")
        return count if self.frames is None else count.clamp(max=self.frames)


class _Passt(FrontEnd):
    """PaSST: Koutini et al. 2022; AugmentMelSTFT in github.com/kkoutini/PaSST, models/preprocess.py.

    In its evaluation mode, with the settings of its ex_audioset.py: fmax_aug_range 2,000 makes the highest frequency
    15,000 Hz. The filters' edges that it draws at random while training are not drawn here.
    """

    name = "passt"
    native_rate_hz = 32000
    default_mean, default_std = -4.5, 5.0
    preemphasis = 0.97

    def __init__(self, *, mean: float | None, std: float | None) -> None:
        super().__init__(mean=mean, std=std)
        self.log_mel = LogMel(
            self.sample_rate_hz,
            mels=128,
            n_fft=1024,
            frame_samples=800,
            hop_samples=320,
            high_hz=15000.0,
            scale="kaldi",
            periodic=False,
            offset=1e-5,
        )

    def features(self, audio: Tensor, audio_samples: Tensor | None = None) -> Tensor:
        samples = _silenced(audio, audio_samples)
        return self.log_mel.of_mono(samples[..., 1:] - self.preemphasis * samples[..., :-1])

    def frame_count(self, samples: Tensor) -> Tensor:
        return self.log_mel.frame_count((samples - 1).clamp(min=0))


class _Vggish(FrontEnd):
    """VGGish: Hershey et al. 2017; github.com/tensorflow/models, research/audioset/vggish (vggish_input.py).

    Patches of 0.96 s: [..., N, 96, 64]; what does not fill one is cut. Not normalised.
    """

    name = "vggish"
    default_mean, default_std = 0.0, 1.0
    patch_frames = 96

    def __init__(self, *, mean: float | None, std: float | None) -> None:
        super().__init__(mean=mean, std=std)
        self.log_mel = LogMel(
            self.sample_rate_hz,
            mels=64,
            n_fft=512,
            frame_samples=400,
            hop_samples=160,
            low_hz=125.0,
            high_hz=7500.0,
            scale="kaldi",
            power=1,
            centered=False,
            offset=0.01,
        )

    def features(self, audio: Tensor, audio_samples: Tensor | None = None) -> Tensor:
        lines = self.log_mel.of_mono(_silenced(audio, audio_samples))
        patches = lines.shape[-2] // self.patch_frames
        whole = lines[..., : patches * self.patch_frames, :]
        return whole.reshape(*lines.shape[:-2], patches, self.patch_frames, lines.shape[-1])

    def frame_count(self, samples: Tensor) -> Tensor:
        return frames_in(self.log_mel.frame_count(samples), self.patch_frames, self.patch_frames)


def _silenced(audio: Tensor, audio_samples: Tensor | None) -> Tensor:
    """Mono audio whose padding is silence: [..., C, S] to float [..., S]."""
    samples = mono(audio)
    if audio_samples is None:
        return samples
    return samples * is_real(per_clip(audio_samples, samples.shape[:-1]), samples.shape[-1])


_PRESETS: dict[str, type[FrontEnd]] = {preset.name: preset for preset in (_Ast, _Psla, _Passt, _Mbt, _Vggish)}


def frontend(
    name: FrontEndName,
    *,
    sample_rate_hz: int,
    mean: float | None = None,
    std: float | None = None,
    frames: int | None = None,
) -> FrontEnd:
    """The front end of a published model.

    Args:
        name: `ast`, `psla`, `mbt` (16 kHz, 128 filters), `passt` (32 kHz, 128 filters) or `vggish` (16 kHz, patches of
            96 frames and 64 filters).
        sample_rate_hz: Of the audio that it will get.
        mean: Of the features before normalisation, in place of the published one; `shardkit stats` computes it.
        std: Likewise.
        frames: For `ast`, `psla` and `mbt`: cut or pad to as many, as AST does (1,024 for ten seconds of AudioSet).

    Returns:
        A module; `front(batch.audio, batch.audio_samples)` is float [B, frames, mels].

    Raises:
        UsageError: Another name, a sample rate that the model does not take, or torchaudio is not installed.

    Example:
        >>> front = shardkit.transforms.frontend("ast", sample_rate_hz=16000)  # doctest: +SKIP
        >>> logits = model(front(batch.audio, batch.audio_samples))  # doctest: +SKIP
    """
    preset = _PRESETS.get(name)
    if preset is None:
        raise UsageError(f"no front end {name!r}; there are {', '.join(map(repr, _PRESETS))}")
    if sample_rate_hz != preset.native_rate_hz:
        raise UsageError(
            f"{name} takes audio of {preset.native_rate_hz} Hz, this has {sample_rate_hz} Hz: put "
            f"shardkit.transforms.Resample({sample_rate_hz}, {preset.native_rate_hz}) before it, or pack with "
            f"--audio-rate {preset.native_rate_hz}"
        )
    if issubclass(preset, _FbankFrontEnd):
        if frames is not None and frames < 1:
            raise UsageError(f"frames={frames!r}: a whole number of at least 1 is needed")
        return preset(mean=mean, std=std, frames=frames)
    if frames is not None:
        raise UsageError(f"frames={frames!r}: only ast, psla and mbt are cut or padded to a number of frames")
    return preset(mean=mean, std=std)
