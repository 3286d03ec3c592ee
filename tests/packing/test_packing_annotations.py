"""AVE, LLP and FGAVE's chapters as data sets: keys, splits and flags, as packed and as relabelled."""

import io
import shutil
import tarfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import fsspec
import h5py
import msgpack
import pytest
from pack_runs import SMALL, contents, rejects, unlike
from real_clips import CLIPS, needs_clips

import shardkit
from shardkit.annotations import AnnotationRequest
from shardkit.clip import UNKNOWN_EVENTS
from shardkit.errors import TooManyRejectsError, UsageError
from shardkit.packing.annotation_file import read_annotation_file
from shardkit.storage.locations import Location

ACTIONS, MATERIALS = "Tapping\nScratching\n", "Wood\nSponge\n"


@dataclass(frozen=True)
class Ave:
    """Twelve good videos under names as AVE has them, four rows about three of them, and what was packed."""

    media: Path
    annotations: Path
    split_files: dict
    out: Path


@pytest.fixture(scope="module")
def videos(material, tmp_path_factory):
    """Ten-second videos, by the ids that AVE, LLP and a chapter list have for them."""
    media = tmp_path_factory.mktemp("videos")
    names = ("-aaaaaaaaaa", "b_bbbbbbbbb", "ccccccccccc", "c_hap_ter_s_10_20", "comment")
    good = (row.file_name for row in material.rows if row.fault is None)
    for name, source in zip(names, good, strict=False):
        shutil.copy(material.media / source, media / f"{name}.mp4")
    return media


def order(path, rows):
    """A file of row numbers, as AVE's authors publish them."""
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        file["order"] = rows
    path.write_bytes(content.getvalue())
    return path


@pytest.fixture(scope="module")
def ave(videos, tmp_path_factory):
    """AVE with two schemes: `ave` from HDF5, `ave_match` from text."""
    folder = tmp_path_factory.mktemp("ave")
    annotations = folder / "Annotations.txt"
    annotations.write_text(
        "Bark&-aaaaaaaaaa&good&0&10\nGoat&b_bbbbbbbbb&good&2&5\nBark&ccccccccccc&good&0&0\nGoat&-aaaaaaaaaa&bad&3&10\n"
    )
    train, test = order(folder / "train_order.h5", [0, 2, 3]), order(folder / "test_order.h5", [1])
    match = folder / "match.txt"
    match.write_text("-aaaaaaaaaa_0_2\nb_bbbbbbbbb\n")
    split_files = {"ave": {"train": train, "test": test}, "ave_match": {"train": match}}
    out = folder / "shards"
    shardkit.pack(annotations, media=videos, out=out, split_files=split_files, workers=1, **SMALL)
    return Ave(videos, annotations, split_files, out)


def rows_of(out, *names):
    """These columns of the index by key."""
    table = shardkit.open(out).table
    return dict(
        zip(table["key"].to_pylist(), zip(*(table[name].to_pylist() for name in names), strict=True), strict=True)
    )


def test_rows_of_a_repeated_id_are_clips_with_splits_of_their_own(ave):
    """Keys hold the row, `split` is the first scheme's, and a clip that a scheme leaves out has none there."""
    assert rows_of(ave.out, "row", "split", "split_ave", "split_ave_match", "flags") == {
        "-aaaaaaaaaa_0": (1, "train", "train", "", []),
        "-aaaaaaaaaa_0_2": (4, "train", "train", "train", []),
        "b_bbbbbbbbb_0": (2, "test", "test", "train", []),
        "ccccccccccc_0": (3, "train", "train", "", ["no_event"]),
    }


def test_the_manifest_names_all_files_and_counts_all_schemes(ave):
    """Split files stand beside the annotation file with their digests, and schemes have their clips counted."""
    manifest = shardkit.open(ave.out).manifest
    assert manifest.splits == {"test": 1, "train": 3}
    assert manifest.split_sets == {"ave": {"test": 1, "train": 3}, "ave_match": {"": 2, "train": 2}}
    assert manifest.annotations["format"] == "ave"
    named = manifest.annotations["split_files"]
    assert named["ave"]["train"]["name"] == "train_order.h5"
    assert named["ave_match"]["train"]["name"] == "match.txt"
    assert all(len(said["xxh3"]) == 32 for splits in named.values() for said in splits.values())


