"""read_frames: the frame shown at every instant."""

import re

import av
import numpy as np
import pytest
from media_maker import HEIGHT, WIDTH, make_pcm, make_video, read_number, tone
from real_clips import BROKEN, CLIPS, NO_VIDEO, UNREADABLE, names, needs_clips

from shardkit.errors import UsageError
from shardkit.media.errors import MediaDecodeError, NoStreamError
from shardkit.media.frames import read_frames


def numbers(frames):
    """The numbers that the frames carry."""
    return [read_number(picture) for picture in frames.rgb]


VFR = [0, 40, 41, 300, 310, 900, 1000, 1001, 2000, 2040]


@pytest.mark.parametrize(
    ("suffix", "ticks", "b_frames"),
    [
        ("mp4", [40 * i for i in range(60)], 0),
        ("mp4", [40 * i for i in range(60)], 3),
        ("mkv", VFR, 2),
        ("mp4", VFR, 2),
        ("mkv", [10_000 + 40 * i for i in range(60)], 2),
        ("ts", [40 * i for i in range(60)], 2),
    ],
)
def test_shown_frame_is_the_last_one_not_after_the_instant(tmp_path, suffix, ticks, b_frames):
    """At a frame's pts and until just before the next one, that frame is chosen, with its pts as its time."""
    path = make_video(tmp_path / f"a.{suffix}", ticks, b_frames=b_frames)
    pts_s = (np.array(ticks) - ticks[0]) / 1000
    for offset_s in (0.0, 0.0005):
        frames = read_frames(path, pts_s + offset_s)
        assert numbers(frames) == list(range(len(ticks)))
        assert frames.time_s == pytest.approx(pts_s, abs=1e-6)
    before = read_frames(path, pts_s[1:] - 0.0005)
    assert numbers(before) == list(range(len(ticks) - 1))


