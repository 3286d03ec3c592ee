"""Data sets that are far away: the same batches as from a disk, whatever happens on the way, or a clear error."""

import gc
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections import deque
from dataclasses import replace

import fsspec
import pytest
from snapshots import snapshot, snapshots
from watching import descriptor_count, is_running, wait_until

import shardkit
from benchmarks.storage.fault_proxy import fault_proxy
from benchmarks.storage.faults import Fault, FaultRule, mixed_faults
from benchmarks.storage.link import Link
from shardkit.errors import CorruptShardError, DataError, StorageError, UsageError
from shardkit.storage import stores
from shardkit.storage.fetcher import Fetcher
from shardkit.storage.fetching import Patience

WAYS = ("obstore-http", "fsspec-http", "obstore-s3", "fsspec-s3", "disk")
WORKER_TYPES = ("process", "thread")
CLIPS = 24
BROKEN_S = 0.2
"""Of a stall: shorter than what clients bear, which the tests of storage are about."""


@pytest.fixture(autouse=True)
def _own_copies(tmp_path, monkeypatch):
    """Copies of indexes go to the test's own folder."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture(params=WAYS)
def ways(request, packed, monkeypatch):
    """What opens `packed` from afar, by each server and client, and on a disk that machines share."""
    if request.param == "disk":
        monkeypatch.setattr(stores, "is_on_shared_disk", lambda path: True)
        return {"source": packed}
    engine, scheme = request.param.split("-")
    server = request.getfixturevalue({"http": "http_server", "s3": "object_server"}[scheme])
    return server.ways(packed, engine)


def _open(ways, **options):
    ways = dict(ways) | options
    return shardkit.open(ways.pop("source"), **ways)


def _loader(ways, **options):
    ways = ways if isinstance(ways, dict) else {"source": ways}
    return shardkit.loader(**{"batch_size": 4, "workers": 2} | ways | options)


@pytest.fixture(scope="module")
def undisturbed(packed):
    """The batches of three epochs, from a disk."""
    with shardkit.loader(packed, batch_size=4, workers=2, worker_type="thread", epochs=3) as loader:
        return snapshots(loader)


@pytest.mark.parametrize("worker_type", WORKER_TYPES)
def test_batches_from_afar_are_those_from_a_disk(ways, undisturbed, worker_type):
    """By each server and client, in processes and threads, over three epochs."""
    with _loader(ways, worker_type=worker_type, epochs=3) as loader:
        assert loader.dataset.store.is_far
        assert snapshots(loader) == undisturbed


def test_the_fastest_client_that_works_reads(http_server, object_server, packed):
    """What `ways` is meant to go through, it does."""
    for server in (http_server, object_server):
        for engine in ("obstore", "fsspec"):
            assert _open(server.ways(packed, engine)).store.base.engine == engine


def test_a_clip_is_one_request(http_server, packed):
    """A shuffled epoch asks for each clip once, and for no more bytes than the clips have."""
    with _loader(http_server.ways(packed)) as loader:
        snapshots(loader)
    shards = [served for served in http_server.proxy.log() if served.path.endswith(".tar")]
    assert len(shards) <= CLIPS
    assert sum(served.body_bytes for served in shards) < sum(path.stat().st_size for path in packed.glob("*.tar"))


def test_neighbours_are_read_together(http_server, packed):
    """Without a shuffle a run of clips is a request."""
    with _loader(http_server.ways(packed), shuffle=False) as loader:
        snapshots(loader)
    assert sum(served.path.endswith(".tar") for served in http_server.proxy.log()) < CLIPS


@pytest.mark.parametrize("worker_type", WORKER_TYPES)
def test_a_state_from_a_disk_is_resumed_from_afar(http_server, packed, undisturbed, worker_type):
    """In the middle of the second epoch: where a data set lies is no part of its order."""
    with _loader(packed, worker_type="thread", epochs=3) as loader:
        batches = iter(loader)
        for _ in range(8):
            next(batches)
        state = loader.state_dict()
    with _loader(http_server.ways(packed), worker_type=worker_type, epochs=3) as loader:
        loader.load_state_dict(state)
        assert snapshots(loader) == undisturbed[8:]


def test_another_processs_memory_is_refused(packed, undisturbed):
    """memory:// is loaded by threads; for worker processes a UsageError says so, before one is started."""
    files = fsspec.filesystem("memory")
    for path in packed.iterdir():
        files.pipe_file(f"/remote/{path.name}", path.read_bytes())
    with _loader("memory://remote", worker_type="thread", epochs=3) as loader:
        assert snapshots(loader) == undisturbed
    with (
        _loader("memory://remote") as loader,
        pytest.raises(UsageError, match=r"memory://remote.*worker_type='thread'"),
    ):
        next(iter(loader))