def test_messages_in_the_tars_say_the_named_splits(ave):
    """A plain reader of the tars sees class, event and the splits of every scheme that a clip is in."""
    said = {}
    for path in ave.out.glob("*.tar"):
        with tarfile.open(path) as tar:
            for member in tar:
                if member.name.endswith(".msg"):
                    message = msgpack.unpackb(tar.extractfile(member).read())
                    names = message["labels"]["event"]["names"]
                    said[message["key"]] = (names, len(message["events"]), message.get("splits"))
    assert said["-aaaaaaaaaa_0_2"] == (["Goat"], 1, {"ave": "train", "ave_match": "train"})
    assert said["ccccccccccc_0"] == (["Bark"], 0, {"ave": "train"})


def test_further_files_may_be_behind_urls():
    """A list of clips is read from where its URL says; what the manifest says of it has its name alone."""
    files = fsspec.filesystem("memory")
    files.pipe("/annotated/Annotations.txt", b"Bark&-aaaaaaaaaa&good&0&10\n")
    files.pipe("/annotated/lists/train.txt", b"-aaaaaaaaaa\n")
    request = AnnotationRequest(split_files={"ave": {"train": "memory:///annotated/lists/train.txt"}})
    found, about = read_annotation_file(Location.of("memory:///annotated/Annotations.txt"), request)
    assert [clip.splits for clip in found.clips] == [{"ave": "train"}]
    assert (about["name"], about["split_files"]["ave"]["train"]["name"]) == ("Annotations.txt", "train.txt")


def test_the_same_job_is_done_already_and_another_order_is_another_job(ave, tmp_path):
    """Resuming finds the data set complete; with a split file of other content it belongs to another run."""
    options = {"media": ave.media, "out": ave.out, "workers": 1, "resume": True, **SMALL}
    report = shardkit.pack(ave.annotations, split_files=ave.split_files, **options)
    assert (report.fresh, report.packed, report.rows) == (0, 4, 4)
    other = {"ave": {"train": order(tmp_path / "train_order.h5", [0, 2])}}
    with pytest.raises(UsageError, match="other settings, annotations, features, splits"):
        shardkit.pack(ave.annotations, split_files=other, **options)
    with pytest.raises(UsageError, match="other settings"):
        shardkit.pack(ave.annotations, split_files=ave.split_files, already_cut=True, **options)


def test_relabel_gives_repeated_ids_their_own_labels_back(ave, tmp_path):
    """Rows of the file in another order: the clips of one id keep their classes, and their keys go with them."""
    out = shutil.copytree(ave.out, tmp_path / "shards")
    before = rows_of(out, "column_Quality", "events")
    shuffled = tmp_path / "shuffled.txt"
    shuffled.write_text("\n".join(reversed(ave.annotations.read_text().splitlines())))
    report = shardkit.relabel(out, shuffled)
    assert (report.relabelled, report.unnamed, report.unused) == (4, 0, 0)
    names = shardkit.open(out).label_sets[0].leaf.classes
    labels = {key: names[ids[0]] for key, (ids,) in rows_of(out, "label_event").items()}
    assert labels == {
        "-aaaaaaaaaa_0": "Bark",
        "-aaaaaaaaaa_0_2": "Goat",
        "b_bbbbbbbbb_0": "Goat",
        "ccccccccccc_0": "Bark",
    }
    after = rows_of(out, "column_Quality", "events")
    assert {key: quality for key, (quality, _) in after.items()} == {key: each for key, (each, _) in before.items()}


def test_relabel_matches_other_labels_in_row_order(ave, tmp_path):
    """Where classes were corrected, the rows of an id belong to its clips one after another; flags are set anew."""
    out = shutil.copytree(ave.out, tmp_path / "shards")
    corrected = tmp_path / "corrected.txt"
    corrected.write_text(
        "Clock&-aaaaaaaaaa&good&0&0\nBus&-aaaaaaaaaa&good&0&10\nGoat&b_bbbbbbbbb&good&2&5\nBark&ccccccccccc&good&0&1\n"
    )
    shardkit.relabel(out, corrected)
    assert rows_of(out, "label_event", "flags") == {
        "-aaaaaaaaaa_0": ([0], ["no_event"]),
        "-aaaaaaaaaa_0_2": ([1], []),
        "b_bbbbbbbbb_0": ([2], []),
        "ccccccccccc_0": ([3], []),
    }


