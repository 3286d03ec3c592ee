"""The Ray engine, on a real cluster on this machine: the same bytes, whatever is killed."""

import os
import shutil
import signal
import sys
import time
from pathlib import Path
from uuid import uuid4

import h5py
import numpy as np
import pytest
from pack_runs import SMALL, contents, interrupted_pack, start_pack, unlike, worker_pids
from watching import is_running, wait_until

import shardkit
from shardkit.errors import StorageError, TooManyRejectsError, UsageError

CORES = 2


@pytest.fixture(scope="module")
def ray():
    """A cluster of two cores that this process is connected to."""
    ray = pytest.importorskip("ray", reason="ray is not installed")
    with pytest.MonkeyPatch.context() as environment:
        # It reports to nobody, and writes no token into the home folder.
        environment.setenv("RAY_USAGE_STATS_ENABLED", "0")
        environment.setenv("RAY_AUTH_MODE", "disabled")
        ray.init(num_cpus=CORES, include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1")
        try:
            yield ray
        finally:
            ray.shutdown()


def pack(material, out, **options):
    """Packs the table by Ray."""
    return shardkit.pack(material.table, media=material.media, out=out, engine="ray", **SMALL | options)


def task_pids(shard: str = "") -> list[int]:
    """Processes in which Ray is packing a shard."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes().startswith(f"ray::clips-{shard}".encode()):
                found.append(int(path.parent.name))
        except OSError:  # it ended just now
            continue
    return found


@pytest.mark.parametrize("where", ["disk", "s3"])
def test_bytes_are_those_of_one_worker(material, undisturbed, ray, where, request, tmp_path):
    """Shards, index, manifest and rejects are the same, on a disk and in a bucket; the report too."""
    out, folder, options = tmp_path / "out", tmp_path / "out", {}
    if where == "s3":
        s3 = request.getfixturevalue("s3")
        name = uuid4().hex
        out, folder, options = f"s3://{name}/data", s3.bucket(name) / "data", {"storage_options": s3.options}
    seen = []
    report = pack(material, out, progress=lambda progress: seen.append(progress.done), **options)
    assert (report.packed, report.fresh, report.shards) == (48, 48, undisturbed.report.shards)
    assert seen[-1] == 48
    assert seen == sorted(seen)
    assert not unlike(contents(folder), undisturbed.contents)


def test_features_are_read_where_shards_are_packed(ray, tmp_path):
    """A feature-only data set has the same bytes as one that was packed here; no media need to be reached."""
    table = tmp_path / "table.csv"
    table.write_text("id,start_s,end_s,label\n" + "".join(f"id{row},0,10,bell\n" for row in range(12)))
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file["data"] = np.arange(12 * 40).reshape(12, 10, 4)
    options = {"features": {"f": f"{tmp_path}/f.h5:data"}, "shard_bytes": 20_000}
    shardkit.pack(table, out=tmp_path / "here", **options)
    shardkit.pack(table, out=tmp_path / "there", engine="ray", **options)
    assert not unlike(contents(tmp_path / "there"), contents(tmp_path / "here"))


def test_processes_that_are_killed_cost_only_their_shard(material, undisturbed, ray, tmp_path):
    """Kill -9 of a Ray worker in the middle of a shard, twice: packed again; no temporary file, no process stays."""
    killed = []

    def kill_one(_) -> None:
        if len(killed) < 2:
            pid, pids = wait_until(lambda: next(((pid, its) for pid in task_pids() if (its := worker_pids(pid))), None))
            killed.append((pid, pids))
            os.kill(pid, signal.SIGKILL)

    pack(material, tmp_path / "out", progress=kill_one)
    assert len(killed) == 2
    assert not unlike(contents(tmp_path / "out"), undisturbed.contents)
    wait_until(lambda: not any(is_running(pid) for _, pids in killed for pid in pids))


def test_stopped_and_resumed_locally_it_comes_to_the_same_bytes(material, undisturbed, ray, tmp_path):
    """What stops the loop ends the tasks at once, and leaves complete shards and nothing half-done."""

    class Stopped(Exception):  # noqa: N818
        """Ends the run from its progress callback."""

    def stop(_) -> None:
        wait_until(task_pids)
        raise Stopped

    out = tmp_path / "out"
    with pytest.raises(Stopped):
        pack(material, out, progress=stop)
    wait_until(lambda: not task_pids())
    assert not list(out.rglob("*.tmp"))
    report = shardkit.pack(material.table, media=material.media, out=out, resume=True, workers=1, **SMALL)
    assert 0 < report.fresh < 48
    assert not unlike(contents(out), undisturbed.contents)


def test_too_many_rejects_end_the_tasks(material, ray, tmp_path):
    """Rejects of all tasks count; the error is the run's own."""
    with pytest.raises(TooManyRejectsError, match="of 17 rows"):
        shardkit.pack(
            material.annotations, media=material.media, out=tmp_path / "out", engine="ray", max_rejects=0.2, **SMALL
        )
    wait_until(lambda: not task_pids())
    assert not (tmp_path / "out/dataset.json").exists()


def test_media_that_a_node_does_not_see_are_no_rejects(material, ray, tmp_path):
    """A disk that is not mounted there ends the run, and does not cost every clip."""
    media = shutil.copytree(material.media, tmp_path / "media")

    def hide(progress) -> None:
        if progress.done < 48 and media.exists():
            media.rename(tmp_path / "hidden")

    with pytest.raises(StorageError, match=r"sees none of the media files of clips-.*--resume"):
        shardkit.pack(material.table, media=media, out=tmp_path / "out", engine="ray", progress=hide, **SMALL)


def test_background_is_packed_from_where_it_lies(material, ray, tmp_path):
    """Tasks find background files in their own folder, beside the media."""
    (tmp_path / "elsewhere").mkdir()
    shutil.copyfile(next(material.media.glob("*.mp4")), tmp_path / "elsewhere" / "quiet.mp4")
    report = pack(material, tmp_path / "out", background=tmp_path / "elsewhere")
    assert (report.packed, report.background, report.background_rejected) == (48, 1, 0)


def test_tasks_that_no_node_has_cores_for_are_refused(material, ray, tmp_path):
    """They would wait for ever."""
    with pytest.raises(UsageError, match=r"workers=3: .*the largest node has 2"):
        pack(material, tmp_path / "out", workers=CORES + 1)
    assert not (tmp_path / "out").exists()


def test_a_second_cluster_is_refused(material, ray, tmp_path):
    """A process has one connection."""
    with pytest.raises(UsageError, match="connected to a cluster already"):
        pack(material, tmp_path / "out", ray_address="127.0.0.1:1")


def test_command_line_connects_by_address_and_ends_its_tasks_when_stopped(material, undisturbed, ray, tmp_path):
    """SIGTERM: exit code, a word on --resume, no task left; resumed it comes to the same bytes."""
    out = tmp_path / "out"
    address = ray.get_runtime_context().gcs_address
    options = ("--engine", "ray", "--ray-address", address)
    process, said = interrupted_pack(
        lambda: start_pack(material.table, material.media, out, *options),
        out,
        lambda process: process.send_signal(signal.SIGTERM) is None,
    )
    assert process.returncode == 143, said
    assert "--resume" in said
    wait_until(lambda: not task_pids())
    process = start_pack(material.table, material.media, out, "--resume", *options)
    _, said = process.communicate(timeout=100)
    assert process.returncode == 0, said
    assert not unlike(contents(out), undisturbed.contents)


def test_cluster_that_does_not_answer_is_named_soon(material, tmp_path):
    """No minutes of trying, no traceback."""
    pytest.importorskip("ray", reason="ray is not installed")
    began_s = time.monotonic()
    process = start_pack(
        material.table, material.media, tmp_path / "out", "--engine", "ray", "--ray-address", "127.0.0.1:1"
    )
    _, said = process.communicate(timeout=100)
    assert process.returncode == 2
    assert "127.0.0.1:1: cannot be reached" in said
    assert "Traceback" not in said
    assert time.monotonic() - began_s < 90


def test_without_ray_the_message_says_what_to_install(material, tmp_path, monkeypatch):
    """An extra that is missing is a UsageError, before anything is written."""
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"pip install 'shardkit\[ray\]'"):
        pack(material, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_address_without_the_engine_is_refused(material, tmp_path):
    """It would be forgotten without a word."""
    with pytest.raises(UsageError, match="give that too"):
        shardkit.pack(material.table, media=material.media, out=tmp_path / "out", ray_address="auto", **SMALL)