def test_patterns_and_lists_load_those_shards(http_server, packed):
    """Of a brace pattern, of a list and of one tar the clips, and no others, in the order of that selection."""
    whole = shardkit.open(packed)
    url = http_server.url(packed)
    for source, shards in (
        (f"{url}/clips-{{000000..000001}}.tar", (0, 1)),
        ([f"{url}/clips-000002.tar", f"{url}/clips-000000.tar"], (0, 2)),
        (f"{url}/clips-000001.tar", (1,)),
    ):
        selected = whole.select(mask=[shard in shards for shard in whole.index.shard])
        assert shardkit.open(source).keys == selected.keys
        with _loader(source, worker_type="thread") as far, _loader(selected, worker_type="thread") as near:
            assert snapshots(far) == snapshots(near)


def test_a_shard_that_the_data_set_does_not_have_is_named(http_server, packed):
    """A pattern that reaches too far: UsageError with the first name that is not there."""
    with pytest.raises(UsageError, match=r"no shard 'clips-\d+\.tar' in dataset.json; check the names"):
        shardkit.open(f"{http_server.url(packed)}/clips-{{000000..000009}}.tar")


@pytest.mark.parametrize(
    ("engine", "share", "worker_type"),
    [
        ("obstore", 0.05, "process"),
        ("obstore", 0.3, "process"),
        ("obstore", 0.3, "thread"),
        ("fsspec", 0.3, "thread"),
    ],
)
def test_faults_cost_no_clip(http_server, packed, undisturbed, engine, share, worker_type):
    """Some requests fail, in every way that passes: three epochs are complete and exact."""
    ways = http_server.ways(packed, engine)
    http_server.proxy.set_rules(mixed_faults(share, stall_s=BROKEN_S, retry_after_s=0))
    with _loader(ways, worker_type=worker_type, epochs=3) as loader:
        assert snapshots(loader) == undisturbed
    assert http_server.proxy.stats().faults


def test_faults_of_an_object_store_cost_no_clip(object_server, packed, undisturbed):
    """The same over S3."""
    ways = object_server.ways(packed)
    object_server.proxy.set_rules(mixed_faults(0.1, stall_s=BROKEN_S, retry_after_s=0))
    with _loader(ways, epochs=3) as loader:
        assert snapshots(loader) == undisturbed
    assert object_server.proxy.stats().faults


