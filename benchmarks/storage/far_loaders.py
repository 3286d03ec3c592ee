"""shardkit and its peers on data that lie elsewhere: loaders of benchmarks/loaders, each on its own kind of URL."""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import shardkit
from benchmarks.loaders.contestants import own_loader
from benchmarks.loaders.contestants.contract import Delivered, Work
from benchmarks.loaders.contestants.gathering import delivered
from benchmarks.loaders.measure import measured_stream
from benchmarks.loaders.measurement import Measurement, Timing
from benchmarks.storage.cases import Case
from benchmarks.storage.contents import Contents
from benchmarks.storage.readings import Asked, Moment, Pace, Reading
from benchmarks.storage.sites import Site
from shardkit.loading.dataset import Dataset
from shardkit.loading.stats import LoaderStats

T = TypeVar("T")

ENDLESS_EPOCHS = 1 << 40


@dataclass(frozen=True, slots=True)
class NodeCache:
    """The folder where this machine keeps copies."""

    folder: str
    limit_bytes: int | None


def measured_loader(case: Case, site: Site, work: Work, timing: Timing, cache: NodeCache | None) -> list[Reading]:
    """A reading for each of the case's figures.

    Args:
        case: Who reads, and how.
        site: Where.
        work: What is loaded.
        timing: How long, where it is not whole epochs.
        cache: Where copies go: shardkit's, or litdata's own.
    """
    if case.reader == "webdataset":
        with closing(_webdataset(site, work)) as stream:
            return [Reading.of(measured_stream(stream, work.scale, timing))]
    if case.reader == "litdata":
        assert cache is not None
        return list(_litdata_epochs(case, site, work, cache))
    dataset = _opened(case, site, cache)
    if case.epochs is not None:
        return list(_own_epochs(case, work, dataset, cache))
    marks: list[LoaderStats] = []
    with own_loader.made_loader(work, dataset, epochs=ENDLESS_EPOCHS) as loader:
        stream = _paced(own_loader.delivered(loader, loader), Pace(case.pace))
        found = measured_stream(stream, work.scale, timing, mark=lambda: marks.append(loader.stats()))
    began, ended = marks
    return [Reading.of(found, asked=Asked.of_stats(ended.since(began)))]


def _opened(case: Case, site: Site, cache: NodeCache | None) -> Dataset:
    options: dict[str, Any] = {}
    if cache is not None:
        options = {"cache_dir": cache.folder, "cache_limit": cache.limit_bytes}
    dataset = shardkit.open(site.url(case.stored), storage_options=site.storage_options, **options)
    if case.reader == "shardkit-fsspec":
        dataset.store = replace(dataset.store, base=replace(dataset.store.base, engine="fsspec"))
    return dataset


def window_shards(dataset: Dataset, cache: NodeCache) -> int:
    """The most shards that can be shuffled among, where twice as many have to fit into a cache."""
    assert cache.limit_bytes is not None
    largest_bytes = max(shard.size_bytes for shard in dataset.manifest.shards)
    return max(1, cache.limit_bytes // largest_bytes // 2)


def _paced(stream: Iterator[Delivered], pace: Pace) -> Iterator[Delivered]:
    for batch in stream:
        time.sleep(pace.wait_s(len(batch.keys)))
        yield batch


def _own_epochs(case: Case, work: Work, dataset: Dataset, cache: NodeCache | None) -> Iterator[Reading]:
    options: dict[str, Any] = {}
    if case.cache == "half-windows":
        assert cache is not None
        options["shuffle_shards"] = window_shards(dataset, cache)
    assert case.epochs is not None
    with own_loader.made_loader(work, dataset, **options) as loader:
        for _ in range(case.epochs):
            # Looking at every byte costs time, so only where it is what is asked for.
            contents = Contents(dataset.keys) if case.route.faulty_share is not None else None
            began = loader.stats()
            found = _measured_epoch(loader, lambda batch: int(batch.weight.sum()), contents)
            yield Reading.of(
                found,
                asked=Asked.of_stats(loader.stats().since(began)),
                contents=None if contents is None else contents.digest(),
            )


def _measured_epoch(batches: Iterable[T], size: Callable[[T], int], contents: Contents | None = None) -> Measurement:
    """Of an epoch, from its first batch to its last."""
    began, clips = None, 0
    for batch in batches:
        if contents is not None:
            contents.add(batch)
        clips += size(batch)
        began = began or Moment.now(clips)
    assert began is not None
    return began.until(Moment.now(clips))


def _webdataset(site: Site, work: Work) -> Iterator[Delivered]:
    from benchmarks.loaders.contestants import webdataset_peer

    tars = (path.name for path in work.folder.shards(work.stored))
    yield from delivered(webdataset_peer.made_loader(work, [site.shell_url(work.stored, tar) for tar in tars]))


def _litdata_epochs(case: Case, site: Site, work: Work, cache: NodeCache) -> Iterator[Reading]:
    from litdata.streaming import downloader

    from benchmarks.loaders.contestants import litdata_peer

    # Whatever it does not put into `cache_dir` it puts below these.
    for name in ("DATA_OPTIMIZER_CACHE_FOLDER", "DATA_OPTIMIZER_DATA_CACHE_FOLDER"):
        os.environ[name] = cache.folder
    # Its quick way to S3 knows only https by itself.
    downloader._OBSTORE_CLIENT_OPTIONS["allow_http"] = "true"
    loader = litdata_peer.made_loader(
        work,
        site.url(work.folder.copy(litdata_peer.NAME, work.stored).name),
        storage_options=site.boto_options,
        cache_dir=str(Path(cache.folder) / "chunks"),
    )
    assert case.epochs is not None
    for _ in range(case.epochs):
        yield Reading.of(_measured_epoch(_checked(delivered(loader), work), lambda batch: len(batch.keys)))


def _checked(stream: Iterable[Delivered], work: Work) -> Iterator[Delivered]:
    for batch in stream:
        batch.check(work.scale)
        yield batch
