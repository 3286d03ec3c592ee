"""loader.stats() and measurements: sums that add up, shares that are shares, and verdicts that are true."""

import json
import mmap
import os
import signal
import subprocess
import sys
import time
from dataclasses import astuple, replace
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import shardkit
from shardkit.errors import UsageError
from shardkit.loading import filler
from shardkit.loading.dataset import Dataset
from shardkit.loading.measure import LEAST_BATCHES, measure
from shardkit.loading.stats import LoaderStats
from shardkit.loading.tally import Tally
from shardkit.loading.usage import process_usage
from shardkit.storage.request_meter import RequestMeter
from shardkit.storage.shards import ShardReader

SECOND_NS = 10**9
FOREVER = 1 << 40


# --- figures that are made up


def _tally(*, read=1.0, check=1.0, decode=15.0, audio=1.0, busy=19.5, clips=1000):
    """Of two workers in ten seconds, stages in seconds; 0.5 s lie between them."""
    stages = {"read": read, "check": check, "decode": decode, "audio": audio, "busy": busy}
    nanoseconds = {f"{name}_ns": round(value * SECOND_NS) for name, value in stages.items()}
    return Tally(clips=clips, read_bytes=500_000_000, **nanoseconds)


def _stats(**changes):
    """Ten seconds of a loader that cannot follow an idle loop, as its workers decode all the time."""
    stats = LoaderStats(
        at_s=110.0,
        began_s=100.0,
        seconds=10.0,
        batch_size=10,
        batches=100,
        clips=1000,
        consumer_wait_s=9.5,
        start_wait_s=0.2,
        collate_s=0.1,
        ready_batches=20,
        workers=2,
        replaced_workers=0,
        worker_cpu_s=19.0,
        tally=_tally(),
        storage=RequestMeter(),
        ring_bytes=1_000_000,
        worker_private_bytes=(20_000_000, 21_000_000),
    )
    return replace(stats, **changes)


LAZY = _tally(read=1, check=0.5, decode=3, audio=0.5, busy=6)


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, "decode-bound: 2 workers busy 98% (decode and audio 82% of it)"),
        ({"workers": 1}, "decode-bound: 1 worker busy 100% (decode and audio"),
        ({"tally": _tally(read=7, decode=6, audio=5)}, "decode-bound: 2 workers busy 98% (decode and audio 56%"),
        ({"tally": _tally(read=12, decode=5)}, "storage-bound: 2 workers busy 98% (read 62% of it)"),
        ({"tally": _tally(check=12, decode=5)}, "check-bound: 2 workers busy 98% (check 62% of it)"),
        ({"tally": _tally(decode=1)}, "overhead-bound: 2 workers busy 98% (other 79% of it)"),
        ({"consumer_wait_s": 0.49}, "the consumer is the bottleneck: it waited 5% of its time for batches, workers"),
        ({"consumer_wait_s": 0.1, "tally": LAZY}, "the consumer is the bottleneck: it waited 1% of its time for"),
        ({"consumer_wait_s": 0.1, "collate_s": 8, "tally": LAZY}, "the training process is the bottleneck: planning,"),
        ({"consumer_wait_s": 2, "collate_s": 8, "tally": LAZY}, "labels and transform take 80% of its time; it waited"),
        ({"consumer_wait_s": 4, "tally": LAZY}, "neither: workers busy 30%, and the consumer waited 40% of its time;"),
        (
            {"consumer_wait_s": 4, "tally": LAZY, "worker_cpu_s": 2.0},
            "cores are short: workers got 40% of a core each; other processes take the CPU, or there are more",
        ),
        (
            {"consumer_wait_s": 4, "start_wait_s": 3, "tally": LAZY},
            "starting: 75% of the waiting was for first batches of iterations, before anything is loaded ahead",
        ),
        (
            {"consumer_wait_s": 4, "tally": LAZY, "replaced_workers": 2},
            "2 workers died or hung and had to be replaced: workers busy 30%, and the consumer waited 40% of its time",
        ),
        (
            {"consumer_wait_s": 4, "tally": LAZY, "workers": 8, "batch_size": 1},
            "too many workers: 8 for the 4 clips that are loaded ahead: workers busy 8%",
        ),
        (
            {"start_wait_s": 3, "tally": _tally(decode=10, busy=14.5)},
            "decode-bound: 2 workers busy 72%, with 3.0 s of starting (decode and audio 76% of it)",
        ),
        ({"tally": _tally(decode=10, busy=14.5)}, "decode-bound: 2 workers busy 72% (decode and audio 76% of it)"),
        (
            {"tally": _tally(decode=10, busy=14.5), "ready_batches": 200},
            "neither: workers busy 72%, and the consumer waited 95% of its time; it takes batches in bursts, or",
        ),
        ({"worker_cpu_s": 7.4}, "(decode and audio 82% of it); each got 40% of a core: more runs here than there are"),
        ({"worker_cpu_s": 7.4, "replaced_workers": 1}, "; each got 40% of a core: more runs here than there are cores"),
        ({"batches": 0, "clips": 0}, "nothing loaded yet"),
    ],
)
def test_verdict_names_what_the_others_wait_for(changes, verdict):
    """Workers by the stage that takes most, the loop, the code between them, or none of these; in one line."""
    line = _stats(**changes).verdict
    assert verdict in line
    assert "\n" not in line
    assert str(_stats(**changes)).endswith(line)