def test_a_server_in_trouble_for_longer_than_a_clip_may_take_is_no_hang(http_server, packed, undisturbed):
    """Retries over seconds, with timeout_s=1: no worker is taken for one that hangs."""
    http_server.proxy.set_rules([FaultRule(Fault.UNAVAILABLE, first=5, path="*/clips-000001.tar")])
    with _loader(http_server.ways(packed), timeout_s=1.0) as loader:
        assert snapshots(loader) == undisturbed[: len(undisturbed) // 3]


def test_a_read_that_hangs_is_the_storages_fault(behind):
    """A worker that stands still while it reads from afar: StorageError with the time it had, whatever on_error is."""
    url, proxy = behind
    proxy.set_rules([FaultRule(Fault.STALL, path="*/clips-00000[1-9].tar", stall_s=100.0)])
    with _loader(url, workers=1, shuffle=False, on_error="skip", timeout_s=1.0) as loader:
        batches = iter(loader)
        next(batches)
        while (claim := loader._engine._board.claim_of(0)) is None or not claim.reads:
            time.sleep(0.01)
        os.kill(loader._engine._crew.pids()[0], signal.SIGSTOP)
        # The worker has begun with a longer one, so that it cannot give up by itself before it is stopped.
        loader.dataset.store = replace(loader.dataset.store, patience=Patience(deadline_s=0.5))
        with pytest.raises(StorageError, match=r"clip '\w+': not read after 1\.5 s; see whether the storage stalls"):
            deque(batches, maxlen=0)


@pytest.mark.parametrize("worker_type", WORKER_TYPES)
def test_a_server_that_stays_in_trouble_is_a_storage_error(http_server, packed, worker_type):
    """After the store's deadline: clip, URL, range, attempts and the server's words."""
    dataset = shardkit.open(http_server.url(packed))
    dataset.store = replace(dataset.store, patience=Patience(deadline_s=0.5, first_wait_s=0.02))
    http_server.proxy.set_rules([FaultRule(Fault.UNAVAILABLE, path="*.tar")])
    words = (
        r"clip '\w+': http://.*tar, bytes [\d,]+ to [\d,]+: not read in \d+ attempts over .*: the server is busy \(503"
    )
    with _loader(dataset, worker_type=worker_type) as loader, pytest.raises(StorageError, match=words):
        deque(loader, maxlen=0)


@pytest.mark.parametrize("worker_type", WORKER_TYPES)
def test_a_corrupt_answer_is_read_anew(http_server, packed, undisturbed, worker_type):
    """A flipped byte on the way, in the first answer of every shard: all batches are right."""
    http_server.proxy.set_rules([FaultRule(Fault.CORRUPT, first=1, first_of="object", path="*.tar")])
    with _loader(http_server.ways(packed), worker_type=worker_type, epochs=3) as loader:
        assert snapshots(loader) == undisturbed


def _corrupt_for_ever(server):
    server.proxy.set_rules([FaultRule(Fault.CORRUPT, path="*/clips-000001.tar")])


def test_corruption_that_stays_is_a_corrupt_shard(http_server, packed):
    """The shard is damaged at its source: the error names its URL, clip and byte."""
    _corrupt_for_ever(http_server)
    words = rf"{http_server.url(packed)}/clips-000001.tar, clip '\w+', \w+ at byte [\d,]+: xxh3 is .*copy it again"
    with _loader(http_server.ways(packed)) as loader, pytest.raises(CorruptShardError, match=words):
        deque(loader, maxlen=0)


def test_corruption_that_stays_is_passed_over(http_server, packed, undisturbed):
    """on_error='skip': the damaged clips have weight 0, all others come as they should."""
    _corrupt_for_ever(http_server)
    with _loader(http_server.ways(packed), on_error="skip", max_skipped=1.0) as loader:
        batches = snapshots(loader)
        skipped = loader.skipped
    assert 0 < skipped <= int((shardkit.open(packed).index.shard == 1).sum())
    assert sum(sum(batch.weight) for batch in batches) == CLIPS - skipped
    for before, after in zip(undisturbed, batches, strict=False):
        for place, weight in enumerate(after.weight):
            if weight:
                assert after.keys[place] == before.keys[place]
                assert (after.arrays["video"][place] == before.arrays["video"][place]).all()


@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_a_deleted_shard_is_a_storage_error(http_server, damaged, on_error):
    """No clip's damage: StorageError with URL, clip, range and what to check."""
    ways = http_server.ways(damaged)
    (damaged / "clips-000001.tar").unlink()
    url = f"{http_server.url(damaged)}/clips-000001.tar"
    words = rf"clip '\w+': {url}, bytes [\d,]+ to [\d,]+: not read: not found \(404\); check the URL"
    with (
        _loader(ways, on_error=on_error, max_skipped=1.0) as loader,
        pytest.raises(StorageError, match=words),
    ):
        deque(loader, maxlen=0)


@pytest.mark.parametrize("worker_type", WORKER_TYPES)
def test_a_shard_that_was_cut_is_a_corrupt_shard(http_server, damaged, worker_type):
    """The error names the clip that was lost and the shard's URL."""
    os.truncate(damaged / "clips-000001.tar", 1_000)
    words = rf"clip '\w+': {http_server.url(damaged)}/clips-000001.tar: ends before byte"
    with (
        _loader(http_server.ways(damaged), worker_type=worker_type) as loader,
        pytest.raises(CorruptShardError, match=words),
    ):
        deque(loader, maxlen=0)


def test_what_may_not_be_read_is_not_asked_for_again(http_server, packed):
    """403: StorageError with the remedy, after one request for each clip that was begun, and none a second time."""
    http_server.proxy.set_rules([FaultRule(Fault.FORBIDDEN, path="*.tar")])
    with (
        _loader(http_server.ways(packed)) as loader,
        pytest.raises(StorageError, match=r"not read: access denied \(403.*check the keys in storage_options"),
    ):
        deque(loader, maxlen=0)
    asked = [(served.path, served.range) for served in http_server.proxy.log() if served.path.endswith(".tar")]
    assert len(asked) == len(set(asked))


@pytest.fixture
def behind(http_server, packed):
    """`packed` at a distance of 100 ms, and the proxy that is the distance."""
    with fault_proxy(http_server.proxy.url, link=Link(latency_s=0.1)) as proxy:
        yield proxy.url + http_server.url(packed).removeprefix(http_server.proxy.url), proxy


def test_a_worker_killed_while_its_reads_are_under_way_costs_nothing(behind, undisturbed):
    """Kill -9, several times: whoever takes its place reads what it had claimed, and batches are the same."""
    url, _ = behind
    with _loader(url, epochs=3, workers=2) as loader:
        batches = []
        for batch in loader:
            batches.append(snapshot(batch))
            if len(batches) in (1, 2, 7):
                os.kill(next(iter(loader._engine._crew.pids().values())), signal.SIGKILL)
        assert loader.stats().replaced_workers > 0
    assert batches == undisturbed


def test_all_workers_killed_at_once_cost_nothing(behind, undisturbed):
    """With all their reads."""
    url, _ = behind
    with _loader(url, epochs=3) as loader:
        iterator = iter(loader)
        batches = [snapshot(next(iterator))]
        for pid in loader._engine._crew.pids().values():
            os.kill(pid, signal.SIGKILL)
        batches += [snapshot(batch) for batch in iterator]
    assert batches == undisturbed


def _under_way():
    """Reads that somebody in this process still counts as under way, and their bytes."""
    fetchers = [each for each in gc.get_objects() if type(each) is Fetcher and not each._closing.is_set()]
    return sum(each._ahead for each in fetchers), sum(each._ahead_bytes for each in fetchers)


@pytest.mark.parametrize("worker_type", WORKER_TYPES)
def test_abandoned_iterations_leave_nothing_behind(behind, undisturbed, worker_type):
    """Six loops are left after a batch, with reads under way: the next epochs are whole, and nothing is held."""
    url, _ = behind
    with _loader(url, worker_type=worker_type, epochs=3) as loader:
        next(iter(loader))
        pids = dict(loader._engine._crew.pids())
        began_s = time.monotonic()
        for _ in range(6):
            next(iter(loader))
        took_s = time.monotonic() - began_s
        assert snapshots(loader) == undisturbed
        assert loader._engine._crew.pids() == pids
        assert _under_way() == (0, 0)
    assert took_s < 60


@pytest.mark.parametrize("worker_type", WORKER_TYPES)
def test_close_does_not_wait_for_a_server_that_stalls(behind, worker_type):
    """With reads under way that never come, it takes a few seconds at most, and worker processes are gone."""
    url, proxy = behind
    proxy.set_rules([FaultRule(Fault.STALL, path="*/clips-00000[1-9].tar", stall_s=100.0)])
    loader = _loader(url, worker_type=worker_type, shuffle=False)
    batches = iter(loader)
    next(batches)
    pids = list(loader._engine._crew.pids().values())
    began_s = time.monotonic()
    loader.close()
    assert time.monotonic() - began_s < 20
    wait_until(lambda: not any(map(is_running, pids)))


def test_single_clips_are_those_of_a_disk(ways, packed):
    """ds[i] and ds[key], from several threads at once."""
    near, far = shardkit.open(packed), _open(ways)
    assert far.keys == near.keys
    for which in (0, 5, "clip22_0", -1):
        one, other = near[which], far[which]
        assert one.key == other.key
        for name in ("video", "audio", "frame_times_s"):
            first, second = getattr(one, name), getattr(other, name)
            assert (first is None) == (second is None)
            assert first is None or (first == second).all()


def test_an_open_data_set_can_be_sent_to_another_process(object_server, packed, tmp_path):
    """Pickled with its storage options, and opened again there; a selection stays one."""
    selected = _open(object_server.ways(packed)).select(split="train")
    (tmp_path / "pickled").write_bytes(pickle.dumps(selected))
    script = """
        import pickle, sys, tempfile
        tempfile.tempdir = sys.argv[1]
        ds = pickle.load(open(sys.argv[1] + "/pickled", "rb"))
        print(*ds.keys, ds[0].video.sum())
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [*selected.keys, str(selected[0].video.sum())]


def test_an_index_is_copied_once(http_server, packed, tmp_path):
    """By whichever process comes first; the others, at the same time or later, map its copy."""
    script = """
        import sys, tempfile
        tempfile.tempdir = sys.argv[1]
        import shardkit
        print(len(shardkit.open(sys.argv[2])))
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path), http_server.url(packed)]
    others = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [other.communicate(timeout=150)[0] for other in others] == [f"{CLIPS}\n"] * 2
    assert len(shardkit.open(http_server.url(packed))) == CLIPS
    assert len(http_server.asked("index.arrow")) == 1


