"""Tars made a data set: what is in it, what is turned away, and what happens when a run stops or repeats."""

import gc
import json
import signal
import subprocess
import sys
import tarfile

import numpy as np
import pytest
from tar_files import FAST, contents, jpeg, labels, noise, rejects, wav, write_tar

import shardkit
from shardkit.errors import StorageError, TooManyRejectsError, UsageError
from shardkit.indexing.samples import SamplesSeen


def index(tars, out, **options):
    """`shardkit.index` with quick settings."""
    return shardkit.index(tars, out=out, **(FAST | options))


def members_of(path) -> dict[str, bytes]:
    """The files of a tar."""
    with tarfile.open(path) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}


def test_every_sample_becomes_a_clip_with_its_labels(tars, indexed):
    """Keys, label sets out of cls and json, columns, and what the manifest says of where the tars lie."""
    ds = shardkit.open(indexed)
    assert ds.keys == [f"clip{place}" for place in range(9)]
    assert ds.shard_names == ("set-000.tar", "set-001.tar", "set-002.tar")
    assert {label_set.name: label_set.leaf.classes for label_set in ds.label_sets} == {
        "cls": ("0", "1", "2"),
        "sound": ("bell", "oboe"),
    }
    assert labels(ds, "cls") == [[0], [1], [2]] * 3
    assert labels(ds, "sound") == [[1], [0]] * 4 + [[1]]
    assert {name: ids.tolist() for name, ids in ds[4].labels.items()} == {"cls": [1], "sound": [1]}
    assert ds.table.column("column_take").to_pylist() == list(range(9))
    assert ds.table.column("column_label").to_pylist() == ["oboe", "bell"] * 4 + ["oboe"]
    manifest = ds.manifest
    assert (manifest.packed, manifest.base, manifest.splits) == (False, str(tars), {"": 9})
    assert manifest.settings["video_codec"] == manifest.settings["audio_codec"] == "source"


def test_members_are_vouched_for_where_they_lie(tars, indexed):
    """Offset, size and digest of every member are those of the file in the tar; sound inside a video is the video's."""
    from shardkit.format.digest import file_digest, xxh3

    index = shardkit.open(indexed).index
    for row, key in enumerate(index.keys(np.arange(len(index)))):
        path = tars / f"set-{index.shard[row]:03d}.tar"
        video = members_of(path)[f"{key}.mp4"]
        place = slice(int(index.video_offset[row]), int(index.video_offset[row] + index.video_bytes[row]))
        assert path.read_bytes()[place] == video
        assert index.video_xxh3[row] == index.audio_xxh3[row] == xxh3(video)
        assert (index.audio_offset[row], index.audio_bytes[row]) == (index.video_offset[row], index.video_bytes[row])
        assert (index.message_bytes[row], len(index.packet_bytes.row(row)), len(index.second_xxh3.row(row))) == (
            0,
            0,
            0,
        )
    for shard in shardkit.open(indexed).manifest.shards:
        data = (tars / shard.name).read_bytes()
        assert (shard.size_bytes, shard.xxh3, shard.clips) == (len(data), file_digest(data), 3)


def test_an_index_beside_the_tars_moves_with_them(tars, tmp_path):
    """Without --out it lies where the tars do, also those in subfolders, and says nothing of where that is."""
    for place, path in enumerate(sorted(tars.glob("*.tar"))):
        folder = tmp_path / "a" / ("train", "train", "val")[place]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / path.name).write_bytes(path.read_bytes())
    report = shardkit.index(tmp_path / "a", **FAST)
    assert (report.out, report.shards, report.splits) == (str(tmp_path / "a"), 3, {"train": 6, "val": 3})
    (tmp_path / "a").rename(tmp_path / "b")
    ds = shardkit.open(tmp_path / "b")
    assert ds.manifest.base is None
    assert ds.shard_names == ("train/set-000.tar", "train/set-001.tar", "val/set-002.tar")
    assert ds.select(split="val")[0].key == "clip6"


