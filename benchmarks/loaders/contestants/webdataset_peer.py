"""webdataset on the packed tars, as its documentation advises: shards drawn with replacement, batched in workers."""

from collections.abc import Iterator, Sequence

import msgpack
import webdataset as wds

from benchmarks.loaders.contestants.contract import Contestant, Delivered, Work
from benchmarks.loaders.contestants.gathering import PREFETCH_BATCHES, Clip, ClipMaker, collate, delivered

SHUFFLED_CLIPS = 1000
"""The buffer that its examples shuffle with, of members not decoded yet. It is full before the first one comes, lest
filling it (two reads for each clip) were measured."""


def stream(work: Work) -> Iterator[Delivered]:
    """Endless with resampled shards; a single epoch with every shard once, split over the workers."""
    yield from delivered(made_loader(work, [str(path) for path in work.folder.shards(work.stored)]))


def made_loader(work: Work, urls: Sequence[str]) -> wds.WebLoader:
    """A loader of tars, wherever they are."""
    make = ClipMaker.of(work)

    def clip(sample: dict) -> Clip:
        (label,) = msgpack.unpackb(sample["msg"])["labels"].values()
        return make(sample["mp4"], sample["wav"], label["ids"][0], sample["__key__"])

    is_endless = work.epochs is None
    # A small set is not drawn again and again until the buffer is full.
    shuffled = min(SHUFFLED_CLIPS, work.scale.clips)
    dataset = (
        wds.WebDataset(
            list(urls), resampled=is_endless, shardshuffle=False if is_endless else len(urls), seed=work.seed
        )
        .shuffle(shuffled, initial=shuffled)
        .map(clip)
        .batched(work.scale.batch_size, collation_fn=collate)
    )
    return wds.WebLoader(
        dataset,
        batch_size=None,
        num_workers=work.setup.workers,
        persistent_workers=True,
        prefetch_factor=PREFETCH_BATCHES,
    )


CONTESTANTS = {"webdataset": Contestant(stream)}
