"""The limit of reading: a client that asks for what a loader asks for, in the same order, and does nothing else."""

import asyncio
import itertools
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import obstore
from fsspec.implementations.http import HTTPFileSystem
from obstore.store import from_url
from s3fs import S3FileSystem

from benchmarks.loaders.measurement import Measurement, Timing
from benchmarks.storage.readings import Moment, Pace
from benchmarks.storage.sites import Site
from shardkit.loading.dataset import Dataset
from shardkit.planning.order import EpochOrder

OBSTORE_AT_ONCE = 16
FSSPEC_AT_ONCE = 32
_LOOK_S = 0.05
"""Between two looks whether the time is over."""
Span = tuple[str, int, int]
"""Name of a shard, first byte, last byte + 1."""
Get = Callable[[str, int, int], Awaitable[Any]]


def epoch_spans(dataset: Dataset, *, seed: int) -> list[Span]:
    """What a loader asks for in its first epoch: a span for each clip, from its first frame to its last sample."""
    index = dataset.index
    order = EpochOrder(index.shard[dataset.rows], seed=seed, epoch=0, shuffle=True)
    spans = []
    for row in dataset.rows[order.take(np.arange(len(dataset)))]:
        frames = int(index.video_offset[row]) + index.packet_offset.row(row)
        samples = int(index.audio_offset[row])
        start = min(int(frames[0]), samples)
        stop = max(int(frames[-1] + index.packet_bytes.row(row)[-1]), samples + int(index.audio_bytes[row]))
        spans.append((dataset.shard_names[index.shard[row]], start, stop))
    return spans


def measured_client(
    client: str, site: Site, name: str, spans: list[Span], timing: Timing, *, pace: int | None
) -> Measurement:
    """Asks for the spans over and over, and counts them.

    Args:
        client: Name of the case's reader.
        site: Where.
        name: Of the data set there.
        spans: What.
        timing: How long.
        pace: Clips a second; None is as many as come.
    """
    endless = itertools.cycle(spans)
    if client == "bare-obstore-threads":
        return _in_threads(_obstore(site, name), endless, timing, Pace(pace))
    return asyncio.run(_in_tasks(client, site, name, endless, timing, Pace(pace)))


def _obstore(site: Site, name: str) -> Any:
    return from_url(f"{site.url(name)}/", **site.obstore_options)


def _in_threads(store: Any, spans: Iterator[Span], timing: Timing, pace: Pace) -> Measurement:
    taking, over = threading.Lock(), threading.Event()
    done: list[int] = [0] * OBSTORE_AT_ONCE
    failures: list[Exception] = []

    def run(thread: int) -> None:
        try:
            while not over.is_set():
                with taking:
                    file, start, stop = next(spans)
                    wait_s = pace.wait_s(1)
                time.sleep(wait_s)
                obstore.get_range(store, file, start=start, end=stop)
                done[thread] += 1
        except Exception as exc:  # noqa: BLE001 - raised below
            failures.append(exc)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(OBSTORE_AT_ONCE)]
    for thread in threads:
        thread.start()
    time.sleep(timing.warm_up_s)
    began = Moment.now(sum(done))
    while not failures and _goes_on(began, sum(done), timing):
        time.sleep(_LOOK_S)
    ended = Moment.now(sum(done))
    over.set()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return began.until(ended)


def _goes_on(began: Moment, clips: int, timing: Timing) -> bool:
    return clips - began.clips < timing.measured_batches or time.perf_counter() - began.at_s < timing.measured_s


async def _in_tasks(
    client: str, site: Site, name: str, spans: Iterator[Span], timing: Timing, pace: Pace
) -> Measurement:
    done = 0

    async def run(get: Get) -> None:
        nonlocal done
        while True:
            file, start, stop = next(spans)
            await asyncio.sleep(pace.wait_s(1))
            await get(file, start, stop)
            done += 1

    at_once = FSSPEC_AT_ONCE if client == "bare-fsspec" else OBSTORE_AT_ONCE
    async with _getter(client, site, name) as get:
        tasks = [asyncio.create_task(run(get)) for _ in range(at_once)]
        try:
            await asyncio.sleep(timing.warm_up_s)
            began = Moment.now(done)
            while _goes_on(began, done, timing):
                broken, _ = await asyncio.wait(tasks, timeout=_LOOK_S, return_when=asyncio.FIRST_COMPLETED)
                for task in broken:
                    task.result()
            return began.until(Moment.now(done))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def _getter(client: str, site: Site, name: str) -> AsyncIterator[Get]:
    """What asks for one span."""
    if client == "bare-obstore-asyncio":
        store = _obstore(site, name)
        yield lambda file, start, stop: obstore.get_range_async(store, file, start=start, end=stop)
        return
    options = {**site.storage_options, "asynchronous": True, "skip_instance_cache": True}
    files = S3FileSystem(**options) if site.is_store else HTTPFileSystem(**options)
    session = await files.set_session()
    folder = site.url(name)
    try:
        yield lambda file, start, stop: files._cat_file(f"{folder}/{file}", start=start, end=stop)
    finally:
        await session.close()
