"""Tars at URLs made a data set, and indexes written to URLs: what is made of local tars, through whatever happens."""

import signal
import subprocess
import sys
import threading
from uuid import uuid4

import fsspec
import pytest
from buckets import s3  # noqa: F401 - a fixture
from started_servers import started
from tar_files import FAST, contents, copies, jpeg, write_tar

import shardkit
from benchmarks.storage.fault_proxy import fault_proxy
from benchmarks.storage.faults import mixed_faults
from benchmarks.storage.servers import nginx_server
from shardkit.errors import StorageError, UsageError
from shardkit.storage.locations import Location
from shardkit.storage.stores import open_read_folder
from shardkit.storage.streams import PART_BYTES, Streams

LABEL = {"label": {"sound": "json.label"}}


def index(tars, out, **options):
    """`shardkit.index` as `indexed` was made."""
    return shardkit.index(tars, out=out, **(FAST | LABEL | options))


@pytest.fixture(scope="module")
def web(tars, tmp_path_factory):
    """A proxy before a web server of the tars and some others, some of them in a folder with blanks."""
    root = tmp_path_factory.mktemp("web")
    (root / "tars").symlink_to(tars)
    (root / "more" / "a b").mkdir(parents=True)
    for place, path in enumerate(sorted(tars.iterdir())):
        (root / "more" / ("", "a b", "a b")[place] / path.name).write_bytes(path.read_bytes())
    (root / "more" / "notes.txt").write_text("no tar")
    (root / "empty").mkdir()
    (root / "empty" / "a.tar.gz").write_bytes(b"1")
    with started(nginx_server(root)) as server, fault_proxy(server.url) as proxy:
        yield proxy


@pytest.fixture
def http(web):
    """It, doing no harm until it is told to."""
    web.set_rules([])
    return web


@pytest.fixture
def bucket(s3, tars):  # noqa: F811
    """A bucket's name and its folder on disk, with the tars in a folder."""
    name = uuid4().hex
    folder = s3.bucket(name)
    files = fsspec.filesystem("s3", **s3.options)
    for path in tars.iterdir():
        files.pipe_file(f"{name}/tars/{path.name}", path.read_bytes())
    return name, folder


def test_tars_of_a_web_server_give_the_index_of_local_ones(http, tars, indexed, tmp_path):
    """By folder, pattern and name: the same rows, the same digests; and the same batches, by processes."""
    url = f"{http.url}/tars"
    index(url, tmp_path / "folder")
    index(f"{url}/set-{{000..002}}.tar", tmp_path / "pattern")
    index([f"{url}/set-{place:03d}.tar" for place in range(3)], tmp_path / "names")
    expected = contents(indexed)["index.arrow"]
    assert [contents(tmp_path / name)["index.arrow"] for name in ("folder", "pattern", "names")] == [expected] * 3
    ds = shardkit.open(tmp_path / "folder")
    assert (ds.manifest.base, ds.manifest.shards) == (url, shardkit.open(indexed).manifest.shards)
    with (
        shardkit.loader(tmp_path / "folder", batch_size=3, size=64, workers=1, epochs=1) as far,
        shardkit.loader(indexed, batch_size=3, size=64, workers=1, epochs=1) as near,
    ):
        found, wanted = copies(far), copies(near)
    assert [keys for keys, _ in found] == [keys for keys, _ in wanted]
    for (_, ours), (_, theirs) in zip(found, wanted, strict=True):
        assert all((ours[name] == theirs[name]).all() for name in theirs)


def test_subfolders_of_a_web_server_and_names_with_blanks(http, tmp_path):
    """Names in the index are those of files, as on a disk; hidden and other files are left out."""
    index(f"{http.url}/more", tmp_path / "out")
    ds = shardkit.open(tmp_path / "out")
    assert ds.shard_names == ("a b/set-001.tar", "a b/set-002.tar", "set-000.tar")
    assert ds["clip4"].key == "clip4"
    index([f"{http.url}/more/a%20b/set-00{place}.tar" for place in (1, 2)], tmp_path / "part")
    part = shardkit.open(tmp_path / "part")
    assert (part.manifest.base, part.shard_names) == (f"{http.url}/more/a%20b", ("set-001.tar", "set-002.tar"))
    assert part["clip4"].key == "clip4"


def test_faults_on_the_way_change_nothing(http, indexed, tmp_path):
    """Some requests fail, in all the ways in which that happens: the index is the same."""
    http.set_rules(mixed_faults(0.3, stall_s=0.2))
    index(f"{http.url}/tars", tmp_path / "out")
    assert contents(tmp_path / "out")["index.arrow"] == contents(indexed)["index.arrow"]


