"""LoaderStats: what a loader's workers and the loop that it feeds did, and which of them the others waited for."""

import time
from dataclasses import dataclass, replace
from typing import Any

from shardkit.loading.tally import Tally

BUSY_SHARE = 0.9
"""Workers busier than this are the limit: the rest is waking up and handing over."""
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
    seconds: float
    batches: int
    """Handed out."""
    clips: int
    """In these batches, padding included."""
    consumer_wait_s: float
    """How long the training loop waited for batches that were not filled yet."""
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
    """Sums over all workers, those that were replaced included."""
    ring_bytes: int
    """Memory of the ring, which all processes share."""
    worker_private_bytes: tuple[int, ...]
    """Memory of each worker process beyond the ring; none for threads."""
    buffers_ahead: int
    """Batches that workers may fill before the loop asks for them."""

    def since(self, earlier: "LoaderStats") -> "LoaderStats":
        """The part after `earlier`; memory stays that of now."""
        sums = ("batches", "clips", "consumer_wait_s", "collate_s", "ready_batches", "replaced_workers")
        return replace(
            self,
            seconds=self.at_s - earlier.at_s,
            **{name: getattr(self, name) - getattr(earlier, name) for name in (*sums, "worker_cpu_s", "tally")},
        )

    @property
    def clips_per_s(self) -> float:
        """Clips handed out a second."""
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
        return min(1.0, _ratio(self.ready_batches, self.batches * self.buffers_ahead))

    def stages_s(self) -> dict[str, float]:
        """Seconds of a worker's time a clip by stage; `other` is what lies between, `wait` time without work."""
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
            return "no batch was loaded yet"
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
        return (
            f"neither: {busy}, and the consumer waited {self.waited_share:.0%} of its time; workers were starting, "
            "batches are large for the number of them ahead, or other programs take the cores"
        )

    def _worker_bound(self, busy: str) -> str:
        stages = self.stages_s()
        bounds = {kind: sum(stages[name] for name in names) for kind, names in _BOUNDS.items()}
        kind = max(bounds, key=lambda name: bounds[name])
        share = _ratio(bounds[kind], sum(bounds.values()))
        parts = " and ".join(_BOUNDS[kind])
        line = f"{kind}-bound: {self.workers} {busy} ({parts} {share:.0%} of it)"
        # Time to read may be spent waiting; all else needs a core.
        core_share = _ratio(self.worker_cpu_s, (self.tally.busy_ns - self.tally.read_ns) / 1e9)
        if self.worker_private_bytes and kind != "storage" and core_share < CORE_SHARE:
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
            "ring_bytes": self.ring_bytes,
            "worker_private_bytes": list(self.worker_private_bytes),
            "verdict": self.verdict,
        }

    def __str__(self) -> str:
        return f"{self.clips_per_s:.0f} clips/s, {self.mb_per_s:.0f} MB/s; {self.verdict}"


@dataclass(slots=True)
class Meter:
    """What the training process counts of one engine's life."""

    began_s: float
    batches: int = 0
    wait_s: float = 0.0
    collate_s: float = 0.0
    ready: float = 0.0

    @classmethod
    def started(cls) -> "Meter":
        """One that begins now."""
        return cls(time.monotonic())


def _ratio(value: float, of: float) -> float:
    return value / of if of else 0.0
