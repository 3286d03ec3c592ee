"""Files that hang or end their worker: each costs its clip and nothing else."""

import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import suppress

import pytest
from pack_runs import SMALL, rejects, worker_pids

import shardkit
import shardkit.isolation.pool
import shardkit.packing.pack
from shardkit.errors import UsageError, WorkerError
from shardkit.interpreters import start_module
from shardkit.isolation.pool import START_TRIES
from shardkit.packing.isolation import IsolatedWorkers
from shardkit.packing.local_engine import pack_locally
from shardkit.packing.settings import PackSettings
from shardkit.packing.worker import answer
from shardkit.planning.sampling import FrameSampling

SETTINGS = PackSettings(FrameSampling.count(2), size=64)


@pytest.fixture
def good(material):
    """A request for a good file."""
    row = next(row for row in material.rows if row.fault is None)
    return {"path": str(material.media / row.file_name), "start_s": 0.0, "end_s": 2.0}


def hanging(folder) -> dict:
    """A request for a file whose opening never returns."""
    path = folder / "hanging.mp4"
    os.mkfifo(path)
    return {"path": str(path), "start_s": None, "end_s": None}


def end_readers(path, times: int) -> None:
    """Kills the worker that has opened a FIFO, as often as asked."""
    ended: set[int] = set()
    while len(ended) < times:
        # In this order: a new worker is there only once the old one has let go of the file.
        alive = set(worker_pids(os.getpid())) - ended
        if not alive:  # the new one could open the file from here on, and be let go of unharmed
            continue
        with suppress(OSError):  # nobody waits at the other end
            handle = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
            for pid in alive:
                os.kill(pid, signal.SIGKILL)
            ended |= alive
            os.close(handle)
        time.sleep(0.005)


def test_file_that_hangs_is_a_timeout_and_the_next_clips_go_on(good, tmp_path):
    """A worker that gives no answer is ended after the clip timeout, and its successor takes the next clip."""
    tasks = [("first", good), ("hangs", hanging(tmp_path)), ("last", good)]
    with IsolatedWorkers(SETTINGS, workers=1, clip_timeout_s=10.0) as pool:
        answers = dict(pool.map(tasks))
    assert answers["hangs"]["reason"] == "timeout"
    assert "hanging.mp4" in answers["hangs"]["detail"]
    assert "--clip-timeout" in answers["hangs"]["detail"]
    assert answers["first"] == answers["last"]
    assert set(answers["first"]["members"]) == {"mp4", "wav"}


def test_file_that_ends_its_worker_twice_is_a_crash(good, tmp_path):
    """A clip is tried again after its worker died; the second death is the clip's."""
    request = hanging(tmp_path)
    killer = threading.Thread(target=end_readers, args=(request["path"], 2), daemon=True)
    killer.start()
    with IsolatedWorkers(SETTINGS, workers=1, clip_timeout_s=30.0) as pool:
        answers = dict(pool.map([("dies", request), ("last", good)]))
    killer.join()
    assert answers["dies"]["reason"] == "crash"
    assert "SIGKILL" in answers["dies"]["detail"]
    assert "members" in answers["last"]


def test_ctrl_c_while_a_lock_is_taken_hangs_nothing(good, monkeypatch):
    """The standard library's locks stay taken where a signal comes between their taking and the `with` behind it."""
    enter = threading.Condition.__enter__

    def interrupted(condition):
        enter(condition)
        if threading.current_thread() is threading.main_thread():
            raise KeyboardInterrupt
        return True

    with IsolatedWorkers(SETTINGS, workers=2, clip_timeout_s=30.0) as pool, suppress(KeyboardInterrupt):
        monkeypatch.setattr(threading.Condition, "__enter__", interrupted)
        for _ in pool.map((number, good) for number in range(8)):
            pass
    # Left with its threads and processes ended.
    assert not worker_pids(os.getpid())


def test_worker_that_is_killed_while_idle_costs_no_try(good, tmp_path):
    """A worker's death between two clips goes unnoticed: the next clip still has both its tries."""
    request = hanging(tmp_path)
    with IsolatedWorkers(SETTINGS, workers=1, clip_timeout_s=10.0) as pool:
        (first,) = pool.map([("first", good)])
        (pid,) = worker_pids(os.getpid())
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        killer = threading.Thread(target=end_readers, args=(request["path"], 1), daemon=True)
        killer.start()
        (hangs,) = pool.map([("hangs", request)])
        killer.join()
        (last,) = pool.map([("last", good)])
    assert hangs[1]["reason"] == "timeout"  # a crash, if the idle worker's death had counted
    assert first[1] == last[1]