@pytest.mark.parametrize(
    "changes",
    [
        {"worker_cpu_s": 0.0, "worker_private_bytes": ()},
        {"worker_cpu_s": 5.0, "tally": _tally(read=12, decode=5)},
        {"worker_cpu_s": 15.0},
        {"worker_cpu_s": 0.0, "worker_private_bytes": (), "consumer_wait_s": 4, "tally": LAZY},
    ],
    ids=["threads", "waiting for storage", "a core each", "idle threads"],
)
def test_no_core_is_said_to_be_missing_where_that_is_not_known(changes):
    """Threads have no CPU time of their own, and reading needs little."""
    assert "of a core" not in _stats(**changes).verdict


def test_stages_and_wait_are_all_the_time_that_workers_have():
    """Over all clips the stages' seconds, `other` and `wait` are the measured time times the workers."""
    stats = _stats()
    assert stats.stages_s() == pytest.approx(
        {"read": 0.001, "check": 0.001, "decode": 0.015, "audio": 0.001, "other": 0.0015, "wait": 0.0005}
    )
    assert sum(stats.stages_s().values()) * stats.tally.clips == pytest.approx(stats.seconds * stats.workers)


AMOUNTS = st.just(0.0) | st.floats(1e-6, 1000)
COUNTS = st.integers(0, 10**12)


@given(
    st.builds(Tally, *[COUNTS] * 7),
    st.tuples(AMOUNTS, AMOUNTS, AMOUNTS, AMOUNTS, AMOUNTS),
    st.integers(0, 1000),
    st.integers(1, 64),
)
def test_no_figure_is_out_of_bounds(tally, amounts, batches, workers):
    """Whatever the sums, torn and empty ones too: shares lie in [0, 1], no time is negative, and JSON takes it all."""
    seconds, wait_s, collate_s, ready, cpu_s = amounts
    stats = _stats(
        tally=tally,
        seconds=seconds,
        consumer_wait_s=wait_s,
        collate_s=collate_s,
        ready_batches=ready,
        worker_cpu_s=cpu_s,
        batches=batches,
        clips=batches * 4,
        workers=workers,
    )
    for share in (stats.busy_share, stats.waited_share, stats.collate_share, stats.ring_occupancy):
        assert 0 <= share <= 1
    assert min(stats.stages_s().values()) >= 0
    assert stats.verdict
    assert json.loads(json.dumps(stats.to_json(), allow_nan=False))["verdict"] == stats.verdict


def test_since_leaves_what_came_after():
    """Sums are differences, time is that between the two, and memory and workers are those of the later one."""
    later = _stats(
        at_s=112.5,
        seconds=12.5,
        batches=130,
        clips=1300,
        consumer_wait_s=10.0,
        start_wait_s=0.5,
        collate_s=0.5,
        ready_batches=25,
        replaced_workers=1,
        worker_cpu_s=20.0,
        tally=Tally(*(2 * number for number in astuple(_tally()))),
        worker_private_bytes=(22_000_000,),
    )
    part = later.since(_stats())
    assert (part.seconds, part.batches, part.clips, part.replaced_workers) == (2.5, 30, 300, 1)
    assert (part.consumer_wait_s, part.collate_s, part.ready_batches, part.worker_cpu_s) == (0.5, 0.4, 5, 1.0)
    assert part.start_wait_s == 0.3
    assert part.tally == _tally()
    assert part.worker_private_bytes == (22_000_000,)
    assert part.clips_per_s == 120.0
    assert part.mb_per_s == 200.0


