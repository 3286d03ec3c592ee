"""What is packed against what PyAV reads from the source directly: the right frame, the true time, the same sound."""

import csv
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import pytest
from av.audio.resampler import AudioResampler
from av.video.reformatter import Interpolation
from synth_media import read_code

import shardkit

CLIPS = Path(__file__).parents[2] / "../shared/data/clips"
LABELLED = tuple(
    sorted(path.name for path in CLIPS.glob("*__*.mp4") if path.name.startswith(("avo65", "specv", "llp")))
)
AWKWARD = (
    "streamio__awesome_movie.mov",
    "moviepy__chaplin.mp4",
    "torchcodec__nasa_13013.mp4",
    "tmh__bear-vp9-opus.webm",
)
"""Variable frame rate, MP3, several streams of a kind, VP9."""
SPAN = ("webrtc__chrome.mp4", 10.013, 14.513)
"""Begins between two frames, behind a seek."""
FRAMES = 8
RATE_HZ = 16000

needs_clips = pytest.mark.skipif(not CLIPS.is_dir(), reason="the real clips are not at ../shared/data/clips")


@dataclass(frozen=True)
class Source:
    """A media file as PyAV decodes it, from its beginning."""

    frames: list[av.VideoFrame]
    time_s: np.ndarray
    """Of each frame, counted from the container's start."""

    @classmethod
    def read(cls, path: Path) -> "Source":
        """The whole file."""
        with av.open(str(path)) as container:
            frames = list(container.decode(container.streams.best("video")))
            zero_s = max(0, container.start_time or 0) / 1e6
        return cls(frames, np.array([float(frame.pts * frame.time_base) - zero_s for frame in frames]))

    def shown_at(self, time_s: float) -> int:
        """Place of the frame that is on the screen at an instant."""
        return max(0, int(np.searchsorted(self.time_s, time_s + 1e-5, side="right")) - 1)

    def rgb(self, place: int, like: np.ndarray) -> np.ndarray:
        """A frame at the size of a stored one."""
        height, width = like.shape[:2]
        scaled = self.frames[place].reformat(width, height, "rgb24", interpolation=Interpolation.BILINEAR)
        return scaled.to_ndarray().astype(np.int32)


def mean_square(a: np.ndarray, b: np.ndarray) -> float:
    """Mean square difference of two pictures."""
    return float(np.square(a.astype(np.int32) - b).mean())


def write_table(path: Path, rows) -> Path:
    """A table of these (id, media, start_s, end_s)."""
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("id", "media", "start_s", "end_s"), *rows])
    return path


def sound(path: Path, rate_hz: int | None) -> tuple[np.ndarray, int]:
    """The whole sound, mixed to mono s16 at a rate, or at the source's: int16 [S], and the rate."""
    parts = []
    with av.open(str(path)) as container:
        rate_hz = rate_hz or container.streams.audio[0].rate
        resampler = AudioResampler("s16", "mono", rate_hz)
        for frame in container.decode(audio=0):
            frame.pts = None
            parts += resampler.resample(frame)
        parts += resampler.resample(None)
    return np.concatenate([part.to_ndarray()[0] for part in parts]), rate_hz


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """Real clips by file name, packed with the default size and quality."""
    folder = tmp_path_factory.mktemp("fidelity")
    rows = [(name.replace(".", "_"), name, "", "") for name in (*LABELLED, *AWKWARD)]
    rows.append(("span", *SPAN))
    table = write_table(folder / "clips.csv", rows)
    shardkit.pack(table, media=CLIPS, out=folder / "shards", frames=FRAMES, audio_rate=RATE_HZ)
    dataset = shardkit.open(folder / "shards")
    return {dataset[key].source: dataset[key] for key in dataset.keys}


@pytest.fixture(scope="module")
def compared(real):
    """By file name and frame: mean square to the right frame, and to its nearer neighbour; time errors."""
    errors, times = {}, {}
    for name, sample in real.items():
        source = Source.read(CLIPS / name)
        start_s = SPAN[1] if name == SPAN[0] else 0.0
        instants_s = start_s + (np.arange(FRAMES) + 0.5) * sample.duration_s / FRAMES
        for place, instant_s in enumerate(instants_s):
            stored = sample.video[place].transpose(1, 2, 0)
            right = source.shown_at(instant_s)
            near = [k for k in (right - 1, right + 1) if 0 <= k < len(source.frames)]
            pictures = {k: source.rgb(k, stored) for k in (right, *near)}
            errors[name, place] = (
                mean_square(stored, pictures[right]),
                min(mean_square(stored, pictures[k]) for k in near),
                min(mean_square(pictures[right], pictures[k]) for k in near),
            )
            times[name, place] = sample.frame_times_s[place] - (source.time_s[right] - start_s)
    return errors, times