@pytest.mark.parametrize("deaths", [START_TRIES - 1, START_TRIES])
def test_worker_that_dies_while_it_starts_is_started_again(good, monkeypatch, deaths):
    """Not for ever: what never comes up is an error of the run, not of the clip."""
    left = [deaths]

    def start(*arguments, **options):
        process = start_module(*arguments, **options)
        if left[0]:
            left[0] -= 1
            process.kill()
        return process

    monkeypatch.setattr(shardkit.isolation.pool, "start_module", start)
    with IsolatedWorkers(SETTINGS, workers=1, clip_timeout_s=30.0) as pool:
        answers = pool.map([("clip", good)])
        if deaths < START_TRIES:
            assert "members" in next(answers)[1]
        else:
            with pytest.raises(WorkerError, match=r"3 workers in a row .* SIGKILL"):
                next(answers)


def test_worker_that_does_not_read_is_a_timeout_too():
    """A request larger than what a pipe holds, to a worker that stands still: whoever sends it does not."""
    request = {"path": "large.mp4", "start_s": None, "end_s": None, "more": bytes(4 << 20)}
    with IsolatedWorkers(SETTINGS, workers=1, clip_timeout_s=10.0) as pool:
        list(pool.map([("first", request | {"path": "missing.mp4"})]))
        (pid,) = worker_pids(os.getpid())
        os.kill(pid, signal.SIGSTOP)
        ((_, said),) = pool.map([("large", request)])
    assert said["reason"] == "timeout"
    assert "large.mp4" in said["detail"]


def test_closing_ends_workers_that_hang(good, tmp_path):
    """Leaving the pool in the middle of a hanging file takes no clip timeout and leaves no process."""
    began_s = time.monotonic()
    with IsolatedWorkers(SETTINGS, workers=2, clip_timeout_s=60.0) as pool:
        answers = pool.map([("good", good), ("hangs", hanging(tmp_path)), ("good", good)])
        assert "members" in next(answers)[1]
    assert worker_pids(os.getpid()) == []
    assert time.monotonic() - began_s < 30


def test_failure_of_our_own_is_told_from_the_files(good):
    """What nobody foresaw is `internal_error`, with its type, its text and the line that raised it."""
    said = answer(good | {"end_s": "two"}, SETTINGS)
    assert said["reason"] == "internal_error"
    assert re.search(r"TypeError: .*\(\w+/\w+\.py:\d+\)", said["detail"])


def test_hanging_file_costs_one_row_of_a_data_set(material, tmp_path, monkeypatch):
    """A media file that turns out to hang is a timeout in rejects.jsonl; every other clip is packed as ever."""
    files = [row.file_name for row in material.rows if row.fault is None]
    table, media = tmp_path / "table.csv", tmp_path / "media"
    table.write_text("id,media,start_s,end_s\n" + "".join(f"{place},{name},1,3\n" for place, name in enumerate(files)))
    media.mkdir()
    for name in files:
        (media / name).symlink_to(material.media / name)
    shardkit.pack(table, media=media, out=tmp_path / "all", workers=1, **SMALL)
    everything = shardkit.open(tmp_path / "all")
    last = everything[len(everything) - 1].source  # of the clip whose turn comes last

    def make_it_hang(*arguments, **options) -> None:
        (media / last).unlink()
        os.mkfifo(media / last)
        pack_locally(*arguments, **options)

    # After the plan, which takes no FIFO for media, and before the first clip.
    monkeypatch.setattr(shardkit.packing.pack, "pack_locally", make_it_hang)
    shardkit.pack(table, media=media, out=tmp_path / "out", workers=1, clip_timeout_s=10.0, **SMALL)
    (reject,) = rejects(tmp_path / "out")
    assert (reject["reason"], reject["media"]) == ("timeout", last)
    assert shardkit.open(tmp_path / "out").keys == everything.keys[:-1]


def test_spans_without_length_and_clips_of_too_many_frames_are_rejects(material, tmp_path):
    """Each with its reason; the others are packed."""
    source = min(path.name for path in material.media.iterdir() if path.suffix == ".mp4")
    table = tmp_path / "table.csv"
    rows = [f"a,{source},0.5,0.50001,x", f"b,{source},0,2,x", f"c,{source},0,0.2,x"]
    table.write_text("\n".join(["id,media,start_s,end_s,label", *rows]) + "\n")
    report = shardkit.pack(table, media=material.media, out=tmp_path / "out", fps=4000, size=16)
    assert report.rejected == {"too_long": 1, "too_short": 1}
    with pytest.raises(UsageError, match="at most 4096"):
        shardkit.pack(table, media=material.media, out=tmp_path / "no", fps=1e9)


def test_a_worker_whose_parent_is_gone_says_farewell_to_its_end(tmp_path):
    """While it waits for a request, too: what clears its folder away is not broken off by the end of its input."""
    script = """
        import sys, time
        from pathlib import Path
        from shardkit.isolation.serving import serve

        def farewell():
            time.sleep(0.5)
            Path(sys.argv[1]).touch()

        serve(lambda content: None, farewell=farewell)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path / "gone")]
    subprocess.run(command, input=b"", stdout=subprocess.DEVNULL, check=False, timeout=100)
    assert (tmp_path / "gone").exists()
