"""Workers that are killed, stopped, stuck or cannot start: the epoch goes on, or there is a clear error; no hang."""

import gc
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from snapshots import snapshot, snapshots
from watching import descriptor_count, is_running, wait_until

import shardkit
from shardkit.errors import CorruptShardError, StorageError, WorkerError
from shardkit.loading import filler
from shardkit.loading.reports import NO_RUN, Fault, Report

STUCK = "clip12_0"
"""The clip that `stuck` makes its workers hang on."""


def _loader(source, **options):
    return shardkit.loader(source, **({"batch_size": 4, "workers": 2} | options))


def _pids(loader):
    return loader._engine._crew.pids()


def _reference(source, **options):
    with _loader(source, worker_type="thread", **options) as loader:
        return snapshots(loader)


@pytest.fixture
def stuck(damaged):
    """A selection with one clip in a shard that hangs whoever opens it: a FIFO that nobody writes."""
    ds = shardkit.open(damaged)
    shard = ds.index.shard[ds.keys.index(STUCK)]
    keys = [key for key, home in zip(ds.keys, ds.index.shard, strict=True) if home != shard] + [STUCK]
    path = damaged / ds.shard_names[shard]
    path.unlink()
    os.mkfifo(path)
    return ds.select(keys=keys)


def _check_only_the_stuck_clip_is_missing(packed, stuck, batches):
    expected = _reference(shardkit.open(packed).select(keys=stuck.keys))
    for before, after in zip(expected, batches, strict=True):
        if STUCK not in before.keys:
            assert before == after
            continue
        good = [place for place, key in enumerate(before.keys) if key != STUCK]
        assert after.weight == [weight if place in good else 0 for place, weight in enumerate(before.weight)]
        for name, array in before.arrays.items():
            if not name.startswith("events") and name != "weight":
                assert (after.arrays[name][good] == array[good]).all()


@pytest.mark.parametrize("seed", range(6))
def test_a_worker_killed_at_any_moment_costs_nothing(packed, seed):
    """Kill -9 of one worker at a random moment: the same batches as undisturbed, and no error."""
    draw = random.Random(seed)
    expected = _reference(packed, epochs=4)
    with _loader(packed, epochs=4) as loader:
        iterator = iter(loader)
        batches = [snapshot(next(iterator))]
        victim = draw.choice(list(_pids(loader).values()))
        timer = threading.Timer(draw.uniform(0, 0.05), os.kill, (victim, signal.SIGKILL))
        timer.start()
        batches += [snapshot(batch) for batch in iterator]
        timer.join()
    assert batches == expected


@pytest.mark.parametrize("moment", ["starting", "idle", "working"])
def test_all_workers_killed_at_once_are_replaced(packed, moment):
    """Kill -9 of all four workers, while they start, have nothing to do or work: the same batches, no error."""
    expected = _reference(packed, batch_size=2, epochs=2)
    with _loader(packed, batch_size=2, workers=4, epochs=2) as loader:
        iterator = iter(loader)
        batches = []
        if moment == "starting":
            loader._started()
        else:
            batches.append(snapshot(next(iterator)))
        if moment == "idle":
            wait_until(lambda: not loader._engine._board.unclaimed())
            time.sleep(0.1)
        for pid in _pids(loader).values():
            os.kill(pid, signal.SIGKILL)
        batches += [snapshot(batch) for batch in iterator]
    assert batches == expected


