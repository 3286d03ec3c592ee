"""Front ends of published models, against their definitions written out here."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torch_signals import signal

import shardkit
from shardkit import UsageError
from shardkit.transforms import frontend
from shardkit.transforms.torchaudio_import import torchaudio

RATES_HZ = {"ast": 16000, "psla": 16000, "mbt": 16000, "passt": 32000, "vggish": 16000}


def reference_ast(waveform, *, mean=-4.2677393, std=4.5689974, factor=2, frames=None):
    """One clip [1, S] as github.com/YuanGongND/ast computes it (src/dataloader.py): [frames, 128]."""
    waveform = waveform - waveform.mean()
    fbank = torchaudio().compliance.kaldi.fbank(
        waveform,
        htk_compat=True,
        sample_frequency=16000,
        use_energy=False,
        window_type="hanning",
        num_mel_bins=128,
        dither=0.0,
        frame_shift=10,
    )
    if frames is not None:
        fbank = torch.nn.ZeroPad2d((0, 0, 0, max(0, frames - len(fbank))))(fbank)[:frames]
    return (fbank - mean) / (std * factor)


def reference_psla(waveform, *, frames=None):
    """One clip [1, S] as github.com/YuanGongND/psla does: AST's, divided by the deviation once, another mean."""
    return reference_ast(waveform, mean=-4.6476, std=4.5699, factor=1, frames=frames)


def reference_mbt(waveform):
    """One clip [1, S] after section 4.2 of the paper: 128 filters, 25 ms Hamming window, 10 ms, 100 frames a second."""
    fbank = torchaudio().compliance.kaldi.fbank(
        F.pad(waveform, (0, 240)), window_type="hamming", num_mel_bins=128, frame_length=25, frame_shift=10
    )
    return (fbank + 4.2677393) / 4.5689974


def reference_passt(waveform):
    """One clip [1, S] as AugmentMelSTFT in evaluation mode (github.com/kkoutini/PaSST, models/preprocess.py)."""
    emphasised = F.conv1d(waveform.unsqueeze(1), torch.tensor([[[-0.97, 1.0]]]).to(waveform)).squeeze(1)
    spectrum = torch.stft(
        emphasised,
        1024,
        hop_length=320,
        win_length=800,
        center=True,
        normalized=False,
        window=torch.hann_window(800, periodic=False).to(waveform),
        return_complex=True,
    )
    power = spectrum.real**2 + spectrum.imag**2
    # fmax_aug_range is 2,000 in ex_audioset.py, so the upper edge is 16,000 - 2,000 // 2.
    filters, _ = torchaudio().compliance.kaldi.get_mel_banks(
        128, 1024, 32000, 0.0, 15000, vtln_low=100.0, vtln_high=-500.0, vtln_warp_factor=1.0
    )
    mel = torch.matmul(F.pad(filters, (0, 1)).to(power), power)
    return ((((mel + 0.00001).log()) + 4.5) / 5.0)[0].T


def reference_vggish(waveform):
    """One clip [1, S] in NumPy after VGGish's vggish_params.py and vggish_input.py: [patches, 96, 64]."""
    samples = waveform[0].double().numpy()
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    count = 1 + (len(samples) - 400) // 160
    frames = np.stack([samples[160 * i : 160 * i + 400] for i in range(count)]) * window
    magnitudes = np.abs(np.fft.rfft(frames, 512))

    def mel(hertz):
        return 1127.0 * np.log(1 + np.asarray(hertz) / 700.0)

    bins = mel(np.linspace(0, 8000, 257))
    edges = np.linspace(mel(125.0), mel(7500.0), 66)
    filters = np.zeros((257, 64))
    for band in range(64):
        low, centre, high = edges[band : band + 3]
        filters[:, band] = np.maximum(0, np.minimum((bins - low) / (centre - low), (high - bins) / (high - centre)))
    filters[0] = 0
    log_mel = np.log(magnitudes @ filters + 0.01)
    patches = count // 96
    return torch.from_numpy(log_mel[: patches * 96].reshape(patches, 96, 64)).to(waveform)


REFERENCES = {
    "ast": reference_ast,
    "psla": reference_psla,
    "mbt": reference_mbt,
    "passt": reference_passt,
    "vggish": reference_vggish,
}


@pytest.mark.parametrize(
    ("name", "dtype", "tolerance"),
    [
        ("ast", torch.float32, 1e-4),
        ("psla", torch.float32, 1e-4),
        ("mbt", torch.float32, 1e-4),
        ("passt", torch.float64, 1e-4),
        ("vggish", torch.float64, 1e-4),
        # Another transform than the reference's: in single precision a loud tone's rounding is a part of its quietest
        # bands, in both.
        ("passt", torch.float32, 1e-3),
        ("vggish", torch.float32, 1e-3),
    ],
)
def test_front_end_is_its_reference_definition(name, dtype, tolerance):
    """A batch gives what the published code, or the paper's definition, gives clip by clip."""
    rate_hz = RATES_HZ[name]
    audio = signal(rate_hz, seconds=2.1).to(dtype)
    found = frontend(name, sample_rate_hz=rate_hz)(audio)
    expected = torch.stack([REFERENCES[name](clip) for clip in audio])
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=0)


