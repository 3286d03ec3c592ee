"""LoaderStats: what a loader's workers and the loop that it feeds did, and which of them the others waited for."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from shardkit.errors import UsageError
from shardkit.loading.ring import AHEAD_BUFFERS
from shardkit.loading.tally import Tally
from shardkit.storage.request_meter import RequestMeter

BUSY_SHARE = 0.9
"""Workers busier than this are the limit: the rest is waking up and handing over."""
EMPTY_SHARE, BUSY_WHEN_EMPTY_SHARE = 0.25, 0.6
"""Where the loop finds less of the ring filled than the first, those busier than the second are the limit too."""
WAITED_SHARE = 0.05
"""A loop that waits for less than this of its time is not held up by its workers."""
OWN_SHARE = 0.5
"""A training process that runs the loader's own code for more of its time than this has no time for the loop."""
CORE_SHARE = 0.75
"""Busy workers that get less of a core than this share it with others."""
_BOUNDS = {
    "storage": ("read",),
    "check": ("check",),
    "decode": ("decode", "audio"),
    "overhead": ("other",),
}
"""What busy workers can be bound by, to the stages that it shows in."""


@dataclass(frozen=True, slots=True)
class LoaderStats:
    """Sums from the start of the workers on; `since` gives those of a part of the time."""

    at_s: float
    """When they were taken, on the clock of `time.monotonic`."""
    began_s: float | None
    """When the workers started, on that clock; None where none have."""
    seconds: float
    batch_size: int
    batches: int
    """Handed out."""
    clips: int
    """Real ones in these batches, those with weight 1: neither padding nor what was skipped."""
    consumer_wait_s: float
    """How long the training loop waited for batches that were not filled yet."""
    start_wait_s: float
    """The part of it that was for the first batch of an iteration, when nothing can have been loaded ahead."""
    collate_s: float
    """How long the loader's own code ran in the training process: planning, labels, `transform`, moving to the
    device."""
    ready_batches: float
    """Sum over all batches of how many were filled when the loop asked for one."""
    workers: int
    replaced_workers: int
    worker_cpu_s: float
    """CPU time of all worker processes, those that were replaced included; 0 for threads."""
    tally: Tally
    """Sums over all workers, those that were replaced included; of all that they did: padding, and batches that are not
    handed out yet, are clips there."""
    storage: RequestMeter
    """What was asked of a storage that is far away: requests, their bytes and latencies, retries, clips from copies."""
    ring_bytes: int
    """Memory of the ring, which all processes share."""
    worker_private_bytes: tuple[int, ...]
    """Memory of each worker process beyond the ring; none for threads."""
    keeper_cpu_s: float = 0.0
    """CPU time of the process that fetches shards into a cache, which is none of the workers; 0 for a thread."""
    ranks: int = 1
    """Loaders whose sums these are."""

    @classmethod
    def of_nothing(cls, *, batch_size: int) -> "LoaderStats":
        """Those of a loader that has had no workers yet."""
        return cls(
            at_s=time.monotonic(),
            began_s=None,
            seconds=0.0,
            batch_size=batch_size,
            batches=0,
            clips=0,
            consumer_wait_s=0.0,
            start_wait_s=0.0,
            collate_s=0.0,
            ready_batches=0.0,
            workers=0,
            replaced_workers=0,
            worker_cpu_s=0.0,
            tally=Tally(),
            storage=RequestMeter(),
            ring_bytes=0,
            worker_private_bytes=(),
        )

    def since(self, earlier: "LoaderStats") -> "LoaderStats":
        """The part after `earlier`, which is all where no workers had started by then; memory stays that of now.

        Raises:
            UsageError: `earlier` is the later one, or other workers' (`close()` ends them).
        """
        if earlier.at_s > self.at_s:
            raise UsageError("these stats are the earlier ones: ask the later ones, later.since(earlier)")
        if earlier.began_s is None:
            return self
        if earlier.began_s != self.began_s:
            raise UsageError(
                "the earlier stats are of other workers: another loader's, or those of before close(); take both from "
                "one loader, without close() between them",
            )
        sums = ("batches", "clips", "consumer_wait_s", "start_wait_s", "collate_s", "ready_batches", "replaced_workers")
        return replace(
            self,
            seconds=self.at_s - earlier.at_s,
            **{
                name: getattr(self, name) - getattr(earlier, name)
                for name in (*sums, "worker_cpu_s", "keeper_cpu_s", "tally", "storage")
            },
        )

    @classmethod
    def joined(cls, ranks: "Sequence[LoaderStats]") -> "LoaderStats":
        """Those of several ranks at the same time as one: counts are sums, times of the loops are means."""
        first, count = ranks[0], len(ranks)
        counts = ("batches", "clips", "ready_batches", "workers", "replaced_workers", "ranks")
        sums = (*counts, "worker_cpu_s", "keeper_cpu_s", "ring_bytes")
        means = ("seconds", "consumer_wait_s", "start_wait_s", "collate_s")
        return replace(
            first,
            tally=sum((rank.tally for rank in ranks), start=Tally()),
            storage=sum((rank.storage for rank in ranks), start=RequestMeter()),
            worker_private_bytes=tuple(size for rank in ranks for size in rank.worker_private_bytes),
            **{name: sum(getattr(rank, name) for rank in ranks) for name in sums},
            **{name: sum(getattr(rank, name) for rank in ranks) / count for name in means},
        )

    @property
    def clips_per_s(self) -> float:
        """Clips handed out a second, without padding."""
        return _ratio(self.clips, self.seconds)

    @property
    def mb_per_s(self) -> float:
        """Megabytes that workers read of shards a second."""
        return _ratio(self.tally.read_bytes / 1e6, self.seconds)

    @property
    def busy_share(self) -> float:
        """Share of their time in which workers had work, 0 to 1."""
        return min(1.0, _ratio(self.tally.busy_ns / 1e9, self.seconds * self.workers))

    @property
    def waited_share(self) -> float:
        """Share of its time in which the training loop waited for batches, 0 to 1."""
        return min(1.0, _ratio(self.consumer_wait_s, self.seconds))

    @property
    def collate_share(self) -> float:
        """Share of its time in which the training process ran the loader's own code, 0 to 1."""
        return min(1.0, _ratio(self.collate_s, self.seconds))

    @property
    def ring_occupancy(self) -> float:
        """Filled batches when the loop asked for one, as a share of those that workers may be ahead, 0 to 1."""
        # Buffers that the loop has let go of are filled too.
        return min(1.0, _ratio(self.ready_batches, self.batches * AHEAD_BUFFERS))

    def stages_s(self) -> dict[str, float]:
        """Seconds of a worker's time by stage for each clip that workers loaded, padding too.

        `other` is what lies between the stages, and looking up in the index what a clip needs; `wait` is time without
        work.
        """
        tally = self.tally
        staged = {name: getattr(tally, f"{name}_ns") for name in ("read", "check", "decode", "audio")}
        # A sum that is written while it is read may be ahead of another.
        staged["other"] = max(0, tally.busy_ns - sum(staged.values()))
        staged["wait"] = max(0, round(self.seconds * self.workers * 1e9) - tally.busy_ns)
        return {name: _ratio(value / 1e9, tally.clips) for name, value in staged.items()}

    @property
    def verdict(self) -> str:
        """One line: what holds the loop up, if anything does."""
        if not self.batches:
            return "nothing loaded yet"
        busy = f"{'worker' if self.workers == 1 else 'workers'} busy {self.busy_share:.0%}"
        waited = f"it waited {self.waited_share:.0%} of its time for batches"
        if self.waited_share >= WAITED_SHARE and self.busy_share >= BUSY_SHARE:
            return self._worker_bound(busy)
        if self.collate_share > OWN_SHARE:
            return (
                "the training process is the bottleneck: planning, labels and transform take "
                f"{self.collate_share:.0%} of its time; {waited}, {busy}"
            )
        if self.waited_share < WAITED_SHARE:
            return f"the consumer is the bottleneck: {waited}, {busy}"
        return self._held_up(busy)

    def _held_up(self, busy: str) -> str:
        """What keeps a loop waiting and workers idle at once."""
        both = f"{busy}, and the consumer waited {self.waited_share:.0%} of its time"
        if self.replaced_workers:
            died = "1 worker" if self.replaced_workers == 1 else f"{self.replaced_workers} workers"
            return f"{died} died or hung and had to be replaced: {both}"
        if self.start_wait_s > self.consumer_wait_s / 2:
            share = _ratio(self.start_wait_s, self.consumer_wait_s)
            return (
                f"starting: {share:.0%} of the waiting was for first batches of iterations, before anything is loaded "
                f"ahead (epochs= runs on from one to the next): {both}"
            )
        after_start_s = self.seconds - self.start_wait_s
        if self.tally.busy_ns / 1e9 >= BUSY_SHARE * after_start_s * self.workers:
            return self._worker_bound(f"{busy}, with {self.start_wait_s:.1f} s of starting")
        ahead = AHEAD_BUFFERS * self.batch_size * self.ranks
        if self.workers > ahead:
            return f"too many workers: {self.workers} for the {ahead} clips that are loaded ahead: {both}"
        core_share = self._core_share()
        if core_share is not None and core_share < CORE_SHARE:
            return (
                f"cores are short: workers got {core_share:.0%} of a core each; other processes take the CPU, or there "
                f"are more workers than cores: {both}"
            )
        if self.ring_occupancy < EMPTY_SHARE and self.busy_share >= BUSY_WHEN_EMPTY_SHARE:
            return self._worker_bound(busy)
        return f"neither: {both}; it takes batches in bursts, or clips differ much in work"

    def _core_share(self) -> float | None:
        """Share of a core that each worker got while it had work for one; None where that is not known."""
        # Time to read may be spent waiting; all else needs a core.
        needed_s = (self.tally.busy_ns - self.tally.read_ns) / 1e9
        return self.worker_cpu_s / needed_s if self.worker_private_bytes and needed_s > 0 else None

    def _worker_bound(self, busy: str) -> str:
        stages = self.stages_s()
        bounds = {kind: sum(stages[name] for name in names) for kind, names in _BOUNDS.items()}
        kind = max(bounds, key=lambda name: bounds[name])
        share = _ratio(bounds[kind], sum(bounds.values()))
        parts = " and ".join(_BOUNDS[kind])
        line = f"{kind}-bound: {self.workers} {busy} ({parts} {share:.0%} of it)"
        core_share = self._core_share()
        if core_share is not None and kind != "storage" and core_share < CORE_SHARE:
            return f"{line}; each got {core_share:.0%} of a core: more runs here than there are cores"
        return line

    def to_json(self) -> dict[str, Any]:
        """The figures that `shardkit bench --json` writes."""
        return {
            "seconds": self.seconds,
            "batches": self.batches,
            "clips": self.clips,
            "clips_per_s": self.clips_per_s,
            "mb_per_s": self.mb_per_s,
            "workers": self.workers,
            "replaced_workers": self.replaced_workers,
            "busy_share": self.busy_share,
            "waited_share": self.waited_share,
            "ring_occupancy": self.ring_occupancy,
            "stages_s_per_clip": self.stages_s(),
            "collate_s_per_clip": _ratio(self.collate_s, self.clips),
            "worker_cpu_s_per_clip": _ratio(self.worker_cpu_s, self.clips),
            "keeper_cpu_s_per_clip": _ratio(self.keeper_cpu_s, self.clips),
            **({"storage": self.storage_json()} if self.is_far else {}),
            "ring_bytes": self.ring_bytes,
            "worker_private_bytes": list(self.worker_private_bytes),
            "verdict": self.verdict,
        }

    @property
    def is_far(self) -> bool:
        """Whether anything was asked of a storage that is far away, or read from a copy of it."""
        return bool(self.storage.requests or self.storage.cached_clips)

    @property
    def cached_share(self) -> float:
        """Share of the clips that were read from copies on this machine, 0 to 1."""
        return min(1.0, _ratio(self.storage.cached_clips, self.tally.clips))

    def storage_json(self) -> dict[str, Any]:
        """What was asked of a storage that is far away; per clip that workers loaded."""
        meter, clips = self.storage, self.tally.clips
        return {
            "requests": meter.requests,
            "requests_per_clip": _ratio(meter.requests, clips),
            "bytes_per_clip": _ratio(meter.request_bytes, clips),
            "mb_per_s": _ratio(meter.request_bytes / 1e6, self.seconds),
            "latency_p50_s": meter.latency_s(0.5),
            "latency_p99_s": meter.latency_s(0.99),
            "retries": meter.retries,
            "cached_share": self.cached_share,
        }

    def __str__(self) -> str:
        return f"{self.clips_per_s:.0f} clips/s, {self.mb_per_s:.0f} MB/s; {self.verdict}"


@dataclass(slots=True)
class Meter:
    """What the training process counts of one engine's life."""

    began_s: float
    batches: int = 0
    clips: int = 0
    wait_s: float = 0.0
    start_wait_s: float = 0.0
    collate_s: float = 0.0
    ready: float = 0.0

    @classmethod
    def started(cls) -> "Meter":
        """One that begins now."""
        return cls(time.monotonic())


def _ratio(value: float, of: float) -> float:
    return value / of if of else 0.0
