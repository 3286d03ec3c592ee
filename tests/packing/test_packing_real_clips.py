"""All the real files in one table: nothing crashes, nothing is lost, and every file is what it is said to be."""

import csv

import pytest
from pack_runs import rejects
from real_clips import BROKEN, CLIPS, NO_AUDIO, NO_VIDEO, UNREADABLE, needs_clips

import shardkit

pytestmark = needs_clips

FILES = {path.name for path in CLIPS.iterdir()} if CLIPS.is_dir() else set()


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A table with a row for each file."""
    path = tmp_path_factory.mktemp("real") / "files.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("id", "media"), *((name.replace(".", "_"), name) for name in sorted(FILES))])
    return path


@pytest.fixture(scope="module")
def whatever(table):
    """All that has a picture or a sound."""
    out = table.parent / "any"
    report = shardkit.pack(table, media=CLIPS, out=out, require="any", frames=4, size=64)
    return report, shardkit.open(out), rejects(out)


def by_file(rejected):
    """Reason by media file."""
    return {reject["media"]: reject["reason"] for reject in rejected}


def sources(dataset):
    """Index rows by media file."""
    return dict(zip(dataset.table["source"].to_pylist(), dataset.table.to_pylist(), strict=True))


def test_every_good_file_is_packed_and_every_broken_one_has_its_reason(whatever):
    """With `any`, what cannot be opened is unreadable, what breaks in the decoder is a decode error, the rest is in."""
    report, dataset, rejected = whatever
    assert by_file(rejected) == dict.fromkeys(UNREADABLE, "unreadable") | dict.fromkeys(BROKEN, "decode_error")
    assert set(sources(dataset)) == FILES - UNREADABLE - BROKEN
    assert report.rows == report.packed + sum(report.rejected.values()) == len(FILES)


def test_what_lacks_sound_or_picture_is_turned_away_unless_asked_for(table):
    """By default a clip needs picture and sound, and the reason says which of them it lacks."""
    out = table.parent / "av"
    shardkit.pack(table, media=CLIPS, out=out, frames=4, size=64)
    expected = (
        dict.fromkeys(UNREADABLE, "unreadable")
        | dict.fromkeys(NO_AUDIO | BROKEN, "no_audio")
        | dict.fromkeys(NO_VIDEO, "no_video")
    )
    assert by_file(rejects(out)) == expected
    assert set(sources(shardkit.open(out))) == FILES - set(expected)


def test_one_modality_alone_is_packed_alone(whatever):
    """A file without sound has no audio member, one without picture has no video member."""
    _, dataset, _ = whatever
    rows = sources(dataset)
    assert {name for name, row in rows.items() if not row["audio_bytes"]} == NO_AUDIO
    assert {name for name, row in rows.items() if not row["video_bytes"]} == NO_VIDEO


@pytest.mark.parametrize(
    ("flag", "names"),
    [
        ("late_video", {"androidx__edit_list_positive_shift.mp4"}),
        ("short_audio", {"androidx__sample_shorter_audio.mp4", "mp4parser__Tiny_Sample_-_OLD.mp4"}),
        (
            "silent",
            {
                "androidx__edit_list_positive_shift.mp4",
                "androidx__sample_audio_only_15s.mp4",
                "androidx__silent-black-10s.mp4",
                "moviepy__no_duration.webm",
            },
        ),
    ],
)
def test_flags_mark_exactly_the_files_that_deserve_them(whatever, flag, names):
    """Late pictures, early ends of sound and digital silence are flagged, and nothing else is."""
    _, dataset, _ = whatever
    assert {name for name, row in sources(dataset).items() if flag in row["flags"]} == names


def test_still_pictures_are_flagged_and_moving_ones_are_not(whatever):
    """The black clip is still; clips of people making music are not."""
    _, dataset, _ = whatever
    rows = sources(dataset)
    assert "still" in rows["androidx__silent-black-10s.mp4"]["flags"]
    assert not [name for name in rows if name.startswith(("specvqgan", "avo65")) and "still" in rows[name]["flags"]]


@pytest.mark.parametrize(
    ("name", "duration_s"),
    [
        ("androidx__sample_fragmented.mp4", 1.068),  # some probes read 143,165 s in its header
        ("moviepy__no_duration.webm", 4.938),  # declares none
        ("phpffmpeg__sample.3gp", 5.0),
    ],
)
def test_length_is_what_the_packets_hold_and_not_what_a_header_says(whatever, name, duration_s):
    """Without a span in the table, a clip is as long as its packets."""
    _, dataset, _ = whatever
    assert sources(dataset)[name]["duration_s"] == pytest.approx(duration_s, abs=0.001)
