"""mux and decord_video: packets into MP4, and frames out of it."""

import io

import av
import numpy as np
import pytest

from shardkit.errors import UsageError
from shardkit.media.decord_video import decode_video
from shardkit.media.errors import MediaDecodeError
from shardkit.media.jpeg import decode_jpeg_into, encode_jpeg, psnr_db
from shardkit.media.mux import mux_mjpeg


def pictures(count, height=64, width=112):
    """RGB [count, height, width, 3]: gradients, and 11 more blue every time."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([np.stack([2 * x, 3 * y, np.full_like(x, 11 * i)], 2).astype(np.uint8) for i in range(count)])


def muxed(rgb, times_s, chroma="420"):
    """The JPEG packets of the pictures, and the video made of them."""
    packets = [encode_jpeg(picture, quality=92, chroma=chroma) for picture in rgb]
    return packets, mux_mjpeg(packets, times_s, width=rgb.shape[2], height=rgb.shape[1])


def test_packets_lie_where_the_offsets_say():
    """Every packet stands unchanged at its offset."""
    packets, video = muxed(pictures(9), np.arange(9) * 0.4)
    for packet, offset, length in zip(packets, video.packet_offset, video.packet_bytes, strict=True):
        assert video.data[offset : offset + length] == packet


def test_container_keeps_the_times_and_nothing_else():
    """One MJPEG stream, timestamps as given to a tick, and no trace of versions or the time of day."""
    times_s = [0.0, 0.04, 0.3, 1.0 / 3, 7.5]
    _, video = muxed(pictures(5), times_s)
    with av.open(io.BytesIO(video.data)) as container:
        assert [(s.type, s.codec_context.name) for s in container.streams] == [("video", "mjpeg")]
        pts_s = [float(p.pts * p.time_base) for p in container.demux() if p.size]
    assert pts_s == pytest.approx(times_s, abs=1 / 90_000)
    assert b"Lavf" not in video.data


def test_same_packets_give_the_same_bytes():
    """Muxing is deterministic."""
    assert muxed(pictures(4), [0, 1, 2, 3])[1].data == muxed(pictures(4), [0, 1, 2, 3])[1].data


def test_one_frame_is_a_video_too():
    """A single packet muxes and decodes."""
    rgb = pictures(1)
    out = np.zeros_like(rgb)
    decode_video(muxed(rgb, [0.0])[1].data, [0], out=out)
    assert psnr_db(out, rgb) > 35


@pytest.mark.parametrize(
    "times_s",
    [[], [0.0, 1.0], [0.5, 1.0, 2.0], [0.0, 1.0, 1.0], [0.0, 2.0, 1.0], [0.0, 1e-6, 1.0], [0, np.nan, 1]],
)
def test_times_must_start_at_zero_and_ascend(times_s):
    """A wrong number of times, a first that is not 0, equal, descending and NaN ones raise UsageError."""
    with pytest.raises(UsageError):
        muxed(pictures(3), times_s)


@pytest.mark.parametrize("chroma", ["420", "444"])
@pytest.mark.parametrize("size", [(64, 112), (224, 224), (256, 342), (121, 161)])
@pytest.mark.parametrize("indices", [[0], [11], [0, 1, 7, 11], [3, 4, 5], list(range(12))])
def test_decord_decodes_the_frames_that_are_asked_for(chroma, size, indices):
    """The frames at the indices come, and no neighbours, as libjpeg-turbo decodes them."""
    rgb = pictures(12, *size)
    packets, video = muxed(rgb, np.cumsum([0, 0.04, 0.2, *[0.1] * 9]), chroma)
    out = np.zeros((len(indices), *rgb.shape[1:]), np.uint8)
    decode_video(video.data, indices, out=out)
    expected = np.zeros_like(out)
    for place, index in enumerate(indices):
        decode_jpeg_into(packets[index], expected[place])
    # The two enlarge the halved chroma differently; frames lie 11 apart in blue.
    assert np.abs(out.astype(int) - expected).mean() < 3


def test_decord_errors_are_translated():
    """Bytes that are no video, a frame that is not there and another size raise MediaDecodeError."""
    _, video = muxed(pictures(3), [0, 1, 2])
    out = np.zeros((1, 64, 112, 3), np.uint8)
    with pytest.raises(MediaDecodeError, match="cannot be opened"):
        decode_video(b"no video" * 50, [0], out=out)
    with pytest.raises(MediaDecodeError, match="the video has 3"):
        decode_video(video.data, [3], out=out)
    with pytest.raises(MediaDecodeError, match="112x64, expected 64x112"):
        decode_video(video.data, [0], out=np.zeros((1, 112, 64, 3), np.uint8))


@pytest.mark.parametrize("indices", [[1, 0], [1, 1]])
def test_decord_is_asked_for_frames_in_their_order(indices):
    """Frames are decoded one after the other; to go back is the caller's fault."""
    _, video = muxed(pictures(3), [0, 1, 2])
    with pytest.raises(UsageError, match="do not ascend"):
        decode_video(video.data, indices, out=np.zeros((2, 64, 112, 3), np.uint8))


def test_decord_needs_room_for_every_frame():
    """An `out` for another number of frames is the caller's fault."""
    _, video = muxed(pictures(3), [0, 1, 2])
    with pytest.raises(UsageError):
        decode_video(video.data, [0, 1], out=np.zeros((3, 64, 112, 3), np.uint8))
