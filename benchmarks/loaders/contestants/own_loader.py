"""shardkit itself."""

from collections.abc import Iterator

import shardkit
from benchmarks.loaders.contestants.contract import Contestant, Delivered, Work, batches


def stream(work: Work) -> Iterator[Delivered]:
    """As shipped, but for the worker count, which is tuned for every contestant."""
    dataset = shardkit.open(work.folder.packed(work.stored))
    (label_set,) = dataset.label_sets
    with shardkit.loader(
        dataset,
        batch_size=work.scale.batch_size,
        size=work.scale.side,
        crop="center",
        seed=work.seed,
        workers=work.setup.workers,
        decoder="decord" if work.decoder == "decord" else "auto",
    ) as loader:
        for batch in batches(work.epochs, loader):
            yield Delivered(batch.video, batch.audio, batch.labels[label_set.name][:, 0], batch.keys)


CONTESTANTS = {"shardkit": Contestant(stream)}
