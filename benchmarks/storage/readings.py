"""Readings: what one measurement found."""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.loaders.measurement import Measurement
from benchmarks.loaders.process_tree import cpu_s
from shardkit.loading.stats import LoaderStats


@dataclass(frozen=True, slots=True)
class Asked:
    """What a loader asked of its storage."""

    requests_per_clip: float
    bytes_per_clip: float
    mb_per_s: float
    latency_p50_s: float
    latency_p99_s: float
    retries: int
    cached_share: float
    """Of the clips: read from copies on this machine."""

    @classmethod
    def of_json(cls, told: Mapping[str, Any]) -> "Asked":
        """Of what stats say of the storage."""
        return cls(**{name: told[name] for name in cls.__dataclass_fields__})

    @classmethod
    def of_stats(cls, stats: LoaderStats) -> "Asked | None":
        """What those stats say; None where the data are on a disk."""
        return cls.of_json(stats.storage_json()) if stats.is_far else None


@dataclass(frozen=True, slots=True)
class Reading(Measurement):
    """One figure, and what belongs to it."""

    workers: int | None = None
    """Of the loader, those of all ranks together; a bare client has none."""
    asked: Asked | None = None
    """Of shardkit's loader, where the data are far."""
    contents: str | None = None
    """Of an epoch in which each clip came once: a digest of all clips' names, frames and samples, in whichever order
    they came. `incomplete` where a clip is missing or came twice."""
    faults: Mapping[str, int] | None = None
    """How often which fault was met at the proxy."""
    most_cached_bytes: int | None = None
    """Most that lay in the node's cache at any moment."""
    cache_limit_bytes: int | None = None

    @classmethod
    def of(cls, measured: Measurement, **fields: Any) -> "Reading":
        """A measurement, and what belongs to it."""
        return cls(measured.clips, measured.elapsed_s, measured.cpu_s, measured.burnt_s, **fields)

    @classmethod
    def of_json(cls, told: Mapping[str, Any]) -> "Reading":
        """The inverse of `to_json`."""
        fields = {name: told[name] for name in cls.__dataclass_fields__ if name in told}
        if "asked" in fields:
            fields["asked"] = Asked.of_json(fields["asked"])
        return cls(**fields)

    def to_json(self) -> dict[str, Any]:
        """What there is of it, and what follows from that."""
        told = {name: value for name, value in asdict(self).items() if value is not None}
        return {**told, "clips_per_s": self.clips_per_s, "cpu_s_per_clip": self.cpu_s_per_clip}


Round = Mapping[str, Reading]
"""What was measured in turns, by figure."""


@dataclass(frozen=True, slots=True)
class Moment:
    """How far this process and all below it are."""

    clips: int
    at_s: float
    cpu_s: float

    @classmethod
    def now(cls, clips: int) -> "Moment":
        """With as many clips."""
        return cls(clips, time.perf_counter(), cpu_s(os.getpid()))

    def until(self, later: "Moment") -> Measurement:
        """What lies between two moments."""
        return Measurement(later.clips - self.clips, later.at_s - self.at_s, later.cpu_s - self.cpu_s)


class Pace:
    """Keeps takers to a number of clips a second; what was missed is not made up for."""

    def __init__(self, clips_per_s: int | None, *, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clips_per_s = clips_per_s
        self._clock = clock
        self._due_s = 0.0

    def wait_s(self, clips: int) -> float:
        """How long to wait before `clips` are taken."""
        if self._clips_per_s is None:
            return 0.0
        now_s = self._clock()
        due_s = max(self._due_s, now_s)
        self._due_s = due_s + clips / self._clips_per_s
        return due_s - now_s