def test_since_the_time_before_the_workers_is_all_of_it():
    """Stats that were taken before the first iteration are an earlier time for those of any workers."""
    before = replace(LoaderStats.of_nothing(batch_size=10), at_s=5.0)
    assert _stats().since(before) == _stats()
    assert replace(before, at_s=6.0).since(before).verdict == "nothing loaded yet"


@pytest.mark.parametrize(
    ("earlier", "message"),
    [
        (_stats(at_s=111.0), r"these stats are the earlier ones.*later\.since\(earlier\)"),
        (_stats(at_s=90.0, began_s=80.0), r"of other workers: .*close\(\)"),
    ],
    ids=["the wrong way round", "of other workers"],
)
def test_since_refuses_what_is_no_earlier_time_of_the_same_workers(earlier, message):
    """Differences that would be negative or of different things are a UsageError that says why."""
    with pytest.raises(UsageError, match=message):
        _stats().since(earlier)
    with pytest.raises(UsageError, match="these stats are the earlier ones"):
        LoaderStats.of_nothing(batch_size=10).since(replace(_stats(), at_s=float("inf")))


# --- figures of real loaders


def _loader(source, **options):
    return shardkit.loader(source, **({"batch_size": 4, "workers": 2} | options))


def _over(loader, *, seconds, warm_up=8):
    """Stats of a while in which the loop does nothing, after some batches."""
    batches = iter(loader)
    for _ in islice(batches, warm_up):
        pass
    before = loader.stats()
    until_s = time.monotonic() + seconds
    for _ in batches:
        if time.monotonic() >= until_s:
            break
    return loader.stats().since(before)


@pytest.mark.parametrize("worker_type", ["process", "thread"])
def test_stats_are_there_before_the_first_batch_and_after_close(packed, worker_type):
    """Nothing before, what was done by then after, and from nothing on with the next workers."""
    loader = _loader(packed, worker_type=worker_type)
    before = loader.stats()
    assert (before.batches, before.clips, before.seconds, before.workers, before.tally) == (0, 0, 0, 0, Tally())
    assert before.verdict == "nothing loaded yet"
    assert json.loads(json.dumps(before.to_json(), allow_nan=False))["clips_per_s"] == 0
    assert sum(1 for _ in loader) == 6
    running = loader.stats()
    loader.close()
    after = loader.stats()
    assert (after.batches, after.clips, after.workers, after.ring_bytes) == (6, 24, 2, running.ring_bytes)
    assert after.tally == running.tally
    assert len(after.worker_private_bytes) == len(running.worker_private_bytes)
    assert after == loader.stats()
    assert after.since(before) == after
    loader.close()
    assert loader.stats() == after
    next(iter(loader))
    anew = loader.stats()
    assert (anew.batches, anew.clips) == (1, 4)
    with pytest.raises(UsageError, match="of other workers"):
        anew.since(after)
    loader.close()


@pytest.mark.parametrize("worker_type", ["process", "thread"])
def test_an_epoch_is_counted_to_the_clip(packed, worker_type):
    """24 clips in batches of 5 are 24 clips and no padding, of which workers fill one place more; so every time."""
    with _loader(packed, batch_size=5, worker_type=worker_type) as loader:
        assert sum(1 for _ in loader) == 5
        first = loader.stats()
        assert sum(1 for _ in loader) == 5
        second = loader.stats().since(first)
    for stats in (first, second):
        assert (stats.batches, stats.clips, stats.tally.clips) == (5, 24, 25)
        assert stats.clips_per_s == 24 / stats.seconds
        # A stage's time is that of a place which a worker filled, padding or not.
        assert stats.stages_s()["read"] == stats.tally.read_ns / 1e9 / 25
        assert stats.to_json()["worker_cpu_s_per_clip"] == stats.worker_cpu_s / 24
    assert second.tally.read_bytes > 0


