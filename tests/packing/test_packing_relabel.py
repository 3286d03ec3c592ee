"""relabel: other labels, splits and columns in index and manifest; the tars stay as they are."""

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from uuid import uuid4

import fsspec
import pytest
from pack_runs import TRIES, contents
from watching import wait_until

import shardkit
from benchmarks.storage.fault_proxy import fault_proxy
from benchmarks.storage.link import Link
from shardkit.errors import CorruptShardError, StorageError, UsageError
from shardkit.packing.output import PackOutput


@pytest.fixture
def dataset(undisturbed, tmp_path):
    """A copy of the finished data set."""
    return shutil.copytree(undisturbed.out, tmp_path / "shards")


@pytest.fixture
def corrected(material, tmp_path):
    """The table with other labels, another split and another column, and without the first file."""
    with material.table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    path = tmp_path / "corrected.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("id", "start_s", "end_s", "label", "split", "quality"))
        for place, row in enumerate(rows):
            if row["id"] != rows[0]["id"]:
                split = ("a", "b")[place % 2]
                writer.writerow((row["id"], row["start_s"], row["end_s"], f"new {row['label']}", split, place))
        writer.writerow(("nowhere", 0, 2, "new Gong", "a", 0))
        writer.writerow(("", 0, 2, "new Gong", "a", 0))
    return path, rows[0]["id"]


def test_labels_splits_and_columns_are_those_of_the_new_file(dataset, corrected, undisturbed):
    """Every clip that the file names has its new label; clips it does not name are unknown."""
    path, dropped = corrected
    report = shardkit.relabel(dataset, path)
    assert (report.relabelled, report.unnamed, report.unused, report.unread) == (44, 4, 1, 1)
    old = {row["key"]: row for row in shardkit.open(undisturbed.out).table.to_pylist()}
    new = shardkit.open(dataset)
    (names,) = (label_set.leaf.classes for label_set in new.label_sets)
    (old_names,) = (label_set.leaf.classes for label_set in shardkit.open(undisturbed.out).label_sets)
    for row in new.table.to_pylist():
        (label,) = row["label_label"]
        (old_label,) = old[row["key"]]["label_label"]
        if row["source_id"] == dropped:
            assert (label, row["split"], row["column_quality"]) == (-100, "", None)
        else:
            assert names[label] == f"new {old_names[old_label]}"
            assert row["split"] == ("a", "b")[row["column_quality"] % 2]
    assert new.manifest.columns == ("quality",)
    assert new.manifest.splits == {"": 4, "a": 22, "b": 22}


def test_tars_are_untouched_byte_for_byte(dataset, corrected, undisturbed):
    """Only index and manifest change, and nothing else appears."""
    shardkit.relabel(dataset, corrected[0])
    after = contents(dataset)
    assert {name for name, data in after.items() if data != undisturbed.contents.get(name)} == {
        "dataset.json",
        "index.arrow",
    }
    assert set(after) == set(undisturbed.contents)


def test_media_of_relabelled_clips_are_the_same(dataset, corrected, undisturbed):
    """Every column that tells where the media lie is as it was."""
    shardkit.relabel(dataset, corrected[0])
    new, old = shardkit.open(dataset), shardkit.open(undisturbed.out)
    changed = {"row", "split", "label_label", "column_take", "column_quality"}
    same = [name for name in old.table.column_names if name not in changed]
    assert new.table.select(same).equals(old.table.select(same))


def test_loader_sees_the_new_labels(dataset, corrected):
    """Batches carry the new ids, and -100 where a clip has no label any more."""
    shardkit.relabel(dataset, corrected[0])
    opened = shardkit.open(dataset)
    expected = dict(zip(opened.keys, opened.index.labels(opened.label_sets[0])[:, 0].tolist(), strict=True))
    seen = {}
    with shardkit.loader(dataset, batch_size=8, modalities=("audio",), workers=1, worker_type="thread") as loader:
        for batch in loader:
            seen |= dict(zip(batch.keys, batch.labels["label"][:, 0].tolist(), strict=True))
    assert seen == expected
    assert list(seen.values()).count(-100) == 4


def test_shares_split_anew(dataset, material):
    """With --split the sources are dealt out again; the labels are those of the file."""
    shardkit.relabel(dataset, material.table, split="75/25")
    assert shardkit.open(dataset).manifest.splits == {"test": 12, "train": 36}


def test_old_splits_stay_where_the_file_names_none(dataset, corrected, tmp_path, undisturbed):
    """A file without a split column changes labels only."""
    path = tmp_path / "labels.csv"
    with corrected[0].open(newline="") as source, path.open("w", newline="") as target:
        csv.writer(target).writerows([*row[:4], row[5]] for row in csv.reader(source))
    shardkit.relabel(dataset, path)
    assert shardkit.open(dataset).manifest.splits == shardkit.open(undisturbed.out).manifest.splits


def test_interrupted_between_index_and_manifest_says_so_and_is_mended_by_running_again(dataset, corrected, tmp_path):
    """New index, old manifest: opening names relabel as the remedy; relabelling again completes it."""
    other = shutil.copytree(dataset, tmp_path / "other")
    old_manifest = (dataset / "dataset.json").read_bytes()
    shardkit.relabel(other, corrected[0])
    # As kill -9 leaves it: the new index, and what the run wrote down before it.
    shutil.copy(other / "index.arrow", dataset)
    new_digest = shardkit.open(other).manifest.index.xxh3
    (dataset / ".packing").mkdir()
    (dataset / ".packing/relabel.json").write_text(f'{{"xxh3": "{new_digest}"}}')
    assert (dataset / "dataset.json").read_bytes() == old_manifest
    with pytest.raises(CorruptShardError, match=r"index\.arrow.*relabel"):
        shardkit.open(dataset)
    shardkit.relabel(dataset, corrected[0])
    assert contents(dataset) == contents(other)


