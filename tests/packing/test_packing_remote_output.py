"""Output at URLs: a bucket or any other place comes to hold the bytes that a folder does, and no half data set."""

import time
from uuid import uuid4

import fsspec
import pytest
from pack_runs import SMALL, contents, unlike
from s3fs import S3FileSystem

import shardkit
from shardkit.errors import StorageError, TooManyRejectsError, UsageError
from shardkit.packing.job import PackJob
from shardkit.packing.settings import PackSettings
from shardkit.planning.sampling import FrameSampling
from shardkit.storage.locations import Location


class Interrupted(Exception):  # noqa: N818 - what a user's progress callback may raise
    """Ends a run from its progress callback."""


@pytest.fixture
def bucket(s3):
    """A name, and the bucket's folder on disk."""
    name = uuid4().hex
    return name, s3.bucket(name)


def pack(material, out, **options):
    """Packs the table."""
    return shardkit.pack(material.table, media=material.media, out=out, **{"workers": 1} | SMALL | options)


def pack_partly(material, out, clips, **options):
    """Packs until some clips are done."""

    def interrupt(progress) -> None:
        if progress.done == clips:
            raise Interrupted

    with pytest.raises(Interrupted):
        pack(material, out, progress=interrupt, **options)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_bucket_holds_the_bytes_of_a_folder(material, undisturbed, s3, bucket, workers):
    """Whatever the number of workers; what there was beside stays."""
    name, folder = bucket
    fsspec.filesystem("s3", **s3.options).pipe_file(f"{name}/data/notes.txt", b"mine")
    report = pack(material, f"s3://{name}/data/", storage_options=s3.options, workers=workers)
    assert report.out == f"s3://{name}/data"
    assert unlike(contents(folder / "data"), undisturbed.contents) == {"notes.txt"}


def test_any_file_system_of_fsspec_will_do(material, undisturbed):
    """Such as memory: files are sent when they are whole."""
    url = f"memory://{uuid4().hex}/data"
    pack(material, url)
    files = fsspec.filesystem("memory")
    root = f"{url.removeprefix('memory:/')}/"
    assert {path.removeprefix(root): files.cat_file(path) for path in files.find(root)} == undisturbed.contents


def test_no_manifest_before_all_shards_are_in(material, undisturbed, s3, bucket):
    """Stopped half-way there are whole shards and no data set; --resume goes on, unasked it does not."""
    name, folder = bucket
    out = f"s3://{name}"
    pack_partly(material, out, 30, storage_options=s3.options)
    there = contents(folder)
    assert "dataset.json" not in there
    shards = {path: data for path, data in there.items() if path.endswith(".tar")}
    assert shards
    assert shards.items() <= undisturbed.contents.items()
    with pytest.raises(UsageError, match=r"--resume.*--overwrite"):
        pack(material, out, storage_options=s3.options)
    assert contents(folder) == there
    report = pack(material, out, storage_options=s3.options, resume=True)
    assert 0 < report.fresh < 48
    assert not unlike(contents(folder), undisturbed.contents)
    assert pack(material, out, storage_options=s3.options, resume=True).fresh == 0


def test_a_run_that_fails_before_its_first_shard_leaves_nothing(material, s3, bucket):
    """Neither plan nor shard."""
    name, folder = bucket
    pack_partly(material, f"s3://{name}/data", 1, storage_options=s3.options)
    assert contents(folder) == {}


def test_overwrite_replaces_its_own_files_only(material, undisturbed, s3, bucket):
    """Old shards go; a stranger's file stays, and one in the way of a shard is refused."""
    name, folder = bucket
    out, options = f"s3://{name}/data", {"storage_options": s3.options}
    pack(material, out, name="old", **options)
    fsspec.filesystem("s3", **s3.options).pipe_file(f"{name}/data/clips-000001.tar", b"mine")
    with pytest.raises(UsageError, match=r"clips-000001\.tar is there already"):
        pack(material, out, overwrite=True, **options)
    fsspec.filesystem("s3", **s3.options).mv(f"{name}/data/clips-000001.tar", f"{name}/data/notes.txt")
    pack(material, out, overwrite=True, **options)
    assert unlike(contents(folder / "data"), undisturbed.contents) == {"notes.txt"}