def test_a_data_set_that_is_dropped_lets_go_of_its_index(http_server, packed):
    """No descriptor stays for each that was opened."""
    shardkit.open(http_server.url(packed))
    gc.collect()
    descriptors = descriptor_count()
    for _ in range(5):
        shardkit.open(http_server.url(packed))
    gc.collect()
    wait_until(lambda: descriptor_count() <= descriptors + 1)


def test_an_index_that_came_damaged_is_refused(http_server, packed):
    """A flipped byte on the way: CorruptShardError, and no damaged copy that others would map."""
    http_server.proxy.set_rules([FaultRule(Fault.CORRUPT, first=1, path="*/index.arrow")])
    with pytest.raises(CorruptShardError, match=r"index.arrow: xxh3 is"):
        shardkit.open(http_server.url(packed))
    assert len(shardkit.open(http_server.url(packed))) == CLIPS


def test_a_url_without_a_data_set_is_a_data_error(http_server, tmp_path):
    """It says that there is no manifest, and what to do."""
    with pytest.raises(DataError, match=r"none: no dataset.json, so no data set: .*check the path"):
        _open(http_server.ways(tmp_path / "none"))


@pytest.mark.parametrize("engine", ["obstore", "fsspec"])
def test_a_bucket_that_does_not_exist_is_a_storage_error(object_server, engine):
    """It says so in the server's words, whichever client reads, and not that packing was not finished."""
    with pytest.raises(StorageError, match=r"s3://none0/dataset.json: .*NoSuchBucket.*; check the URL, bucket"):
        _open(object_server.ways(object_server.root / "none0", engine))


