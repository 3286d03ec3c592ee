"""Killed at any moment and resumed, with any number of workers, packing comes to the same bytes."""

import os
import random
import shutil
import signal
import time

import pytest
from pack_runs import SMALL, TRIES, contents, interrupted_pack, start_pack, unlike, worker_pids
from watching import is_running, wait_until

import shardkit
from shardkit.errors import DataError

KILLS = 5


def test_table_makes_several_shards(undisturbed):
    """What the other tests interrupt has enough shards to be interrupted between them."""
    assert undisturbed.report.shards >= 6
    assert undisturbed.report.packed == 48


@pytest.mark.parametrize("workers", [2, 5])
def test_number_of_workers_does_not_show_in_the_bytes(material, undisturbed, tmp_path, workers):
    """Shards, index, manifest and rejects are the same from any number of workers."""
    shardkit.pack(material.table, media=material.media, out=tmp_path / "out", workers=workers, **SMALL)
    assert not unlike(contents(tmp_path / "out"), undisturbed.contents)


def test_runs_killed_at_random_moments_and_resumed_come_to_the_same_bytes(material, undisturbed, tmp_path):
    """Five times kill -9 somewhere between the start and the end, each followed by --resume with other workers."""
    draw = random.Random(20)
    out = tmp_path / "out"
    kills = 0
    while kills < KILLS:
        process = start_pack(material.table, material.media, out, "--resume", "--workers", str(draw.randint(1, 3)))
        wait_until(lambda: (out / ".packing/lock").exists() or process.poll() is not None)  # noqa: B023
        time.sleep(draw.uniform(0.0, 2.0))
        process.kill()
        _, said = process.communicate()
        assert process.returncode in (0, -signal.SIGKILL), said
        kills += process.returncode != 0
        if (out / "dataset.json").exists():
            assert not {name for name in unlike(contents(out), undisturbed.contents) if ".packing" not in name}
            shutil.rmtree(out)
        else:
            with pytest.raises(DataError, match="--resume"):
                shardkit.open(out)
    report = shardkit.pack(material.table, media=material.media, out=out, resume=True, workers=2, **SMALL)
    assert report.packed == undisturbed.report.packed
    assert not unlike(contents(out), undisturbed.contents)


def test_run_whose_workers_are_killed_comes_to_the_same_bytes(material, undisturbed, tmp_path):
    """Whatever worker there is gets kill -9, again and again: the clip it was on is done by its successor."""
    killed = []

    def kill_one(progress) -> None:
        # None, where this process stood still while the others went on: who was killed is back with the next request.
        if progress.done % 10 == 5 and (pids := worker_pids(os.getpid())):
            killed.append(pids[0])
            os.kill(pids[0], signal.SIGKILL)

    shardkit.pack(material.table, media=material.media, out=tmp_path / "out", workers=2, progress=kill_one, **SMALL)
    assert len(set(killed)) >= 2
    assert not unlike(contents(tmp_path / "out"), undisturbed.contents)


def test_workers_end_with_a_run_that_is_killed(material, tmp_path):
    """After kill -9 of the packing process none of its workers stays, not even one that hangs in a file."""
    media = tmp_path / "media"
    media.mkdir()
    for number in range(TRIES):
        for path in material.media.glob("*.mp4"):
            (media / path.name).unlink(missing_ok=True)
            (media / path.name).symlink_to(path)
        out = tmp_path / f"out{number}"
        process = start_pack(material.table, media, out, "--workers", "2")
        wait_until(lambda: (out / ".packing/plan.json").exists() or process.poll() is not None)  # noqa: B023
        for path in media.iterdir():
            path.unlink()
            os.mkfifo(path)
        wait_until(lambda: len(worker_pids(process.pid)) == 2 or process.poll() is not None)  # noqa: B023
        pids = worker_pids(process.pid)
        if len(pids) == 2:
            break
        process.communicate()
    time.sleep(0.5)  # they reach the FIFOs
    process.kill()
    process.communicate()
    wait_until(lambda: not any(is_running(pid) for pid in pids), timeout_s=20.0)


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupt_ends_with_its_code_and_leaves_only_what_resume_needs(material, undisturbed, tmp_path, sent, code):
    """Ctrl-C or a scheduler's SIGTERM: no traceback, process or temporary file; --resume comes to the same bytes."""
    out = tmp_path / "out"
    pids = []

    def interrupt(process) -> bool:
        pids[:] = worker_pids(process.pid)
        process.send_signal(sent)
        return bool(pids)  # else it has no clip left

    process, said = interrupted_pack(
        lambda: start_pack(material.table, material.media, out, "--workers", "2"), out, interrupt
    )
    assert process.returncode == code, said
    assert "--resume" in said
    assert "Traceback" not in said
    assert pids
    assert not any(is_running(pid) for pid in pids)
    assert not list(out.rglob("*.tmp"))
    assert not (out / "dataset.json").exists()
    report = shardkit.pack(material.table, media=material.media, out=out, resume=True, workers=1, **SMALL)
    assert report.fresh < 48  # what was done stayed done
    assert not unlike(contents(out), undisturbed.contents)
