"""How long is measured, and what comes out."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timing:
    """How long a case runs."""

    warm_up_s: float
    measured_s: float
    measured_batches: int
    """At least; a batch more or less is to weigh little, also where batches are slow."""
    burn_ms: int = 0
    """CPU time that the consumer spends in Python on each batch."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """One figure."""

    clips: int
    elapsed_s: float
    cpu_s: float
    """Of the whole process tree, the consumer's burning included."""
    burnt_s: float = 0.0
    """What of it the consumer burnt."""

    @property
    def clips_per_s(self) -> float:
        """Throughput."""
        return self.clips / self.elapsed_s

    @property
    def cpu_s_per_clip(self) -> float:
        """What a clip costs, the consumer left out."""
        return (self.cpu_s - self.burnt_s) / self.clips
