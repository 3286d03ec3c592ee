"""Megatron-Energon on the packed tars, with the index that its own command makes; video through a cooker."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
from megatron.energon import (
    Cooker,
    DefaultTaskEncoder,
    Sample,
    WorkerConfig,
    basic_sample_keys,
    edataclass,
    get_loader,
    get_train_dataset,
    stateless,
)

from benchmarks.loaders.cases import Stored
from benchmarks.loaders.contestants.contract import Contestant, Delivered, Work
from benchmarks.loaders.contestants.gathering import PREFETCH_BATCHES, Clip, ClipMaker, collate, delivered
from benchmarks.loaders.prepare import BenchFolder
from benchmarks.loaders.scale import Scale

NAME = "energon"
SHUFFLED_CLIPS = 100
SEQUENCE_CLIPS = 100
"""Both from its quick start."""


@edataclass
class PackedClip(Sample):
    """A clip's members, as they are in the tar."""

    video: bytes
    audio: bytes
    message: bytes


@stateless
def cook(sample: dict) -> PackedClip:
    """Names the members."""
    return PackedClip(**basic_sample_keys(sample), video=sample["mp4"], audio=sample["wav"], message=sample["msg"])


class ClipEncoder(DefaultTaskEncoder):
    """Decodes and batches; both run in the workers."""

    cookers = (Cooker(cook),)
    # Its own decoder would open the members lazily; they are decoded here, once.
    decoder = None

    def __init__(self, make: ClipMaker) -> None:
        super().__init__()
        self._make = make

    @stateless
    def encode_sample(self, sample: PackedClip) -> Clip:
        """Decodes."""
        (label,) = msgpack.unpackb(sample.message)["labels"].values()
        return self._make(sample.video, sample.audio, label["ids"][0], sample.__key__.rpartition("/")[2])

    @stateless
    def batch(self, samples: list[Clip]) -> Any:
        """Stacks into shared memory."""
        return collate(samples)


def prepare(folder: BenchFolder, scale: Scale, stored: Stored) -> Path:
    """Links to the tars, indexed by `energon prepare`."""
    del scale

    def write(out: Path) -> None:
        for shard in folder.shards(stored):
            (out / shard.name).symlink_to(shard.absolute())
        command = [Path(sys.executable).with_name("energon"), "prepare", "--non-interactive", "--no-progress"]
        options = ["--split-parts", r"train:.*\.tar", "--sample-type", "CrudeWebdataset", out]
        subprocess.run([*map(str, command), *map(str, options)], check=True, capture_output=True)

    return folder.make_copy(NAME, stored, write)


def stream(work: Work) -> Iterator[Delivered]:
    """A training data set; it is endless, and buffers make its epochs run into one another."""
    dataset = get_train_dataset(
        work.folder.copy(NAME, work.stored),
        batch_size=work.scale.batch_size,
        shuffle_buffer_size=SHUFFLED_CLIPS,
        max_samples_per_sequence=SEQUENCE_CLIPS,
        worker_config=WorkerConfig(rank=0, world_size=1, num_workers=work.setup.workers, seed_offset=work.seed),
        task_encoder=ClipEncoder(ClipMaker.of(work)),
    )
    yield from delivered(get_loader(dataset, prefetch_factor=PREFETCH_BATCHES))


CONTESTANTS = {NAME: Contestant(stream, prepare=prepare, exact_epochs=False)}
