"""The output folder: what is there is kept, what is resumed is the same run, and nobody writes beside another."""

import fcntl
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from pack_runs import SMALL, contents

import shardkit
from shardkit.errors import CorruptShardError, DataError, StorageError, TooManyRejectsError, UsageError
from shardkit.format.index import decode_batch, encode_index
from shardkit.packing.output import PackOutput
from shardkit.packing.shard_files import read_receipt
from shardkit.storage.local_folder import LocalFolder


class Interrupted(Exception):  # noqa: N818 - what a user's progress callback may raise
    """Ends a run from its progress callback."""


@dataclass(frozen=True)
class Moved:
    """Material with its media in another place."""

    table: Path
    media: Path


def pack(material, out, **options):
    """Packs the table."""
    return shardkit.pack(
        material.table, media=material.media, out=out, **{"workers": 2, "format": "table"} | SMALL | options
    )


def pack_partly(material, out, **options):
    """Packs until more than half of the clips are done."""

    def interrupt(progress) -> None:
        if progress.done == 30:
            raise Interrupted

    with pytest.raises(Interrupted):
        pack(material, out, progress=interrupt, **options)


@pytest.fixture
def finished(undisturbed, tmp_path):
    """A copy of the finished data set, to be harmed."""
    return shutil.copytree(undisturbed.out, tmp_path / "finished")


@pytest.fixture
def partial(material, tmp_path):
    """What an interrupted run left."""
    pack_partly(material, tmp_path / "partial")
    return tmp_path / "partial"


def test_resume_of_a_finished_run_says_so_and_changes_nothing(material, undisturbed, finished):
    """Nothing is decoded, no file changes, and the report is that of the finished run."""
    times = {path.name: path.stat().st_mtime_ns for path in finished.iterdir()}
    report = pack(material, finished, resume=True)
    assert report.fresh == 0
    assert (report.packed, report.rejected, report.flags) == (48, {}, undisturbed.report.flags)
    assert {path.name: path.stat().st_mtime_ns for path in finished.iterdir()} == times


def test_resume_clears_away_what_a_run_left_that_was_killed_at_its_very_end(material, undisturbed, finished, partial):
    """With the manifest written, the working folder is litter; resuming removes it and keeps the data set."""
    shutil.copytree(partial / ".packing", finished / ".packing")
    pack(material, finished, resume=True)
    assert contents(finished) == undisturbed.contents


@pytest.mark.parametrize(
    "other",
    [{"size": 48}, {"seed": 5}, {"split": "50/50"}, {"name": "other"}, {"column": {"label": "take"}}],
    ids=lambda option: next(iter(option)),
)
@pytest.mark.parametrize("state", ["finished", "partial"])
def test_resume_with_other_settings_is_refused(material, request, state, other):
    """Half of one data set and half of another are never mixed, and no finished one is taken for another."""
    out = request.getfixturevalue(state)
    before = contents(out)
    with pytest.raises(UsageError, match=f"{out}.*other settings.*--overwrite"):
        pack(material, out, resume=True, **other)
    assert contents(out) == before


def test_output_that_is_there_is_not_touched(material, undisturbed, finished):
    """Packing into a folder that holds a data set is refused and names the ways on."""
    with pytest.raises(UsageError, match=r"holds a data set already.*--overwrite"):
        pack(material, finished)
    assert contents(finished) == undisturbed.contents


def test_interrupted_output_wants_a_decision(material, partial):
    """What an earlier run left is neither continued nor replaced unasked."""
    before = contents(partial)
    with pytest.raises(UsageError, match=r"--resume.*--overwrite"):
        pack(material, partial)
    assert contents(partial) == before


def test_shard_of_a_stranger_is_not_replaced(material, tmp_path):
    """A file that stands where a shard would go ends the run before anything is written."""
    (tmp_path / "clips-000003.tar").write_bytes(b"mine")
    with pytest.raises(UsageError, match=r"clips-000003\.tar.*--name"):
        pack(material, tmp_path)
    assert contents(tmp_path) == {"clips-000003.tar": b"mine"}


@pytest.mark.parametrize("state", ["finished", "partial"])
def test_overwrite_removes_its_own_files_and_keeps_a_strangers(material, undisturbed, request, state):
    """Old shards go, also those that the new run has no use for; other files stay."""
    out = request.getfixturevalue(state)
    (out / "notes.txt").write_bytes(b"mine")
    (out / "clips-0.tar").write_bytes(b"mine too")
    pack(material, out, overwrite=True, name="new")
    new = contents(out)
    assert new.pop("notes.txt") == b"mine"
    assert new.pop("clips-0.tar") == b"mine too"
    assert not [name for name in new if name.startswith("clips-")]
    assert {name.replace("new-", "clips-") for name in new} == set(undisturbed.contents)