def test_nothing_that_can_be_packed_leaves_the_reasons(material, s3, bucket, tmp_path):
    """As on a disk: rejects.jsonl and nothing else."""
    name, folder = bucket
    (tmp_path / "a.mp4").write_bytes(b"no media")
    table = tmp_path / "table.csv"
    table.write_text("id,media\na,a.mp4\n")
    with pytest.raises(TooManyRejectsError, match=rf"unreadable 1.*s3://{name}/rejects\.jsonl names each"):
        shardkit.pack(table, media=tmp_path, out=f"s3://{name}", storage_options=s3.options, **SMALL)
    assert set(contents(folder)) == {"rejects.jsonl"}


def test_a_bucket_that_is_not_there_is_named_before_the_first_clip(material, s3):
    """Nothing is decoded for nowhere."""
    seen = []
    with pytest.raises(StorageError, match=r"s3://nowhere/data.*not found .*check the URL, bucket"):
        pack(material, "s3://nowhere/data", storage_options=s3.options, progress=seen.append)
    assert not seen


def test_an_upload_that_breaks_off_ends_the_run_with_a_way_on(material, undisturbed, s3, bucket, monkeypatch):
    """Storage that goes away under way: StorageError, whole shards; --resume comes to the same bytes."""
    name, folder = bucket
    out, options = f"s3://{name}/data", {"storage_options": s3.options}
    opened, left = S3FileSystem.open, [2]

    def fail(files, path, *args, **kwargs):
        file = opened(files, path, *args, **kwargs)
        left[0] -= 1
        if left[0] < 0:

            def refuse(*_, **__):
                raise ConnectionResetError("Connection reset by peer")

            file._upload_chunk = refuse
        return file

    with monkeypatch.context() as patch:
        patch.setattr(S3FileSystem, "open", fail)
        patch.setattr(time, "sleep", lambda _: None)
        with pytest.raises(StorageError, match=r"clips-000002\.tar: .*; check the network.*--resume"):
            pack(material, out, **options)
    assert {path for path in contents(folder) if path.endswith(".tar")} == {
        "data/clips-000000.tar",
        "data/clips-000001.tar",
    }
    pack(material, out, resume=True, **options)
    assert not unlike(contents(folder / "data"), undisturbed.contents)


def test_a_web_server_is_not_written_to(material, tmp_path):
    """Pack and relabel say so before they look at their inputs, or ask a server that may not be there."""
    nowhere, url = tmp_path / "nowhere", "http://127.0.0.1:9/data"
    for run in (
        lambda: shardkit.pack(nowhere / "a.csv", media=nowhere, out=url),
        lambda: shardkit.relabel(url, nowhere / "a.csv"),
    ):
        with pytest.raises(UsageError, match=rf"{url}: a web server is not written to; .* --out, or work on a copy"):
            run()


def test_options_that_no_other_process_could_get_are_refused(material, tmp_path):
    """Workers and nodes need them: plain values only."""
    with pytest.raises(UsageError, match="storage_options: plain values"):
        pack(material, tmp_path / "out", storage_options={"session": object()})


def test_options_that_have_no_effect_are_refused(material, undisturbed, tmp_path):
    """Where nothing is a URL, by pack and relabel as by open and index; nothing is written."""
    options = {"storage_options": {"key": "k"}}
    with pytest.raises(UsageError, match="storage_options are for URLs"):
        pack(material, tmp_path / "out", **options)
    with pytest.raises(UsageError, match="storage_options are for URLs"):
        shardkit.relabel(undisturbed.out, material.table, **options)
    assert not (tmp_path / "out").exists()
    assert contents(undisturbed.out) == undisturbed.contents


def test_keys_are_not_printed(tmp_path):
    """A job that is shown, in a traceback or a log, tells no secret."""
    settings = PackSettings(FrameSampling.count(2))
    here, there = (Location.of(place, {"secret": "XYZ"}) for place in (tmp_path, "s3://bucket"))
    job = PackJob(here, here, there, settings)
    assert "XYZ" not in repr(job)
