"""Measurement: a loader that runs for a while beside a loop that does nothing, or burns Python; and what that took."""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shardkit.loading.batch import Batch
from shardkit.loading.loader import Loader
from shardkit.loading.ring import AHEAD_BUFFERS, LEASED_BUFFERS
from shardkit.loading.stats import LoaderStats
from shardkit.loading.usage import process_usage

WARM_UP_S = 1.0
LEAST_BATCHES = AHEAD_BUFFERS + LEASED_BUFFERS
"""To warm up with: each ring buffer's pages are touched. To measure: more than are ready when the clock starts."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """What a loader did in the measured time."""

    stats: LoaderStats
    """Of the measured time, without start and warm-up."""
    tensors: Mapping[str, str]
    """Dtype and shape of a batch's video, audio and features."""
    first_batch_s: float
    """From the call that makes the loader to the first batch: opens the data set, starts workers, fills a batch."""
    passes_before: float
    """How often all clips were loaded before the measured time; from 1 on, shards are as warm as memory allows."""
    cpu_s: float
    """CPU time of trainer and workers in the measured time, without what the loop burnt."""
    consumer_cpu_s: float
    """What the loop burnt."""
    trainer_private_bytes: int
    """Memory of the training process beyond the ring, at the end; 0 where the system does not tell."""

    @property
    def cpu_s_per_clip(self) -> float:
        """CPU seconds that a clip costs, wherever they are spent: on padding too, which is none itself."""
        return self.cpu_s / self.stats.clips if self.stats.clips else 0.0

    @classmethod
    def joined(cls, ranks: "Sequence[Measurement]") -> "Measurement":
        """Those of several ranks at the same time as one."""
        return cls(
            stats=LoaderStats.joined([rank.stats for rank in ranks]),
            tensors=ranks[0].tensors,
            first_batch_s=max(rank.first_batch_s for rank in ranks),
            passes_before=sum(rank.passes_before for rank in ranks),
            cpu_s=sum(rank.cpu_s for rank in ranks),
            consumer_cpu_s=sum(rank.consumer_cpu_s for rank in ranks),
            trainer_private_bytes=max(rank.trainer_private_bytes for rank in ranks),
        )

    def to_json(self) -> dict[str, Any]:
        """All of it, and what follows from it."""
        return {
            **self.stats.to_json(),
            "cpu_s_per_clip": self.cpu_s_per_clip,
            "consumer_cpu_s": self.consumer_cpu_s,
            "trainer_private_bytes": self.trainer_private_bytes,
            "first_batch_s": self.first_batch_s,
            "passes_before": self.passes_before,
            "tensors": dict(self.tensors),
        }


def measure(
    start: Callable[[], Loader], *, seconds: float, consumer_s: float = 0.0, warm_up_s: float = WARM_UP_S
) -> Measurement:
    """Runs a loader, warms it up and measures it.

    Args:
        start: Makes the loader, whose iteration must not end meanwhile; it is closed afterwards.
        seconds: How long to measure; at least LEAST_BATCHES batches are.
        consumer_s: CPU time in Python that the loop burns on each batch, with the interpreter's lock held.
        warm_up_s: How long to run before, and at least LEAST_BATCHES batches.

    Raises:
        UsageError: An option of the loader is wrong.
        DataError: A clip is damaged.
        StorageError: The data set cannot be read.
        WorkerError: Workers cannot be started.
    """
    began_s = time.monotonic()
    with start() as loader:
        batches: Iterator[Batch] = iter(loader)
        tensors = _tensors(next(batches))
        first_batch_s = time.monotonic() - began_s
        _consume(batches, seconds=warm_up_s, consumer_s=consumer_s)
        before, cpu_before_s = loader.stats(), time.process_time()
        burnt_s = _consume(batches, seconds=seconds, consumer_s=consumer_s)
        after, cpu_after_s = loader.stats(), time.process_time()
        usage = process_usage(os.getpid())
        stats = after.since(before)
        # This process's own time and not its children's: workers that ended are in the stats as well.
        spent_s = cpu_after_s - cpu_before_s + stats.worker_cpu_s + stats.keeper_cpu_s
        return Measurement(
            stats=stats,
            tensors=tensors,
            first_batch_s=first_batch_s,
            passes_before=before.clips / len(loader.dataset),
            cpu_s=spent_s - burnt_s,
            consumer_cpu_s=burnt_s,
            trainer_private_bytes=0 if usage is None else usage.private_bytes,
        )


def _consume(batches: Iterator[Batch], *, seconds: float, consumer_s: float) -> float:
    """Takes batches for a while; returns the CPU time burnt. Each is held meanwhile, as a training step holds it."""
    burnt_s = 0.0
    until_s = time.monotonic() + seconds
    for count, _batch in enumerate(batches, start=1):
        burnt_s += burn(consumer_s)
        if count >= LEAST_BATCHES and time.monotonic() >= until_s:
            break
    return burnt_s


def burn(cpu_s: float) -> float:
    """Burns as much CPU time in Python, whatever else runs; returns the seconds."""
    began_s = time.thread_time()
    spent_s = 0.0
    while spent_s < cpu_s:
        spent_s = time.thread_time() - began_s
    return spent_s


def _tensors(batch: Batch) -> dict[str, str]:
    named = {"video": batch.video, "audio": batch.audio, **batch.features}
    return {
        name: f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
        for name, tensor in named.items()
        if tensor is not None
    }
