"""read_audio: the sound of a span, sample 0 at its start."""

import av
import numpy as np
import pytest
from media_maker import make_pcm, make_sound, make_video, tone
from real_clips import BROKEN, CLIPS, NO_AUDIO, UNREADABLE, names, needs_clips

from shardkit.errors import UsageError
from shardkit.media.audio import read_audio
from shardkit.media.errors import MediaDecodeError, NoStreamError
from shardkit.media.probe import open_span


def decode_all(path, *, rate_hz=None, channels=1):
    """Decodes every frame and resamples: int16 [S, C], the rate, and the first pts in source time."""
    with av.open(str(path)) as container:
        zero_s = max(0, container.start_time or 0) / 1e6
        resampler, parts, first_s, rate = None, [], 0.0, 0
        for frame in container.decode(container.streams.best("audio")):
            if resampler is None:
                first_s, rate = float(frame.pts * frame.time_base) - zero_s, rate_hz or frame.sample_rate
                resampler = av.AudioResampler("s16", {1: "mono", 2: "stereo"}[channels], rate)
            frame.pts = None
            parts += resampler.resample(frame)
        parts += resampler.resample(None)
    return np.concatenate([part.to_ndarray().reshape(-1, channels) for part in parts]), rate, first_s


def assert_within_one(a, b):
    """Two waveforms differ by 1 LSB at most."""
    assert a.shape == b.shape
    assert np.abs(a.astype(int) - b).max(initial=0) <= 1


@pytest.mark.parametrize("rate_hz", [None, 16000, 48000, 8000, 11127])
def test_whole_file_is_decode_and_resample(tmp_path, rate_hz):
    """A span over the whole file equals decoding everything and resampling it, at any rate."""
    path = make_pcm(tmp_path / "a.mkv", tone(44100, 3.0), 44100)
    audio = read_audio(path, 0.0, 3.0, rate_hz=rate_hz)
    expected, rate, _ = decode_all(path, rate_hz=rate_hz)
    assert audio.rate_hz == rate
    assert_within_one(audio.pcm, expected[: 3 * rate])
    assert audio.decoded_s == pytest.approx(3.0)
    assert audio.expected_s == pytest.approx(3.0, abs=0.01)


@pytest.mark.parametrize("rate_hz", [None, 16000, 48000, 22050])
@pytest.mark.parametrize("start_s", [0.02, 1.5, 6.0, 14.98])
def test_span_is_a_slice_of_the_whole(tmp_path, rate_hz, start_s):
    """A span anywhere equals that slice of the resampled whole: the filter has history there."""
    path = make_pcm(tmp_path / "a.mov", tone(44100, 20.0), 44100)
    expected, rate, _ = decode_all(path, rate_hz=rate_hz)
    audio = read_audio(path, start_s, start_s + 2.0, rate_hz=rate_hz)
    first = round(start_s * rate)
    assert_within_one(audio.pcm, expected[first : first + 2 * rate])
    assert audio.late_start_s == 0.0


def test_span_far_into_a_container_of_coarse_ticks_is_placed_to_half_a_tick(tmp_path):
    """Far into Matroska, which keeps milliseconds, sound lies within half a millisecond of its place."""
    path = make_pcm(tmp_path / "a.mkv", tone(8000, 70.0), 8000)
    pcm = read_audio(path, 65.0, 66.0).pcm[:, 0]
    places = [65 * 8000 + shift for shift in range(-4, 5)]
    assert any(np.array_equal(pcm, tone(8000, 70.0)[0, place : place + 8000]) for place in places)


def test_span_ends_where_the_stream_ends(tmp_path):
    """Nothing is padded at the end; a span behind the end is empty."""
    path = make_pcm(tmp_path / "a.mkv", tone(16000, 2.0), 16000)
    assert len(read_audio(path, 1.5, 4.0).pcm) == pytest.approx(8000, abs=16)
    assert read_audio(path, 5.0, 6.0, channels=2).pcm.shape == (0, 2)


@pytest.mark.parametrize("kind", ["s16", "u8"])
def test_late_stream_begins_with_silence(tmp_path, kind):
    """A stream that begins late lies behind silence: for unsigned samples the middle of the range."""
    samples = np.full((1, 8000), 100, np.uint8) if kind == "u8" else tone(8000, 1.0)
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        _mux_video_and_late_audio(container, samples, kind)
    audio = read_audio(tmp_path / "a.mkv", 0.0, 2.0)
    assert audio.late_start_s == pytest.approx(0.5)
    assert not audio.pcm[:4000].any()
    raw = samples[0].astype(int) if kind == "s16" else (samples[0].astype(int) - 128) * 256
    assert_within_one(audio.pcm[4000:], raw[:, None])


