"""Frames and sound out of the packets that a span's reading holds: the same as out of the file, with less work."""

import numpy as np
import pytest
from media_maker import join, make_sound, make_video, read_number, tone
from real_clips import BROKEN, CLIPS, NO_AUDIO, NO_VIDEO, UNREADABLE, names, needs_clips

import shardkit.media.probe
from shardkit.media.audio import read_audio
from shardkit.media.errors import MediaDecodeError
from shardkit.media.frames import read_frames
from shardkit.media.picked_frames import pick_frames
from shardkit.media.probe import open_span, probe

NO_FILE = "nowhere.mp4"
"""What is held needs no file."""


def assert_same(path, instants_s, **span):
    """Both ways give the same pictures and times."""
    with open_span(path, **span) as opened:
        held = opened.video
        is_held = held is not None and len(held.shown_pts)
        picked = read_frames(NO_FILE if is_held else path, instants_s, size=96, held=held)
    in_order = read_frames(path, instants_s, size=96)
    assert np.array_equal(picked.rgb, in_order.rgb)
    assert picked.time_s == pytest.approx(in_order.time_s, abs=1e-9)
    assert picked.late_start_s == pytest.approx(in_order.late_start_s, abs=1e-9)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "avi"])
@pytest.mark.parametrize("b_frames", [0, 3])
def test_picked_frames_are_those_of_reading_in_order(tmp_path, suffix, b_frames):
    """Whatever the container and the references between frames are."""
    path = make_video(tmp_path / f"a.{suffix}", [40 * i for i in range(250)], b_frames=b_frames)
    for instants_s in (np.arange(16) * 0.6 + 0.3, np.arange(40) * 0.01, [8.0, 8.5, 9.99], [20.0]):
        assert_same(path, instants_s)


def read_held(path, start_s, end_s, **options):
    """The sound of a span out of its held packets."""
    with open_span(path, start_s=start_s, end_s=end_s) as span:
        assert span.audio is not None
        return read_audio(NO_FILE, start_s, end_s, held=span.audio, **options), span.audio.from_start


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_frames_far_apart_and_out_of_order_are_all_there(tmp_path, suffix):
    """At two frames a second with B-frames, what is shown in the span comes seconds later in the file."""
    path = make_video(tmp_path / f"a.{suffix}", [500 * i for i in range(60)], b_frames=3, gop=60)
    for start_s in (0.0, 1.0, 4.5, 20.0):
        instants_s = start_s + np.arange(4) * 0.5 + 0.25
        with open_span(path, start_s=start_s, end_s=start_s + 2.0) as span:
            frames = read_frames(path, instants_s, size=64, held=span.video)
        assert frames.time_s == pytest.approx(instants_s - 0.25)
        assert [read_number(rgb) for rgb in frames.rgb] == [round(2 * (t - 0.25)) for t in instants_s]


def test_parts_of_a_joined_file_are_decoded_with_their_own_settings(tmp_path):
    """Where an MP4 is joined of two encodes, frames of the second one are not decoded with the first one's settings."""
    # With CABAC a decoder of other settings fails; without, it goes on with wrong pixels.
    parts = [
        make_video(
            tmp_path / f"{qp}.mp4", [40 * i for i in range(75)], gop=25, options={"qp": qp, "x264-params": "cabac=0"}
        )
        for qp in ("20", "32")
    ]
    path = join(tmp_path / "joined.mp4", *parts)
    for instants_s in ([0.5], [3.5], [4.5], [2.5, 5.5]):
        assert_same(path, instants_s)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_held_sound_is_a_slice_of_the_whole(tmp_path, suffix):
    """At the beginning, in the middle, over a late start and over the end."""
    path = make_video(tmp_path / f"a.{suffix}", [40 * i for i in range(700)], audio_start_s=0.5, audio_s=27.0)
    whole = read_audio(path, 0.0, 28.0).pcm
    for start_s, end_s in ((0.0, 3.0), (10.3, 12.0), (20.0, 25.5), (27.0, 29.0)):
        held, from_start = read_held(path, start_s, end_s)
        assert from_start
        assert np.array_equal(held.pcm, whole[round(start_s * 48000) : round(end_s * 48000)])
        assert held.decoded_s == pytest.approx(held.expected_s, abs=0.05)


@pytest.mark.parametrize("suffix", ["mp4", "ts"])
def test_held_sound_after_a_seek_stands_where_it_should(tmp_path, suffix):
    """To the sample; what comes of AAC's noise differs with where decoding begins."""
    path = make_video(tmp_path / f"a.{suffix}", [40 * i for i in range(1250)], audio_start_s=0.5, audio_s=49.0)
    held, from_start = read_held(path, 41.25, 43.0)
    assert not from_start
    slices = read_audio(path, 0.0, 50.0).pcm[round(41.25 * 48000) - 1 :, 0].astype(int)
    distances = [np.abs(slices[shift:][: len(held.pcm)] - held.pcm[:, 0]).mean() for shift in range(3)]
    assert distances[1] < 100 < min(distances[0], distances[2])


