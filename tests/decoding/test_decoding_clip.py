"""What is judged of a clip before it is a sample, apart from where it goes."""

import struct
from fractions import Fraction

import av
import numpy as np
import pytest
from real_clips import CLIPS, needs_clips

from shardkit.clip import Reason
from shardkit.decoding import clip as decoding
from shardkit.decoding.clip import RejectedClipError, decode_clip
from shardkit.decoding.rules import ClipRules
from shardkit.media.source import MediaBytes
from shardkit.planning.sampling import FrameSampling

RULES = ClipRules(FrameSampling.count(3), size=64, audio_rate_hz=8000)


@pytest.fixture
def video(tmp_path, make_clip):
    """Two seconds of picture and sound."""
    return make_clip(tmp_path / "video.mp4", seconds=2.0)


def test_picture_and_sound_come_out_of_two_files(tmp_path, video, make_clip):
    """The clip is as long as the longer one; each is what it is alone."""
    sound = make_clip(tmp_path / "sound.mp4", seconds=3.0)
    both = decode_clip(video, sound, None, None, RULES)
    assert both.duration_s == pytest.approx(3.0, abs=0.05)
    assert "short_video" in both.flags
    heard = decode_clip(sound, sound, None, None, RULES).sound
    np.testing.assert_array_equal(both.sound.pcm, heard.pcm)
    assert decode_clip(video, None, None, None, ClipRules(FrameSampling.count(3), require="video")).sound is None
    with pytest.raises(RejectedClipError) as rejected:
        decode_clip(None, sound, None, None, RULES)
    assert rejected.value.reason is Reason.NO_VIDEO


def test_a_damaged_timestamp_is_no_long_clip(video):
    """An MP4 whose last frame comes after half an hour, while its header says two seconds."""
    data = bytearray(video.read_bytes())
    place = data.index(b"stts") + 8
    (entries,) = struct.unpack_from(">I", data, place)
    assert entries == 1
    count, delta = struct.unpack_from(">II", data, place + 4)
    struct.pack_into(">II", data, place + 4, count, delta * 18_000)
    video.write_bytes(data)
    with pytest.raises(RejectedClipError, match=r"its header says 2\.0 s, its packets reach to 1,800 s") as rejected:
        decode_clip(video, video, None, None, RULES)
    assert rejected.value.reason is Reason.DECODE_ERROR


def test_clips_of_hours_are_too_long(video, monkeypatch):
    """Sound is held in memory."""
    monkeypatch.setattr(decoding, "LONGEST_CLIP_S", 1.5)
    with pytest.raises(RejectedClipError, match="a clip of 2 s, at most 2 s are taken; cut it") as rejected:
        decode_clip(video, video, None, None, RULES)
    assert rejected.value.reason is Reason.TOO_LONG
    assert decode_clip(video, video, 0.0, 1.0, RULES).duration_s == 1.0


@needs_clips
def test_a_decoder_that_cannot_be_opened_is_a_decode_error():
    """HEVC whose settings claim a unit longer than they are: the clip's fault, not ours."""
    data = bytearray((CLIPS / "torchcodec__h265_10bits.mp4").read_bytes())
    settings = data.index(b"hvcC") + 4
    # 22 bytes about the stream, the number of arrays; of the first: its type, the number of units, a unit's length.
    data[settings + 26 : settings + 28] = b"\xff\xff"
    source = MediaBytes("h265.mp4", bytes(data))
    with pytest.raises(RejectedClipError, match=r"h265\.mp4: the video decoder failed at") as rejected:
        decode_clip(source, source, None, None, ClipRules(FrameSampling.count(3), require="video"))
    assert rejected.value.reason is Reason.DECODE_ERROR


def test_a_damaged_pixel_aspect_is_no_picture_of_gigabytes(tmp_path):
    """Pixels a million times as wide as high: a decode error, before memory is asked for."""
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(2, 1)
        for place in range(5):
            frame = av.VideoFrame.from_ndarray(np.zeros((72, 64), np.uint8), format="yuv420p")
            frame.pts = place
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    data = path.read_bytes()
    pixels = data.index(b"pasp") + 4
    path.write_bytes(data[:pixels] + struct.pack(">I", 2_000_000) + data[pixels + 4 :])
    with pytest.raises(RejectedClipError, match=r"a\.mp4: frames of 64x48 are to be shown at \d{6,}x48") as rejected:
        decode_clip(path, path, None, None, ClipRules(FrameSampling.count(2), require="video"))
    assert rejected.value.reason is Reason.DECODE_ERROR