def _mux_video_and_late_audio(container, samples, kind):
    video = container.add_stream("mpeg4", rate=10)
    video.width, video.height = 32, 32
    codec = "pcm_s16le" if kind == "s16" else "pcm_u8"
    audio = container.add_stream(codec, rate=8000, layout="mono")
    packets = [p for _ in range(10) for p in video.encode(av.VideoFrame(32, 32, "yuv420p"))] + video.encode(None)
    frame = av.AudioFrame.from_ndarray(samples, format=kind, layout="mono")
    frame.sample_rate, frame.pts = 8000, 4000
    container.mux([*packets, *audio.encode(frame), *audio.encode(None)])


def test_source_time_starts_with_the_container(tmp_path):
    """In a file whose first pts is 10 s the first sample lies at 0."""
    path = make_pcm(tmp_path / "a.mkv", tone(16000, 1.0), 16000, start_s=10.0)
    audio = read_audio(path, 0.0, 1.0)
    assert audio.late_start_s == 0.0
    assert_within_one(audio.pcm, tone(16000, 1.0).T)


@pytest.mark.parametrize("jump_s", [0.5, -0.5])
def test_jumps_become_silence_or_are_dropped(tmp_path, jump_s):
    """Where pts jump ahead there is silence, where they jump back repetition is dropped."""
    rate = 8000
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=rate, layout="mono")
        for pts, value in ((0, 1000), (round((1.0 + jump_s) * rate), 2000)):
            frame = av.AudioFrame.from_ndarray(np.full((1, rate), value, np.int16), format="s16", layout="mono")
            frame.sample_rate, frame.pts = rate, pts
            packets = stream.encode(frame)
            for packet in packets:
                packet.dts = packet.pts if jump_s > 0 else packet.dts
            container.mux(packets)
    audio = read_audio(path, 0.0, 3.0).pcm[:, 0]
    gap = [0] * round(jump_s * rate) if jump_s > 0 else []
    expected = [1000] * rate + gap + [2000] * (rate if jump_s > 0 else rate // 2)
    assert audio.tolist() == expected


def test_stereo_and_mono_use_the_standard_matrix(tmp_path):
    """Mono is the mean of left and right; stereo keeps them apart."""
    left, right = tone(16000, 1.0)[0], -tone(16000, 1.0)[0] // 2
    path = make_pcm(tmp_path / "a.mkv", np.stack([left, right]), 16000)
    assert np.array_equal(read_audio(path, 0, 1, channels=2).pcm, np.stack([left, right], 1))
    mixed = read_audio(path, 0, 1, channels=1).pcm[:, 0]
    assert np.abs(mixed - (left.astype(int) + right) / 2).max() <= 1


def test_peak_and_clipping_are_counted(tmp_path):
    """Peak is the largest magnitude, clipped_count the samples at either end of the range."""
    samples = np.array([[0, 32767, -32768, 5]], np.int16).repeat(100, 1)
    audio = read_audio(make_pcm(tmp_path / "a.mkv", samples, 8000), 0, 1)
    assert (audio.peak, audio.clipped_count) == (32768, 200)
    silent = read_audio(make_pcm(tmp_path / "b.mkv", np.zeros((1, 800), np.int16), 8000), 0, 1)
    assert (silent.peak, silent.clipped_count) == (0, 0)


def test_no_audio_is_told_apart(tmp_path):
    """A file with picture alone raises NoStreamError of kind audio."""
    with pytest.raises(NoStreamError, match=r"a\.mp4") as caught:
        read_audio(make_video(tmp_path / "a.mp4", [0, 40]), 0, 1)
    assert caught.value.kind == "audio"


@pytest.mark.parametrize(
    "options", [{"end_s": 0.0}, {"start_s": -1.0}, {"rate_hz": 0}, {"channels": 6}, {"end_s": float("inf")}]
)
def test_impossible_requests_are_the_callers_fault(options):
    """An empty or endless span, a rate of 0 and six channels raise UsageError before a file is opened."""
    request = {"start_s": 0.0, "end_s": 1.0} | options
    with pytest.raises(UsageError):
        read_audio("nowhere.wav", request.pop("start_s"), request.pop("end_s"), **request)


def _damaged(tmp_path, *, damage_s=0.2):
    """AAC of 12 s; the packets from 6.0 s on cannot be decoded."""
    path = make_video(tmp_path / "good.mp4", [0, 40], audio_start_s=0.0, audio_s=12)
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        for packet in container.demux(audio=0):
            if packet.size and 6.0 <= packet.pts * packet.time_base < 6.0 + damage_s:
                data[packet.pos : packet.pos + packet.size] = bytes([255]) * packet.size
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(data)
    return broken


def test_decode_error_inside_the_span_is_raised(tmp_path):
    """A damaged packet in the span raises MediaDecodeError naming file and time."""
    with pytest.raises(MediaDecodeError, match=r"broken\.mp4.*6\.0"):
        read_audio(_damaged(tmp_path), 5.0, 7.0)


@pytest.mark.parametrize("damage_s", [0.2, 0.05])
@pytest.mark.parametrize(("start_s", "end_s"), [(3.5, 5.5), (6.5, 8.5)])
def test_decode_error_outside_the_span_does_not_count(tmp_path, start_s, end_s, damage_s):
    """Damage before the span (also where decoding begins) or after it leaves the span good, and where it was."""
    broken = _damaged(tmp_path, damage_s=damage_s)
    good = read_audio(tmp_path / "good.mp4", start_s, end_s)
    assert_within_one(read_audio(broken, start_s, end_s).pcm[4096:], good.pcm[4096:])
    with open_span(broken, start_s=start_s, end_s=end_s) as span:
        held = read_audio(broken, start_s, end_s, held=span.audio)
    assert_within_one(held.pcm[4096:], good.pcm[4096:])


def test_change_of_the_channels_is_an_error(tmp_path):
    """A stream that turns from stereo to mono on the way raises MediaDecodeError: there is no one sound of it."""
    sound = tone(48000, 1.0)
    stereo = make_sound(tmp_path / "a.aac", "aac", np.concatenate([sound, sound]), 48000)
    mono = make_sound(tmp_path / "b.aac", "aac", sound, 48000)
    path = tmp_path / "both.aac"
    path.write_bytes(stereo.read_bytes() + mono.read_bytes())
    with pytest.raises(MediaDecodeError, match=r"both\.aac.*the format changes"):
        read_audio(path, 0.0, 2.0)


@needs_clips
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("name", names(without=UNREADABLE | BROKEN | NO_AUDIO))
def test_real_clip_is_decode_and_resample(name, channels):
    """Every clip's sound equals a direct decode and resample, placed by its first pts."""
    for rate_hz in (None, 16000):
        expected, rate, first_s = decode_all(CLIPS / name, rate_hz=rate_hz, channels=channels)
        offset = first_s * rate
        audio = read_audio(CLIPS / name, 0.0, 70.0, rate_hz=rate_hz, channels=channels)
        assert audio.late_start_s == pytest.approx(first_s, abs=1e-4)
        assert abs(len(audio.pcm) - offset - len(expected)) <= 1
        if abs(offset - round(offset)) < 1e-3:  # else the two sample grids lie between one another
            count = min(len(audio.pcm) - round(offset), len(expected))
            assert_within_one(audio.pcm[round(offset) :][:count], expected[:count])


@needs_clips
@pytest.mark.parametrize("rate_hz", [None, 16000])
@pytest.mark.parametrize(
    ("name", "starts"),
    [
        ("webrtc__chrome.mp4", (5.0, 12.34, 27.5)),
        ("energon__sync_test.mp4", (4.0, 30.0, 61.25)),
        ("decord__flipping_a_pancake.mkv", (5.0,)),
        ("moviepy__chaplin.mp4", (4.0,)),
    ],
)
def test_real_span_is_a_slice_of_the_whole(name, starts, rate_hz):
    """A span cut in the middle of a source equals that slice of the decoded and resampled whole."""
    expected, rate, first_s = decode_all(CLIPS / name, rate_hz=rate_hz)
    assert first_s == 0
    for start_s in starts:
        audio = read_audio(CLIPS / name, start_s, start_s + 2.0, rate_hz=rate_hz)
        first = round(start_s * rate)
        assert_within_one(audio.pcm, expected[first : first + len(audio.pcm)])
        assert len(audio.pcm) == min(2 * rate, len(expected) - first)


@needs_clips
def test_frames_without_pts_continue_where_the_last_ended():
    """AMR packets of five frames, of which one has a pts, give five seconds and not one."""
    audio = read_audio(CLIPS / "phpffmpeg__sample.3gp", 0.0, 5.0)
    assert len(audio.pcm) / audio.rate_hz == pytest.approx(5.0, abs=0.1)
    assert audio.decoded_s == pytest.approx(audio.expected_s, abs=0.05)