@pytest.mark.parametrize("worker_type", ["process", "thread"])
def test_workers_say_where_all_their_time_went(packed, worker_type):
    """Stages are within the work, work and waiting within the time that passed, and together they are all of it."""
    with _loader(packed, worker_type=worker_type, epochs=FOREVER) as loader:
        for _ in range(5):
            stats = _over(loader, seconds=1.5)
            tally = stats.tally
            # Runs that were begun before and ended in it count whole; one that was held up may be long.
            if tally.busy_ns / SECOND_NS < 1.25 * stats.seconds * 2:
                break
    assert 0 < tally.busy_ns / SECOND_NS < 1.25 * stats.seconds * 2
    assert 0 < tally.read_ns + tally.check_ns + tally.decode_ns + tally.audio_ns < tally.busy_ns
    assert sum(stats.stages_s().values()) * tally.clips == pytest.approx(stats.seconds * 2, rel=0.25)


def test_a_clip_that_is_skipped_is_not_counted(damaged):
    """on_error='skip': what has weight 0 in a batch is no clip that the loop got."""
    os.truncate(damaged / "clips-000000.tar", 0)
    with _loader(damaged, on_error="skip", max_skipped=1.0) as loader:
        real = sum(int(batch.weight.sum()) for batch in loader)
        assert 0 < real < 24
        assert loader.stats().clips == real


def test_waiting_for_first_batches_is_counted_apart(packed):
    """It is all the waiting there is after one batch, grows no more in that iteration, and does with the next one."""
    with _loader(packed) as loader:
        batches = iter(loader)
        next(batches)
        first = loader.stats()
        assert 0 < first.start_wait_s == first.consumer_wait_s
        assert sum(1 for _ in batches) == 5
        assert loader.stats().start_wait_s == first.start_wait_s
        next(iter(loader))
        assert loader.stats().start_wait_s > first.start_wait_s


def test_bytes_are_those_of_the_sound_where_only_sound_is_loaded(packed):
    """An epoch of modalities=('audio',) reads two bytes a sample of every clip, and none of the frames."""
    dataset = shardkit.open(packed)
    samples = sum(0 if clip.audio is None else clip.audio.size for clip in dataset)
    with _loader(packed, modalities=("audio",)) as loader:
        assert sum(1 for _ in loader) == 6
        tally = loader.stats().tally
    assert tally.read_bytes == 2 * samples
    assert tally.decode_ns < tally.audio_ns


def test_memory_and_cpu_time_are_those_of_each_worker(packed):
    """Two processes: memory of each, CPU time that fits the clock. Threads: none of their own."""
    with _loader(packed, epochs=FOREVER) as loader:
        stats = _over(loader, seconds=0.5)
        assert stats.ring_bytes == loader._engine.ring.region.size_bytes
    assert len(stats.worker_private_bytes) == 2
    assert all(1_000_000 < private_bytes < 150_000_000 for private_bytes in stats.worker_private_bytes)
    assert 0 < stats.worker_cpu_s < 2 * stats.seconds + 0.1
    with _loader(packed, worker_type="thread", epochs=FOREVER) as loader:
        stats = _over(loader, seconds=0.1)
    assert stats.worker_private_bytes == ()
    assert stats.worker_cpu_s == 0.0


def test_a_replaced_worker_is_counted_and_its_work_stays(packed):
    """A worker is killed: one replacement, and every clip that was handed out was tallied by somebody."""
    with _loader(packed, batch_size=2, epochs=FOREVER) as loader:
        batches = iter(loader)
        for _ in islice(batches, 30):
            pass
        engine = loader._engine
        before = loader.stats()
        busiest = max(range(2), key=lambda worker: engine._board.tally_of(worker).clips)
        os.kill(engine._crew.pids()[busiest], signal.SIGKILL)
        for _ in islice(batches, 30):
            pass
        after = loader.stats()
    assert (before.replaced_workers, after.replaced_workers) == (0, 1)
    assert after.clips == 120
    # A run is one clip here: what the worker had not told yet was done again.
    assert after.tally.clips >= after.clips
    assert all(now >= then for now, then in zip(astuple(after.tally), astuple(before.tally), strict=True))
    # The dead worker's time stays, and the new one's comes on top.
    assert after.worker_cpu_s > before.worker_cpu_s > 0
    assert min(after.since(before).stages_s().values()) >= 0


# --- verdicts of real loaders


SLOW_S = 0.05
"""What takes so long takes most of the time, also where other programs take the cores."""


def _undisturbed(measured, verdict):
    """Stats with this verdict, of several measurements: a pause of the machine in one makes another verdict."""
    for _ in range(5):
        stats = measured()
        if stats.verdict.startswith(verdict):
            return stats
    raise AssertionError(stats.verdict)