@contextmanager
def _killing_whoever_is_on(loader, key):
    """Kills every worker that says it is on the clip `key`, again and again."""
    row = loader.dataset.index.keys(loader.dataset.rows).index(key)
    row = int(loader.dataset.rows[row])
    engine = loader._started()
    over = threading.Event()

    def kill():
        while not over.wait(0.02):
            for worker, pid in list(_pids(loader).items()):
                claim = engine._board.claim_of(worker)
                run = claim and engine._runs.get(claim.ticket)
                if run and run.rows[claim.slot - run.first] == row:
                    with suppress(ProcessLookupError):  # it is replaced just now
                        os.kill(pid, signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_a_clip_that_kills_every_worker_is_a_fault_of_that_clip(packed, stuck):
    """A clip whose worker dies twice is skipped; all other clips come, in order, unchanged."""
    with _loader(stuck, on_error="skip") as loader, _killing_whoever_is_on(loader, STUCK):
        batches = snapshots(loader)
        assert loader.skipped == 1
    _check_only_the_stuck_clip_is_missing(packed, stuck, batches)


def test_a_clip_that_kills_every_worker_is_named(stuck):
    """With on_error='raise' the error names shard and clip, how the workers ended, and what to do."""
    with (
        _loader(stuck) as loader,
        _killing_whoever_is_on(loader, STUCK),
        pytest.raises(WorkerError, match=rf"tar, clip '{STUCK}': its worker was ended by SIGKILL, twice"),
    ):
        snapshots(loader)


def test_a_clip_that_hangs_is_a_fault_of_that_clip(packed, stuck):
    """A worker that is on one clip for timeout_s is replaced, the clip skipped, all others unchanged."""
    with _loader(stuck, on_error="skip", timeout_s=5) as loader:
        batches = snapshots(loader)
        assert loader.skipped == 1
    _check_only_the_stuck_clip_is_missing(packed, stuck, batches)


def test_a_clip_that_hangs_is_named(stuck):
    """With on_error='raise' the error names shard, clip and timeout; the loader can be closed at once."""
    with (
        _loader(stuck, timeout_s=5) as loader,
        pytest.raises(WorkerError, match=rf"clip '{STUCK}': not loaded after 5 s; raise timeout_s"),
    ):
        snapshots(loader)


def test_a_thread_that_hangs_is_an_error_and_not_a_hang(stuck):
    """Threads cannot be ended: WorkerError that names the clip and the remedy, and close() returns."""
    fifo = stuck.folder.path / stuck.shard_names[stuck.index.shard[stuck.keys.index(STUCK)]]
    loader = _loader(stuck, worker_type="thread", timeout_s=5)
    with pytest.raises(WorkerError, match=rf"clip '{STUCK}': not loaded after 5 s in a thread.*'process'"):
        snapshots(loader)
    loader.close()
    os.close(os.open(fifo, os.O_RDWR | os.O_NONBLOCK))  # lets the thread go


@pytest.mark.parametrize("workers", [1, 3])
def test_a_worker_stopped_while_idle_is_replaced(packed, workers):
    """SIGSTOP of a worker that waits for work: after timeout_s another takes its place, and no clip is lost."""
    expected = _reference(packed, batch_size=2, epochs=2)
    with _loader(packed, batch_size=2, workers=workers, epochs=2, timeout_s=5) as loader:
        iterator = iter(loader)
        batches = [snapshot(next(iterator))]
        wait_until(lambda: not loader._engine._board.unclaimed())
        time.sleep(0.1)
        os.kill(_pids(loader)[0], signal.SIGSTOP)
        batches += [snapshot(batch) for batch in iterator]
    assert batches == expected


def test_a_worker_stopped_while_it_holds_the_lock_stops_nobody_for_good(packed):
    """Whoever holds the board's lock without end: the trainer neither hangs nor blames a clip."""
    expected = _reference(packed, epochs=2)
    hold = "import fcntl, sys, time; fcntl.lockf(int(sys.argv[1]), fcntl.LOCK_EX); print(flush=True); time.sleep(7)"
    with _loader(packed, epochs=2, timeout_s=3.0) as loader:
        iterator = iter(loader)
        batches = [snapshot(next(iterator))]
        board = loader._engine._board.region.descriptor
        with subprocess.Popen(
            [sys.executable, "-c", hold, str(board)], pass_fds=(board,), stdout=subprocess.PIPE
        ) as holder:
            holder.stdout.readline()
            batches += [snapshot(batch) for batch in iterator]
    assert batches == expected


def test_time_in_the_training_loop_is_no_hang(packed):
    """A training step longer than timeout_s, with workers stopped as long, costs no clip."""
    expected = _reference(packed, batch_size=2)
    with _loader(packed, batch_size=2, timeout_s=3.0) as loader:
        iterator = iter(loader)
        batches = [snapshot(next(iterator))]
        for pid in _pids(loader).values():
            os.kill(pid, signal.SIGSTOP)
        time.sleep(5)
        for pid in _pids(loader).values():
            os.kill(pid, signal.SIGCONT)
        batches += [snapshot(batch) for batch in iterator]
    assert batches == expected


def test_workers_that_cannot_start_are_an_error(packed, tmp_path, monkeypatch, capfd):
    """An environment in which workers die on import: WorkerError, no hang; mended, the same loader works."""
    (tmp_path / "pyarrow.py").write_text("raise ImportError('this environment is broken')\n")
    with _loader(packed) as loader:
        with monkeypatch.context() as broken:
            broken.syspath_prepend(tmp_path)
            for _ in range(2):
                with pytest.raises(
                    WorkerError, match=r"\d+ workers in a row exited with code 1 before they took any work"
                ):
                    list(loader)
        assert "this environment is broken" in capfd.readouterr().err
        assert len(snapshots(loader)) == 6


def test_what_a_thread_cannot_be_made_with_is_an_error_at_once(packed, monkeypatch):
    """A decoder that is missing raises out of the first next(), leaves nothing open, and mended, the loader works."""

    def missing(index, plan):
        raise ImportError("this decoder is not installed")

    gc.collect()
    with _loader(packed, worker_type="thread", timeout_s=1000) as loader:
        descriptors = descriptor_count()
        with monkeypatch.context() as broken:
            broken.setattr(filler, "frame_codec", missing)
            with pytest.raises(ImportError, match="this decoder is not installed"):
                next(iter(loader))
        gc.collect()
        wait_until(lambda: descriptor_count() <= descriptors)
        assert len(snapshots(loader)) == 6


@pytest.mark.parametrize(("executable", "message"), [("", "no interpreter"), ("/nowhere/python", "cannot be started")])
def test_without_an_interpreter_there_are_no_workers(packed, monkeypatch, executable, message):
    """Where sys.executable is empty or gone: WorkerError at the first batch, nothing left open."""
    gc.collect()
    with _loader(packed) as loader:
        descriptors = descriptor_count()
        monkeypatch.setattr(sys, "executable", executable)
        with pytest.raises(WorkerError, match=message):
            list(loader)
        gc.collect()
        wait_until(lambda: descriptor_count() <= descriptors)


def test_reports_beside_that_of_a_failed_start_are_not_lost(packed, monkeypatch):
    """A new worker says that it cannot start while another one reports runs: an error, and no wait for those runs."""
    with _loader(packed, epochs=1000) as loader:
        batches = iter(loader)
        next(batches)
        engine = loader._engine
        wait_until(lambda: not engine._board.unclaimed())
        wait_until(lambda: not any(map(engine._board.claim_of, range(2))))
        drain, failed = engine._reports.drain, [Report(NO_RUN, Fault(0, "StorageError", "index.arrow is not there"))]

        def drain_with_failure():
            reports, failed[:] = [*failed, *drain()], []
            return reports

        monkeypatch.setattr(engine._reports, "drain", drain_with_failure)
        with pytest.raises(StorageError, match=r"index\.arrow is not there"):
            next(batches)
        assert len(next(iter(loader)).keys) == 4


@pytest.mark.parametrize("room", [0, 2, 4, 6, 8, 11])
def test_too_many_open_files_are_an_error_that_says_so(packed, room):
    """With room for a few descriptors only, loading works or is a WorkerError with the remedy, and leaves none open."""
    script = f"""
        import gc, os, resource, sys
        import shardkit

        loader = shardkit.loader(sys.argv[1], batch_size=4, workers=2)
        opened = lambda: len(os.listdir("/proc/self/fd"))
        before = opened()
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (before - 1 + {room}, hard))
        try:
            print(len(list(loader)))
        except shardkit.WorkerError as exc:
            print(exc)
        loader.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        gc.collect()
        print(opened() - before)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(packed)], capture_output=True, text=True, check=True
    )
    said, left = done.stdout.splitlines()
    assert said == "6" or "oo many open files" in said
    assert left == "0"


def test_workers_start_where_standard_input_is_closed(packed):
    """A daemon without descriptors 0 to 2 loads: nothing that workers inherit has such a number."""
    script = """
        import os, sys
        import shardkit

        for descriptor in range(3):
            os.close(descriptor)
        with shardkit.loader(sys.argv[1], batch_size=4, workers=2) as loader:
            os._exit(sum(int(batch.weight.sum()) for batch in loader))
    """
    assert subprocess.run([sys.executable, "-c", textwrap.dedent(script), str(packed)], check=False).returncode == 24


def test_workers_keep_the_memory_that_decoders_free(packed):
    """The C library is told not to give it back from clip to clip."""
    with _loader(packed) as loader:
        next(iter(loader))
        pid = _pids(loader)[0]
        environment = Path(f"/proc/{pid}/environ").read_text().split("\0")
        assert {"MALLOC_TRIM_THRESHOLD_=134217728", "MALLOC_MMAP_THRESHOLD_=33554432"} <= set(environment)


def test_close_leaves_no_process_and_no_descriptor(packed):
    """After close(), and after a second one, the workers are gone and every descriptor is closed."""
    gc.collect()
    descriptors = descriptor_count()
    loader = _loader(packed)
    next(iter(loader))
    pids = list(_pids(loader).values())
    loader.close()
    loader.close()
    wait_until(lambda: not any(map(is_running, pids)))
    wait_until(lambda: descriptor_count() <= descriptors)


def test_a_forgotten_loader_ends_its_workers(packed):
    """A loader that is dropped in the middle of an epoch, without close(), takes its workers with it."""
    loader = _loader(packed)
    iterator = iter(loader)
    next(iterator)
    pids = list(_pids(loader).values())
    del loader, iterator
    gc.collect()
    wait_until(lambda: not any(map(is_running, pids)))


def test_close_does_not_wait_for_a_clip_that_hangs(stuck):
    """close() with a worker stuck in a clip takes a few seconds at most, and the worker is gone."""
    loader = _loader(stuck, shuffle=False)
    iterator = iter(loader)
    next(iterator)
    wait_until(lambda: not loader._engine._board.unclaimed())
    pids = list(_pids(loader).values())
    began_s = time.monotonic()
    loader.close()
    assert time.monotonic() - began_s < 20
    wait_until(lambda: not any(map(is_running, pids)))


def test_a_worker_process_never_imports_torch(packed):
    """What a worker has mapped into memory holds no torch library, and no FFmpeg or decord either."""
    with _loader(packed) as loader:
        next(iter(loader))
        maps = "".join(Path(f"/proc/{pid}/maps").read_text() for pid in _pids(loader).values())
    assert "simplejpeg" in maps
    assert not any(name in maps for name in ("libtorch", "decord", "/av/", "libav"))


def test_ctrl_c_between_reading_reports_and_noting_them_is_no_hang(packed, monkeypatch):
    """An interrupt that loses reports ends the iteration at once, and the next one starts anew and is whole."""
    with _loader(packed, epochs=1000) as loader:
        iterator = iter(loader)
        next(iterator)
        reader = loader._engine._reports
        drain = reader.drain

        def interrupted():
            if drain():
                raise KeyboardInterrupt
            return []

        monkeypatch.setattr(reader, "drain", interrupted)
        began_s = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            for _ in iterator:
                pass
        assert time.monotonic() - began_s < 20
        assert len(next(iter(loader)).keys) == 4


def test_a_replacement_never_loads_from_another_data_set(damaged):
    """A data set that is replaced during training is an error once a new worker is needed, not other clips."""
    with _loader(damaged, batch_size=1) as loader:
        batches = iter(loader)
        next(batches)
        shardkit.relabel(damaged, _table_of(damaged))
        for pid in _pids(loader).values():
            os.kill(pid, signal.SIGKILL)
        with pytest.raises(CorruptShardError, match="was replaced while it is being loaded; start the loader anew"):
            for _ in batches:
                pass


def _table_of(folder):
    ds = shardkit.open(folder)
    table = folder / "new.csv"
    rows = [f"{ds.index.text('source_id', row)},{ds.index.source_start_s[row]},x" for row in range(len(ds))]
    table.write_text("\n".join(["id,start_s,label", *rows]) + "\n")
    return table
