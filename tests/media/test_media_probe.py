"""probe: what a file holds, from its packets."""

import re
import subprocess
import sys

import av
import numpy as np
import pytest
from media_maker import make_pcm, make_video, tone
from real_clips import BROKEN, CLIPS, NO_AUDIO, NO_VIDEO, UNREADABLE, names, needs_clips

from shardkit.media.audio import read_audio
from shardkit.media.errors import UnreadableMediaError
from shardkit.media.frames import read_frames
from shardkit.media.probe import open_span, probe
from shardkit.media.source import MediaBytes


def test_extents_are_those_of_the_packets(tmp_path):
    """Video and audio extents are where their first packet starts and their last one ends."""
    path = make_video(tmp_path / "a.mp4", [40 * i for i in range(50)], b_frames=2, audio_start_s=0.0, audio_s=1.5)
    info = probe(path)
    assert (info.video.first_s, info.video.end_s, info.video.packet_count) == (0.0, pytest.approx(2.0), 50)
    assert (info.audio.first_s, info.audio.end_s) == (0.0, pytest.approx(1.5, abs=0.022))
    assert info.duration_s == pytest.approx(2.0)
    assert info.whole


def test_source_time_starts_with_the_container(tmp_path):
    """A file whose first pts is 10 s starts at source time 0."""
    info = probe(make_video(tmp_path / "a.mkv", [10_000 + 40 * i for i in range(25)]))
    assert (info.video.first_s, info.video.end_s) == (0.0, pytest.approx(1.0))


def test_late_stream_keeps_its_delay(tmp_path):
    """A video that starts a second after its audio has its first packet at 1 s."""
    info = probe(make_video(tmp_path / "a.mp4", [1000 + 40 * i for i in range(25)], audio_start_s=0.0, audio_s=2))
    assert (info.audio.first_s, info.video.first_s) == (0.0, 1.0)


def test_cut_off_file_is_as_long_as_its_packets(tmp_path):
    """A file cut in half still declares its old length; its extent is what is left."""
    path = make_pcm(tmp_path / "a.mkv", tone(8000, 1.0), 8000)
    whole = make_video(tmp_path / "b.mkv", [40 * i for i in range(250)], gop=25)
    data = whole.read_bytes()
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(data[: len(data) // 2])
    info = probe(cut)
    assert info.declared_duration_s == pytest.approx(10.0)
    assert 3.0 < info.duration_s < 7.0
    assert probe(path).video is None


def test_only_the_packets_around_a_span_are_read(tmp_path):
    """With a span, packets far from it are left unread, and the span is still seen to be covered."""
    path = make_video(tmp_path / "a.mp4", [100 * i for i in range(1500)], gop=20)
    info = probe(path, start_s=70.0, end_s=80.0)
    assert not info.whole
    assert info.video.packet_count < 400
    assert info.video.first_s <= 70.0
    assert info.video.end_s >= 80.0


def test_span_behind_the_end_shows_the_end(tmp_path):
    """For a span that passes the source's end, the extent is the source's true end."""
    path = make_video(tmp_path / "a.mp4", [100 * i for i in range(600)], gop=20)
    assert probe(path, start_s=55.0, end_s=65.0).duration_s == pytest.approx(60.0, abs=0.1)
    assert probe(path, start_s=75.0, end_s=85.0).duration_s == pytest.approx(60.0, abs=0.1)


@pytest.mark.parametrize("content", [b"", b"not media at all" * 100])
def test_not_media_is_unreadable(tmp_path, content):
    """An empty file and a file of text raise UnreadableMediaError naming the file."""
    path = tmp_path / "x.mp4"
    path.write_bytes(content)
    with pytest.raises(UnreadableMediaError, match=r"x\.mp4"):
        probe(path)


def test_missing_file_is_unreadable(tmp_path):
    """A file that is not there raises UnreadableMediaError naming it."""
    with pytest.raises(UnreadableMediaError, match=r"nowhere\.mp4"):
        probe(tmp_path / "nowhere.mp4")


def test_libraries_are_loaded_by_their_modules_only():
    """Importing shardkit.media.jpeg loads neither av nor decord."""
    code = "import sys, shardkit.media.jpeg; assert not {'av', 'decord', 'torch'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@needs_clips
@pytest.mark.parametrize("name", names(without=UNREADABLE))
def test_real_clip_has_the_streams_it_should(name):
    """Every readable clip has the streams that its description tells, and extents of its own."""
    info = probe(CLIPS / name)
    assert (info.video is None) == (name in NO_VIDEO)
    assert (info.audio is None) == (name in NO_AUDIO | BROKEN)
    assert 0.9 < info.duration_s < 64


@needs_clips
@pytest.mark.parametrize("name", sorted(UNREADABLE))
def test_real_broken_clip_is_unreadable(name):
    """Truncated, empty and mislabelled files raise UnreadableMediaError naming the file."""
    with pytest.raises(UnreadableMediaError, match=re.escape(name)):
        probe(CLIPS / name)


@needs_clips
def test_stream_without_a_codec_is_noted():
    """A stream that nothing can decode counts as absent, and a note says so."""
    info = probe(CLIPS / "androidx__sample_missing_stsd.mp4")
    assert info.audio is None
    assert "audio stream 1 has no codec" in info.notes[0]


def test_media_in_memory_are_what_they_are_in_a_file(tmp_path):
    """The same extents, frames and samples; and messages name what is in memory as it is called."""
    path = make_video(tmp_path / "a.mp4", [40 * i for i in range(50)], b_frames=2, audio_start_s=0.0, audio_s=1.5)
    held = MediaBytes("tar member", path.read_bytes())
    assert probe(held) == probe(path)
    np.testing.assert_array_equal(read_frames(held, [0.3, 1.9]).rgb, read_frames(path, [0.3, 1.9]).rgb)
    np.testing.assert_array_equal(read_audio(held, 0.1, 1.2).pcm, read_audio(path, 0.1, 1.2).pcm)
    with pytest.raises(UnreadableMediaError, match=r"^tar member: cannot be opened"):
        probe(MediaBytes("tar member", b"no media"))


@pytest.mark.parametrize("only", ["video", "audio"])
def test_one_kind_of_stream_can_be_left_out(tmp_path, only):
    """It is not there then; the other is as before, on the same time axis."""
    path = make_video(tmp_path / "a.mp4", [1000 + 40 * i for i in range(25)], audio_start_s=0.0, audio_s=2)
    with open_span(path) as both, open_span(path, only=only) as one:
        left_out = "audio" if only == "video" else "video"
        assert getattr(one.info, only) == getattr(both.info, only)
        assert getattr(one.info, left_out) is getattr(one, left_out) is None
        assert getattr(one, only).zero_s == getattr(both, only).zero_s


def test_tags_in_another_encoding_are_no_error(tmp_path):
    """Titles in Latin-1 are common, and nobody reads them."""
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "Cafe ####"
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(tone(8000, 0.5), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    path.write_bytes(path.read_bytes().replace(b"Cafe ####", b"Caf\xe9 ####"))
    assert probe(path).audio.packet_count == 1