@needs_clips
@pytest.mark.parametrize("name", names(without=UNREADABLE | BROKEN | NO_AUDIO))
def test_held_sound_of_real_clips_is_that_of_the_file(name):
    """Of a whole clip, resampled; of a span inside it, a slice of the whole."""
    end_s = probe(CLIPS / name).duration_s
    resampled, _ = read_held(CLIPS / name, 0.0, end_s, rate_hz=16000)
    assert np.array_equal(resampled.pcm, read_audio(CLIPS / name, 0.0, end_s, rate_hz=16000).pcm)
    start_s = min(0.6 * end_s, 20.0)
    held, from_start = read_held(CLIPS / name, start_s, start_s + 0.4, channels=2)
    whole = read_audio(CLIPS / name, 0.0, end_s, channels=2)
    first = round(start_s * whole.rate_hz)
    assert from_start
    assert np.array_equal(held.pcm, whole.pcm[first:][: len(held.pcm)])
    assert len(held.pcm) == min(round(0.4 * whole.rate_hz), len(whole.pcm) - first)


@pytest.mark.parametrize("suffix", ["wma", "avi"])
def test_held_sound_includes_what_the_decoder_holds_back(tmp_path, suffix):
    """WMA's decoder gives its last frame only once it is told that the stream has ended."""
    path = make_sound(tmp_path / f"a.{suffix}", "wmav2", tone(44100, 3.3), 44100)
    for end_s, rate_hz in ((4.0, None), (4.0, 16000), (3.36, None)):
        whole = read_audio(path, 0.0, end_s, rate_hz=rate_hz)
        held, _ = read_held(path, 0.0, end_s, rate_hz=rate_hz)
        assert np.array_equal(held.pcm, whole.pcm)


def test_a_stream_whose_packets_lie_far_behind_is_not_held(tmp_path):
    """Reading stops where the other stream is long past the span; what has not come by then is read again."""
    path = make_video(
        tmp_path / "a.mkv", [40 * i for i in range(750)], audio_start_s=0.0, audio_s=30.0, interleaved=False
    )
    with open_span(path, start_s=0.0, end_s=2.0) as span:
        assert span.video is not None
        assert span.audio is None
        sound = read_audio(path, 0.0, 2.0, held=span.audio)
    assert sound.decoded_s == pytest.approx(2.0)


def test_a_file_that_breaks_off_is_not_held(tmp_path):
    """What cannot be read to the span's end is read again, which says what is wrong and where."""
    path = make_sound(tmp_path / "a.wv", "wavpack", tone(44100, 6.0), 44100)
    path.write_bytes(path.read_bytes()[:-1000])
    with open_span(path) as span:
        assert "reading stopped with an error" in span.info.notes[0]
        assert span.audio is None
        with pytest.raises(MediaDecodeError, match=r"a\.wv: reading stopped at"):
            read_audio(path, 0.0, 6.0, held=span.audio)


def test_a_span_of_too_many_bytes_is_not_held(tmp_path, monkeypatch):
    """Memory has a limit: the facts are there all the same, and the file is read again for decoding."""
    path = make_video(tmp_path / "a.mp4", [40 * i for i in range(250)], audio_start_s=0.0, audio_s=10.0)
    with open_span(path) as span:
        packets = (*span.video.packets, *span.audio.packets)
        held_bytes = sum(packet.size + shardkit.media.probe.PACKET_BYTES for packet in packets)
    for limit, is_held in ((held_bytes, True), (held_bytes - 1, False)):
        monkeypatch.setattr(shardkit.media.probe, "MAX_HELD_BYTES", limit)
        with open_span(path) as span:
            assert span.info.video.packet_count == 250
            assert (span.video is not None, span.audio is not None) == (is_held, is_held)
            frames = read_frames(path, [1.0, 9.0], size=96, held=span.video)
        assert frames.time_s.tolist() == [1.0, 9.0]


@needs_clips
@pytest.mark.parametrize("name", names(without=UNREADABLE | BROKEN | NO_VIDEO))
def test_real_clips_give_the_same_frames_both_ways(name):
    """Of a whole clip, and of a span inside it."""
    end_s = probe(CLIPS / name).duration_s
    assert_same(CLIPS / name, (np.arange(16) + 0.5) * end_s / 16)
    start_s = end_s * 0.6
    assert_same(CLIPS / name, start_s + (np.arange(4) + 0.5) * 0.1, start_s=start_s, end_s=start_s + 0.4)


def test_frames_that_nothing_shows_or_needs_are_not_decoded(tmp_path):
    """Of a video with B-frames, those that are not asked for stay undecoded."""
    path = make_video(tmp_path / "a.mp4", [40 * i for i in range(250)], b_frames=3)
    with open_span(path) as span:
        wanted = span.video.shown_pts[[100, 200]]
        assert [frame.pts for frame in pick_frames(span.video, wanted)] == wanted.tolist()
        assert span.video.stream.codec_context.skip_frame == "NONREF"


@needs_clips
def test_damaged_frames_are_reported_as_without_pts():
    """What cannot be picked is read in order, which says what is wrong."""
    path = CLIPS / "decord__corrupted.mp4"
    with open_span(path) as span, pytest.raises(MediaDecodeError, match=r"3\.2"):
        read_frames(path, [1.0, 3.2, 4.0], held=span.video)
