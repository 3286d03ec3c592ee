"""read_frames with the pts that probe found: the same frames, with less decoding."""

import numpy as np
import pytest
from media_maker import make_video
from real_clips import BROKEN, CLIPS, NO_VIDEO, UNREADABLE, names, needs_clips

from shardkit.media.errors import MediaDecodeError
from shardkit.media.frames import read_frames
from shardkit.media.picked_frames import pick_frames
from shardkit.media.probe import open_span, probe


def assert_same(path, instants_s, **span):
    """Both ways give the same pictures and times."""
    with open_span(path, **span) as opened:
        picked = read_frames(path, instants_s, size=96, held=opened.video)
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