@needs_clips
def test_every_frame_is_the_one_shown_at_its_instant(compared):
    """Its neighbours in the source match worse, wherever they differ by more than JPEG does."""
    errors, _ = compared
    moving = {where: values for where, values in errors.items() if values[2] > 4 * values[0]}
    assert len(moving) > len(errors) / 2
    assert not {where: values for where, values in moving.items() if values[0] >= values[1]}


@needs_clips
def test_frame_times_are_the_pts_of_the_source(compared):
    """Times count from the clip's start, also where that lies between two frames."""
    _, times = compared
    assert max(map(abs, times.values())) < 1e-4


@needs_clips
def test_median_clip_is_within_40_db_of_the_source(compared):
    """Size 256 and the default quality keep the median clip at 40 dB or better."""
    errors, _ = compared
    by_clip = {}
    for (name, _), (error, _, _) in errors.items():
        by_clip.setdefault(name, []).append(error)
    assert np.median([10 * np.log10(255**2 / np.mean(values)) for values in by_clip.values()]) >= 40


@needs_clips
@pytest.mark.parametrize("name", LABELLED)
def test_sound_is_a_direct_decode_and_resample_to_one_lsb(real, name):
    """Every sample of a whole file is within one step of what libswresample makes of all of it."""
    stored = np.rint(real[name].audio[0] * 32768).astype(np.int32)
    direct, _ = sound(CLIPS / name, RATE_HZ)
    whole = round(real[name].duration_s * RATE_HZ)
    assert 0.99 * whole < len(stored) <= whole  # it can end before the picture does
    heard = min(len(stored), len(direct))
    assert heard > 0.99 * len(stored)
    assert np.abs(stored[:heard] - direct[:heard]).max() <= 1
    assert not stored[heard:].any()
    assert np.abs(stored).max() > 300


@needs_clips
def test_sound_of_a_span_begins_at_the_sample_of_its_start(real):
    """A span cut out of the middle sounds as the same samples of the source, resampled."""
    name, start_s, end_s = SPAN
    stored = np.rint(real[name].audio[0] * 32768).astype(np.int32)
    native, rate_hz = sound(CLIPS / name, None)
    piece = np.ascontiguousarray(native[None, round(start_s * rate_hz) : round(end_s * rate_hz)])
    frame = av.AudioFrame.from_ndarray(piece, "s16", "mono")
    frame.sample_rate = rate_hz
    resampler = AudioResampler("s16", "mono", RATE_HZ)
    direct = np.concatenate([part.to_ndarray()[0] for part in [*resampler.resample(frame), *resampler.resample(None)]])
    inner = slice(400, len(stored) - 400)  # the cut piece has no neighbours for the filter at its ends
    # One step more than for a whole file: the piece was rounded to 16 bits before it was resampled.
    assert np.abs(stored[inner] - direct[inner]).max() <= 2
    assert np.abs(stored).max() > 300