def test_relabel_keeps_named_splits_or_takes_new_ones(ave, tmp_path):
    """The schemes stay that no file names anew; the first of those that files name is the default."""
    out = shutil.copytree(ave.out, tmp_path / "shards")
    shardkit.relabel(out, ave.annotations)
    assert shardkit.open(out).manifest.split_sets == shardkit.open(ave.out).manifest.split_sets
    ids = tmp_path / "ids.txt"
    ids.write_text("-aaaaaaaaaa\n")
    shardkit.relabel(out, ave.annotations, split_files={"mine": {"test": ids}})
    manifest = shardkit.open(out).manifest
    assert manifest.split_sets == {"mine": {"": 2, "test": 2}, **shardkit.open(ave.out).manifest.split_sets}
    assert manifest.splits == {"": 2, "test": 2}


def test_relabel_keeps_to_the_labels_of_a_repeated_id_of_which_a_row_is_gone(ave, tmp_path):
    """The clip that has the class of the row that is left keeps it; the other one's labels and events are unknown."""
    out = shutil.copytree(ave.out, tmp_path / "shards")
    (tmp_path / "Annotations.txt").write_text("\n".join(ave.annotations.read_text().splitlines()[1:]))
    shardkit.relabel(out, tmp_path / "Annotations.txt")
    first, second = (shardkit.open(out)[key] for key in ("-aaaaaaaaaa_0", "-aaaaaaaaaa_0_2"))
    classes = shardkit.open(out).label_sets[0].leaf.classes
    before = shardkit.open(ave.out)
    assert (first.labels["event"].tolist(), first.events) == ([-100], ())
    assert set(UNKNOWN_EVENTS.values()) <= set(first.flags)
    old = before.label_sets[0].leaf.classes[before["-aaaaaaaaaa_0_2"].labels["event"][0]]
    assert classes[second.labels["event"][0]] == old


def test_features_background_named_splits_and_parts_go_together(ave, tmp_path):
    """In one run or in parts the bytes are the same; relabelled, background stays and clips keep their arrays."""
    background = tmp_path / "background"
    background.mkdir()
    shutil.copy(ave.media / "comment.mp4", background / "street.mp4")
    with h5py.File(tmp_path / "rows.h5", "w") as file:
        file["avadataset"] = [[row, row] for row in range(4)]
    options = {
        "media": ave.media,
        "background": background,
        "features": {"vggish": f"{tmp_path / 'rows.h5'}:avadataset"},
        "split_files": ave.split_files,
        "require": "any",
        "workers": 1,
        **SMALL,
    }
    one, parts = tmp_path / "one", tmp_path / "parts"
    report = shardkit.pack(ave.annotations, out=one, **options)
    assert (report.rows, report.packed, report.background, dict(report.rejected)) == (4, 4, 1, {})
    for number in (2, 1):
        shardkit.pack(ave.annotations, out=parts, part=(number, 2), **options)
    shardkit.pack(ave.annotations, out=parts, finish=True, **options)
    assert not unlike(contents(parts), contents(one))
    assert shardkit.pack(ave.annotations, out=one, resume=True, **options).fresh == 0

    names = ("row", "split", "split_ave", "split_ave_match", "feature_vggish_bytes")
    packed = rows_of(one, *names)
    *said, size_bytes = packed["street_0"]
    assert (said, size_bytes) == ([0, "train", "train", "train"], 0)
    assert [key for key, (*_, size_bytes) in packed.items() if not size_bytes] == ["street_0"]
    relabelled = shardkit.relabel(one, ave.annotations)
    assert (relabelled.relabelled, relabelled.background, relabelled.unnamed) == (4, 1, 0)
    assert rows_of(one, *names) == packed
    assert shardkit.open(one).manifest.annotations["background"]["files"] == 1


