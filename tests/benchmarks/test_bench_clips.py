"""The clips are distinct, seeded, and of the form that YouTube serves."""

import itertools
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
from av.video.frame import PictureType

from benchmarks.loaders.clips import ClipForm, make_clips, pictures, write_clip
from benchmarks.loaders.scale import FULL, TINY

FORM = replace(TINY.form, duration_s=0.2)


def test_clips_are_distinct_and_the_same_again():
    """A clip depends on its number alone."""
    first, again, other = (np.stack([picture.copy() for picture in pictures(n, FORM)]) for n in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first.astype(int) - other.astype(int)).mean() > 5


def test_pictures_move():
    """No frame is the one before: the decoder has motion to compensate."""
    frames = [picture.astype(int) for picture in pictures(0, FORM)]
    assert all(np.abs(a - b).mean() > 0.5 for a, b in itertools.pairwise(frames))


def test_clips_are_encoded_as_youtube_serves_them(tmp_path: Path):
    """H.264 with B-frames and a key frame every few seconds; stereo AAC at 44.1 kHz."""
    path = tmp_path / "clip.mp4"
    write_clip(path, 0, replace(TINY.form, duration_s=1.0))
    with av.open(str(path)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.codec_context.name, audio.codec_context.name) == ("h264", "aac")
        assert (audio.rate, audio.channels) == (44100, 2)
        kinds = {PictureType(frame.pict_type) for frame in container.decode(video)}
        assert kinds == {PictureType.I, PictureType.P, PictureType.B}
    assert (FULL.form.width, FULL.form.height, FULL.form.frame_rate_hz, FULL.form.frame_count) == (480, 360, 30, 300)
    assert FULL.clips == 2048


def test_making_clips_goes_on_where_it_stopped(tmp_path: Path):
    """Clips that are there are kept, missing ones are made, and the table names all of them."""
    form: ClipForm = FORM
    table = make_clips(tmp_path, 2, form, workers=1)
    kept, lost = (tmp_path / "media" / f"clip0000{n}.mp4" for n in range(2))
    stamp_ns = kept.stat().st_mtime_ns
    lost.unlink()
    (tmp_path / "media" / "clip00001.1.tmp").write_bytes(b"half")
    assert make_clips(tmp_path, 3, form, workers=1) == table
    assert kept.stat().st_mtime_ns == stamp_ns
    assert lost.exists()
    assert [line.split(",")[1] for line in table.read_text().splitlines()[1:]] == [
        "clip00000.mp4",
        "clip00001.mp4",
        "clip00002.mp4",
    ]
