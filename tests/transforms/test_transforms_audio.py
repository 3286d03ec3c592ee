"""Resample, LogMel and Fbank: whole batches, equal to torchaudio's own functions."""

import copy

import pytest
import torch
from torch_signals import signal

from shardkit import UsageError
from shardkit.transforms import Fbank, LogMel, Resample
from shardkit.transforms.torchaudio_import import torchaudio


@pytest.mark.parametrize(
    ("rate_hz", "options", "theirs"),
    [
        (16000, {}, {"num_mel_bins": 128, "window_type": "hanning"}),
        (
            16000,
            {"mels": 80, "window": "povey", "low_hz": 40, "high_hz": 7000},
            {"num_mel_bins": 80, "low_freq": 40, "high_freq": 7000},
        ),
        (
            44100,
            {"window": "hamming", "frame_ms": 20, "hop_ms": 5, "preemphasis": 0.0},
            {
                "num_mel_bins": 128,
                "window_type": "hamming",
                "frame_length": 20,
                "frame_shift": 5,
                "preemphasis_coefficient": 0.0,
            },
        ),
    ],
    ids=["default", "povey", "44.1 kHz"],
)
def test_fbank_of_a_batch_is_kaldis_of_each_clip(rate_hz, options, theirs):
    """torchaudio.compliance.kaldi.fbank, clip by clip, to 1e-4: silence, noise, tones and an offset alike."""
    audio = signal(rate_hz)
    found = Fbank(rate_hz, **options)(audio)
    kaldi = torchaudio().compliance.kaldi
    expected = torch.stack([kaldi.fbank(clip, sample_frequency=rate_hz, **theirs) for clip in audio])
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("scale", ["htk", "slaney"])
@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("centered", [True, False])
def test_log_mel_is_torchaudios_mel_spectrogram(scale, power, centered):
    """log(MelSpectrogram + offset), frames before filters."""
    audio = signal(22050)
    module = LogMel(
        22050, mels=40, n_fft=512, hop_samples=160, low_hz=50, scale=scale, power=power, centered=centered, offset=1e-4
    )
    theirs = torchaudio().transforms.MelSpectrogram(
        22050,
        n_fft=512,
        hop_length=160,
        f_min=50,
        n_mels=40,
        power=float(power),
        center=centered,
        norm="slaney" if scale == "slaney" else None,
        mel_scale=scale,
    )
    expected = (theirs(audio[:, 0]) + 1e-4).log().transpose(1, 2)
    torch.testing.assert_close(module(audio), expected, atol=2e-4, rtol=0)


@pytest.mark.parametrize("rates", [(44100, 16000), (16000, 32000), (48000, 44100), (16000, 16000)])
def test_resample_is_torchaudios(rates):
    """torchaudio.transforms.Resample, whatever the leading dimensions, and the count of real samples goes along."""
    audio = signal(rates[0])[..., :9001].reshape(3, 2, 1, -1)
    module = Resample(*rates)
    found = module(audio)
    torch.testing.assert_close(found, torchaudio().transforms.Resample(*rates)(audio), atol=1e-6, rtol=0)
    assert module.sample_count(torch.tensor(9001)) == found.shape[-1]


def test_stereo_is_mixed_and_int16_is_scaled():
    """Front ends see the mean of the channels, and int16 as its share of 32,768."""
    stereo = torch.cat([signal(16000), signal(16000).flip(0)], dim=1)
    fbank = Fbank()
    torch.testing.assert_close(fbank(stereo), fbank(stereo.mean(dim=1, keepdim=True)))
    whole = (stereo * 32767).round().to(torch.int16)
    torch.testing.assert_close(fbank(whole), fbank(whole.float() / 32768))
    torch.testing.assert_close(Resample(16000, 8000)(whole), Resample(16000, 8000)(whole.float() / 32768))


def test_views_are_clips():
    """[B, V, C, S] gives [B, V, frames, mels]."""
    audio = signal(16000)[:6]
    views = audio.reshape(3, 2, 1, -1)
    for module in (Fbank(), LogMel()):
        torch.testing.assert_close(module(views).flatten(0, 1), module(audio))


@pytest.mark.parametrize(
    "module", [Fbank(), LogMel(centered=False), LogMel(n_fft=400, hop_samples=160)], ids=["fbank", "log mel", "centred"]
)
def test_frame_count_is_that_of_as_many_samples(module):
    """For any number of samples that are enough for a frame; fewer make none."""
    lengths = [1024, 1025, 1183, 1184, 5000, 16000]
    found = module.frame_count(torch.tensor([0, *lengths]))
    frames = [module(torch.zeros(1, 1, length)).shape[1] for length in lengths]
    if getattr(module, "centered", False):
        # The frame with its middle just behind the last sample exists, and holds none that it could be about.
        frames = [count - (length % module.hop_samples == 0) for count, length in zip(frames, lengths, strict=True)]
    assert found.tolist() == [0, *frames]


def test_autocast_does_not_cost_precision():
    """Under autocast the filters are still applied in single precision: logarithms of little energies are right."""
    audio = signal(16000)
    for module in (Fbank(), LogMel(), Resample(16000, 8000)):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = module(audio)
        torch.testing.assert_close(found, module(audio))


@pytest.mark.parametrize("cast", [torch.bfloat16, torch.float16, torch.float64])
def test_a_cast_does_not_cost_precision(cast):
    """A model that is cast takes its front end along: filters keep their type, and features are the same."""
    audio = signal(16000)
    for module in (Fbank(), LogMel(), Resample(16000, 8000)):
        torch.testing.assert_close(copy.deepcopy(module).to(cast)(audio), module(audio), rtol=0, atol=0)
    assert Fbank().to("meta").filters.device.type == "meta"


def test_gradients_reach_the_samples():
    """The features can be differentiated, for adversarial and learned inputs."""
    audio = signal(16000)[1:2].clone().requires_grad_()
    Fbank()(audio).sum().backward()
    assert audio.grad is not None
    assert bool(audio.grad.isfinite().all())
    assert bool(audio.grad.abs().sum() > 0)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Fbank()(torch.zeros(2, 1, 399)), "399 samples"),
        (lambda: LogMel(n_fft=400)(torch.zeros(2, 1, 200)), "200 samples"),
        (lambda: Fbank()(torch.zeros(16000)), "[16000]"),
        (lambda: Fbank()(torch.zeros(2, 1, 16000, dtype=torch.int32)), "torch.int32"),
        (lambda: Fbank(window="flat"), "window='flat'"),
        (lambda: Fbank(high_hz=9000), "high_hz=9000"),
        (lambda: Fbank(high_hz=0), "high_hz=0"),
        (lambda: LogMel(high_hz=0), "high_hz=0"),
        (lambda: Fbank(frame_ms=0.01), "frame_ms=0.01"),
        (lambda: LogMel(scale="bark"), "scale='bark'"),
        (lambda: LogMel(frame_samples=2048), "frame_samples=2048"),
        (lambda: LogMel(power=3), "power=3"),
        (lambda: Resample(16000, 0), "to_hz=0"),
        (lambda: Resample(16000.0, 8000), "from_hz=16000.0"),
    ],
)
def test_wrong_arguments_are_named(make, words):
    """A UsageError says what was given."""
    with pytest.raises(UsageError) as error:
        make()
    assert words in str(error.value)