# A cache on this machine's disk.


def _fill(server, dataset, shards):
    """Has shards of a data set with a cache fetched into it; what was asked for by then is forgotten."""
    keeper = dataset.store.keeper()
    cache, files = dataset.store.node_cache(), dataset.store.cached_files()
    thread = threading.Thread(target=keeper.run, args=[lambda: shards])
    thread.start()
    until_s = time.monotonic() + 30
    for shard in shards:
        while (held := cache.hold(files[shard])) is None:
            assert time.monotonic() < until_s
            time.sleep(0.01)
        held.close()
    keeper.close()
    thread.join()
    server.proxy.stats()  # which waits for requests that are not entered yet
    server.proxy.set_rules([])


def _shard_requests(server):
    return sum(served.path.endswith(".tar") for served in server.proxy.log())


@pytest.mark.parametrize("worker_type", WORKER_TYPES)
def test_copies_are_read_where_they_are_there(http_server, packed, undisturbed, tmp_path, worker_type):
    """All shards are in cache_dir: the same batches, and not one request for a shard."""
    dataset = _open(http_server.ways(packed), cache_dir=tmp_path / "cache", cache_limit="1GB")
    _fill(http_server, dataset, range(len(dataset.shard_names)))
    with _loader(dataset, worker_type=worker_type, epochs=3) as loader:
        assert snapshots(loader) == undisturbed
    assert _shard_requests(http_server) == 0


