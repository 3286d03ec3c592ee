"""h264: frames to packets and back, without the container; a damaged clip leaves nothing behind."""

import ctypes
import io
import platform
import subprocess
import sys
from itertools import cycle, islice

import av
import decord
import numpy as np
import pytest

from shardkit.errors import UsageError
from shardkit.media.errors import MediaDecodeError
from shardkit.media.h264 import PARAMETERS, SMPTE_170M, H264Decoder, encode_h264
from shardkit.media.jpeg import psnr_db

KEYINT = 8
KEYFRAME, PREDICTED, PARAMETER_SETS = 5, 1, {7, 8}


def pictures(count, height=64, width=112, *, seed=0):
    """RGB [count, height, width, 3]: a smooth picture that moves and is different for every seed."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    phase = np.random.default_rng(seed).uniform(0, 6, 3)
    return np.stack(
        [
            np.stack([127 + 90 * np.sin(x / 17 + y / 23 + place / 5 + one) for one in phase], 2).astype(np.uint8)
            for place in range(count)
        ]
    )


def encoded(rgb, **options):
    """The video of the pictures, a quarter of a second apart."""
    return encode_h264(rgb, np.arange(len(rgb)) / 4, **{"crf": 13, "keyint": KEYINT} | options)


def decoded(video, shape, decoder=None, places=None):
    """The frames at some places of a video, with all that they need."""
    packets = video.packets()
    places = range(len(packets)) if places is None else places
    out = np.zeros((len(places), *shape), np.uint8)
    wanted = [place in places for place in range(len(packets))]
    (decoder or H264Decoder()).decode(packets, wanted, out=out)
    return out


def units(packet):
    """Types of the units in a packet."""
    found, place = [], 0
    while place < len(packet):
        found.append(packet[place + 4] & 31)
        place += 4 + int.from_bytes(packet[place : place + 4], "big")
    return found


@pytest.fixture
def video():
    """Twenty frames: two whole runs of eight, and four more."""
    return encoded(pictures(20))


@pytest.mark.parametrize("size", [(64, 112), (34, 50), (224, 224), (226, 342)])
def test_frames_come_back_as_decord_decodes_the_file(size):
    """Without the container the pixels are those that decord finds in it, and near the source."""
    rgb = pictures(11, *size)
    video = encoded(rgb)
    frames = decoded(video, rgb.shape[1:])
    by_decord = decord.VideoReader(io.BytesIO(video.data), num_threads=1).get_batch(range(11)).asnumpy()
    assert np.abs(frames.astype(int) - by_decord).max() <= 1
    assert psnr_db(frames, rgb) > 38


def test_every_eighth_packet_is_a_keyframe_that_needs_no_other(video):
    """Keyframes stand at 0, 8, 16 and nowhere else, with their parameter sets; nothing else is in the packets."""
    for place, packet in enumerate(video.packets()):
        if place % KEYINT:
            assert units(packet) == [PREDICTED]
        else:
            assert units(packet)[-1] == KEYFRAME
            assert set(units(packet)[:-1]) == PARAMETER_SETS
    with av.open(io.BytesIO(video.data)) as container:
        marked = [packet.is_keyframe for packet in container.demux(video=0) if packet.size]
    assert marked == [place % KEYINT == 0 for place in range(20)]


def test_scenes_that_change_move_no_keyframe():
    """Pictures that have nothing in common do not start runs of their own."""
    rgb = np.concatenate([pictures(1, seed=seed) for seed in range(12)])
    video = encoded(rgb, keyint=5)
    assert [KEYFRAME in units(packet) for packet in video.packets()] == [place % 5 == 0 for place in range(12)]
    assert psnr_db(decoded(video, rgb.shape[1:]), rgb) > 38


@pytest.mark.parametrize(
    ("first", "wanted"), [(0, [0, 3]), (8, [8, 9, 11]), (8, [15]), (16, [16, 19]), (0, [2, 10, 18])]
)
def test_a_run_from_a_keyframe_on_is_decoded_alone(video, first, wanted):
    """The frames that are wanted are the same whatever is decoded before them, and the others are left out."""
    shape = (64, 112, 3)
    packets = video.packets()[first : wanted[-1] + 1]
    out = np.zeros((len(wanted), *shape), np.uint8)
    H264Decoder().decode(packets, [place in wanted for place in range(first, wanted[-1] + 1)], out=out)
    np.testing.assert_array_equal(out, decoded(video, shape)[wanted])


def test_runs_follow_each_other_in_one_call(video):
    """Frames 1 and 17 out of packets 0, 1, 16 and 17: what lies between is not needed."""
    packets = video.packets()
    out = np.zeros((2, 64, 112, 3), np.uint8)
    H264Decoder().decode([packets[place] for place in (0, 1, 16, 17)], [False, True, False, True], out=out)
    np.testing.assert_array_equal(out, decoded(video, out.shape[1:])[[1, 17]])


def test_any_view_takes_the_pixels(video):
    """`out` may be a part of something larger; nothing beside it is written."""
    whole = np.zeros((20, 70, 130, 3), np.uint8)
    H264Decoder().decode(video.packets(), [True] * 20, out=whole[:, 3:67, 9:121])
    np.testing.assert_array_equal(whole[:, 3:67, 9:121], decoded(video, (64, 112, 3)))
    whole[:, 3:67, 9:121] = 0
    assert not whole.any()


def test_packets_may_be_views_of_memory_that_changes_afterwards(video):
    """What was read into memory that is used again decodes the same, clip after clip."""
    decoder, expected = H264Decoder(), decoded(video, (64, 112, 3))
    scratch = np.empty(len(video.data), np.uint8)
    for _ in range(3):
        scratch[:] = np.frombuffer(video.data, np.uint8)
        places = zip(video.packet_offset, video.packet_bytes, strict=True)
        out = np.zeros((20, 64, 112, 3), np.uint8)
        decoder.decode([scratch[at : at + size] for at, size in places], [True] * 20, out=out)
        scratch[:] = 0xFF
        np.testing.assert_array_equal(out, expected)


def test_the_same_frames_give_the_same_bytes():
    """Encoding is deterministic, and the file names neither its encoder nor the hour."""
    rgb = pictures(12)
    assert encoded(rgb).data == encoded(rgb[::-1][::-1]).data
    assert b"x264" not in encoded(rgb).data
    assert b"Lav" not in encoded(rgb).data


def moved_blocks(count, height=130, width=130):
    """Blocks under noise that move by a pixel a frame: prediction finds them, and sides are no multiples of 16."""
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 120, (20, 20, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    moved = np.stack([blocks[place : place + height, place : place + width] for place in range(count)])
    return moved + rng.integers(0, 40, moved.shape, np.uint8)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc fills the memory that it hands out")
def test_bytes_do_not_depend_on_what_lay_in_memory_before():
    """Fresh memory full of anything: x264's decisions never rest on it."""
    perturb, rgb = -6, moved_blocks(8)  # M_PERTURB
    mallopt = ctypes.CDLL(None).mallopt
    expected = encoded(rgb).data
    try:
        for value in (1, 85, 170, 255):
            assert mallopt(perturb, value)
            assert encoded(rgb).data == expected
    finally:
        mallopt(perturb, 0)


