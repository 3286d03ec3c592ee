"""shardkit itself."""

from collections.abc import Iterable, Iterator
from typing import Any

import shardkit
from benchmarks.loaders.contestants.contract import Contestant, Delivered, Work, batches
from shardkit.loading.batch import Batch
from shardkit.loading.dataset import Dataset
from shardkit.loading.loader import Loader


def stream(work: Work) -> Iterator[Delivered]:
    """As shipped, but for the worker count, which is tuned for every contestant."""
    with made_loader(work, shardkit.open(work.folder.packed(work.stored))) as loader:
        yield from delivered(loader, batches(work.epochs, loader))


def made_loader(work: Work, dataset: Dataset, **options: Any) -> Loader:
    """A loader of a data set, wherever that is."""
    return shardkit.loader(
        dataset,
        batch_size=work.scale.batch_size,
        size=work.scale.side,
        crop="center",
        seed=work.seed,
        workers=work.setup.workers,
        decoder="decord" if work.decoder == "decord" else "auto",
        **options,
    )


def delivered(loader: Loader, batches: Iterable[Batch]) -> Iterator[Delivered]:
    """Names the parts of a loader's batches."""
    (label_set,) = loader.dataset.label_sets
    for batch in batches:
        yield Delivered(batch.video, batch.audio, batch.labels[label_set.name][:, 0], batch.keys)


CONTESTANTS = {"shardkit": Contestant(stream)}