@pytest.mark.parametrize(
    ("path", "error", "said"),
    [
        ("tars/none.tar", StorageError, r"/tars/none\.tar: not found"),
        ("none", StorageError, r"/none: not found"),
        ("empty", UsageError, r"/empty: all tars .* are compressed \(1, such as a\.tar\.gz\): decompress it"),
        ("empty/a.tar.gz", UsageError, r"/empty/a\.tar\.gz: is compressed: decompress it"),
    ],
)
def test_urls_without_tars_are_named(http, tmp_path, path, error, said):
    """With what to do; nothing is left behind."""
    with pytest.raises(error, match=said):
        index(f"{http.url}/{path}", tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_a_web_server_is_not_written_to(http, tars):
    """Said before it is asked for anything: the index needs a folder of its own."""
    before = len(http.log())
    for sources, out in ((f"{http.url}/tars", None), (tars, f"{http.url}/index")):
        with pytest.raises(UsageError, match=r"/\w+: a web server is not written to; choose a folder .* --out"):
            index(sources, out)
    assert len(http.log()) == before


def test_an_index_beside_the_tars_in_a_bucket(s3, bucket, tars, tmp_path):  # noqa: F811
    """It has the bytes of one beside local tars of the same folder name, and loads by its URL."""
    name, folder = bucket
    near = tmp_path / "tars"
    near.mkdir()
    for path in tars.iterdir():
        (near / path.name).write_bytes(path.read_bytes())
    index(near, None)
    report = index(f"s3://{name}/tars/", None, storage_options=s3.options)
    assert (report.out, report.indexed) == (f"s3://{name}/tars", 9)
    assert contents(folder / "tars") == contents(near)
    once = {"batch_size": 9, "size": 64, "workers": 1, "epochs": 1}
    with shardkit.loader(f"s3://{name}/tars", storage_options=s3.options, **once) as loader:
        (batch,) = loader
        assert sorted(batch.keys) == [f"clip{place}" for place in range(9)]


def test_a_local_index_of_a_bucket_is_opened_with_its_options(s3, bucket, indexed, tmp_path):  # noqa: F811
    """Options given for the folder reach the tars; and where no URL is concerned they are refused."""
    name, _ = bucket
    index(f"s3://{name}/tars", tmp_path / "out", storage_options=s3.options)
    assert contents(tmp_path / "out")["index.arrow"] == contents(indexed)["index.arrow"]
    ds = shardkit.open(tmp_path / "out", storage_options=s3.options)
    assert ds.manifest.base == f"s3://{name}/tars"
    assert ds["clip8"].key == "clip8"
    with pytest.raises(UsageError, match=r"storage_options are for URLs"):
        shardkit.open(indexed, storage_options=s3.options)
    with pytest.raises(UsageError, match=r"storage_options are for URLs"):
        index(indexed, tmp_path / "other", storage_options=s3.options)


def test_a_run_into_a_bucket_that_was_killed_goes_on_where_it_was(s3, bucket, indexed):  # noqa: F811
    """By kill -9 in the middle of the second tar: there is no manifest, --resume decodes the rest to the same bytes."""
    name, folder = bucket
    out = f"s3://{name}/index"
    options = {"storage_options": s3.options}
    code = (
        "import os, shardkit\n"
        "def kill(progress):\n"
        "    if progress.done == 5:\n"
        f"        os.kill(os.getpid(), {int(signal.SIGKILL)})\n"
        f"shardkit.index('s3://{name}/tars', out={out!r}, progress=kill, **{FAST | LABEL | options!r})\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    assert set(contents(folder / "index")) == {".indexing/plan.json", ".indexing/000000.receipt"}
    with pytest.raises(UsageError, match="stopped here; go on with --resume"):
        index(f"s3://{name}/tars", out, **options)
    report = index(f"s3://{name}/tars", out, resume=True, **options)
    assert report.fresh == 6
    there = contents(folder / "index")
    assert set(there) == {"dataset.json", "index.arrow", "rejects.jsonl"}
    assert there["index.arrow"] == contents(indexed)["index.arrow"]
    assert index(f"s3://{name}/tars", out, resume=True, **options).fresh == 0


def test_a_run_that_is_refused_leaves_another_runs_plan(s3, bucket):  # noqa: F811
    """No locks are known in a bucket: who comes second is told so, and takes nothing away from the first."""
    name, folder = bucket
    options = {"storage_options": s3.options}

    def second(progress) -> None:
        if progress.done == 1:
            with pytest.raises(UsageError, match="an earlier run stopped here"):
                index(f"s3://{name}/tars", f"s3://{name}/index", **options)
            second.left = set(contents(folder / "index"))

    index(f"s3://{name}/tars", f"s3://{name}/index", progress=second, **options)
    assert second.left == {".indexing/plan.json"}


def test_local_tars_are_indexed_into_a_bucket(s3, bucket, tars, indexed):  # noqa: F811
    """The manifest says where on this machine they are."""
    name, folder = bucket
    index(tars, f"s3://{name}/index", storage_options=s3.options)
    assert contents(folder / "index")["index.arrow"] == contents(indexed)["index.arrow"]
    assert shardkit.open(f"s3://{name}/index", storage_options=s3.options).manifest.base == str(tars)


def test_a_tar_of_many_parts_is_one_stream(tmp_path_factory):
    """Read in pieces of any size, it is the file; closed early, it leaves no thread behind."""
    root = tmp_path_factory.mktemp("large")
    path = write_tar(root / "a.tar", [(f"{place}.jpg", jpeg(place)) for place in range(5)])
    content = path.read_bytes() + bytes(range(256)) * (3 * PART_BYTES // 256)
    path.write_bytes(content)
    with started(nginx_server(root)) as server:
        streams = Streams(open_read_folder(Location.of(server.url), probe="a.tar"))
        with streams.open("a.tar", len(content)) as stream:
            assert b"".join(iter(lambda: stream.read(1_000_000), b"")) == content
        with streams.open("a.tar", len(content)) as stream:
            assert stream.read(3) == content[:3]
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("shardkit-stream")]
        path.write_bytes(content[:1000])
        with (
            streams.open("a.tar", len(content)) as stream,
            pytest.raises(StorageError, match=r"/a\.tar: ends before byte .* was replaced meanwhile"),
        ):
            stream.read(10)