def test_tars_are_named_by_folder_pattern_and_path(tars, tmp_path, monkeypatch):
    """All of them give the same index; relative paths count from the current folder."""
    index(tars, tmp_path / "folder")
    index(f"{tars}/set-{{000..002}}.tar", tmp_path / "pattern")
    monkeypatch.chdir(tars)
    index([f"set-{place:03d}.tar" for place in range(3)], tmp_path / "paths")
    first, *others = (contents(tmp_path / name)["index.arrow"] for name in ("folder", "pattern", "paths"))
    assert others == [first, first]
    ds = shardkit.open(tmp_path / "pattern")
    monkeypatch.chdir(tmp_path)
    assert ds[0].key == "clip0"


@pytest.mark.parametrize(
    ("tars", "error", "said"),
    [
        ("none.tar", StorageError, r"none\.tar: No such file.*check the path"),
        ("set-{000..3}.tar", StorageError, r"set-000\.tar: No such file"),
        ("set-{0..", UsageError, "a pattern looks like"),
        (["none.tar", "s3://bucket/a.tar"], UsageError, r"none\.tar and s3://bucket/a.tar lie in no common folder"),
        ([], UsageError, "no tars: name a folder"),
        (".", UsageError, r"all tars in this folder are compressed \(1, such as a\.tar\.gz\): decompress it"),
        ("a.tar.gz", UsageError, r"a\.tar\.gz: is compressed: decompress it, since clips are read out of its middle"),
        (["b.bin", "./b.bin"], UsageError, r"b\.bin: is named twice"),
    ],
)
def test_tars_that_cannot_be_had_are_refused(tmp_path, monkeypatch, tars, error, said):
    """By name, with what to do; and nothing is left behind."""
    (tmp_path / "a.tar.gz").write_bytes(b"")
    (tmp_path / "b.bin").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=said):
        index(tars, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar.gz", "b.bin"]


def test_the_same_tars_give_the_same_index_from_any_number_of_workers(tars, indexed, tmp_path):
    """Byte for byte."""
    index(tars, tmp_path / "index", workers=3, label={"sound": "json.label"})
    assert contents(tmp_path / "index") == contents(indexed)


def test_what_cannot_be_loaded_is_rejected_with_a_reason(videos, tmp_path):
    """Each sample is accounted for, by the number that it has among all; a damaged tar gives what stands before it."""
    good = videos["clip0"]
    cut = write_tar(tmp_path / "tars" / "b.tar", [("cut.mp4", good), ("lost.mp4", good)])
    cut.write_bytes(cut.read_bytes()[: -len(good)])
    write_tar(
        tmp_path / "tars" / "a.tar",
        [
            ("good.mp4", good),
            ("empty.mp4", b""),
            ("half.mp4", good[: len(good) // 2]),
            ("text.json", b"{}"),
            ("bad.mp4", good),
            ("bad.json", b"{"),
            ("sound.wav", wav(noise(seconds=1, rate_hz=8000), rate_hz=8000)),
            ("picture.jpg", jpeg(1)),
            ("good.mp4", good),
            ("last.mp4", videos["clip1"]),
        ],
    )
    report = index(tmp_path / "tars", tmp_path / "out")
    assert (report.samples, report.indexed) == (11, 3)
    assert shardkit.open(tmp_path / "out").keys == ["good", "last", "cut"]
    assert shardkit.open(tmp_path / "out").table.column("row").to_pylist() == [1, 9, 10]
    found = rejects(tmp_path / "out")
    assert [(each["row"], each["id"], each["reason"], each["media"]) for each in found] == [
        (2, "empty", "unreadable", "a.tar"),
        (3, "half", "decode_error", "a.tar"),
        (4, "text", "no_video", "a.tar"),
        (5, "bad", "bad_row", "a.tar"),
        (6, "sound", "no_video", "a.tar"),
        (7, "picture", "other_kind", "a.tar"),
        (8, "good", "duplicate", "a.tar"),
        (11, "", "unreadable", "b.tar"),
    ]
    assert all(each["detail"] for each in found)
    assert "holds pictures, and the first sample of all a video" in found[5]["detail"]
    assert "b.tar: cannot be read from byte" in found[7]["detail"]


def test_a_sample_with_two_members_of_one_name_is_rejected(videos, tmp_path):
    """Neither the first nor the last is taken without a word, as webdataset takes none; letter case is no matter."""
    good = videos["clip0"]
    members = [
        ("a.mp4", good),
        ("a.json", b'{"take": 1}'),
        ("a.JSON", b'{"take": 2}'),
        ("b.mp4", good),
        ("c.mp4", good),
        ("c.mp4", good),
        ("d.npy", b"1"),
        ("d.npy", b"2"),
        ("d.mp4", good),
    ]
    index(write_tar(tmp_path / "a.tar", members), tmp_path / "out")
    assert shardkit.open(tmp_path / "out").keys == ["b", "d"]
    found = rejects(tmp_path / "out")
    assert [(each["row"], each["id"], each["reason"], each["media"]) for each in found] == [
        (1, "a", "duplicate", "a.tar"),
        (3, "c", "duplicate", "a.tar"),
    ]
    assert found[0]["detail"].startswith("a: has two members .json")
    assert found[1]["detail"].startswith("c: has two members .mp4")


def test_what_follows_a_second_sample_of_a_key_is_more_of_that_one(videos, tmp_path):
    """The first, which is whole, stays; members that nobody reads, in front of a sample, take nothing from it."""
    good = videos["clip0"]
    names = ("a.mp4", "a.json", "b.mp4", "a.mp4", "late.npy", "c.mp4", "a.cls", "late.mp4")
    content = {"mp4": good, "json": b"{}", "npy": b"1", "cls": b"1"}
    members = [(name, content[name.partition(".")[2]]) for name in names]
    index(write_tar(tmp_path / "a.tar", members), tmp_path / "out")
    assert shardkit.open(tmp_path / "out").keys == ["a", "b", "c", "late"]
    assert [(each["row"], each["id"], each["reason"]) for each in rejects(tmp_path / "out")] == [
        (3, "a", "duplicate"),
        (4, "late", "no_video"),
    ]


def test_a_first_sample_that_is_rejected_does_not_say_what_the_others_hold(videos, tmp_path):
    """Its picture stands there twice; all others are videos."""
    members = [("a.jpg", jpeg(1)), ("a.jpg", jpeg(1)), ("b.mp4", videos["clip0"]), ("c.mp4", videos["clip0"])]
    index(write_tar(tmp_path / "a.tar", members), tmp_path / "out", frames=2)
    assert shardkit.open(tmp_path / "out").keys == ["b", "c"]


def test_tars_that_are_done_are_let_go_of(videos, tmp_path):
    """However many there are: what a run holds is of the few under way."""
    (tmp_path / "tars").mkdir()
    for number in range(30):
        write_tar(tmp_path / f"tars/{number:02}.tar", [(f"k{number}.mp4", videos["clip0"])])
    held = []

    def look(_):
        gc.collect()
        held.append(sum(type(each) is SamplesSeen for each in gc.get_objects()))

    index(tmp_path / "tars", tmp_path / "out", workers=1, progress=look)
    assert len(held) == 30
    assert max(held) < 15


def test_samples_whose_members_do_not_lie_side_by_side_are_rejected(videos, tmp_path):
    """Not indexed without their sound or labels, nor called silent: once each, whatever their first members are."""
    good, sound = videos["clip0"], wav(noise(seconds=1, rate_hz=8000), rate_hz=8000)
    members = [
        ("video.mp4", good),
        ("text.json", b"{}"),
        ("bad.mp4", b"no video"),
        ("whole.mp4", good),
        ("video.wav", sound),
        ("text.mp4", good),
        ("bad.wav", sound),
        ("video.cls", b"1"),
        ("video.wav", sound),
        ("whole.npy", b"of no use, and missed by nobody"),
        ("last.mp4", good),
        ("whole.mp4", good),
    ]
    tar = write_tar(tmp_path / "a.tar", members)
    report = index(tar, tmp_path / "out", workers=2)
    assert shardkit.open(tmp_path / "out").keys == ["whole", "last"]
    assert shardkit.open(tmp_path / "out").table.column("row").to_pylist() == [4, 5]
    assert (report.samples, report.rejected) == (6, {"duplicate": 1, "not_adjacent": 3})
    found = rejects(tmp_path / "out")
    assert [(each["row"], each["id"], each["reason"], each["media"]) for each in found] == [
        (1, "video", "not_adjacent", "a.tar"),
        (2, "text", "not_adjacent", "a.tar"),
        (3, "bad", "not_adjacent", "a.tar"),
        (6, "whole", "duplicate", "a.tar"),
    ]
    assert "write one sample after the other, as `tar --sort=name` does" in found[0]["detail"]


def test_keys_that_repeat_are_told_apart_by_their_tar(videos, tmp_path):
    """Writers number the samples of every tar from 0: then all keys have the tar's name before them."""
    for shard in ("x/a", "b"):
        write_tar(
            tmp_path / "tars" / f"{shard}.tar", [("000.mp4", videos["clip0"]), (f"{shard[-1]}.mp4", videos["clip1"])]
        )
    index(tmp_path / "tars", tmp_path / "out")
    ds = shardkit.open(tmp_path / "out")
    assert ds.keys == ["b/000", "b/b", "x/a/000", "x/a/a"]
    assert ds["x/a/000"].source == "000.mp4"
    assert ds.table.column("source_id").to_pylist() == ["000", "b", "000", "a"]


def test_labels_of_several_classes_and_names_of_classes(videos, tmp_path):
    """A field that is a list anywhere makes a multi-label set; --classes names what cls members number."""
    said = [b'{"tags": ["b", "a"]}', b'{"tags": "c"}', b"{}"]
    members = [
        (f"{place}.{name}", data)
        for place, text in enumerate(said)
        for name, data in (("json", text), ("cls", str(2 - place).encode()), ("mp4", videos["clip0"]))
    ]
    write_tar(tmp_path / "a.tar", members)
    (tmp_path / "names.txt").write_text("gong\nbell\noboe\nharp\n")
    index(tmp_path / "a.tar", tmp_path / "out", label={"tags": "json.tags"}, classes=tmp_path / "names.txt")
    ds = shardkit.open(tmp_path / "out")
    assert {each.name: (each.kind, each.leaf.classes) for each in ds.label_sets} == {
        "cls": ("single", ("gong", "bell", "oboe", "harp")),
        "tags": ("multi", ("a", "b", "c")),
    }
    assert labels(ds, "tags") == [[0, 1], [2], []]
    assert labels(ds, "cls") == [[2], [1], [0]]


def test_columns_that_differ_in_type_are_text(videos, tmp_path):
    """As in annotation files; what a sample does not say is missing."""
    members = []
    for place, text in enumerate(('{"a": 1, "b": 1}', '{"a": "x", "b": 2.5}', '{"c": true}')):
        members += [(f"{place}.json", text.encode()), (f"{place}.mp4", videos["clip0"])]
    index(write_tar(tmp_path / "a.tar", members), tmp_path / "out")
    table = shardkit.open(tmp_path / "out").table
    assert [table.column(f"column_{name}").to_pylist() for name in "abc"] == [
        ["1", "x", None],
        [1.0, 2.5, None],
        [None, None, True],
    ]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"frames": 4, "fps": 2}, "exclude each other"),
        ({"size": 7}, "size=7: a whole number from 16 to 4096"),
        ({"image_fps": 5.0}, r"frame sampling by count 4 is for videos, image_fps=5\.0 for pictures"),
        ({"image_fps": 5.0, "frames": None, "size": None}, "is for pictures, and these tars hold videos"),
        ({"image_fps": -1.0, "frames": None, "size": None}, "image_fps=-1.0"),
        ({"max_rejects": 2}, "max_rejects=2"),
        ({"workers": 0}, "workers=0"),
        ({"clip_timeout_s": 0}, "clip_timeout=0"),
        ({"resume": True, "overwrite": True}, "give one of them"),
        ({"label": {"a": "b"}}, "NAME=json.FIELD"),
        ({"audio_channels": 3}, "audio_channels=3"),
        ({"require": "sound"}, "require='sound'"),
    ],
)
def test_options_that_cannot_be_are_refused(tars, tmp_path, options, said):
    """Before anything is written."""
    with pytest.raises(UsageError, match=said):
        index(tars, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_an_index_is_replaced_only_when_that_is_asked_for(tars, tmp_path):
    """A second run says what to do; --overwrite replaces the index and touches no tar; --resume finds all done."""
    before = contents(tars)
    index(tars, tmp_path / "out")
    with pytest.raises(UsageError, match=r"is indexed already; .* --overwrite"):
        index(tars, tmp_path / "out")
    assert index(tars, tmp_path / "out", resume=True).fresh == 0
    with pytest.raises(UsageError, match="of other settings"):
        index(tars, tmp_path / "out", size=32, resume=True)
    assert index(tars, tmp_path / "out", size=32, overwrite=True).indexed == 9
    assert shardkit.open(tmp_path / "out")[0].video.shape[-2:] in ((32, 42), (42, 32))
    assert contents(tars) == before


def test_a_packed_data_set_is_never_replaced_by_an_index(packed):
    """Its manifest knows more than an index could; indexed elsewhere, its tars are those of anyone."""
    with pytest.raises(UsageError, match="holds a data set that was packed"):
        shardkit.index(packed, overwrite=True, **FAST)
    shardkit.open(packed)


def test_the_tars_of_a_packed_data_set_are_tars_too(packed, tmp_path):
    """A shard that packing wrote is a plain WebDataset, with sound that can be read second by second."""
    index(packed, tmp_path / "out", require="any", size=96, audio_rate=16000)
    ours, theirs = shardkit.open(packed), shardkit.open(tmp_path / "out")
    assert theirs.keys == ours.keys
    assert theirs.manifest.settings["audio_codec"] == "pcm"
    for key in ("clip00_0", "clip04_0", "clip22_0"):
        np.testing.assert_array_equal(theirs[key].audio, ours[key].audio)


def test_packing_over_an_index_deletes_no_tar(tars, tmp_path):
    """`shardkit pack --overwrite` into a folder that holds an index takes the index, and leaves what it is of."""
    folder = tmp_path / "tars"
    for path in tars.glob("*.tar"):
        folder.mkdir(exist_ok=True)
        (folder / path.name).write_bytes(path.read_bytes())
    shardkit.index(folder, **FAST)
    (tmp_path / "media").mkdir()
    (tmp_path / "media" / "a.mp4").write_bytes(members_of(folder / "set-000.tar")["clip0.mp4"])
    (tmp_path / "a.csv").write_text("id\na\n")
    shardkit.pack(tmp_path / "a.csv", media=tmp_path / "media", out=folder, overwrite=True, frames=2, size=64)
    assert {path.name for path in folder.glob("*.tar")} == {
        "clips-000000.tar",
        "set-000.tar",
        "set-001.tar",
        "set-002.tar",
    }


def test_a_run_that_was_stopped_goes_on_where_it_was(tars, indexed, tmp_path):
    """An interrupt in the third tar: the same command says so, --resume decodes that one only, to the same bytes."""

    def stop(progress) -> None:
        if progress.done == 8:
            raise KeyboardInterrupt

    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        index(tars, out, workers=1, progress=stop, label={"sound": "json.label"})
    assert sorted(path.name for path in (out / ".indexing").glob("*.receipt")) == ["000000.receipt", "000001.receipt"]
    with pytest.raises(UsageError, match="stopped here; go on with --resume"):
        index(tars, out, label={"sound": "json.label"})
    with pytest.raises(UsageError, match="had other settings"):
        index(tars, out, label={"sound": "json.label"}, resume=True, fps=2, frames=None)
    assert index(tars, out, label={"sound": "json.label"}, resume=True).fresh == 3
    assert contents(out) == contents(indexed)


def test_a_relabelled_index_is_complete_still(tars, tmp_path):
    """Of the same tars and settings: --resume finds all done and keeps the new labels."""
    out, table = tmp_path / "out", tmp_path / "new.csv"
    index(tars, out)
    plan = shardkit.open(out).manifest.annotations["plan"]
    table.write_text("id,label\nclip0,odd\nclip1,even\n")
    shardkit.relabel(out, table)
    relabelled = contents(out)
    about = shardkit.open(out).manifest.annotations
    assert (about["name"], about["rows"], about["plan"]) == ("new.csv", 2, plan)
    report = index(tars, out, resume=True)
    assert (report.samples, report.indexed, report.fresh, report.label_sets) == (9, 9, 0, ("label",))
    assert contents(out) == relabelled


def test_a_run_that_was_killed_goes_on_where_it_was(tars, indexed, tmp_path):
    """By kill -9, in the middle of the second tar."""
    code = (
        "import os, shardkit, sys\n"
        "def kill(progress):\n"
        "    if progress.done == 5:\n"
        f"        os.kill(os.getpid(), {int(signal.SIGKILL)})\n"
        f"shardkit.index({str(tars)!r}, out={str(tmp_path / 'out')!r}, progress=kill, **{FAST!r},\n"
        "    label={'sound': 'json.label'})\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    report = index(tars, tmp_path / "out", label={"sound": "json.label"}, resume=True)
    assert report.fresh == 6
    assert contents(tmp_path / "out") == contents(indexed)


def test_a_run_that_fails_at_once_leaves_nothing(tars, tmp_path):
    """No folder, and none of its own in one that was there."""

    def stop(progress) -> None:
        raise KeyboardInterrupt

    (tmp_path / "there").mkdir()
    for name in ("new", "there"):
        with pytest.raises(KeyboardInterrupt):
            index(tars, tmp_path / name, progress=stop)
    assert contents(tmp_path) == {}
    assert not (tmp_path / "new").exists()


def test_two_runs_do_not_write_into_one_folder(tars, tmp_path):
    """The second one is told to wait."""

    def second(progress) -> None:
        with pytest.raises(StorageError, match="another `shardkit index` is writing here"):
            index(tars, tmp_path / "out")
        second.asked = True

    index(tars, tmp_path / "out", progress=second)
    assert second.asked


def test_too_many_rejects_are_an_error_that_can_be_allowed(videos, tmp_path):
    """Nothing is decoded again when more are allowed with --resume; where all are rejected, nothing can be."""
    tar = write_tar(tmp_path / "a.tar", [("a.mp4", videos["clip0"]), ("b.mp4", b"no video")])
    with pytest.raises(TooManyRejectsError, match=r"1 of 2 samples .* \(unreadable 1\).*rejects\.jsonl.*--resume"):
        index(tar, tmp_path / "out", max_rejects=0.1)
    assert [each["id"] for each in rejects(tmp_path / "out")] == ["b"]
    report = index(tar, tmp_path / "out", max_rejects=0.5, resume=True)
    assert (report.indexed, report.fresh) == (1, 0)
    with pytest.raises(TooManyRejectsError, match="none of 1 samples"):
        index(write_tar(tmp_path / "b.tar", [("b.mp4", b"no video")]), tmp_path / "none")


def test_samples_that_take_too_long_are_timeouts(videos, tmp_path):
    """With a deadline that nothing can keep, all are rejected, each by itself."""
    tar = write_tar(tmp_path / "a.tar", [(f"{place}.mp4", videos[f"clip{place}"]) for place in range(2)])
    with pytest.raises(TooManyRejectsError, match=r"none of 2 samples could be indexed \(timeout 2\)"):
        index(tar, tmp_path / "out", clip_timeout_s=1e-6, workers=1)
    assert all("--clip-timeout" in each["detail"] for each in rejects(tmp_path / "out"))


def test_json_report_is_plain(tars, tmp_path):
    """What the command prints with --json."""
    report = index(tars, tmp_path / "out")
    assert json.loads(json.dumps(report.to_json()))["indexed"] == 9
