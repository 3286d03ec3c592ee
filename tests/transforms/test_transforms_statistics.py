"""Statistics of a split: the numbers that inputs are normalised by, from Python and from the command line."""

import json
import math
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import shardkit
from shardkit.cli import main
from shardkit.transforms import Normalize, frontend, statistics
from shardkit.transforms.moments import Moments
from shardkit.transforms.torchaudio_import import torchaudio


@pytest.fixture
def stats(monkeypatch, capsys):
    """`shardkit stats` in this process: exit code, what it printed, and what it said on standard error."""

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["shardkit", "stats", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return ended.value.code, printed.out, printed.err

    return run


def sounds_of(packed):
    """Whole sounds [1, n] of the train split's clips that have one, read one by one."""
    dataset = shardkit.open(packed).select(split="train")
    clips = (dataset[place].audio for place in range(len(dataset)))
    return [torch.from_numpy(audio.copy()) for audio in clips if audio is not None]


def features_of(packed):
    """All AST features of the train split before normalisation, float64, computed clip by clip."""
    kaldi = torchaudio().compliance.kaldi
    pieces = [kaldi.fbank(audio - audio.mean(), window_type="hanning", num_mel_bins=128) for audio in sounds_of(packed)]
    return torch.cat([piece.flatten() for piece in pieces]).double()


def pictures_of(packed):
    """All stored frames of the train split, float64 [3, n] in [0, 1], read clip by clip."""
    dataset = shardkit.open(packed).select(split="train")
    clips = (dataset[place].video for place in range(len(dataset)))
    pieces = [torch.from_numpy(video.copy()).transpose(0, 1).flatten(1) for video in clips if video is not None]
    return torch.cat(pieces, dim=1).double() / 255


def test_features_have_the_mean_and_deviation_of_all_real_frames(packed):
    """To 1e-5 those of the features computed clip by clip; neither padding nor clips without sound count."""
    front = frontend("ast", sample_rate_hz=16000)
    # 19 clips in batches of 4: the last batch is filled up with a clip of weight 0.
    with shardkit.loader(
        packed, split="train", batch_size=4, shuffle=False, modalities=("audio",), workers=1
    ) as loader:
        found = statistics(loader, frontend=front)
    expected = features_of(packed)
    assert found.mean[0] == pytest.approx(expected.mean().item(), abs=1e-5)
    assert found.std[0] == pytest.approx(expected.std(unbiased=False).item(), abs=1e-5)
    assert found.frames == len(expected) // 128
    assert found.clips == len(sounds_of(packed))


def test_pictures_have_the_mean_and_deviation_of_each_colour(packed):
    """To 1e-5 those of every stored frame; repeated frames and clips without a picture do not count."""
    with shardkit.loader(
        packed, split="train", batch_size=4, shuffle=False, modalities=("video",), workers=1
    ) as loader:
        found = statistics(loader)
    expected = pictures_of(packed)
    assert found.mean == pytest.approx(expected.mean(dim=1).tolist(), abs=1e-5)
    assert found.std == pytest.approx(expected.std(dim=1, unbiased=False).tolist(), abs=1e-5)


def test_patches_and_views_count_as_what_they_are(packed):
    """VGGish's patches are its frames; a batch with a dimension of views counts each view."""
    with shardkit.loader(packed, batch_size=4, shuffle=False, workers=1) as loader:
        batch = next(iter(loader))
    front = frontend("vggish", sample_rate_hz=16000)
    once = statistics([batch], frontend=front)
    assert once.frames == front.frame_count(batch.audio_samples).sum()
    twice = replace(
        batch,
        audio=batch.audio.unsqueeze(1).repeat(1, 2, 1, 1),
        audio_samples=batch.audio_samples.unsqueeze(1).repeat(1, 2),
    )
    again = statistics([twice], frontend=front)
    assert (again.clips, again.frames) == (2 * once.clips, 2 * once.frames)
    assert (*again.mean, *again.std) == pytest.approx((*once.mean, *once.std))


def test_clips_of_weight_zero_do_not_count(packed):
    """A slot of weight 0 changes nothing, and a batch of nothing else is refused with the reason."""
    with shardkit.loader(packed, batch_size=4, shuffle=False, modalities=("video",), workers=1) as loader:
        batch = next(iter(loader))
    first = replace(batch, weight=torch.tensor([1.0, 0, 0, 0]))
    assert statistics([first]).clips == 1
    assert statistics([first]) != statistics([batch])
    with pytest.raises(shardkit.UsageError, match="picture"):
        statistics([replace(batch, weight=torch.zeros(4))])


@given(st.lists(st.lists(st.floats(-1e3, 1e3), max_size=5), min_size=1, max_size=8), st.sampled_from([0.0, 1e9]))
def test_moments_do_not_depend_on_the_pieces(pieces, offset):
    """However values are cut into pieces, empty ones too, and however far from zero: the moments of the whole."""
    moments = Moments(1)
    for piece in pieces:
        moments.add(torch.tensor([piece], dtype=torch.float64) + offset)
    whole = torch.tensor([value for piece in pieces for value in piece], dtype=torch.float64) + offset
    assert moments.count == len(whole)
    if len(whole):
        assert moments.mean.item() == pytest.approx(whole.mean().item(), rel=1e-12, abs=1e-9)
        assert moments.std.item() == pytest.approx(whole.std(unbiased=False).item(), rel=1e-6, abs=1e-5)


def test_stats_command_prints_what_to_paste(packed):
    """Numbers and a call for people; the call makes the front end with those numbers."""
    command = [sys.executable, "-m", "shardkit", "stats", packed, "--split", "train", "--frontend", "ast"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)
    call = said.stdout.splitlines()[-1]
    front = eval(call, {"shardkit": shardkit})
    expected = features_of(packed)
    assert front.mean == pytest.approx(expected.mean().item(), abs=1e-4)
    assert front.std == pytest.approx(expected.std(unbiased=False).item(), abs=1e-4)
    assert "split train" in said.stdout


def test_stats_command_json_has_the_numbers_in_full(packed, stats):
    """With --json one object, of the frames here, and nothing else on either stream."""
    code, printed, said = stats(packed, "--modality", "video", "--split", "train", "--json", "--workers", "1")
    numbers = json.loads(printed)
    assert numbers["mean"] == pytest.approx(pictures_of(packed).mean(dim=1).tolist(), abs=1e-5)
    assert (numbers["modality"], numbers["split"], numbers["frontend"]) == ("video", "train", None)
    normalize = eval(numbers["call"], {"shardkit": shardkit})
    assert isinstance(normalize, Normalize)
    assert math.isclose(normalize.std[0], numbers["std"][0], abs_tol=1e-4)
    assert (code, said) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--frontend", "passt"), "Resample(16000, 32000)"),
        (("--split", "nowhere"), "no split 'nowhere'"),
        (("--frontend", "bert"), "bert"),
        (("--modality", "video", "--frontend", "psla"), "--frontend psla is for --modality audio, and this is video"),
        (("--modality", "audio", "--size", "64"), "--size 64 is for --modality video, and this is audio: leave it out"),
        (("--size", "64"), "--size 64 is for --modality video, and this is audio"),
    ],
)
def test_stats_command_refuses_with_a_remedy(packed, stats, arguments, words):
    """Exit code 2 and a message, nothing else."""
    code, printed, said = stats(packed, *arguments)
    assert (code, printed) == (2, "")
    assert words in said