@pytest.mark.parametrize("worker_type", WORKER_TYPES)
def test_what_has_no_copy_comes_from_afar(http_server, packed, undisturbed, tmp_path, worker_type):
    """One shard is in cache_dir: its clips cost no request, each of the others does."""
    dataset = _open(http_server.ways(packed), cache_dir=tmp_path / "cache")
    _fill(http_server, dataset, [1])
    with _loader(dataset, worker_type=worker_type) as loader:
        assert snapshots(loader) == undisturbed[: len(undisturbed) // 3]
    asked = {served.path.rpartition("/")[2] for served in http_server.proxy.log() if served.path.endswith(".tar")}
    assert asked == set(dataset.shard_names) - {"clips-000001.tar"}


@pytest.mark.parametrize("worker_type", WORKER_TYPES)
def test_a_damaged_copy_is_read_past(http_server, packed, undisturbed, tmp_path, worker_type):
    """Bytes of a copy rot, of another the end is lost: the same batches, and both are gone, or fetched anew."""
    dataset = _open(http_server.ways(packed), cache_dir=tmp_path / "cache")
    _fill(http_server, dataset, range(len(dataset.shard_names)))
    paths = [tmp_path / "cache" / file.name for file in dataset.store.cached_files()]
    paths[0].write_bytes(bytes(paths[0].stat().st_size))
    os.truncate(paths[1], 1_000)
    with _loader(dataset, worker_type=worker_type, epochs=3) as loader:
        assert snapshots(loader) == undisturbed
    for path, name in zip(paths, dataset.shard_names, strict=True):
        assert not path.exists() or path.read_bytes() == (packed / name).read_bytes()


def test_a_cache_that_cannot_be_is_an_error_when_it_is_opened(http_server, packed, tmp_path):
    """A file in its place, a limit without a folder, a limit of nothing, a URL: each says what is wrong."""
    (tmp_path / "file").touch()
    for options, error, words in (
        ({"cache_dir": tmp_path / "file"}, StorageError, "a file stands where a folder is needed"),
        ({"cache_limit": "1GB"}, UsageError, "give cache_dir too"),
        ({"cache_dir": tmp_path / "cache", "cache_limit": 0}, UsageError, "at least one byte"),
        ({"cache_dir": "s3://bucket/cache"}, UsageError, "a path on this machine"),
        ({"cache_dir": tmp_path / "small", "cache_limit": 100}, StorageError, "no room for .*index.arrow"),
    ):
        with pytest.raises(error, match=words):
            _open(http_server.ways(packed), **options)