class _SlowReader(ShardReader):
    """A disk that takes SLOW_S."""

    def read(self, shard, ranges, into=None, **begun):
        time.sleep(SLOW_S)
        return super().read(shard, ranges, into, **begun)


class _SlowDataset(Dataset):
    """Clips on such a disk."""

    def reader(self, *, meter=None):
        return _SlowReader(self.folder.path, self.shard_names)


def test_slow_storage_is_named(packed):
    """Reading that takes most of the workers' time makes a loader storage-bound."""
    fast = shardkit.open(packed)
    slow = _SlowDataset(fast.store, fast.manifest, fast.index, fast.rows, index_file=fast.index_file)

    def measured():
        with _loader(slow, worker_type="thread", epochs=FOREVER) as loader:
            return _over(loader, seconds=0.7, warm_up=2)

    stats = _undisturbed(measured, "storage-bound: 2 workers busy ")
    assert stats.stages_s()["read"] >= SLOW_S


def test_slow_decoding_is_named(packed, monkeypatch):
    """Decoding that takes most of the workers' time makes a loader decode-bound."""
    real = filler.frame_codec

    def slow_codec(index, plan):
        codec = real(index, plan)
        decode = codec.decode

        def slowly(row, data, places):
            time.sleep(SLOW_S)
            decode(row, data, places)

        codec.decode = slowly
        return codec

    monkeypatch.setattr(filler, "frame_codec", slow_codec)

    def measured():
        with _loader(packed, worker_type="thread", epochs=FOREVER) as loader:
            return _over(loader, seconds=0.7, warm_up=2)

    _undisturbed(measured, "decode-bound: 2 workers busy ")


def test_a_slow_loop_is_named(packed):
    """A loop that takes 40 ms a batch waits for nothing, finds the ring full, and is the bottleneck."""

    def measured():
        with _loader(packed, epochs=FOREVER) as loader:
            batches = iter(loader)
            for _ in islice(batches, 8):
                time.sleep(0.04)
            before = loader.stats()
            for _ in islice(batches, 20):
                time.sleep(0.04)
            return loader.stats().since(before)

    stats = _undisturbed(measured, "the consumer is the bottleneck: it waited ")
    assert stats.ring_occupancy > 0.9


def test_a_slow_transform_is_named(packed):
    """`transform` runs in the training process, and what it takes is not the loop's."""

    def transform(batch):
        time.sleep(0.04)
        return batch

    def measured():
        with _loader(packed, epochs=FOREVER, transform=transform) as loader:
            return _over(loader, seconds=0.8)

    _undisturbed(measured, "the training process is the bottleneck: planning, labels and transform take ")


# --- measuring


def test_a_measurement_leaves_start_and_warm_up_out(packed):
    """Only the measured time is in its stats; the loader is closed afterwards."""
    made = []

    def start():
        made.append(_loader(packed, worker_type="thread", epochs=FOREVER))
        return made[0]

    began_s = time.monotonic()
    measured = measure(start, seconds=0.3, warm_up_s=0.2)
    took_s = time.monotonic() - began_s
    stats = measured.stats
    assert stats.seconds >= 0.3
    assert stats.seconds + measured.first_batch_s + 0.2 <= took_s
    assert stats.batches >= LEAST_BATCHES
    assert stats.clips == 4 * stats.batches
    assert measured.passes_before >= 4 * (LEAST_BATCHES + 1) / 24
    assert measured.tensors == {"video": "uint8 [4, 8, 3, 96, 128]", "audio": "float32 [4, 1, 32000]"}
    assert measured.consumer_cpu_s == 0.0
    assert measured.trainer_private_bytes > 0
    assert made[0].stats().clips >= stats.clips
    assert made[0]._engine is None


def test_a_worker_that_is_replaced_costs_its_time_once(packed):
    """Killed while it is measured: the sum has this process's own time and what the stats say of workers, no more."""
    made = []
    own_s = []
    """Own CPU time at each batch."""

    def kill_one(batch):
        own_s.append(time.process_time())
        # The first batch is one, the warm-up as many as are needed at least: the next ones are measured.
        if len(own_s) == LEAST_BATCHES + 3:
            os.kill(made[0]._engine._crew.pids()[0], signal.SIGKILL)
        return batch

    def start():
        made.append(_loader(packed, epochs=FOREVER, transform=kill_one))
        return made[0]

    measured = measure(start, seconds=0.5, warm_up_s=0.0)
    assert measured.stats.replaced_workers == 1
    workers_s = measured.stats.worker_cpu_s
    assert 0 < workers_s <= measured.cpu_s < workers_s + time.process_time() - own_s[0]