def test_bytes_do_not_depend_on_the_processor(monkeypatch):
    """Without any SIMD instruction they are those that it gives with all that this machine has."""
    rgb = moved_blocks(8)
    expected = encoded(rgb).data
    monkeypatch.setitem(PARAMETERS, "asm", 0)
    assert encoded(rgb).data == expected


def test_the_file_says_how_its_colours_are_meant(video):
    """BT.601 in limited range, and timestamps as given."""
    with av.open(io.BytesIO(video.data)) as container:
        (stream,) = container.streams
        frame = next(container.decode(video=0))
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (frame.colorspace, frame.color_range) == (SMPTE_170M, 1)
        container.seek(0)
        times_s = [float(packet.pts * packet.time_base) for packet in container.demux(video=0) if packet.size]
    assert times_s == pytest.approx(np.arange(20) / 4, abs=1e-5)


def test_one_frame_is_a_video_too():
    """A single keyframe encodes and decodes."""
    rgb = pictures(1)
    assert psnr_db(decoded(encoded(rgb), rgb.shape[1:]), rgb) > 38


def spoiled(packets, place, spoil):
    """The packets, one of them changed."""
    return [spoil(bytes(packet)) if at == place else packet for at, packet in enumerate(packets)]


@pytest.mark.parametrize("place", [0, 3, 8])
@pytest.mark.parametrize(
    "spoil",
    [
        lambda packet: b"",
        lambda packet: packet[:3],
        lambda packet: packet[: len(packet) // 2],
        lambda packet: bytes(len(packet)),
        lambda packet: b"x" * len(packet),
        lambda packet: b"\xff\xff\xff\xff" + packet[4:],
    ],
    ids=["empty", "three bytes", "half", "zeros", "text", "wrong length"],
)
def test_a_damaged_clip_is_an_error_and_does_not_touch_the_next(video, place, spoil):
    """Good, damaged, good with one decoder: MediaDecodeError in the middle, the same pixels before and after."""
    decoder, shape = H264Decoder(), (64, 112, 3)
    before = decoded(video, shape, decoder)
    out = np.zeros((20, *shape), np.uint8)
    with pytest.raises(MediaDecodeError, match="packet"):
        decoder.decode(spoiled(video.packets(), place, spoil), [True] * 20, out=out)
    np.testing.assert_array_equal(decoded(video, shape, decoder), before)


def test_whatever_bytes_are_changed_the_next_clip_is_exact():
    """Random bytes anywhere, parameter sets too: an error or some pixels, no crash, and nothing stays."""
    random = np.random.default_rng(7)
    clips = [encoded(pictures(9, seed=seed)) for seed in range(2)]
    shape, decoder = (64, 112, 3), H264Decoder()
    expected = [decoded(clip, shape) for clip in clips]
    out = np.zeros((9, *shape), np.uint8)
    refused = 0
    for clip, good in islice(cycle(zip(clips, expected, strict=True)), 400):
        packets = [bytearray(packet) for packet in clip.packets()]
        packet = packets[random.integers(9)]
        # Half of the changes in the first bytes: lengths, types, parameter sets.
        reach = len(packet) if random.random() < 0.5 else 40
        for _ in range(random.integers(1, 5)):
            packet[random.integers(reach)] = random.integers(256)
        try:
            decoder.decode(packets, [True] * 9, out=out)
        except MediaDecodeError:
            refused += 1
        np.testing.assert_array_equal(decoded(clip, shape, decoder), good)
    assert 100 < refused < 400


def test_decoding_that_begins_without_a_keyframe_is_an_error(video):
    """Packets 9 and 10 refer to 8: MediaDecodeError, also where 8 was decoded by the call before."""
    decoder, out = H264Decoder(), np.zeros((1, 64, 112, 3), np.uint8)
    decoder.decode(video.packets()[8:9], [True], out=out)
    with pytest.raises(MediaDecodeError, match=r"gave 0 frames.*no keyframe"):
        decoder.decode(video.packets()[9:11], [False, True], out=out)


def test_another_size_is_named(video):
    """Frames that do not fit `out` belong to another video."""
    with pytest.raises(MediaDecodeError, match="112x64, expected 64x112"):
        H264Decoder().decode(video.packets(), [True] * 20, out=np.zeros((20, 112, 64, 3), np.uint8))


def test_out_must_have_room_for_what_is_wanted(video):
    """Another number of frames, of marks or another type is the caller's fault."""
    packets, room = video.packets(), np.zeros((20, 64, 112, 3), np.uint8)
    for wanted, out in (
        ([True] * 20, room[:19]),
        ([True] * 19, room[:19]),
        ([True] * 20, room.astype(np.float32)),
        ([True] * 20, room[..., :2]),
    ):
        with pytest.raises(UsageError):
            H264Decoder().decode(packets, wanted, out=out)


@pytest.mark.parametrize(
    ("rgb", "options", "words"),
    [
        (pictures(2, 63, 112), {}, "112x63.*even"),
        (pictures(2, 64, 111), {}, "111x64.*even"),
        (pictures(2).astype(np.float32), {}, "float32"),
        (pictures(2)[0], {}, "T, H, W, 3"),
        (pictures(2), {"crf": 0}, "crf 0"),
        (pictures(2), {"crf": 52}, "crf 52"),
        (pictures(2), {"keyint": 0}, "keyint 0"),
    ],
)
def test_what_cannot_be_encoded_is_the_callers_fault(rgb, options, words):
    """Odd sides, other types and shapes, and settings out of range raise UsageError."""
    with pytest.raises(UsageError, match=words):
        encoded(rgb, **options)


@pytest.mark.parametrize("times_s", [[], [0.0], [0.5, 1.0], [0.0, 0.0], [0.0, 1.0, 2.0]])
def test_times_must_fit_the_frames(times_s):
    """As many times as frames, from 0 on, ascending."""
    with pytest.raises(UsageError):
        encode_h264(pictures(2), times_s, crf=13, keyint=KEYINT)


def test_nobody_hears_of_damage_but_through_the_error(tmp_path, video):
    """FFmpeg writes nothing to standard error."""
    (tmp_path / "packet").write_bytes(bytes(video.packets()[0])[:-500] + bytes(500))
    script = """
import pathlib, numpy
from shardkit.media.errors import MediaDecodeError
from shardkit.media.h264 import H264Decoder
out = numpy.zeros((1, 64, 112, 3), numpy.uint8)
try:
    H264Decoder().decode([pathlib.Path("packet").read_bytes()], [True], out=out)
except MediaDecodeError:
    print("refused")
"""
    said = subprocess.run([sys.executable, "-c", script], check=True, cwd=tmp_path, capture_output=True, text=True)
    assert (said.stdout, said.stderr) == ("refused\n", "")
