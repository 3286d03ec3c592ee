"""Background: media without events become training clips beside the annotated ones, whatever else is asked for."""

import csv
import shutil
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from uuid import uuid4

import pytest
from pack_runs import SMALL, contents, rejects, unlike
from synth_media import Variety, synthesise

import shardkit
from shardkit.annotations import AnnotationSet, read_annotations
from shardkit.clip import Clip
from shardkit.errors import StorageError, TooManyRejectsError, UsageError
from shardkit.packing.background import background_clips, find_background
from shardkit.packing.outcome import PackReport
from shardkit.packing.splits import assign_splits
from shardkit.storage.locations import Location

SHORT_S = 1.0


@dataclass(frozen=True)
class WithBackground:
    """A folder of event-free media, and the table packed with it."""

    folder: Path
    """Three files of ten seconds, one of SHORT_S, one that is no media, and one that is of an annotated clip."""
    out: Path
    report: PackReport
    contents: dict[str, bytes]


@pytest.fixture(scope="session")
def with_background(material, tmp_path_factory):
    """The table packed by one worker with background."""
    root = tmp_path_factory.mktemp("background")
    folder = root / "elsewhere"
    (folder / "deep").mkdir(parents=True)
    good = [row.file_name for row in material.rows if row.fault is None]
    for name in ("quiet.mp4", "deep/quiet.mp4", "-street.MP4"):
        shutil.copyfile(material.media / good[0], folder / name)
    shutil.copyfile(material.media / good[1], folder / good[1])
    (folder / "broken.mp4").write_text("<html>gone</html>")
    (folder / "notes.txt").write_text("no media")
    variety = Variety(sizes=((128, 96),), frame_rates_hz=(Fraction(10),), duration_s=SHORT_S)
    (short,) = synthesise(root / "short", clips=1, variety=variety, workers=1)
    shutil.copyfile(root / "short" / short.file_name, folder / "short.mp4")
    out = root / "shards"
    report = pack(material, out, folder, workers=1, max_rejects=0.0)
    return WithBackground(folder, out, report, contents(out))


def pack(material, out, background, **options):
    """Packs the table with background."""
    return shardkit.pack(material.table, media=material.media, background=background, out=out, **SMALL | options)


def background_rows(out):
    """The index rows of background clips, by key."""
    return {row["key"]: row for row in shardkit.open(out).table.to_pylist() if "background" in row["flags"]}


def test_every_file_is_a_training_clip_without_events(with_background):
    """Each media file is one clip of the training split: no row, no events, unknown labels, flagged."""
    rows = background_rows(with_background.out)
    assert {(row["source"], row["source_id"]) for row in rows.values()} == {
        ("quiet.mp4", "quiet"),
        ("deep/quiet.mp4", "quiet"),
        ("-street.MP4", "-street"),
        ("short.mp4", "short"),
    }
    assert set(rows) == {"quiet_0", "quiet_0_2", "-street_0", "short_0"}
    for row in rows.values():
        assert (row["row"], row["split"], row["events"], row["label_label"]) == (0, "train", [], [-100])
        assert row["column_take"] is None


def test_clips_are_as_long_as_the_annotated_ones_or_as_their_files(with_background):
    """A clip is cut at the median span from the file's start; a file that is shorter is taken whole."""
    rows = background_rows(with_background.out)
    for row in rows.values():
        expected_s = SHORT_S if row["source_id"] == "short" else 2.0
        assert row["source_start_s"] == 0.0
        assert row["duration_s"] == pytest.approx(expected_s, abs=0.06)
    assert not {"short", "short_video", "short_audio"} & set(rows["short_0"]["flags"])


def test_annotated_clips_are_what_they_are_without_background(with_background, undisturbed):
    """Keys, splits and labels of the annotation file's clips do not change."""
    fields = ("key", "row", "split", "label_label", "duration_s", "video_bytes", "audio_bytes")

    def told(out):
        return {tuple(map(str, (row[name] for name in fields))) for row in shardkit.open(out).table.to_pylist()}

    assert told(undisturbed.out) < told(with_background.out)


def test_accounting_is_of_the_annotation_file_and_rejects_name_the_files(with_background):
    """Rows, packed clips, reasons and `max_rejects` are the annotation file's; a rejected background file is named."""
    report = with_background.report
    assert (report.rows, report.packed, dict(report.rejected)) == (48, 48, {})
    assert (report.background, report.background_rejected) == (4, 2)
    assert shardkit.open(with_background.out).manifest.reject_counts == {}
    told = {reject["media"]: (reject["row"], reject["reason"]) for reject in rejects(with_background.out)}
    assert told.pop("broken.mp4") == (0, "unreadable")
    assert list(told.values()) == [(0, "duplicate")]


def test_background_alone_is_no_data_set(material, with_background, tmp_path):
    """Where no annotated clip has media, the run fails as it does without background."""
    with pytest.raises(TooManyRejectsError, match=r"none of 48 rows could be packed \(missing_media 48\)"):
        shardkit.pack(
            material.table,
            media=with_background.folder / "deep",
            background=with_background.folder,
            out=tmp_path / "out",
            **SMALL,
        )