def test_a_measurement_burns_what_it_is_told_to(packed):
    """5 ms of Python on every batch, none of it counted as the loader's."""
    measured = measure(
        lambda: _loader(packed, worker_type="thread", epochs=FOREVER), seconds=0.3, consumer_s=0.005, warm_up_s=0.0
    )
    assert measured.consumer_cpu_s >= 0.005 * measured.stats.batches
    assert 0 <= measured.cpu_s <= 3 * measured.stats.seconds
    assert json.loads(json.dumps(measured.to_json()))["cpu_s_per_clip"] == measured.cpu_s / measured.stats.clips


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="what a process uses is known from /proc only")
def test_usage_is_that_of_a_process_that_runs():
    """Memory that is touched shows; one that has ended has no memory, and is nothing once it was waited for."""
    before = process_usage(os.getpid())
    # A mapping of its own: what the interpreter hands out may be memory that it has held on to, and shows already.
    with mmap.mmap(-1, 32_000_000, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as held:
        held.write(bytes([1]) * len(held))
        after = process_usage(os.getpid())
        assert after.private_bytes - before.private_bytes > 0.8 * len(held)
    assert after.cpu_s >= before.cpu_s
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        ended = process_usage(process.pid)
        assert (ended.private_bytes, ended.cpu_s >= 0) == (0, True)
        process.wait()
        assert process_usage(process.pid) is None


# --- several ranks, and storage that is far away


def _meter(requests, *, seconds, cached=0):
    meter = RequestMeter()
    for _ in range(requests):
        meter.count_request(1000, seconds, is_retry=False)
    for _ in range(cached):
        meter.count_cached_clip()
    return meter


def test_ranks_are_added_up():
    """Clips, bytes and workers are sums, so rates are those of all; shares of the loops' time are means."""
    ranks = [_stats(consumer_wait_s=8.0, storage=_meter(3, seconds=0.01)), _stats(storage=_meter(1, seconds=0.01))]
    joined = LoaderStats.joined(ranks)
    assert joined.clips_per_s == sum(rank.clips_per_s for rank in ranks)
    assert joined.mb_per_s == sum(rank.mb_per_s for rank in ranks)
    assert (joined.workers, joined.storage.requests) == (4, 4)
    assert joined.busy_share == pytest.approx(ranks[0].busy_share)
    assert joined.waited_share == pytest.approx(0.875)
    assert len(joined.worker_private_bytes) == 4


def test_ranks_have_as_many_clips_ahead_as_all_of_them():
    """Five workers and twelve clips ahead on each of three ranks: not too many workers for one rank's clips."""
    lazy = {"consumer_wait_s": 4, "tally": LAZY, "workers": 5, "batch_size": 3}
    assert LoaderStats.joined([_stats(**lazy)] * 3).verdict.startswith("neither: workers busy 12%")
    crowded = LoaderStats.joined([_stats(**lazy | {"workers": 13})] * 3)
    assert crowded.verdict.startswith("too many workers: 39 for the 36 clips")


def test_requests_are_told_for_each_clip():
    """Requests and bytes a clip, latencies within a tenth, the share of clips from copies; none of it for a disk."""
    clips = _tally().clips
    told = _stats(storage=_meter(clips // 2, seconds=0.02, cached=clips // 2)).to_json()["storage"]
    assert told["requests_per_clip"] == pytest.approx(0.5)
    assert told["bytes_per_clip"] == pytest.approx(500)
    assert told["latency_p50_s"] == pytest.approx(0.02, rel=0.1)
    assert told["latency_p99_s"] == pytest.approx(0.02, rel=0.1)
    assert told["cached_share"] == pytest.approx(0.5)
    assert "storage" not in _stats().to_json()


def test_stats_since_count_only_requests_since():
    """since() takes what was asked before away from what was asked in all."""
    earlier, later = _meter(2, seconds=0.001), _meter(2, seconds=0.001) + _meter(3, seconds=0.1)
    part = _stats(at_s=120.0, storage=later).since(_stats(storage=earlier)).storage
    assert part.requests == 3
    assert part.latency_s(0.01) == pytest.approx(0.1, rel=0.1)