def test_llps_clips_have_the_events_of_both_files(videos, tmp_path):
    """A file that was cut under its whole name is found, and files, rows and bad events are accounted for."""
    weak, audio, visual = (tmp_path / name for name in ("AVVP_test_pd.csv", "eval_audio.csv", "eval_visual.csv"))
    weak.write_text("filename\tevent_labels\nc_hap_ter_s_10_20\tDog,Cat\nzzzzzzzzzzz_0_10\tDog\n")
    audio.write_text("filename\tonset\toffset\tevent_labels\nc_hap_ter_s_10_20\t0\t4\tDog\n")
    visual.write_text(
        "filename\tonset\toffset\tevent_labels\nc_hap_ter_s_10_20\t1\t4\tCat\nc_hap_ter_s_10_20\t4\t4\tCat\n"
    )
    out = tmp_path / "shards"
    report = shardkit.pack(weak, media=videos, out=out, also={"visual": visual, "audio": audio}, workers=1, **SMALL)
    assert (report.rows, report.packed, dict(report.rejected)) == (3, 1, {"bad_row": 1, "missing_media": 1})
    dataset = shardkit.open(out)
    assert dataset.manifest.annotations["rows"] == 5
    assert [(role, said["name"], said["rows"]) for role, said in dataset.manifest.annotations["also"].items()] == [
        ("audio", "eval_audio.csv", 1),
        ("visual", "eval_visual.csv", 2),
    ]
    ((split, flags, events, labels, start_s),) = rows_of(
        out, "split", "flags", "events", "label_events", "source_start_s"
    ).values()
    assert (split, flags, labels, start_s) == ("test", ["bad_event"], [3, 4], 0.0)
    assert [(event["start_s"], event["class_id"], event["modality"]) for event in events] == [(0, 3, 0), (1, 4, 1)]
    assert [(reject["row"], reject["reason"]) for reject in rejects(out)] == [(2, "missing_media"), (5, "bad_row")]


@pytest.fixture(scope="module")
def chapters(material, tmp_path_factory):
    """A comment with two chapters on a source of ten seconds, the second of which reaches beyond its end; packed."""
    folder = tmp_path_factory.mktemp("chapters")
    (folder / "actions.txt").write_text(ACTIONS)
    (folder / "materials.txt").write_text(MATERIALS)
    comment = folder / "-comment.tsv"
    comment.write_text("start\ttext\n0:00\tWood Tapping\n0:30\tPreview\n")
    (folder / "media").mkdir()
    good = next(row.file_name for row in material.rows if row.fault is None)
    shutil.copy(material.media / good, folder / "media" / "-comment.mp4")
    also = {"actions": folder / "actions.txt", "materials": folder / "materials.txt"}
    report = shardkit.pack(
        comment, media=folder / "media", out=folder / "shards", also=also, split="50/50", workers=1, **SMALL
    )
    return report, comment, also, folder / "shards"


def test_the_clips_of_a_chapter_are_packed_and_rejected_one_by_one(chapters):
    """A row makes three clips, of which the source holds one; the others are rejected, each by itself."""
    report, _, _, out = chapters
    assert (report.rows, report.packed, dict(report.rejected)) == (4, 1, {"no_event": 1, "too_short": 2})
    ((row, text, action, material),) = rows_of(out, "row", "column_text", "label_action", "label_material").values()
    assert (row, text, action, material) == (1, "Wood Tapping", [0], [0])
    assert Counter(reject["row"] for reject in rejects(out)) == {1: 2, 2: 1}


def test_relabel_finds_the_clips_of_a_row_by_their_starts(chapters, tmp_path):
    """With another vocabulary, the packed clip has its chapter's new label and its own split."""
    _, comment, also, packed = chapters
    out = shutil.copytree(packed, tmp_path / "shards")
    actions = tmp_path / "actions.txt"
    actions.write_text("Scratching\nTapping\n")
    report = shardkit.relabel(out, comment, also=also | {"actions": actions}, split="100")
    assert (report.relabelled, report.unused, report.unread) == (1, 2, 1)
    assert list(rows_of(out, "label_action", "split").values()) == [([1], "train")]


@needs_clips
def test_the_real_clip_of_llp_is_packed_as_it_was_cut(tmp_path):
    """LLP's videos are called ID.mp4 and hold ten seconds from somewhere in the source: --already-cut says so."""
    shutil.copy(CLIPS / "llp__BjCEufrlXm4.mp4", tmp_path / "BjCEufrlXm4.mp4")
    weak = tmp_path / "AVVP_train.csv"
    weak.write_text("filename\tevent_labels\nBjCEufrlXm4_20_30\tSpeech,Dog\n")
    options = {"media": tmp_path, "frames_per_segment": 1, "size": 64, "workers": 1}
    with pytest.raises(TooManyRejectsError, match="too_short"):
        shardkit.pack(weak, out=tmp_path / "whole", **options)
    shardkit.pack(weak, out=tmp_path / "out", already_cut=True, **options)
    sample = shardkit.open(tmp_path / "out")[0]
    assert (sample.key, sample.duration_s, len(sample.video)) == ("BjCEufrlXm4_20000", 10.0, 10)
    assert sample.labels["events"].tolist() == [0, 3]
