"""Keeper: shards are fetched before they are asked for, within the limit, once for all who share a cache."""

import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from cache_user import used_bytes
from cached_shards import SHARDS, WantingKeeper, cached_shards, cached_store, fill, store_at
from far_folders import SMALL_BYTES, SMALL_NAMES, small_content
from small_disks import small_disk
from watching import wait_until

from benchmarks.storage.faults import Fault, FaultRule, mixed_faults
from shardkit.errors import StorageError
from shardkit.storage import caching, node_cache
from shardkit.storage.failures import MissingFileError
from shardkit.storage.keeper import POLL_S
from shardkit.storage.stores import ReadFolder

EVERY = range(len(SHARDS))
"""All shards by number."""


@contextmanager
def _running(*keepers):
    """Keepers at work, each in a thread; what one of them raises comes out at the end."""
    failures = []

    def run(keeper):
        try:
            keeper.run()
        except Exception as exc:  # noqa: BLE001 - it comes out below
            failures.append(exc)

    threads = [threading.Thread(target=run, args=[keeper]) for keeper in keepers]
    for thread in threads:
        thread.start()
    try:
        yield failures
    finally:
        for keeper in keepers:
            keeper.close()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()
    if failures:
        raise failures[0]


def _fetched(far):
    """Numbers of the shards that were asked for, as often as they were."""
    names = [served.path.rpartition("/")[2] for served in far.proxy.log()]
    return sorted(SMALL_NAMES.index(name) for name in names)


@pytest.fixture
def store(far_http, tmp_path):
    """Eight shards, and a cache with room for all of them."""
    return cached_store(far_http, tmp_path / "cache")


def test_what_is_wanted_is_fetched_once_and_in_order(store, far_http):
    """The first ones first; what is in the cache already costs nothing."""
    fill(store, 3)
    keeper = WantingKeeper(store)
    keeper.want([5, 3, 0, 7])
    with _running(keeper):
        wait_until(lambda: cached_shards(store) == {0, 3, 5, 7})
    assert [served.path.rpartition("/")[2] for served in far_http.proxy.log()] == [SMALL_NAMES[n] for n in (5, 0, 7)]
    assert keeper.meter.request_bytes == 3 * SMALL_BYTES


def test_copies_are_the_shards_through_faults(store, far_http):
    """A third of all requests fails: what is in the cache is right all the same."""
    far_http.proxy.set_rules(mixed_faults(0.3, stall_s=0.1, retry_after_s=0))
    keeper = WantingKeeper(store)
    keeper.want(EVERY)
    with _running(keeper):
        wait_until(lambda: cached_shards(store) == set(EVERY))
    cache = store.node_cache()
    for number, file in enumerate(store.cached_files()):
        with cache.hold(file) as held:
            assert held.path.read_bytes() == small_content(number)


def test_keepers_that_share_a_cache_share_the_work(store, behind_link):
    """Two ranks with the same wants: each shard is fetched by one of them, and both fetch."""
    with behind_link(latency_s=0.05) as (client, proxy):
        far = store_at(ReadFolder(client.location, client.engine), store.shards, store.cache)
        keepers = [WantingKeeper(far), WantingKeeper(far)]
        for keeper in keepers:
            keeper.want(EVERY)
        with _running(*keepers):
            wait_until(lambda: cached_shards(far) == set(EVERY))
        assert proxy.stats().requests == len(SHARDS)
        assert all(keeper.meter.requests for keeper in keepers)


def test_what_is_wanted_changes(far_http, tmp_path):
    """Room for two: others are wanted, those before go, and come back when they are wanted again."""
    store = cached_store(far_http, tmp_path / "cache", limit_shards=2.5)
    keeper = WantingKeeper(store)
    with _running(keeper):
        for wanted in ({0, 1}, {4, 5}, {5, 6}, {0, 1}):
            keeper.want(sorted(wanted))
            wait_until(lambda wanted=wanted: cached_shards(store) == wanted)
    assert _fetched(far_http) == [0, 0, 1, 1, 4, 5, 6]


def test_what_is_wanted_is_kept_from_others(far_http, tmp_path):
    """Room for three: two that a keeper wants stay, whatever another one fetches."""
    store = cached_store(far_http, tmp_path / "cache", limit_shards=3)
    first, second = WantingKeeper(store), WantingKeeper(store)
    with _running(first, second):
        first.want([0, 1])
        wait_until(lambda: cached_shards(store) == {0, 1})
        for shard in (2, 3, 4):
            second.want([shard])
            wait_until(lambda shard=shard: cached_shards(store) == {0, 1, shard})


def test_what_is_there_is_kept_before_room_is_made(far_http, tmp_path):
    """A cache full of what is wanted, in an order of its own: nothing goes, and nothing is fetched."""
    store = cached_store(far_http, tmp_path / "cache", limit_shards=4)
    fill(store, 1, 3, 5, 7)
    keeper = WantingKeeper(store)
    keeper.want(EVERY)
    with _running(keeper):
        wait_until(lambda: len(keeper._keeper._held) == 4)
        time.sleep(3 * POLL_S)
    assert cached_shards(store) == {1, 3, 5, 7}
    assert not _fetched(far_http)


