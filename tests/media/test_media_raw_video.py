"""raw_video: pixels in a MOV, exactly, for whoever reads it."""

import io

import av
import decord
import numpy as np
import pytest

from shardkit.errors import UsageError
from shardkit.media.errors import MediaDecodeError
from shardkit.media.raw_video import decode_raw, mux_raw


def noise(count, height, width):
    """Frames of random pixels, RGB [count, height, width, 3]."""
    return np.random.default_rng(height * width).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", [(224, 224), (256, 342), (255, 340), (341, 256), (16, 16)])
def test_decord_reads_the_very_pixels(size):
    """All frames, in any order, to the bit."""
    rgb = noise(5, *size)
    reader = decord.VideoReader(io.BytesIO(mux_raw(rgb, np.arange(5) * 0.3).data), num_threads=1)
    np.testing.assert_array_equal(reader.get_batch([4, 0, 2, 1, 3]).asnumpy(), rgb[[4, 0, 2, 1, 3]])


def test_packets_are_the_pixels_where_the_offsets_say():
    """Each packet is a frame, row by row, at its offset; frames stand side by side."""
    rgb = noise(4, 30, 42)
    video = mux_raw(rgb, np.arange(4) / 2)
    for packet, frame in zip(video.packets(), rgb, strict=True):
        assert bytes(packet) == frame.tobytes()
    assert np.diff(video.packet_offset).tolist() == [30 * 42 * 3] * 3


def test_the_container_keeps_the_times_and_nothing_else():
    """One stream, timestamps as given, keyframes all, and no trace of versions or the time of day."""
    times_s = [0.0, 0.04, 1.0 / 3, 7.5]
    video = mux_raw(noise(4, 16, 16), times_s)
    with av.open(io.BytesIO(video.data)) as container:
        assert [stream.codec_context.name for stream in container.streams] == ["rawvideo"]
        packets = [packet for packet in container.demux() if packet.size]
    assert [float(packet.pts * packet.time_base) for packet in packets] == pytest.approx(times_s, abs=1 / 90_000)
    assert all(packet.is_keyframe for packet in packets)
    assert b"Lav" not in video.data
    assert mux_raw(noise(4, 16, 16), times_s).data == video.data


def test_an_odd_width_is_refused():
    """QuickTime pads its rows: packets would not be the pixels."""
    with pytest.raises(UsageError, match=r"341 wide.*odd widths"):
        mux_raw(noise(2, 256, 341), [0.0, 1.0])


@pytest.mark.parametrize(
    ("rgb", "times_s"),
    [(noise(2, 16, 16)[0], [0.0]), (noise(2, 16, 16).astype(float), [0, 1]), (noise(2, 16, 16), [0.0])],
)
def test_what_are_no_frames_is_the_callers_fault(rgb, times_s):
    """Another shape, type or number of times raises UsageError."""
    with pytest.raises(UsageError):
        mux_raw(rgb, times_s)


def test_packets_decode_to_what_they_were():
    """Bytes and views come back as pixels; `out` may be a view itself."""
    rgb = noise(3, 16, 20)
    packets = mux_raw(rgb, [0, 1, 2]).packets()
    out = np.zeros((3, 20, 30, 3), np.uint8)
    decode_raw([packets[0], bytes(packets[1]), np.frombuffer(packets[2], np.uint8)], out=out[:, 2:18, 5:25])
    np.testing.assert_array_equal(out[:, 2:18, 5:25], rgb)


def test_packets_of_another_size_or_number_are_named():
    """They belong to another video."""
    packets = mux_raw(noise(3, 16, 20), [0, 1, 2]).packets()
    with pytest.raises(MediaDecodeError, match="960 bytes, expected 16x16x3 = 768"):
        decode_raw(packets, out=np.zeros((3, 16, 16, 3), np.uint8))
    with pytest.raises(MediaDecodeError, match="3 raw frames, expected 2"):
        decode_raw(packets, out=np.zeros((2, 16, 20, 3), np.uint8))
