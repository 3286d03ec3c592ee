"""Loaders that keep shards in a node's cache: the same batches, within a limit, whoever else uses it or dies."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from snapshots import snapshots
from started_servers import started
from watching import children, open_files, wait_until

import shardkit
from benchmarks.storage.fault_proxy import fault_proxy
from benchmarks.storage.link import Link
from benchmarks.storage.servers import nginx_server
from shardkit.errors import StorageError, UsageError
from shardkit.loading.ranks import Ranks
from shardkit.loading.usage import process_usage
from shardkit.planning.steps import rank_positions

LIMITED = """
import json, os, resource, sys, time
import shardkit

if __name__ == "__main__":
    url, cache, worker_type, soft = *sys.argv[1:4], int(sys.argv[4])
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    options = {"batch_size": 4, "workers": 1, "modalities": ["audio"], "worker_type": worker_type}
    with shardkit.loader(url, cache_dir=cache, **options) as loader:
        while not loader.stats().storage.cached_clips:
            list(loader)
        pids = loader._engine._crew.pids()
        keeper = pids[loader._engine._keeper] if pids else 0
        print(resource.prlimit(keeper, resource.RLIMIT_NOFILE)[0])
"""
OPTIONS = {"batch_size": 4, "seed": 5, "workers": 2, "size": 32}
RANK = """
import json, sys
import shardkit

if __name__ == "__main__":
    url, cache = sys.argv[1:]
    loader = shardkit.loader(url, cache_dir=cache, batch_size=4, seed=5, workers=1, modalities=["audio"])
    share = 0.0
    while share < 1.0:
        before, keys = loader.stats(), set()
        for batch in loader:
            keys |= {key for key, weight in zip(batch.keys, batch.weight.tolist()) if weight}
        share = loader.stats().since(before).cached_share
        print(json.dumps({"clips": len(keys), "cached_share": share}), flush=True)
    loader.close()