def test_more_than_there_is_room_for_is_fetched_as_room_comes(far_http, tmp_path):
    """Room for two of eight: the first two wanted are kept; once one is not wanted any more, the next one comes."""
    store = cached_store(far_http, tmp_path / "cache", limit_shards=2)
    keeper = WantingKeeper(store)
    with _running(keeper):
        for first in range(6):
            keeper.want(range(first, 8))
            wait_until(lambda first=first: cached_shards(store) == {first, first + 1})
    assert _fetched(far_http) == list(range(7))


@pytest.mark.parametrize("limit_shards", [4, 0.5])
def test_a_limit_is_never_exceeded_and_never_starves_a_reader(far_http, tmp_path, monkeypatch, limit_shards):
    """Half of the data set, or less than a shard: two ranks read three epochs in their own orders, all right bytes."""
    monkeypatch.setattr(caching, "IDLE_S", 0.05)
    monkeypatch.setattr(caching, "LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(node_cache, "LOCK_TIMEOUT_S", 60.0)
    store = cached_store(far_http, tmp_path / "cache", limit_shards=limit_shards)
    keepers = [WantingKeeper(store), WantingKeeper(store)]
    cached, most_bytes = [], [0]
    over = threading.Event()

    def watch():
        cache = store.node_cache()
        while not over.is_set():
            with cache.locked() as is_locked:
                assert is_locked
                with suppress(FileNotFoundError):  # what is given up goes without the lock
                    most_bytes.append(used_bytes(cache.folder))
            time.sleep(0.005)

    def read(rank):
        draw = random.Random(rank)
        with closing(store.reader()) as reader:
            for _ in range(3):
                order = draw.sample(EVERY, len(EVERY))
                for place, shard in enumerate(order):
                    keepers[rank].want(order[place:])
                    for start in range(0, SMALL_BYTES, 20_000):
                        (begun,) = reader.begin([(shard, [(start, 10_000)])])
                        found = bytes(reader.read(shard, [(start, 10_000)], begun=begun)[0])
                        assert found == small_content(shard)[start : start + 10_000]
                        time.sleep(0.001)
            cached.append(reader.meter.cached_clips)

    watcher = threading.Thread(target=watch)
    watcher.start()
    with _running(*keepers):
        _all_of([lambda rank=rank: read(rank) for rank in range(2)])
    over.set()
    watcher.join()
    assert len(cached) == 2
    assert max(most_bytes) <= limit_shards * SMALL_BYTES
    assert (sum(cached) > 0) == (limit_shards > 1)


def _all_of(tasks):
    """Runs tasks at the same time; the first error comes out."""
    errors = []

    def run(task):
        try:
            task()
        except BaseException as exc:  # noqa: BLE001 - it comes out below
            errors.append(exc)

    threads = [threading.Thread(target=run, args=[task]) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    if errors:
        raise errors[0]


def test_no_more_is_kept_than_files_may_be_open(store):
    """Three at most: the first three wanted are fetched and kept, and others once those are not wanted any more."""
    keeper = WantingKeeper(store)
    keeper.want(EVERY)
    running = threading.Thread(target=keeper.run, kwargs={"most": 3})
    running.start()
    wait_until(lambda: len(keeper._keeper._held) == 3)
    time.sleep(3 * POLL_S)
    assert set(keeper._keeper._held) == cached_shards(store) == {0, 1, 2}
    keeper.want([2, 3])
    wait_until(lambda: set(keeper._keeper._held) == {2, 3})
    keeper.close()
    running.join(30)


def test_a_copy_that_is_dropped_is_fetched_anew(store):
    """A reader finds it damaged and drops it: the keeper lets go of its bytes, and a good one takes its place."""
    fill(store, 1)
    cache, file = store.node_cache(), store.cached_files()[1]
    (cache.folder / file.name).write_bytes(bytes(SMALL_BYTES))
    keeper = WantingKeeper(store)
    keeper.want([1])
    with _running(keeper):
        wait_until(lambda: keeper._keeper._held)
        with cache.hold(file) as damaged:
            cache.drop(damaged)
        wait_until(lambda: cached_shards(store) == {1})
        with cache.hold(file) as held:
            assert held.path.read_bytes() == small_content(1)
        wait_until(lambda: [each.is_there() for each in list(keeper._keeper._held.values())] == [True])


def test_a_shard_that_is_damaged_at_its_source_is_not_cached(store, far_http, caplog):
    """Its clips are read one by one then; it is logged once, with both digests, and the others are kept."""
    damaged = replace(store, shards=(*SHARDS[:2], SHARDS[2]._replace(digest="0" * 32), *SHARDS[3:]))
    keeper = WantingKeeper(damaged)
    keeper.want(EVERY)
    with _running(keeper):
        wait_until(lambda: cached_shards(damaged) == set(EVERY) - {2})
        keeper.want([2, 1])
        time.sleep(0.3)
    messages = [record.getMessage() for record in caplog.records if record.name.startswith("shardkit")]
    assert len(messages) == 1
    assert messages[0].startswith(f"not cached: {far_http.location}/{SMALL_NAMES[2]}: xxh3 is ")
    assert _fetched(far_http).count(2) == 1
    with closing(damaged.reader()) as reader:
        assert bytes(reader.read(2, [(0, 100)])[0]) == small_content(2)[:100]


def test_a_shard_that_is_missing_ends_the_keeper(store):
    """With the error that a reader would have; what it kept is let go of."""
    keeper = WantingKeeper(replace(store, shards=(SHARDS[0], SHARDS[1]._replace(name="none.tar"))))
    keeper.want([0, 1])
    with pytest.raises(MissingFileError, match=r"none\.tar.*not read: not found"):
        keeper.run()
    assert not keeper._keeper._held
    assert cached_shards(store) == {0}


def test_a_full_disk_ends_the_keeper(far_http, tmp_path):
    """StorageError that names cache and remedy; nothing half done is left."""
    with small_disk(tmp_path / "disk", size="1m") as disk:
        store = cached_store(far_http, disk / "cache")
        keeper = WantingKeeper(store)
        keeper.want(EVERY)
        with pytest.raises(
            StorageError, match=rf"^{disk}/cache: No space left .*smaller cache_limit or another cache_dir"
        ):
            keeper.run()
        assert len(cached_shards(store)) == 5
        assert not list((disk / "cache").glob("*.part"))


def test_a_keeper_ends_in_the_middle_of_a_shard(store, far_http):
    """close() while a server fails: no wait for the deadline, no error, and no part is left."""
    far_http.proxy.set_rules([FaultRule(Fault.UNAVAILABLE)])
    keeper = WantingKeeper(replace(store, patience=replace(store.patience, deadline_s=600.0, first_wait_s=300.0)))
    keeper.want(EVERY)
    began_s = time.monotonic()
    with _running(keeper):
        wait_until(lambda: keeper.meter.requests)
    assert time.monotonic() - began_s < 60
    assert not list(store.node_cache().folder.glob("*.part"))


def test_a_keeper_without_wants_waits(store):
    """It is woken by a want, and by close()."""
    keeper = WantingKeeper(store)
    with _running(keeper):
        time.sleep(0.05)
        keeper.want([1])
        wait_until(lambda: cached_shards(store) == {1})


def test_where_nothing_is_said_nothing_is_let_go_of(store):
    """As long as wants are being written, what is kept stays; once there are none, it is let go of."""
    keeper = WantingKeeper(store)
    keeper.want([1, 2])
    with _running(keeper):
        wait_until(lambda: set(keeper._keeper._held) == {1, 2})
        keeper.want(None)
        time.sleep(3 * POLL_S)
        assert set(keeper._keeper._held) == {1, 2}
        keeper.want([])
        wait_until(lambda: not keeper._keeper._held)


def test_a_killed_keepers_shard_is_taken_over(store, behind_link, tmp_path):
    """Kill -9 of one of two processes in the middle of a download: the other one fetches that shard too."""
    script = """
        import json, sys
        from shardkit.storage.stores import ShardStore

        keeper = ShardStore.from_json(json.load(open(sys.argv[1]))).keeper()
        keeper.run(lambda: [0, 1])
    """
    with behind_link() as (client, proxy):
        proxy.set_rules([FaultRule(Fault.STALL, first=1, stall_s=600.0)])
        far = store_at(ReadFolder(client.location, client.engine), store.shards, store.cache)
        (tmp_path / "store.json").write_text(json.dumps(far.to_json()))
        command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path / "store.json")]
        folder = Path(far.cache.folder)
        with subprocess.Popen(command) as process:
            wait_until(lambda: list(folder.glob("*.part")))
            os.kill(process.pid, signal.SIGKILL)
        proxy.set_rules([])
        assert list(folder.glob("*.part"))
        keeper = WantingKeeper(far)
        keeper.want([0, 1])
        with _running(keeper):
            wait_until(lambda: cached_shards(far) == {0, 1})
        assert proxy.stats().requests <= 3
    assert not list(folder.glob("*.part"))


def test_a_stopped_keeper_does_not_stop_readers(store):
    """SIGSTOP in the middle of a download: readers have every clip from afar meanwhile."""
    script = """
        import os, sys, time
        from pathlib import Path
        from shardkit.storage.node_cache import CachedFile, NodeCache

        folder, url, size, digest = sys.argv[1:]
        part = NodeCache(Path(folder)).begin(CachedFile(url, int(size), digest))
        print("begun", flush=True)
        time.sleep(600)
    """
    file = store.cached_files()[0]
    command = [
        sys.executable,
        "-c",
        textwrap.dedent(script),
        store.cache.folder,
        file.url,
        str(SMALL_BYTES),
        file.digest,
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        os.kill(process.pid, signal.SIGSTOP)
        keeper = WantingKeeper(store)
        keeper.want(EVERY)
        with _running(keeper), closing(store.reader()) as reader:
            for shard in EVERY:
                assert bytes(reader.read(shard, [(0, 100)])[0]) == small_content(shard)[:100]
            wait_until(lambda: cached_shards(store) == set(EVERY) - {0})
        process.kill()
