"""Synthesised clips say in sound and picture which class, clip and frame they are."""

import csv
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import synth_media
from hypothesis import given
from hypothesis import strategies as st
from synth_media import LEAVES, Fault, FrameCode, Leaf, Row, Variety

from shardkit.errors import DataError, UsageError

SMALL = Variety(sizes=((160, 120), (128, 96)), duration_s=1.0)
AVO65 = Path(__file__).parents[3] / "shared/data/annotations/AVO-65.csv"
needs_avo65 = pytest.mark.skipif(not AVO65.exists(), reason="no ../shared/data with the released AVO-65.csv")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Three good clips of different classes, and one row with each fault."""
    folder = tmp_path_factory.mktemp("synth")
    rows = synth_media.synthesise(folder, clips=3, faults=True, variety=SMALL, workers=1)
    return folder, rows


@pytest.fixture(scope="module")
def good(made):
    """The good clips' paths and rows."""
    folder, rows = made
    return [(folder / row.file_name, row) for row in rows if row.fault is None]


def _row_with(made, fault):
    folder, rows = made
    (row,) = (row for row in rows if row.fault is fault)
    return folder / row.file_name, row


def _pictures(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def _sound(path):
    with av.open(str(path)) as container:
        rate_hz = container.streams.audio[0].rate
        frames = [frame.to_ndarray() for frame in container.decode(audio=0)]
    return np.concatenate(frames, axis=1).mean(axis=0), rate_hz


def _peak_hz(sound, rate_hz, low_hz, high_hz):
    """The frequency in [low_hz, high_hz) where the spectrum is highest."""
    power = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
    frequencies_hz = np.fft.rfftfreq(len(sound), 1 / rate_hz)
    band = (frequencies_hz >= low_hz) & (frequencies_hz < high_hz)
    return frequencies_hz[band][power[band].argmax()]


def test_a_clip_is_h264_and_aac_of_the_asked_duration(good):
    """A good clip holds one H.264 and one AAC stream whose decoded lengths are the duration asked for."""
    for path, row in good:
        form = SMALL.format_of(row.number, seed=0)
        with av.open(str(path)) as container:
            (video,), (audio,) = container.streams.video, container.streams.audio
            assert (video.codec.name, audio.codec.name) == ("h264", "aac")
            assert (video.width, video.height) == (form.width, form.height)
            assert (audio.rate, audio.channels) == (form.sample_rate_hz, form.channels)
        assert len(_pictures(path)) == form.frame_count
        # The decoder hands out whole AAC frames of 1024 samples.
        assert 0 <= len(_sound(path)[0]) - form.sample_count < 1024


def test_frames_are_shown_at_the_declared_rate_from_zero(good):
    """Frame i is shown at i divided by the frame rate, although B-frames change the order of decoding."""
    for path, row in good:
        rate_hz = SMALL.format_of(row.number, seed=0).frame_rate_hz
        with av.open(str(path)) as container:
            times_s = [frame.pts * frame.time_base for frame in container.decode(video=0)]
        assert times_s == pytest.approx([float(i / rate_hz) for i in range(len(times_s))], abs=1e-4)


def test_the_loudest_tone_is_the_pitch_of_the_class(good):
    """The highest peak of a clip's spectrum lies within 1 % of its class's pitch."""
    for path, row in good:
        pitch_hz = synth_media.pitch_hz(row.leaf.class_id)
        assert _peak_hz(*_sound(path), 50, 8000) == pytest.approx(pitch_hz, rel=0.01)


def test_the_pilot_tone_is_that_of_the_clip(good):
    """Between 5.5 and 7.8 kHz the highest peak is the clip's pilot, nearer than a neighbour's."""
    for path, row in good:
        assert _peak_hz(*_sound(path), 5500, 7800) == pytest.approx(synth_media.pilot_hz(row.number), abs=2)


def test_hues_differ_by_class(good):
    """The pattern's mean colours of two classes are further apart than those of two frames of a clip."""
    sampled = [_pictures(path)[::12] for path, _ in good]
    means = [[picture[: len(picture) // 2].mean(axis=(0, 1)) for picture in clip] for clip in sampled]
    within = max(np.abs(a - b).max() for clip in means for a in clip for b in clip)
    across = min(np.abs(means[i][0] - means[j][0]).max() for i in range(len(means)) for j in range(i + 1, len(means)))
    assert across > 3 * within


def test_every_frame_tells_its_clip_and_its_number(good):
    """Each decoded frame's blocks read as the clip's number and the frame's place."""
    for path, row in good:
        codes = [synth_media.read_code(picture) for picture in _pictures(path)]
        assert codes == [FrameCode(row.number, frame) for frame in range(len(codes))]


def test_the_code_survives_a_square_crop_scaled_down(tmp_path):
    """The centred square of a 640x360 frame at a third of its size still reads as that frame."""
    row = Row(4711, "a.mp4", 30, LEAVES[0])
    wide = Variety(sizes=((640, 360),), duration_s=0.2)
    synth_media.write_clip(tmp_path / "a.mp4", row, variety=wide)
    picture = _pictures(tmp_path / "a.mp4")[3]
    square = picture[:, 140:500].reshape(120, 3, 120, 3, 3).mean(axis=(1, 3)).astype(np.uint8)
    assert synth_media.read_code(square) == FrameCode(4711, 3)


def test_a_blend_of_two_frames_is_no_code(good):
    """The average of two neighbouring frames is not read as either."""
    first, second = _pictures(good[0][0])[:2]
    blend = ((first.astype(np.uint16) + second) // 2).astype(np.uint8)
    assert synth_media.read_code(blend) is None


@given(number=st.integers(0, synth_media.MAX_CLIPS - 1), frame=st.integers(0, synth_media.MAX_FRAMES - 1))
def test_a_drawn_code_reads_as_itself(number, frame):
    """Every clip and frame number that fits comes back from a plain drawing of its blocks."""
    blocks = FrameCode(number, frame).blocks().repeat(9, axis=0).repeat(9, axis=1)
    picture = np.full((96, 96), 120, dtype=np.uint8)
    picture[48:84, 12:84] = np.where(blocks, 235, 16)
    assert synth_media.read_code(picture) == FrameCode(number, frame)


def test_two_runs_write_the_same_bytes(made, tmp_path):
    """The same call gives identical files, whether one process or two write them."""
    folder, _ = made
    synth_media.synthesise(tmp_path, clips=3, faults=True, variety=SMALL, workers=2)
    names = sorted(path.name for path in folder.iterdir())
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert all((tmp_path / name).read_bytes() == (folder / name).read_bytes() for name in names)


def test_clips_of_one_class_and_form_differ_by_number(tmp_path):
    """Two clips that share everything but their number differ in every frame and in their sound."""
    same = Variety(((128, 96),), (Fraction(25),), (44100,), (1,), duration_s=0.4)
    paths = [tmp_path / "1.mp4", tmp_path / "2.mp4"]
    for number, path in enumerate(paths, start=1):
        synth_media.write_clip(path, Row(number, path.name, 30, LEAVES[0]), variety=same)
    one, two = map(_pictures, paths)
    assert all(np.abs(a.astype(int) - b).max() > 100 for a, b in zip(one, two, strict=True))
    assert np.abs(_sound(paths[0])[0] - _sound(paths[1])[0]).max() > 0.05


def test_the_csv_has_the_released_header_and_a_line_a_row(made):
    """The CSV beside the media has AVO-65's header, typo included, and every row's id, name and levels."""
    folder, rows = made
    with (folder / "annotations.csv").open(newline="") as file:
        header, *lines = csv.reader(file)
    assert header == ["ytid", "start_time", "name", "level_1", "lebel_2", "level_3", "level_4"]
    assert lines == [[row.file_name, str(row.start_s), row.leaf.name, *map(str, row.leaf.level_ids)] for row in rows]
    assert [row.number for row in rows] == list(range(1, len(lines) + 1))


def test_each_fault_stands_once_among_the_rows(made):
    """A run with faults has one row of each kind beside the good clips asked for."""
    _, rows = made
    assert sorted(row.fault.name for row in rows if row.fault) == sorted(fault.name for fault in Fault)
    assert sum(row.fault is None for row in rows) == 3


@pytest.mark.parametrize("fault", [Fault.MANGLED_ID, Fault.NO_FILE])
def test_rows_without_media_have_no_file(made, fault):
    """A mangled id and a missing download leave no file behind."""
    path, _ = _row_with(made, fault)
    assert not path.exists()


def test_a_truncated_clip_opens_and_promises_more_than_it_holds(made):
    """A truncated file declares its whole duration, and decoding ends early with an error or without."""
    path, row = _row_with(made, Fault.TRUNCATED)
    decoded = 0
    with av.open(str(path)) as container:
        assert container.duration / av.time_base == pytest.approx(SMALL.duration_s, abs=0.1)
        try:
            for _ in container.decode(video=0):
                decoded += 1
        except av.error.InvalidDataError:
            pass
    assert decoded < SMALL.format_of(row.number, seed=0).frame_count * 3 // 4


def test_a_file_that_is_no_media_does_not_open(made):
    """The page that was saved in place of a clip is refused by FFmpeg."""
    path, _ = _row_with(made, Fault.NOT_MEDIA)
    with pytest.raises(av.error.InvalidDataError):
        av.open(str(path))


def test_a_clip_without_sound_has_pictures_only(made):
    """The soundless clip has no audio stream and all of its frames."""
    path, row = _row_with(made, Fault.NO_SOUND)
    with av.open(str(path)) as container:
        assert not container.streams.audio
    assert len(_pictures(path)) == SMALL.format_of(row.number, seed=0).frame_count


@needs_avo65
def test_rows_of_the_released_csv_are_spread_over_all_classes():
    """600 rows of the released file cover its 65 classes evenly, and each is the row of its number."""
    rows = synth_media.rows_of_csv(AVO65, count=600)
    with AVO65.open(newline="") as file:
        _, *lines = csv.reader(file)
    assert len({row.number for row in rows}) == 600
    for row in rows:
        levels = map(str, row.leaf.level_ids)
        assert lines[row.number - 1] == [row.file_name, str(row.start_s), row.leaf.name, *levels]
    counts = np.bincount([row.leaf.class_id for row in rows])
    assert len(counts) == 65
    # Six and seven rows are all that the two rarest classes have.
    assert counts.min() == 6
    assert counts.max() == 10


def test_mangled_ids_are_passed_over_but_counted(tmp_path):
    """A row `#NAME?` gets no media, and the rows after it keep their numbers."""
    good = Row(2, "abcdefghijk_000030.mp4", 30, LEAVES[0])
    synth_media.write_csv(tmp_path / "a.csv", [Row(1, synth_media.MANGLED_ID, 30, LEAVES[1]), good])
    assert synth_media.rows_of_csv(tmp_path / "a.csv", count=1) == [good]


@pytest.mark.parametrize("name", ["../a_000030.mp4", "/a_000030.mp4"])
def test_a_csv_cannot_name_a_file_elsewhere(tmp_path, name):
    """An id that leads out of the media folder is a DataError naming its row."""
    synth_media.write_csv(tmp_path / "a.csv", [Row(1, name, 30, LEAVES[0])])
    with pytest.raises(DataError, match="row 1"):
        synth_media.rows_of_csv(tmp_path / "a.csv", count=1)


def test_another_csv_is_refused_by_its_columns(tmp_path):
    """A CSV without AVO-65's header is a DataError naming the file."""
    (tmp_path / "b.csv").write_text("id,label\nx,y\n")
    with pytest.raises(DataError, match=r"b\.csv: columns are \['id', 'label'\]"):
        synth_media.rows_of_csv(tmp_path / "b.csv", count=1)


def test_more_rows_than_the_csv_has_are_refused(tmp_path):
    """Asking for more rows than name a file is a UsageError saying how many do."""
    synth_media.write_csv(tmp_path / "a.csv", [Row(1, "a_000030.mp4", 30, LEAVES[0])])
    with pytest.raises(UsageError, match="2 rows asked for, 1 name a file"):
        synth_media.rows_of_csv(tmp_path / "a.csv", count=2)


@pytest.mark.parametrize(
    "wrong",
    [
        {"sizes": ((64, 48),)},
        {"sizes": ((321, 240),)},
        {"duration_s": 0.0},
        {"duration_s": 1000.0},
        {"frame_rates_hz": (Fraction(0),)},
    ],
)
def test_a_form_that_cannot_carry_the_code_is_refused(wrong):
    """Sizes too small or odd, and frame counts of none or beyond the code, are UsageErrors."""
    with pytest.raises(UsageError):
        Variety(**wrong)


@needs_avo65
def test_the_builtin_classes_are_those_of_the_released_file():
    """Names and level ids of the built-in classes stand in the released AVO-65 file."""
    released = {row.leaf for row in synth_media.rows_of_csv(AVO65, count=5959)}
    assert released >= set(LEAVES)


def test_the_command_line_writes_media_and_csv(tmp_path, capsys):
    """`synth_media.py OUT --clips 1` leaves one clip and the CSV, and says so."""
    small = ["--size", "128x96", "--fps", "25", "--duration", "0.2", "--workers", "1"]
    assert synth_media.main([str(tmp_path / "out"), "--clips", "1", *small]) == 0
    assert sorted(path.suffix for path in (tmp_path / "out").iterdir()) == [".csv", ".mp4"]
    assert "1 rows (0 with a fault)" in capsys.readouterr().out


def test_the_command_line_reports_errors_without_a_traceback(tmp_path, capsys):
    """A CSV that is not there ends with exit code 2 and one line on stderr."""
    assert synth_media.main([str(tmp_path), "--csv", str(tmp_path / "none.csv")]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_classes_are_taken_in_turn():
    """Invented rows go round the classes given, whatever their number."""
    classes = [Leaf("A", (0, 0, 0, 0)), Leaf("B", (0, 0, 0, 1))]
    rows = synth_media.invented_rows(5, classes=classes)
    assert [row.leaf.name for row in rows] == ["A", "B", "A", "B", "A"]