def test_damaged_index_is_not_relabelled(dataset, corrected):
    """A flipped bit would otherwise get a digest that vouches for it."""
    data = bytearray((dataset / "index.arrow").read_bytes())
    data[len(data) // 2] ^= 1
    (dataset / "index.arrow").write_bytes(data)
    before = contents(dataset)
    with pytest.raises(CorruptShardError, match=r"index\.arrow"):
        shardkit.relabel(dataset, corrected[0])
    assert contents(dataset) == before


def test_file_that_names_no_clip_is_refused(dataset, tmp_path, undisturbed):
    """Annotations of something else change nothing; the message shows what keys look like."""
    path = tmp_path / "else.csv"
    path.write_text("id,start_s,label\nelsewhere,0,x\n")
    with pytest.raises(UsageError, match=r"else\.csv: names none of the 48 clips"):
        shardkit.relabel(dataset, path)
    assert contents(dataset) == undisturbed.contents


def test_folder_without_a_data_set_is_refused_and_not_made(material, tmp_path):
    """A mistyped path is named, and no folder appears there."""
    with pytest.raises(UsageError, match="no data set to relabel"):
        shardkit.relabel(tmp_path / "no/such", material.table)
    assert not (tmp_path / "no").exists()


def test_clips_that_start_together_are_told_apart_by_their_ends(material, undisturbed, tmp_path):
    """Rows in another order, or only some of them, never give one clip's label to another."""
    source = next(iter(sorted(path.name for path in material.media.iterdir() if path.suffix == ".mp4")))
    table = tmp_path / "table.csv"
    table.write_text(f"id,media,start_s,end_s,label\na,{source},0,0.5,short\na,{source},0,1.0,long\n")
    out = tmp_path / "out"
    shardkit.pack(table, media=material.media, out=out, frames=2, size=64)

    def labels():
        ds = shardkit.open(out)
        names = ds.label_sets[0].leaf.classes
        return {
            row["duration_s"]: names[row["label_label"][0]] if row["label_label"][0] >= 0 else None
            for row in ds.table.to_pylist()
        }

    again = tmp_path / "again.csv"
    again.write_text("id,start_s,end_s,label\na,0,1.0,longer\na,0,0.5,shorter\n")
    shardkit.relabel(out, again)
    assert labels() == {0.5: "shorter", 1.0: "longer"}
    again.write_text("id,start_s,end_s,label\na,0,1.0,only\na,0,5,elsewhere\n")
    report = shardkit.relabel(out, again)
    assert (report.relabelled, report.unnamed, report.unused) == (1, 1, 1)
    assert labels() == {0.5: None, 1.0: "only"}


def _is_replaced(path, old):
    """Whether another file has this name by now; for a moment, none or an empty one has it."""
    try:
        return path.read_bytes() not in (old, b"")
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_between_index_and_manifest_in_a_bucket_both_are_written(undisturbed, corrected, s3, sent, code):
    """Ctrl-C or SIGTERM, three times: its exit code, a word on what is there, and a data set that can be read."""
    name = uuid4().hex
    folder = s3.bucket(name)
    bucket = fsspec.filesystem("s3", **s3.options)
    with fault_proxy(s3.server.url, link=Link(latency_s=0.3)) as proxy:
        where = [word.replace(s3.server.url, proxy.url) for word in s3.arguments]
        command = [sys.executable, "-m", "shardkit", "relabel", f"s3://{name}", str(corrected[0]), *where]
        for _ in range(TRIES):
            for file in undisturbed.out.iterdir():
                bucket.put_file(str(file), f"{name}/{file.name}")
            process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
            wait_until(lambda: _is_replaced(folder / "index.arrow", undisturbed.contents["index.arrow"]))
            for _ in range(3):
                process.send_signal(sent)
                time.sleep(0.05)
            _, said = process.communicate(timeout=60)
            if process.returncode not in (0, -sent):  # else it was done before, or about to end
                break
    assert process.returncode == code, said
    assert "stopped; the data set is whole" in said
    assert "Traceback" not in said
    assert shardkit.open(folder).manifest.columns == ("quality",)
    assert not [file for file in contents(folder) if ".packing" in file]


def test_interrupted_while_it_fails_the_failure_is_told(dataset, corrected, monkeypatch):
    """Two times Ctrl-C, and then the manifest cannot be written: nobody may think that all is well."""

    def fail(*_):
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.05)
        raise StorageError("no room for the manifest")

    monkeypatch.setattr(PackOutput, "commit", fail)
    with pytest.raises(StorageError, match="no room for the manifest"):
        shardkit.relabel(dataset, corrected[0])


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_before_it_writes_nothing_is_changed(dataset, undisturbed, tmp_path, sent, code):
    """While the annotation file is read: the folder is as it was."""
    path = tmp_path / "slow.csv"
    os.mkfifo(path)
    process = subprocess.Popen(
        [sys.executable, "-m", "shardkit", "relabel", dataset, path], stderr=subprocess.PIPE, text=True
    )
    with path.open("wb"):  # it has opened the other end
        process.send_signal(sent)
        _, said = process.communicate(timeout=60)
    assert (process.returncode, "stopped; the data set is whole" in said) == (code, True), said
    assert "Traceback" not in said
    assert contents(dataset) == undisturbed.contents