def test_instants_may_repeat_frames_and_skip_them(tmp_path):
    """More instants than frames repeat frames, fewer skip them; nothing is decoded twice."""
    path = make_video(tmp_path / "a.mp4", [40 * i for i in range(25)])
    assert numbers(read_frames(path, np.arange(20) * 0.01)) == [i // 4 for i in range(20)]
    assert numbers(read_frames(path, [0.1, 0.5, 0.9])) == [2, 12, 22]


def test_late_stream_shows_its_first_frame_and_says_so(tmp_path):
    """Before a stream begins its first frame stands in; late_start_s is how long."""
    path = make_video(tmp_path / "a.mp4", [1000 + 40 * i for i in range(25)], audio_start_s=0.0, audio_s=2)
    frames = read_frames(path, [0.25, 0.75, 1.0, 1.05])
    assert numbers(frames) == [0, 0, 0, 1]
    assert frames.time_s == pytest.approx([1.0, 1.0, 1.0, 1.04])
    assert frames.late_start_s == pytest.approx(0.75)


def test_last_frame_is_held(tmp_path):
    """Instants after the last frame show the last frame."""
    path = make_video(tmp_path / "a.mp4", [40 * i for i in range(25)], b_frames=2)
    frames = read_frames(path, [0.95, 0.97, 1.5, 90.0])
    assert numbers(frames) == [23, 24, 24, 24]
    assert frames.late_start_s == 0.0


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
@pytest.mark.parametrize("gop", [7, 1000])
def test_seeking_finds_the_same_frames(tmp_path, suffix, gop):
    """A span in the middle shows what decoding from the beginning shows, wherever keyframes are."""
    path = make_video(tmp_path / f"a.{suffix}", [80 * i for i in range(250)], b_frames=2, gop=gop)
    for start_s in (3.3, 9.99, 12.0, 19.9):
        instants = start_s + np.arange(5) * 0.1
        expected = [min(249, int((t + 1e-6) / 0.08)) for t in instants]
        assert numbers(read_frames(path, instants)) == expected


def test_counts_compare_packets_with_frames(tmp_path):
    """Between the first and the last instant as many frames are decoded as packets are there."""
    path = make_video(tmp_path / "a.mp4", [40 * i for i in range(250)], b_frames=2)
    frames = read_frames(path, [4.0, 6.0])
    assert (frames.expected_count, frames.decoded_count) == (51, 51)


def test_avi_without_pts_keeps_time_running_forwards(tmp_path):
    """AVI stores no pts; with B-frames times still ascend and no frame after the first ones is skipped."""
    path = make_video(tmp_path / "a.avi", [40 * i for i in range(50)], b_frames=2)
    frames = read_frames(path, np.arange(8, 48) * 0.04 + 0.001)
    assert (np.diff(frames.time_s) > 0).all()
    assert np.diff(numbers(frames)).tolist() == [1] * 39


@pytest.mark.parametrize(
    ("size", "fit", "shape"),
    [(None, "short", (64, 128)), (32, "short", (32, 64)), (96, "short", (96, 192)), (48, "square", (48, 48))],
)
def test_size_is_what_was_asked_for(tmp_path, size, fit, shape):
    """The short side has the size, also where the picture must be enlarged; square cuts the centre."""
    path = make_video(tmp_path / "a.mp4", [0, 40])
    assert read_frames(path, [0.0], size=size, fit=fit).rgb.shape == (1, *shape, 3)


@pytest.mark.skipif(not hasattr(av.video.stream.VideoStream, "set_display_rotation"), reason="PyAV writes no rotation")
@pytest.mark.parametrize(("degrees", "turns"), [(0, 0), (90, 1), (180, 2), (270, 3)])
def test_rotation_is_applied(tmp_path, degrees, turns):
    """A file that says by how much to turn its pictures (counterclockwise) shows them turned."""
    colours = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 255]]], np.uint8)
    picture = colours.repeat(HEIGHT // 2, 0).repeat(WIDTH // 2, 1)
    path = make_video(tmp_path / "a.mp4", [0], rotation=degrees, pictures=[picture])
    shown = read_frames(path, [0.0]).rgb[0]
    expected = np.rot90(picture, turns)
    assert shown.shape == expected.shape
    assert np.abs(shown.astype(int) - expected).mean() < 8


def test_no_video_is_told_apart(tmp_path):
    """A file with sound alone raises NoStreamError of kind video."""
    path = make_pcm(tmp_path / "a.mkv", tone(8000, 0.5), 8000)
    with pytest.raises(NoStreamError, match=r"a\.mkv") as caught:
        read_frames(path, [0.0])
    assert caught.value.kind == "video"


@pytest.mark.parametrize("instants", [[], [1.0, 0.5], [float("nan")], [[0.0]]])
def test_instants_must_ascend(tmp_path, instants):
    """No instants, descending ones and NaN are the caller's fault."""
    path = make_video(tmp_path / "a.mp4", [0])
    with pytest.raises(UsageError):
        read_frames(path, instants)


def damaged(tmp_path, damaged_ticks):
    """A file of 100 frames in which the packets at these ticks are zeros."""
    path = make_video(tmp_path / "good.mp4", [40 * i for i in range(100)], gop=10)
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        for packet in container.demux(video=0):
            if packet.size and round(packet.pts * packet.time_base * 1000) in damaged_ticks:
                data[packet.pos : packet.pos + packet.size] = bytes([255]) * packet.size
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(data)
    return broken


def test_decode_error_inside_the_range_is_raised(tmp_path):
    """A damaged packet between the instants raises MediaDecodeError naming the file and the time."""
    path = damaged(tmp_path, {2040})
    with pytest.raises(MediaDecodeError, match=r"broken\.mp4.* 2\.\d\d\d s"):
        read_frames(path, np.arange(1.5, 2.6, 0.1))


def test_decode_error_that_the_frames_depend_on_is_raised(tmp_path):
    """A damaged packet between the last keyframe and the first instant counts: others build on it."""
    path = damaged(tmp_path, {2040})
    with pytest.raises(MediaDecodeError):
        read_frames(path, [2.2, 2.3])


@pytest.mark.parametrize("instants", [[0.5, 1.9], [2.5, 3.5], [3.3, 3.9]])
def test_decode_error_elsewhere_is_not_the_clips_fault(tmp_path, instants):
    """A damaged packet before the last keyframe, or after the last instant, leaves the clip good."""
    frames = read_frames(damaged(tmp_path, {2040}), instants)
    assert numbers(frames) == [int(t * 25 + 1e-6) for t in instants]


@needs_clips
@pytest.mark.parametrize("name", names(without=UNREADABLE | BROKEN | NO_VIDEO))
def test_real_clip_shows_the_right_frames(name):
    """Every frame is the one that a full decode shows by its pts; its neighbours match worse."""
    path = CLIPS / name
    with av.open(str(path)) as container:
        stream = container.streams.best("video")
        zero_s = max(0, container.start_time) / 1e6
        packets = [p for p in container.demux(stream) if p.size and not p.is_discard]
        pts_s = np.array(sorted(float(p.pts * p.time_base) - zero_s for p in packets))
    end_s = min(float(pts_s[-1]), 12.0)
    instants = (np.arange(6) + 0.5) * end_s / 6
    chosen = np.maximum(np.searchsorted(pts_s, instants + 1e-5, side="right") - 1, 0)

    frames = read_frames(path, instants)
    assert frames.time_s == pytest.approx(pts_s[chosen], abs=1e-6)
    assert frames.expected_count == frames.decoded_count

    wanted = {int(place) + shift for place in chosen for shift in (-1, 0, 1)}
    pictures = {}
    with av.open(str(path)) as container:
        for place, frame in enumerate(container.decode(container.streams.best("video"))):
            if place in wanted:
                pictures[place] = frame.to_ndarray(format="rgb24")
            if place > max(chosen):
                break
    if "rotat" in name or frames.rgb.shape[1:] != next(iter(pictures.values())).shape:
        return  # turned or of wide pixels: the times say it
    for shown, place in zip(frames.rgb, chosen.tolist(), strict=True):
        here = np.abs(shown.astype(int) - pictures[place]).mean()
        assert here < 0.5
        for neighbour in (place - 1, place + 1):
            if neighbour in pictures:
                assert here <= np.abs(shown.astype(int) - pictures[neighbour]).mean() + 0.01


@needs_clips
def test_real_clip_in_the_middle_shows_the_same_frames():
    """Spans in the middle of long sources show what decoding from the beginning shows."""
    for name, starts in (("webrtc__chrome.mp4", (7.3, 21.0)), ("energon__sync_test.mp4", (33.21, 60.0))):
        whole = read_frames(CLIPS / name, np.concatenate([[0.0], *(s + np.arange(4) * 0.3 for s in starts)]), size=64)
        for place, start_s in enumerate(starts):
            part = read_frames(CLIPS / name, start_s + np.arange(4) * 0.3, size=64)
            same = slice(1 + 4 * place, 5 + 4 * place)
            assert np.array_equal(part.time_s, whole.time_s[same])
            assert np.array_equal(part.rgb, whole.rgb[same])


@needs_clips
@pytest.mark.parametrize("name", sorted(BROKEN))
def test_real_broken_clip_is_a_decode_error(name):
    """Clips whose packets cannot be decoded raise MediaDecodeError naming the file."""
    with pytest.raises(MediaDecodeError, match=re.escape(name)):
        read_frames(CLIPS / name, [0.1, 1.0, 4.0])


@needs_clips
@pytest.mark.parametrize(
    ("name", "upright"),
    [
        ("androidx__internal_emulator_transformer_output_270_rotated.mp4", np.rot90),
        ("androidx__sample_rotate_and_reflect.mp4", lambda a: a.transpose(1, 0, 2)),
    ],
)
def test_real_display_matrix_turns_and_mirrors(name, upright):
    """Rotation and reflection come from the display matrix, as ffmpeg's autorotate reads it."""
    with av.open(str(CLIPS / name)) as container:
        stored = next(container.decode(video=0)).to_ndarray(format="rgb24")
    shown = read_frames(CLIPS / name, [0.0]).rgb[0]
    assert np.abs(shown.astype(int) - upright(stored)).mean() < 0.5
