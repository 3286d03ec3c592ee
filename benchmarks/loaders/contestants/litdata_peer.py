"""litdata: the same members in its own chunks, streamed from the local folder."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import litdata

from benchmarks.loaders.cases import Stored
from benchmarks.loaders.contestants.contract import Contestant, Delivered, Work, batches
from benchmarks.loaders.contestants.gathering import PREFETCH_BATCHES, ClipMaker, collate, delivered
from benchmarks.loaders.prepare import BenchFolder, ClipPlace
from benchmarks.loaders.scale import Scale

NAME = "litdata"


def sample(place: ClipPlace) -> dict:
    """What is stored of a clip: the members as they are."""
    video, audio = place.read()
    return {"video": video, "audio": audio, "label": place.label, "key": place.key}


def prepare(folder: BenchFolder, scale: Scale, stored: Stored) -> Path:
    """Chunks of the size that shards have."""

    def write(out: Path) -> None:
        # It empties its cache folders, which are TMPDIR/data and TMPDIR/chunks unless told otherwise.
        with tempfile.TemporaryDirectory() as cache, patch.dict(os.environ, _cache_folders(cache)):
            litdata.optimize(
                sample,
                folder.places(stored),
                str(out),
                chunk_bytes=scale.shard_bytes,
                num_workers=1,
                verbose=False,
            )

    return folder.make_copy(NAME, stored, write)


def _cache_folders(cache: str) -> dict[str, str]:
    return {
        "DATA_OPTIMIZER_CACHE_FOLDER": f"{cache}/chunks",
        "DATA_OPTIMIZER_DATA_CACHE_FOLDER": f"{cache}/data",
    }


def stream(work: Work) -> Iterator[Delivered]:
    """StreamingDataset in a StreamingDataLoader with persistent workers."""
    loader = made_loader(work, str(work.folder.copy(NAME, work.stored)))
    yield from delivered(batches(work.epochs, loader))


def made_loader(work: Work, source: str, **options: Any) -> litdata.StreamingDataLoader:
    """A loader of its chunks, wherever they are."""
    make = ClipMaker.of(work)
    dataset = litdata.StreamingDataset(
        source,
        shuffle=True,
        drop_last=False,
        seed=work.seed,
        transform=lambda item: make(item["video"], item["audio"], item["label"], item["key"]),
        **options,
    )
    return litdata.StreamingDataLoader(
        dataset,
        batch_size=work.scale.batch_size,
        num_workers=work.setup.workers,
        collate_fn=collate,
        persistent_workers=True,
        prefetch_factor=PREFETCH_BATCHES,
    )


CONTESTANTS = {NAME: Contestant(stream, prepare=prepare)}