"""


@pytest.fixture(scope="module")
def served(packed):
    """URL of the data set, from nginx."""
    with started(nginx_server(packed.parent)) as server:
        yield f"{server.url}/{packed.name}"


def _used_bytes(folder: Path) -> int:
    total = 0
    for path in folder.iterdir():
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue
    return total


@pytest.mark.parametrize("worker_type", ["process", "thread"])
def test_epochs_from_copies_are_those_from_the_disk(packed, served, tmp_path, worker_type):
    """Over several epochs the batches are the same; in the end all clips come from copies, and nothing is asked for."""
    with (
        shardkit.loader(packed, **OPTIONS) as near,
        shardkit.loader(served, cache_dir=tmp_path / "cache", worker_type=worker_type, **OPTIONS) as far,
    ):
        while True:
            before = far.stats()
            assert snapshots(far) == snapshots(near)
            if far.stats().since(before).cached_share == 1.0:
                break
            time.sleep(0.2)
        # The keeper may have ended its last request after `before`.
        before = far.stats()
        assert snapshots(far) == snapshots(near)
        assert far.stats().since(before).storage.requests == 0
    shards = len(shardkit.open(packed).manifest.shards)
    names = sorted(path.name for path in (tmp_path / "cache").iterdir())
    assert sum(".tar." in name for name in names) == shards
    assert not any(name.endswith(".part") for name in names)


@pytest.mark.parametrize("shuffle_shards", [None, 1])
def test_a_cache_of_half_the_size_is_never_exceeded_and_starves_nobody(packed, served, tmp_path, shuffle_shards):
    """With a limit of half the data set, epochs are whole, and at no time is there more in the folder."""
    sizes = [shard.size_bytes for shard in shardkit.open(packed).manifest.shards]
    index_bytes = shardkit.open(packed).manifest.index.size_bytes
    limit = index_bytes + max(sum(sizes) // 2, 2 * max(sizes))
    assert limit < index_bytes + sum(sizes)
    cache, most, over = tmp_path / "cache", [0], threading.Event()

    def watch():
        while not over.wait(0.005):
            most[0] = max(most[0], _used_bytes(cache) if cache.exists() else 0)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        options = OPTIONS | {"shuffle_shards": shuffle_shards}
        with (
            shardkit.loader(packed, **options) as near,
            shardkit.loader(served, cache_dir=cache, cache_limit=limit, **options) as far,
        ):
            for _ in range(6):
                assert snapshots(far) == snapshots(near)
                time.sleep(0.3)
            wait_until(lambda: snapshots(far) == snapshots(near) and far.stats().storage.cached_clips)
    finally:
        over.set()
        watcher.join()
    assert 0 < most[0] <= limit


def test_a_damaged_copy_is_read_past_and_replaced(packed, served, tmp_path):
    """A copy that was damaged on this disk costs no clip: its bytes are fetched anew, and so is the copy."""
    cache, shards = tmp_path / "cache", {path.name: path.read_bytes() for path in packed.glob("*.tar")}

    def copied():
        return {f"{path.name.partition('.tar')[0]}.tar": path.read_bytes() for path in _copies(cache)}

    with shardkit.loader(packed, **OPTIONS) as near, shardkit.loader(served, cache_dir=cache, **OPTIONS) as far:
        wait_until(lambda: snapshots(far) == snapshots(near) and copied() == shards)
        # By now they are held, and new wants change nothing.
        wait_until(lambda: snapshots(far) == snapshots(near) and far.stats().storage.cached_clips > 60)
        for path in _copies(cache):
            data = bytearray(path.read_bytes())
            data[1000::100] = bytes(255 - byte for byte in data[1000::100])
            with path.open("r+b") as file:
                file.write(data)
        assert copied() != shards
        assert snapshots(far) == snapshots(near)
        wait_until(lambda: copied() == shards)


def _copies(cache: Path) -> list[Path]:
    """Whole shards."""
    return [path for path in cache.glob("*.tar.*") if path.suffix != ".part"]


def _parts(cache: Path) -> list[str]:
    """Half files."""
    return [path.name for path in cache.iterdir() if path.name.endswith(".part")] if cache.exists() else []


def _fetching(ranks, cache: Path):
    """Ranks that fetch a shard, each with its half file."""
    for rank in ranks:
        for pid in children(rank.pid):
            with suppress(FileNotFoundError):  # it ended
                for path in open_files(cache, pid):
                    if ".tar." in path.name and path.suffix == ".part":
                        yield rank, path


def test_a_rank_killed_while_it_downloads_leaves_nothing_that_stops_the_other(packed, tmp_path):
    """Kill -9 of the one that fetches, of two with one cache: the other has its shard in 15 s; no half file stays."""
    cache = tmp_path / "cache"
    shard_bytes = max(shard.size_bytes for shard in shardkit.open(packed).manifest.shards)
    # So slow that a shard takes an eighth of a second.
    link = Link(bytes_per_s=8 * shard_bytes)
    with started(nginx_server(packed.parent)) as server, fault_proxy(server.url, link=link) as proxy:
        command = [sys.executable, "-c", RANK, f"{proxy.url}/{packed.name}", str(cache)]
        ranks = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
        killed, part = wait_until(lambda: next(_fetching(ranks, cache), None))
        (other,) = {*ranks} - {killed}
        with killed:
            killed.kill()
            began_s = time.monotonic()
        wait_until(part.with_suffix("").exists, timeout_s=15.0)
        print(f"the other had the shard after {time.monotonic() - began_s:.1f} s")
        told, _ = other.communicate(timeout=150)
    assert other.returncode == 0
    epochs = [json.loads(line) for line in told.splitlines()]
    assert {epoch["clips"] for epoch in epochs} == {24}
    assert epochs[-1]["cached_share"] == 1.0
    wait_until(lambda: not _parts(cache))


def test_a_keeper_is_none_of_the_workers(served, tmp_path):
    """Stats have the memory and CPU time of those that load, and the keeper's time apart; also of one that died."""
    with shardkit.loader(served, cache_dir=tmp_path / "cache", **OPTIONS) as far:
        wait_until(lambda: snapshots(far) and far.stats().storage.cached_clips)
        before = far.stats()
        assert len(before.worker_private_bytes) == before.workers == 2
        pids = far._engine._crew.pids()
        workers_s = sum(process_usage(pid).cpu_s for number, pid in pids.items() if number != far._engine._keeper)
        assert before.worker_cpu_s <= workers_s <= before.worker_cpu_s + 0.5
        assert before.keeper_cpu_s > 0
        os.kill(pids[far._engine._keeper], signal.SIGKILL)
        wait_until(lambda: snapshots(far) and far.stats().replaced_workers)
        assert far.stats().keeper_cpu_s >= before.keeper_cpu_s
        assert far._engine.gone_cpu_s == 0


