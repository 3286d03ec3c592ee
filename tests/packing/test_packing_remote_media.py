"""Media and annotations at URLs: fetched by the workers, packed as local ones are."""

import os
import re
import shutil
import signal
import tempfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from uuid import uuid4

import fsspec
import pytest
from pack_runs import SMALL, contents, rejects, start_pack, unlike, worker_pids
from watching import wait_until

import shardkit
from shardkit.clip import Clip
from shardkit.errors import DataError, StorageError
from shardkit.isolation import pool
from shardkit.packing.isolation import IsolatedWorkers
from shardkit.packing.settings import PackSettings
from shardkit.packing.sources import find_sources
from shardkit.packing.worker import FETCH_STALL_S
from shardkit.planning.sampling import FrameSampling
from shardkit.storage.locations import Location
from shardkit.storage.trees import CHUNK_BYTES, RemoteTree


@pytest.fixture(scope="module")
def bucket(s3, material):
    """The material in a bucket: media below `m`, with names as people give them, annotation files beside it."""
    name = uuid4().hex
    s3.bucket(name)
    files = fsspec.filesystem("s3", **s3.options)
    for path in material.media.iterdir():
        files.put_file(str(path), f"{name}/m/{path.name}")
    files.put_file(str(material.table), f"{name}/spans.csv")
    files.put_file(str(material.annotations), f"{name}/clips.csv")
    return f"s3://{name}"


class _Quiet(SimpleHTTPRequestHandler):
    """A web server that lists folders and knows no ranges."""

    def log_message(self, *_) -> None:
        """Says nothing."""


@pytest.fixture
def web(material):
    """The material's folder, served over HTTP."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=material.media.parent))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """Where temporary files go, in this process and those that it starts."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return folder


def test_media_annotations_and_output_on_s3_come_to_the_bytes_of_local_ones(
    material, undisturbed, s3, bucket, tmp_path, scratch
):
    """Nothing in tars, index, manifest and rejects tells where they came from; no temporary file is left."""
    name = uuid4().hex
    folder = s3.bucket(name)
    shardkit.pack(
        f"{bucket}/spans.csv", media=f"{bucket}/m/", out=f"s3://{name}", storage_options=s3.options, workers=2, **SMALL
    )
    assert not unlike(contents(folder), undisturbed.contents)
    assert not list(scratch.iterdir())


def test_media_on_a_web_server_come_to_the_same_bytes(material, undisturbed, web, tmp_path):
    """Listed by its pages, whose links give no sizes."""
    out = tmp_path / "out"
    shardkit.pack(f"{web}/spans.csv", media=f"{web}/media", out=out, workers=1, **SMALL)
    assert not unlike(contents(out), undisturbed.contents)


def test_faults_of_remote_files_have_the_same_reasons(material, packed, s3, bucket, tmp_path):
    """Damaged, empty, silent, missing: as with local files, in the same words but for the folder's name."""
    out = tmp_path / "out"
    report = shardkit.pack(
        f"{bucket}/clips.csv", media=f"{bucket}/m", out=out, storage_options=s3.options, workers=1, **SMALL
    )
    assert report.rejected == packed.report.rejected
    local = [
        line | {"detail": line["detail"].replace(str(material.media), f"{bucket}/m")} for line in rejects(packed.out)
    ]
    assert rejects(out) == local
    assert unlike(contents(out), packed.contents) == {"rejects.jsonl"}


def test_files_below_a_url_are_found_by_the_rules_of_local_ones(s3):
    """Names, subfolders, absolute names, hidden files, files outside; sizes come with the listing."""
    name = uuid4().hex
    s3.bucket(name)
    files = fsspec.filesystem("s3", **s3.options)
    for path in ("d/a.mp4", "d/b c#[1].mp4", ".h/e.mp4", "d/.f.mp4", "2/g_000030.mp4"):
        files.pipe_file(f"{name}/in/{path}", b"123")
    files.pipe_file(f"{name}/out/x.mp4", b"1")
    url = f"s3://{name}/in"
    clips = [
        Clip(row=1, id="a"),
        Clip(row=2, id="b", media="d/b c#[1].mp4"),
        Clip(row=3, id="e"),
        Clip(row=4, id="g", start_s=30.0),
        Clip(row=5, id="h", media=f"{url}/d/a.mp4"),
        Clip(row=6, id="x", media="../out/x.mp4"),
        Clip(row=7, id="f", media="d/.f.mp4"),
    ]
    located, refused = find_sources(clips, Location.of(url, s3.options))
    assert {each.clip.row: (each.path, each.size_bytes) for each in located} == {
        1: ("d/a.mp4", 3),
        2: ("d/b c#[1].mp4", 3),
        4: ("2/g_000030.mp4", 3),
        5: ("d/a.mp4", 3),
    }
    assert {reject.row: reject.reason.value for reject in refused} == {
        3: "missing_media",
        6: "bad_row",
        7: "missing_media",
    }