def test_overwrite_that_was_killed_can_be_repeated(material, undisturbed, finished):
    """With the old manifest gone and old shards left, --overwrite still knows its own files."""
    (finished / ".packing").mkdir()
    (finished / ".packing/lock").touch()
    names = ", ".join(f'"{path.name}"' for path in finished.glob("*.tar"))
    (finished / ".packing/plan.json").write_text(f'{{"digest": "", "shards": [{names}]}}')
    (finished / "dataset.json").unlink()
    (finished / "clips-000000.tar").unlink()
    pack(material, finished, overwrite=True)
    assert contents(finished) == undisturbed.contents


@pytest.mark.parametrize("state", ["finished", "partial"])
@pytest.mark.parametrize(("limit", "said"), [(1.0, "none of 48 rows"), (0.5, "48 of 48 rows")])
def test_overwrite_with_nothing_removes_nothing(material, tmp_path, request, state, limit, said):
    """Too few rows to pack, known before the first is: what is there stays, and the counts are in the message."""
    out = request.getfixturevalue(state)
    (tmp_path / "empty").mkdir()
    before = contents(out)
    with pytest.raises(TooManyRejectsError, match=rf"{said}.*missing_media 48"):
        shardkit.pack(
            material.table,
            media=tmp_path / "empty",
            out=out,
            format="table",
            overwrite=True,
            max_rejects=limit,
            **SMALL,
        )
    after = contents(out)
    if state == "partial":  # which may have its rejects.jsonl
        assert len(after.pop("rejects.jsonl").splitlines()) == 48
    assert after == before


def test_overwrite_that_meets_a_strangers_shard_removes_nothing(material, finished):
    """A file in the way that is not of the old data set: refused before the old one is gone."""
    (finished / "new-000002.tar").write_bytes(b"mine")
    before = contents(finished)
    with pytest.raises(UsageError, match=r"new-000002\.tar"):
        pack(material, finished, overwrite=True, name="new")
    assert contents(finished) == before


@pytest.fixture
def cut_short(partial):
    """What kill -9 leaves between a first shard's last byte and its receipt."""
    for path in partial.glob(".packing/*.receipt"):
        path.unlink()
    for path in partial.glob("*.tar"):
        if path.name != "clips-000000.tar":
            path.unlink()
    assert (partial / "clips-000000.tar").exists()
    return partial


@pytest.mark.parametrize("way", [{"resume": True}, {"overwrite": True}])
@pytest.mark.parametrize("refused", [{}, {"resume": True, "size": 48}])
def test_refused_run_changes_nothing_where_only_a_tar_is_finished(material, undisturbed, cut_short, refused, way):
    """Asked to resume or to overwrite, the folder is as it was, and both are still accepted."""
    before = contents(cut_short)
    with pytest.raises(UsageError, match="--overwrite"):
        pack(material, cut_short, **refused)
    assert contents(cut_short) == before
    pack(material, cut_short, **way)
    assert contents(cut_short) == undisturbed.contents


def test_run_that_fails_between_a_tar_and_its_receipt_leaves_nothing(material, tmp_path, monkeypatch):
    """The tar goes too: it would stand in the way of the next attempt."""

    def fail(*_, **__) -> None:
        assert (tmp_path / "clips-000000.tar").exists()
        raise Interrupted

    (tmp_path / "mine.txt").touch()
    monkeypatch.setattr("shardkit.packing.shard_task.write_receipt", fail)
    with pytest.raises(Interrupted):
        pack(material, tmp_path)
    assert set(contents(tmp_path)) == {"mine.txt"}


def test_folder_that_was_there_stays(material, tmp_path):
    """A refused run removes no folder that it did not make, not even an empty one."""

    def interrupt(progress) -> None:
        raise Interrupted

    with pytest.raises(Interrupted):
        pack(material, tmp_path, progress=interrupt)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "plan",
    [
        '{"digest": "", "shards": ["../precious.tar"]}',
        '{"digest": "", "shards": ["notes.txt"]}',
        '{"digest": "", "shards": [1]}',
        '{"shards": []}',
        "[]",
        "{",
    ],
)
@pytest.mark.parametrize("way", ["resume", "overwrite"])
def test_plan_that_is_damaged_deletes_nothing(material, partial, plan, way):
    """Only names of shards are believed to be shards; the message names the plan."""
    (partial / "notes.txt").touch()
    (partial.parent / "precious.tar").touch()
    (partial / ".packing/plan.json").write_text(plan)
    before = contents(partial.parent)
    with pytest.raises(DataError, match=r"plan\.json: damaged"):
        pack(material, partial, **{way: True})
    assert contents(partial.parent) == before