def test_a_keeper_that_dies_is_replaced(packed, served, tmp_path):
    """Kill -9 of the process that fetches shards: another takes its place, and every epoch is whole."""
    with shardkit.loader(served, cache_dir=tmp_path / "cache", **OPTIONS) as far:
        next(iter(far))
        os.kill(far._engine._crew.pids()[far._engine._keeper], signal.SIGKILL)
        # The first one may have fetched enough; that it is gone is seen while a batch is waited for.
        wait_until(lambda: len(snapshots(far)) == 6 and far.stats().replaced_workers)
        wait_until(lambda: len(snapshots(far)) == 6 and far.stats().storage.cached_clips)
        assert far.stats().replaced_workers == 1


def test_a_step_of_padding_wants_nothing_new(served, tmp_path, monkeypatch):
    """The last of five ranks has only padding in its last step: what it wants stays what it was before."""
    monkeypatch.setattr("shardkit.loading.loader.resolve_ranks", lambda: Ranks(4, 5))
    options = OPTIONS | {"batch_size": 2, "shuffle_shards": 1}
    with shardkit.loader(served, cache_dir=tmp_path / "cache", worker_type="thread", **options) as far:
        assert [batch.weight.tolist() for batch in far] == [[1.0, 1.0], [1.0, 1.0], [0.0, 0.0]]
        first = int(rank_positions(10, rank=4, world=5, batch_size=2)[0])
        assert far._engine._board.wanted() == far._order_of(0).shards_from(first)


@pytest.mark.parametrize(("worker_type", "others"), [("process", 64), ("thread", 1024 + 64)])
def test_all_shards_can_be_kept_whatever_the_limit_of_open_files_was(packed, served, tmp_path, worker_type, others):
    """The limit of the process that holds them is raised: by what it needs for all shards, and for other things."""
    command = [sys.executable, "-c", LIMITED, served, str(tmp_path / "cache"), worker_type, "64"]
    told = subprocess.run(command, capture_output=True, text=True, timeout=150, check=False)
    assert told.returncode == 0, told.stderr
    assert int(told.stdout) == others + len(shardkit.open(packed).manifest.shards)


def test_a_cache_that_cannot_be_written_to_is_an_error_at_once(served, tmp_path):
    """A file where the folder should be: StorageError that names it and the remedy, when the data set is opened."""
    (tmp_path / "cache").write_text("not a folder")
    with pytest.raises(StorageError, match=r"cache: .*"):
        shardkit.open(served, cache_dir=tmp_path / "cache")


def test_a_limit_without_a_folder_is_refused(served):
    """cache_limit without cache_dir, and sizes that are none: UsageError."""
    with pytest.raises(UsageError, match="give cache_dir too"):
        shardkit.open(served, cache_limit="1GB")
    with pytest.raises(UsageError, match="cache_dir='': a folder is needed"):
        shardkit.open(served, cache_dir="")
    with pytest.raises(UsageError, match="no size"):
        shardkit.open(served, cache_dir="x", cache_limit="plenty")


def test_a_limit_that_holds_no_shard_is_refused(packed, served, tmp_path):
    """A byte less than index and largest shard: UsageError that names both; as much as they have: shards are kept."""
    largest = max(packed.glob("*.tar"), key=lambda path: path.stat().st_size)
    shard_bytes, index_bytes = largest.stat().st_size, shardkit.open(packed).manifest.index.size_bytes
    limit = shard_bytes + index_bytes
    words = (
        rf"cache_limit is {limit - 1:,} bytes, and {largest.name} alone has {shard_bytes:,} "
        rf"beside index\.arrow with {index_bytes:,}:"
    )
    with pytest.raises(UsageError, match=words):
        shardkit.open(served, cache_dir=tmp_path, cache_limit=limit - 1)
    with shardkit.loader(served, cache_dir=tmp_path, cache_limit=limit, **OPTIONS) as far:
        wait_until(lambda: snapshots(far) and far.stats().storage.cached_clips)