@pytest.mark.parametrize("size_bytes", [0, CHUNK_BYTES - 1, CHUNK_BYTES, 2 * CHUNK_BYTES + 1])
def test_a_fetched_file_is_the_file(s3, tmp_path, size_bytes):
    """In as many steps as it has chunks."""
    name = uuid4().hex
    s3.bucket(name)
    data = os.urandom(size_bytes)
    fsspec.filesystem("s3", **s3.options).pipe_file(f"{name}/d/a b.mp4", data)
    steps = list(RemoteTree(Location.of(f"s3://{name}", s3.options)).fetch("d/a b.mp4", size_bytes, tmp_path / "copy"))
    assert len(steps) == -(-size_bytes // CHUNK_BYTES)
    assert (tmp_path / "copy").read_bytes() == data


def test_a_chunk_that_comes_short_is_asked_for_again(s3, tmp_path, monkeypatch):
    """A server that lies about length once costs a pause; one that always does, a StorageError that says how much."""
    name = uuid4().hex
    s3.bucket(name)
    fsspec.filesystem("s3", **s3.options).pipe_file(f"{name}/a", b"0123456789")
    tree = RemoteTree(Location.of(f"s3://{name}", s3.options))
    monkeypatch.setattr("time.sleep", lambda _: None)
    ask, short = tree._files.cat_file, [b"01234"]
    monkeypatch.setattr(tree._files, "cat_file", lambda *a, **k: short.pop() if short else ask(*a, **k))
    list(tree.fetch("a", 10, tmp_path / "copy"))
    assert (tmp_path / "copy").read_bytes() == b"0123456789"
    with pytest.raises(StorageError, match=r"/a: .*10 bytes came, 20 were asked for"):
        list(tree.fetch("a", 20, tmp_path / "copy"))


@pytest.fixture
def good(material):
    """A request for a good file in the bucket."""
    row = next(row for row in material.rows if row.fault is None)
    size_bytes = (material.media / row.file_name).stat().st_size
    return {"path": row.file_name, "start_s": 0.0, "end_s": 2.0, "size_bytes": size_bytes}


def workers_for(bucket, s3, *, storage_options=None, **options) -> IsolatedWorkers:
    """One worker that fetches from the bucket."""
    return IsolatedWorkers(
        PackSettings(FrameSampling.count(2), size=64),
        media=Location.of(f"{bucket}/m", storage_options or s3.options),
        **{"workers": 1, "clip_timeout_s": 30.0} | options,
    )


def copies(scratch) -> list[Path]:
    """Files that were fetched and are still here."""
    return [path for path in scratch.glob("shardkit-*/*/*") if path.is_file()]


def test_clips_of_one_source_fetch_it_once(bucket, s3, good, scratch):
    """It stays for the next clip of it, and goes when another source comes."""
    with workers_for(bucket, s3) as workers:
        ((_, first),) = workers.map([("clip", good)])
        (copy,) = copies(scratch)
        fetched_ns = copy.stat().st_mtime_ns
        ((_, again),) = workers.map([("clip", good | {"start_s": 1.0, "end_s": 3.0})])
        assert "members" in first
        assert "members" in again
        assert copy.name == good["path"]
        assert copies(scratch)[0].stat().st_mtime_ns == fetched_ns
        sizes = RemoteTree(Location.of(f"{bucket}/m", s3.options)).sizes()
        other = next(path for path in sizes if path[0] != good["path"])
        list(workers.map([("clip", good | {"path": other[0], "size_bytes": other[1]})]))
        assert [path.name for path in copies(scratch)] == [other[0]]
    assert not list(scratch.iterdir())


def test_a_worker_that_is_killed_leaves_no_temporary_file(bucket, s3, good, scratch):
    """Its successor fetches anew, into a folder of its own."""
    with workers_for(bucket, s3) as workers:
        list(workers.map([("clip", good)]))
        (pid,) = worker_pids(os.getpid())
        (first,) = scratch.glob("shardkit-*")
        os.kill(pid, signal.SIGKILL)
        ((_, answer),) = workers.map([("clip", good)])
        assert "members" in answer
        assert first not in set(scratch.iterdir())
    assert not list(scratch.iterdir())


def test_a_run_that_is_killed_leaves_no_temporary_file(material, bucket, s3, tmp_path, scratch):
    """Its workers notice, and clear away what they had fetched."""
    process = start_pack(
        material.table, f"{bucket}/m", tmp_path / "out", *s3.arguments, "--workers", "2", "--clip-timeout", "30"
    )
    wait_until(lambda: copies(scratch) or process.poll() is not None)
    process.kill()
    process.communicate()
    wait_until(lambda: not list(scratch.glob("shardkit-*")))


def test_a_source_that_is_gone_is_a_reject_and_the_next_is_packed(bucket, s3, good):
    """Each of its clips is missing_media; it was there when the folder was listed."""
    gone = good | {"path": "gone.mp4"}
    with workers_for(bucket, s3) as workers:
        answers = dict(workers.map([("first", gone), ("second", gone), ("last", good)]))
    for name in ("first", "second"):
        assert answers[name]["reason"] == "missing_media"
        assert "gone.mp4" in answers[name]["detail"]
    assert "members" in answers["last"]


def test_a_server_that_refuses_is_no_fault_of_the_clips(bucket, s3, good):
    """Expired keys would otherwise reject everything that is left: the run ends, to be resumed."""
    with workers_for(bucket, s3, storage_options=s3.options | {"secret": "SOMETHING"}) as workers:
        ((_, answer),) = workers.map([("clip", good)])
    assert "check the keys in storage_options" in answer["storage_error"]


SLOW_CLIENT = """
import sys, time


class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "s3fs":
            time.sleep(12.0)


sys.meta_path.insert(0, Slow())
"""


def test_making_the_client_is_not_the_clips_time(bucket, s3, good, tmp_path, monkeypatch):
    """On a disk where importing it takes longer than a clip may, the first clip is packed."""
    (tmp_path / "sitecustomize.py").write_text(SLOW_CLIENT)
    monkeypatch.syspath_prepend(tmp_path)
    with workers_for(bucket, s3, clip_timeout_s=10.0) as workers:
        ((_, answer),) = workers.map([("clip", good)])
    assert "members" in answer, answer


def test_a_server_that_hangs_is_no_fault_of_the_clips(bucket, s3, good, monkeypatch):
    """What does not come in time is a storage_error, however short the clip's own time is."""
    monkeypatch.setattr(pool._Worker, "ask", _never_after_the_first(pool._Worker.ask))
    with workers_for(bucket, s3) as workers:
        ((_, answer),) = workers.map([("clip", good)])
    assert "nothing came for 300 s" in answer["storage_error"]


def _never_after_the_first(ask):
    asked = []

    def once(self, body, timeout_s):
        asked.append(timeout_s)
        if len(asked) > 1:
            raise pool._DeadlineError
        return ask(self, body, timeout_s)

    return once


@pytest.mark.parametrize(("deaths", "field"), [(1, "members"), (2, "storage_error")])
def test_a_worker_that_is_killed_while_it_fetches_is_no_fault_of_the_clip(bucket, s3, good, monkeypatch, deaths, field):
    """Once, it is tried again; twice, the run ends with what to do, and no file is called damaged."""
    ask, receive, left, doomed = pool._Worker.ask, pool._Worker._receive, [deaths], []

    def dying(self, body, timeout_s):
        if timeout_s == FETCH_STALL_S and left[0]:
            left[0] -= 1
            os.kill(self._process.pid, signal.SIGSTOP)  # so that no answer is there before it dies
            doomed.append(self._process)
        return ask(self, body, timeout_s)

    def dead_once_asked(self, process, deadline_s):
        if process in doomed:
            process.kill()
        return receive(self, process, deadline_s)

    monkeypatch.setattr(pool._Worker, "ask", dying)
    monkeypatch.setattr(pool._Worker, "_receive", dead_once_asked)
    with workers_for(bucket, s3) as workers:
        ((_, answer),) = workers.map([("clip", good)])
    assert field in answer, answer
    if deaths == 2:
        assert re.fullmatch(rf"{good['path']}: .* SIGKILL while fetching it; .*--workers", answer["storage_error"])


def test_storage_that_fails_under_way_ends_the_run_with_a_way_on(material, undisturbed, bucket, s3, tmp_path):
    """A source whose bytes do not come: StorageError that names it; --resume comes to the same bytes."""
    name = uuid4().hex
    s3.bucket(name)
    files = fsspec.filesystem("s3", **s3.options)
    for path in material.media.iterdir():
        files.put_file(str(path), f"{name}/{path.name}")
    victim = min(path.name for path in material.media.glob("*.mp4") if path.stat().st_size > 10_000)
    original = (material.media / victim).read_bytes()

    def cut(progress) -> None:
        if progress.done == 1:
            files.pipe_file(f"{name}/{victim}", original[:1000])

    out, options = tmp_path / "out", {"media": f"s3://{name}", "storage_options": s3.options, "workers": 1} | SMALL
    with pytest.raises(StorageError, match=rf"{victim}: .*go on with --resume"):
        shardkit.pack(material.table, out=out, progress=cut, **options)
    files.pipe_file(f"{name}/{victim}", original)
    shardkit.pack(material.table, out=out, resume=True, **options)
    assert not unlike(contents(out), undisturbed.contents)


@pytest.mark.parametrize("what", ["annotations", "media"])
def test_inputs_that_are_not_there_are_named(material, s3, bucket, tmp_path, what):
    """Before anything is written."""
    places = {"annotations": f"{bucket}/spans.csv", "media": f"{bucket}/m"} | {what: f"{bucket}/nowhere.csv"}
    with pytest.raises(StorageError, match=r"nowhere\.csv: "):
        shardkit.pack(
            places["annotations"], media=places["media"], out=tmp_path / "out", storage_options=s3.options, **SMALL
        )
    assert not (tmp_path / "out").exists()


def test_annotations_at_a_url_are_named_in_messages_as_they_were_given(s3, bucket, tmp_path, material):
    """Its slashes are not folded."""
    fsspec.filesystem("s3", **s3.options).pipe_file(f"{bucket.removeprefix('s3://')}/empty.csv", b"")
    with pytest.raises(DataError, match=rf"{bucket}/empty\.csv: the annotation file is empty"):
        shardkit.pack(f"{bucket}/empty.csv", media=material.media, out=tmp_path, storage_options=s3.options, **SMALL)


def test_annotations_behind_a_signed_url_are_read_and_the_signature_is_shown_nowhere(web, material, tmp_path):
    """The suffix is that of the name before it; neither an error nor the data set tells it."""
    out, query = tmp_path / "out", "?X-Amz-Signature=hush"
    shardkit.pack(f"{web}/spans.csv{query}", media=material.media, out=out, **SMALL)
    assert shardkit.open(out).manifest.annotations["name"] == "spans.csv"
    assert not [name for name, data in contents(out).items() if b"hush" in data]
    with pytest.raises(StorageError, match=r"/none\.csv\?…: ") as refused:
        shardkit.pack(f"{web}/none.csv{query}", media=material.media, out=tmp_path / "none", **SMALL)
    assert "hush" not in str(refused.value)


def test_relabel_works_on_a_bucket(s3, undisturbed, material, tmp_path):
    """Index and manifest are those of relabelling on a disk; the tars stay."""
    name = uuid4().hex
    folder = s3.bucket(name)
    files = fsspec.filesystem("s3", **s3.options)
    for path in undisturbed.out.iterdir():
        files.put_file(str(path), f"{name}/data/{path.name}")
    local = shutil.copytree(undisturbed.out, tmp_path / "local")
    shardkit.relabel(local, material.table, split="75/25")
    shardkit.relabel(f"s3://{name}/data", material.table, split="75/25", storage_options=s3.options)
    assert not unlike(contents(folder / "data"), contents(local))
    assert unlike(contents(local), undisturbed.contents) == {"dataset.json", "index.arrow"}