def test_shares_of_splits_are_dealt_among_annotated_clips(material, with_background, tmp_path):
    """With shares of splits, background stays in training, and the others' splits are as without it."""
    pack(material, tmp_path, with_background.folder, split="50/50")
    clips = read_annotations(material.table).clips
    expected = dict(enumerate(assign_splits(clips, shares={"train": 0.5, "test": 0.5}), start=1))
    found = {(row["row"], row["split"]) for row in shardkit.open(tmp_path).table.to_pylist()}
    assert found == {(0, "train"), *expected.items()}


def test_parts_come_to_the_same_bytes(material, with_background, tmp_path):
    """Parts say what they packed, and together they are the undivided run, background and rejects included."""
    reports = [pack(material, tmp_path, with_background.folder, part=(number, 2)) for number in (1, 2)]
    pack(material, tmp_path, with_background.folder, finish=True)
    assert not unlike(contents(tmp_path), with_background.contents)
    assert sum(report.rows for report in reports) == 48
    assert sum(report.background for report in reports) == 4
    # The one that is named as an annotated clip's media is no part's.
    assert sum(report.background_rejected for report in reports) == 1


def test_a_finished_run_is_resumed_only_with_the_same_background(material, with_background, tmp_path):
    """Resuming what is complete reports it as it was; without the background, or with other files, it is refused."""
    out = shutil.copytree(with_background.out, tmp_path / "out")
    again = pack(material, out, with_background.folder, resume=True)
    assert (again.fresh, again.background, again.background_rejected) == (0, 4, 2)
    with pytest.raises(UsageError, match="of other settings"):
        shardkit.pack(material.table, media=material.media, out=out, resume=True, **SMALL)
    more = shutil.copytree(with_background.folder, tmp_path / "more")
    shutil.copyfile(more / "quiet.mp4", more / "third.mp4")
    with pytest.raises(UsageError, match="of other settings"):
        pack(material, out, more, resume=True)


def test_media_of_annotated_clips_are_no_background(tmp_path):
    """Not by the clip's id, its name as it was cut, nor the name that its row gives, in whatever folder."""
    clips = [Clip(1, "a", 30.0, 40.0), Clip(2, "b", media="deep/other.mp4"), Clip(3, "c")]
    annotated = AnnotationSet("table", 3, tuple(clips), (), (), (), ())
    for name in ("a_000030.mp4", "other.mkv", "c.wav", "a_000031.mp4"):
        (tmp_path / name).write_bytes(b"")
    located, refused, about = find_background(Location.of(tmp_path), annotated)
    assert [each.path for each in located] == ["a_000031.mp4"]
    assert sorted(each.media for each in refused) == ["a_000030.mp4", "c.wav", "other.mkv"]
    assert about["files"] == 4


@pytest.mark.parametrize("far", ["background", "both"])
def test_media_and_background_may_lie_at_different_places(material, with_background, s3, tmp_path, far):
    """The background in a bucket and the media on a disk, or both in one: the same bytes."""
    name = uuid4().hex
    bucket = s3.bucket(name)
    places = {"media": material.media, "background": with_background.folder}
    for which, folder in list(places.items()):
        if far in (which, "both"):
            shutil.copytree(folder, bucket / which)
            places[which] = f"s3://{name}/{which}"
    shardkit.pack(material.table, out=tmp_path / "out", storage_options=s3.options, workers=2, **places, **SMALL)
    assert not unlike(contents(tmp_path / "out"), with_background.contents)


def test_background_trains_in_every_named_division_that_trains():
    """Of the named divisions, those that have a training split have background in it."""
    annotated = AnnotationSet("table", 0, (), (), (), (), (), split_sets={"ave": ("train", "test"), "odd": ("a", "b")})
    (clip,) = background_clips(["deep/street.noise.mp4"], annotated)
    assert (clip.id, clip.split, clip.splits) == ("street.noise", "train", {"ave": "train"})


def test_relabelling_keeps_background(with_background, material, tmp_path):
    """Background stays flagged, training and unlabelled under any other annotation file, and is not called unnamed."""
    out = shutil.copytree(with_background.out, tmp_path / "out")
    with material.table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    table = tmp_path / "other.csv"
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("id", "start_s", "end_s", "labels"))
        writer.writerows((row["id"], row["start_s"], row["end_s"], row["label"]) for row in rows[1:])
        # Not even where it names one.
        writer.writerow(("quiet", 0, 2, "Gong"))
    report = shardkit.relabel(out, table, split="50/50")
    assert (report.relabelled, report.unnamed, report.unused, report.background) == (47, 1, 1, 4)
    found = background_rows(out)
    assert set(found) == set(background_rows(with_background.out))
    assert {(row["row"], row["split"], str(row["label_labels"]), str(row["events"])) for row in found.values()} == {
        (0, "train", "[]", "[]")
    }


def test_a_folder_that_is_not_there_is_named(material, tmp_path):
    """A background folder that is missing is an error before anything is written."""
    with pytest.raises(StorageError, match="nowhere"):
        pack(material, tmp_path / "out", tmp_path / "nowhere")
    assert not (tmp_path / "out").exists()