def test_media_that_changed_since_are_noticed(material, tmp_path):
    """A media file of another size than when the run began is not mixed with what was packed of the old one."""
    media = shutil.copytree(material.media, tmp_path / "media")
    out = tmp_path / "out"
    pack_partly(Moved(material.table, media), out)
    with next(media.glob("*.mp4")).open("ab") as file:
        file.write(b"\0")
    with pytest.raises(UsageError, match="other settings, annotations, media files"):
        pack(Moved(material.table, media), out, resume=True)


def test_index_is_written_as_it_is_encoded(undisturbed, tmp_path):
    """The index that goes straight into its file has the bytes, size and digest of the encoded one."""
    data = undisturbed.contents["index.arrow"]
    batch = decode_batch(data, path="index.arrow")
    with PackOutput(LocalFolder(tmp_path / "out")) as output:
        about = output.write_index(batch)
    assert (tmp_path / "out/index.arrow").read_bytes() == encode_index(batch) == data
    assert about == shardkit.open(undisturbed.out).manifest.index


def test_index_that_does_not_fit_is_a_storage_error(undisturbed, tmp_path):
    """A full disk under the index: StorageError, and no index."""
    batch = decode_batch(undisturbed.contents["index.arrow"], path="index.arrow")
    with PackOutput(LocalFolder(tmp_path / "out")) as output:
        (tmp_path / "out/index.arrow.tmp").symlink_to("/dev/full")
        with pytest.raises(StorageError, match=r"index\.arrow: No space left"):
            output.write_index(batch)
    assert not (tmp_path / "out/index.arrow").exists()


def test_receipts_are_not_mapped(partial):
    """Of 100,000 shards all receipts are held at once, more than a process may have mappings."""
    names = [path.name.removesuffix(".receipt") for path in partial.glob(".packing/*.receipt")]
    receipts = [read_receipt(LocalFolder(partial), name) for name in names]
    assert receipts
    assert ".receipt" not in Path("/proc/self/maps").read_text()


def test_overwrite_does_not_guess_which_files_are_its_own(material, finished):
    """With a damaged manifest nothing is removed; the message names it."""
    (finished / "dataset.json").write_bytes(b"{")
    before = contents(finished)
    with pytest.raises(UsageError, match=r"dataset\.json.*delete the folder yourself"):
        pack(material, finished, overwrite=True)
    assert contents(finished) == before