@needs_clips
def test_flashes_and_beeps_stay_where_the_source_has_them(tmp_path):
    """At the source's frame rate every flash is within one frame, every beep within 5 ms of its place."""
    name = "energon__sync_test.mp4"
    table = write_table(tmp_path / "sync.csv", [("sync", name, 0, 25)])
    shardkit.pack(table, media=CLIPS, out=tmp_path / "shards", fps=30, size=64)
    sample = shardkit.open(tmp_path / "shards")[0]

    def flashes(luma: np.ndarray, time_s: np.ndarray) -> np.ndarray:
        return time_s[1:][np.diff(luma) > 6]

    def beeps(pcm: np.ndarray, rate_hz: int) -> np.ndarray:
        loud = np.flatnonzero(np.abs(pcm.astype(np.int32)) > 2000)
        return loud[np.r_[True, np.diff(loud) > rate_hz // 4]] / rate_hz

    source = Source.read(CLIPS / name)
    count = int(np.searchsorted(source.time_s, 25))
    luma = np.array([frame.to_ndarray(format="gray").mean() for frame in source.frames[:count]])
    expected = flashes(luma, source.time_s[:count])
    assert len(expected) > 20
    instants_s = (np.arange(len(sample.video)) + 0.5) / 30
    found = flashes(sample.video.mean(axis=(1, 2, 3)), instants_s)
    assert len(found) == len(expected)
    assert np.abs(found - expected).max() <= 1 / 30

    native, rate_hz = sound(CLIPS / name, None)
    expected = beeps(native[: 25 * rate_hz], rate_hz)
    assert len(expected) > 20
    found = beeps(np.rint(sample.audio[0] * 32768), sample.audio_rate_hz)
    assert len(found) == len(expected)
    assert np.abs(found - expected).max() <= 0.005


def test_more_frames_than_the_source_has_repeat_the_one_that_is_shown(material, tmp_path):
    """250 frames of a source of 100: each shows the frame of its instant, and carries that frame's own time."""
    row = next(row for row in material.rows if row.fault is None)
    table = write_table(tmp_path / "clips.csv", [("many", row.file_name, "", "")])
    shardkit.pack(table, media=material.media, out=tmp_path / "shards", frames=250, size=64)
    sample = shardkit.open(tmp_path / "shards")[0]
    instants_s = (np.arange(250) + 0.5) * sample.duration_s / 250
    shown = [read_code(frame.transpose(1, 2, 0)).frame for frame in sample.video]
    assert shown == np.floor(instants_s * 10 + 1e-6).astype(int).tolist()
    np.testing.assert_allclose(sample.frame_times_s, np.array(shown) / 10, atol=1e-4)


def test_one_frame_between_two_of_the_source_is_enough(material, tmp_path):
    """A single instant at which no frame begins shows the frame before it."""
    row = next(row for row in material.rows if row.fault is None)
    table = write_table(tmp_path / "clips.csv", [("one", row.file_name, 4.03, 4.07)])
    shardkit.pack(table, media=material.media, out=tmp_path / "shards", frames=1, size=64)
    sample = shardkit.open(tmp_path / "shards")[0]
    assert read_code(sample.video[0].transpose(1, 2, 0)).frame == 40
    assert sample.frame_times_s.tolist() == pytest.approx([-0.03])


def test_source_whose_first_pts_is_ten_seconds_has_true_times(material, tmp_path):
    """Moved by ten seconds as a whole, a source packs to the same frames, times and sound."""
    row = next(row for row in material.rows if row.fault is None)
    media = tmp_path / "media"
    media.mkdir()
    original = material.media / row.file_name
    (media / "plain.mp4").write_bytes(original.read_bytes())
    with av.open(str(original)) as source, av.open(str(media / "late.mkv"), "w") as target:
        streams = {stream.index: target.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            if packet.dts is None:
                continue
            packet.pts += round(10 / packet.time_base)
            packet.dts += round(10 / packet.time_base)
            packet.stream = streams[packet.stream.index]
            target.mux(packet)
    with av.open(str(media / "late.mkv")) as source:
        # A little before 10 s: the encoder's priming of the sound comes first.
        zero_s = source.start_time / 1e6
    assert zero_s == pytest.approx(10, abs=0.1)
    moved_s = 10 - zero_s
    rows = [("plain", "plain.mp4", 3.33, 6.33), ("late", "late.mkv", 3.33 + moved_s, 6.33 + moved_s)]
    shardkit.pack(write_table(tmp_path / "clips.csv", rows), media=media, out=tmp_path / "shards", frames=12, size=64)
    dataset = shardkit.open(tmp_path / "shards")
    late, plain = (dataset[key] for key in sorted(dataset.keys))
    shown = [read_code(frame.transpose(1, 2, 0)).frame for frame in late.video]
    assert shown == np.floor((3.33 + (np.arange(12) + 0.5) / 4) * 10).astype(int).tolist()
    np.testing.assert_allclose(late.frame_times_s, np.array(shown) / 10 - 3.33, atol=0.002)  # Matroska keeps ms
    np.testing.assert_allclose(late.frame_times_s, plain.frame_times_s, atol=0.002)
    # Within less than a period of the tone: its lowest pitch is 110 Hz.
    lags = range(-64, 65)
    alike = [float(np.dot(late.audio[0][1000 + lag : 17000 + lag], plain.audio[0][1000:17000])) for lag in lags]
    assert abs(lags[int(np.argmax(alike))]) <= RATE_HZ * 0.001