def test_shapes_are_those_the_models_take():
    """Ten seconds: AST 998 frames (1,024 where asked), MBT 100 a second, PaSST 1,000, VGGish ten patches."""
    shapes = {}
    for name, rate_hz in RATES_HZ.items():
        shapes[name] = tuple(frontend(name, sample_rate_hz=rate_hz)(torch.zeros(2, 1, 10 * rate_hz)).shape)
    assert shapes == {
        "ast": (2, 998, 128),
        "psla": (2, 998, 128),
        "mbt": (2, 1000, 128),
        "passt": (2, 1000, 128),
        "vggish": (2, 10, 96, 64),
    }
    assert frontend("ast", sample_rate_hz=16000, frames=1024)(torch.zeros(2, 1, 160000)).shape == (2, 1024, 128)


@pytest.mark.parametrize(("name", "reference"), [("ast", reference_ast), ("psla", reference_psla)])
@pytest.mark.parametrize("frames", [80, 300])
def test_padded_clips_are_as_each_alone(name, reference, frames):
    """With audio_samples, a short clip in a long batch is the published code's result for it, padded as there."""
    audio = signal(16000)
    lengths = torch.tensor([20800, 16000, 12345, 400, 5000, 20799])
    front = frontend(name, sample_rate_hz=16000, frames=frames)
    garbage = torch.arange(audio.shape[-1]) >= lengths.reshape(-1, 1, 1)
    found = front(audio + 0.3 * garbage, lengths)  # what lies behind the end does not matter
    for clip, (samples, length) in enumerate(zip(audio, lengths.tolist(), strict=True)):
        expected = reference(samples[:, :length], frames=frames)
        torch.testing.assert_close(found[clip], expected, atol=1e-4, rtol=0)
    assert front.frame_count(lengths).tolist() == [min(frames, 1 + (n - 400) // 160) for n in lengths.tolist()]


@pytest.mark.parametrize("name", ["mbt", "passt", "vggish"])
def test_other_front_ends_see_padding_as_silence(name):
    """With audio_samples the result is that of the clip with zeros behind it; frame_count tells how much is real."""
    rate_hz = RATES_HZ[name]
    audio = signal(rate_hz, seconds=2.1).double()
    length = round(1.2 * rate_hz)
    lengths = torch.full((len(audio),), length)
    cut = audio * (torch.arange(audio.shape[-1]) < length)
    front = frontend(name, sample_rate_hz=rate_hz)
    expected = torch.stack([REFERENCES[name](clip) for clip in cut])
    found = front(audio, lengths)
    count = int(front.frame_count(torch.tensor(length)))
    assert count == {"mbt": 120, "passt": 120, "vggish": 1}[name]
    torch.testing.assert_close(found[:, :count], expected[:, :count], atol=1e-4, rtol=0)
    if name != "mbt":  # MBT's frames behind the end are 0 before normalisation, as AST's
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    else:
        torch.testing.assert_close(found[:, count:], torch.full_like(found[:, count:], front.padding_value))


def test_mean_and_std_of_another_data_set_take_the_published_ones_place():
    """AST divides by twice the deviation given; features() is what they are statistics of."""
    audio = signal(16000)
    front = frontend("ast", sample_rate_hz=16000, mean=-6.0, std=3.0)
    torch.testing.assert_close(front(audio), (front.features(audio) + 6) / 6)
    assert front.padding_value == pytest.approx(1.0)


def test_front_end_reads_a_batch(packed):
    """Batches of a packed data set go in as they are, views and short clips too."""
    front = frontend("ast", sample_rate_hz=16000)
    with shardkit.loader(packed, batch_size=4, modalities=("audio",), shuffle=False, workers=1) as loader:
        batch = next(iter(loader))
    found = front(batch.audio, batch.audio_samples)
    counts = front.frame_count(batch.audio_samples)
    dataset = shardkit.open(packed)
    for key, features, count in zip(batch.keys, found, counts.tolist(), strict=True):
        alone = dataset[key].audio
        if alone is not None:
            expected = reference_ast(torch.from_numpy(alone.copy()))
            torch.testing.assert_close(features[:count], expected, atol=1e-4, rtol=0)
    assert len(set(counts.tolist())) > 1


@pytest.mark.parametrize("name", RATES_HZ)
def test_wrong_sample_rate_names_resample(name):
    """Audio of another rate is refused, and the message is the module that mends it."""
    with pytest.raises(UsageError) as error:
        frontend(name, sample_rate_hz=44100)
    assert f"Resample(44100, {RATES_HZ[name]})" in str(error.value)
    assert f"--audio-rate {RATES_HZ[name]}" in str(error.value)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: frontend("bert", sample_rate_hz=16000), "'vggish'"),
        (lambda: frontend("ast", sample_rate_hz=16000, std=0.0), "std=0.0"),
        (lambda: frontend("ast", sample_rate_hz=16000, frames=0), "frames=0"),
        (lambda: frontend("passt", sample_rate_hz=32000, frames=10), "frames=10"),
        (lambda: frontend("ast", sample_rate_hz=16000)(torch.zeros(2, 1, 800), torch.zeros(3)), "[3]"),
    ],
)
def test_wrong_arguments_are_named(make, words):
    """A UsageError says what was given and what there is."""
    with pytest.raises(UsageError) as error:
        make()
    assert words in str(error.value)