def test_resume_of_a_damaged_data_set_is_an_error(material, finished):
    """A flipped bit in the index is not reported as a finished run."""
    data = bytearray((finished / "index.arrow").read_bytes())
    data[len(data) // 2] ^= 1
    (finished / "index.arrow").write_bytes(data)
    with pytest.raises(CorruptShardError, match=r"index\.arrow"):
        pack(material, finished, resume=True)


def test_shard_that_was_cut_is_packed_again(material, undisturbed, partial):
    """A shard whose size is not what its receipt says is not trusted."""
    shard = partial / "clips-000000.tar"
    shard.write_bytes(shard.read_bytes()[:1000])
    pack(material, partial, resume=True)
    assert contents(partial) == undisturbed.contents


def test_two_runs_never_write_into_one_folder(material, partial):
    """While one run holds the folder, another is turned away and the folder is as it was."""
    before = contents(partial)
    with (partial / ".packing/lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(StorageError, match="another"):
            pack(material, partial, resume=True)
    assert contents(partial) == before


def test_run_that_fails_before_its_first_shard_leaves_nothing(material, tmp_path):
    """No folder, no working files: the next attempt needs neither --resume nor --overwrite."""

    def interrupt(progress) -> None:
        raise Interrupted

    with pytest.raises(Interrupted):
        pack(material, tmp_path / "out", progress=interrupt)
    assert not (tmp_path / "out").exists()


def test_too_many_rejects_end_the_run_and_a_higher_limit_goes_on(material, packed, tmp_path):
    """Above the limit there is no manifest, and rejects.jsonl says why; resumed with a higher one it is complete."""
    job = {"media": material.media, "out": tmp_path / "out", "workers": 2, **SMALL}
    with pytest.raises(TooManyRejectsError, match=r"of 17 rows.*rejects\.jsonl.*--resume"):
        shardkit.pack(material.annotations, max_rejects=0.2, **job)
    assert (tmp_path / "out/rejects.jsonl").exists()
    assert not (tmp_path / "out/dataset.json").exists()
    shardkit.pack(material.annotations, max_rejects=0.3, resume=True, **job)
    assert contents(tmp_path / "out") == packed.contents


def test_nothing_to_pack_is_an_error_with_reasons_and_no_data_set(material, tmp_path):
    """A media folder without the media: every row is rejected, there is no manifest, and a new try starts afresh."""
    (tmp_path / "media").mkdir()
    with pytest.raises(TooManyRejectsError, match=r"missing_media 48"):
        shardkit.pack(material.table, media=tmp_path / "media", out=tmp_path / "out", **SMALL)
    assert set(contents(tmp_path / "out")) == {"rejects.jsonl"}
    assert pack(material, tmp_path / "out").packed == 48


def test_files_that_cannot_be_packed_leave_no_data_set(material, tmp_path):
    """Where every file is broken, the reasons are theirs."""
    (tmp_path / "media").mkdir()
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / "media" / name).write_bytes(b"no media")
    (tmp_path / "table.csv").write_text("id,media\na,a.mp4\nb,b.mp4\n")
    with pytest.raises(TooManyRejectsError, match="unreadable 2"):
        shardkit.pack(tmp_path / "table.csv", media=tmp_path / "media", out=tmp_path / "out", **SMALL)
    assert set(contents(tmp_path / "out")) == {"rejects.jsonl"}


@pytest.mark.parametrize(("limit", "said"), [(1.0, "none of 3 rows"), (0.5, "2 of 3 rows")])
def test_shards_of_nothing_but_rejects_are_not_kept(material, tmp_path, limit, said):
    """However many shards were finished without a clip: they go, and a new try needs no --resume or --overwrite."""
    media, table, out = tmp_path / "media", tmp_path / "table.csv", tmp_path / "out"
    media.mkdir()
    for name in "abc":
        (media / f"{name}.mp4").write_bytes(b"no media")
    table.write_text("id,media\n" + "".join(f"{name},{name}.mp4\n" for name in "abc"))
    one_a_shard = SMALL | {"shard_bytes": 1}
    with pytest.raises(TooManyRejectsError, match=said) as caught:
        shardkit.pack(table, media=media, out=out, max_rejects=limit, workers=1, **one_a_shard)
    assert "--resume" not in str(caught.value)
    assert set(contents(out)) == {"rejects.jsonl"}
    shutil.copy(next(material.media.glob("*.mp4")), media / "a.mp4")
    assert shardkit.pack(table, media=media, out=out, workers=1, **one_a_shard).packed == 1


def test_shards_of_nothing_but_rejects_go_when_resumed_too(tmp_path):
    """What an interrupted run left that had met rejects only is gone when the rest are rejects as well."""
    media, table, out = tmp_path / "media", tmp_path / "table.csv", tmp_path / "out"
    media.mkdir()
    for name in "abc":
        (media / f"{name}.mp4").write_bytes(b"no media")
    table.write_text("id,media\n" + "".join(f"{name},{name}.mp4\n" for name in "abc"))
    job = {"media": media, "out": out, "workers": 1} | SMALL | {"shard_bytes": 1}

    def interrupt(progress) -> None:
        if progress.done == 2:
            raise Interrupted

    with pytest.raises(Interrupted):
        shardkit.pack(table, progress=interrupt, **job)
    assert (out / "clips-000000.tar").exists()
    with pytest.raises(TooManyRejectsError, match="none of 3 rows"):
        shardkit.pack(table, resume=True, **job)
    assert set(contents(out)) == {"rejects.jsonl"}


def test_faults_of_the_material_have_their_reasons(packed):
    """One row of each kind of fault, one reason each; what is good is packed."""
    assert packed.report.rejected == {
        "bad_id": 1,
        "missing_media": 1,
        "no_audio": 1,
        "too_short": 1,
        "unreadable": 1,
    }
    assert packed.report.packed == 12


def test_inputs_are_never_written_to(material, packed, undisturbed):
    """After all that was packed from it, the media folder holds what was synthesised and nothing else."""
    made = {row.file_name for row in material.rows if row.fault is None or (material.media / row.file_name).exists()}
    assert {path.name for path in material.media.iterdir()} == made


def test_manifest_names_the_shardkit_that_packed(undisturbed):
    """Its version decides the bytes as those of the libraries do."""
    assert shardkit.open(undisturbed.out).manifest.libraries["shardkit"] == shardkit.__version__


def test_split_column_is_kept(material, undisturbed):
    """Every clip has the split of its row."""
    table = shardkit.open(undisturbed.out).table
    for split, take in zip(table["split"].to_pylist(), table["column_take"].to_pylist(), strict=True):
        assert split == ("test" if take % 3 == 0 else "train")


@pytest.mark.parametrize("group", ["id", "media", "take"])
def test_groups_never_straddle_splits(material, tmp_path, group):
    """With shares, all clips of one source are in one split, and the shares hold."""
    pack(material, tmp_path / "out", split="50/25/25", split_group=group, stratify="label")
    dataset = shardkit.open(tmp_path / "out")
    splits_of = {}
    for row in dataset.table.select(["source", "split"]).to_pylist():
        splits_of.setdefault(row["source"], set()).add(row["split"])
    assert all(len(splits) == 1 for splits in splits_of.values())
    assert dataset.manifest.splits == {"test": 12, "train": 24, "val": 12}
