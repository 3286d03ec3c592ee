"""What the synthetic experiments have to show, and whether they do."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import fmean

Figures = Mapping[str, Mapping[str, Mapping[str, list[float]]]]
"""Experiment, evaluation and metric to a value for each seed."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A number, and the bounds that it has to keep; both are shares."""

    text: str
    measure: Callable[[Figures], float]
    low: float = -math.inf
    high: float = math.inf

    @property
    def bounds(self) -> str:
        """In percent."""
        if math.isinf(self.high):
            return f"≥ {100 * self.low:g} %"
        if math.isinf(self.low):
            return f"≤ {100 * self.high:g} %"
        return f"{100 * self.low:g} to {100 * self.high:g} %"

    def holds(self, measured: float) -> bool:
        """Whether a measured value keeps the bounds."""
        # A hair: 1 - 0.9 is more than 0.1.
        return self.low - 1e-9 <= measured <= self.high + 1e-9


def _mean(experiment: str, metric: str, test: str = "test") -> Callable[[Figures], float]:
    return lambda figures: fmean(figures[experiment][test][metric])


def _above_oracle(experiment: str) -> Callable[[Figures], float]:
    acc, oracle = _mean(experiment, "acc"), _mean(experiment, "clip_class_oracle")
    return lambda figures: acc(figures) - oracle(figures)


def _change(metric: str) -> Callable[[Figures], float]:
    """The largest change that shuffling both alike makes to a score."""
    return lambda figures: max(
        abs(same - as_is)
        for same, as_is in zip(
            figures["shuffles"]["both_same"][metric], figures["shuffles"]["none"][metric], strict=True
        )
    )


CLAIMS = (
    Claim("fusion, audio only: accuracy (Bayes 25 %)", _mean("fusion-audio", "acc"), high=0.30),
    Claim("fusion, visual only: accuracy (Bayes 20 %)", _mean("fusion-visual", "acc"), high=0.25),
    Claim("fusion, concatenation: accuracy", _mean("fusion-concatenation", "acc"), low=0.90),
    Claim("fusion, cross-attention: accuracy", _mean("fusion-cross-attention", "acc"), low=0.90),
    Claim("fusion, bottleneck: accuracy", _mean("fusion-bottleneck", "acc"), low=0.90),
    Claim("fusion, permuted labels: accuracy (chance 5 %)", _mean("fusion-permuted", "acc"), low=0.02, high=0.08),
    Claim("AVEL, full supervision: segment accuracy", _mean("avel-full", "acc"), low=0.90),
    Claim("AVEL, full supervision: above the clip-class oracle", _above_oracle("avel-full"), low=0.25),
    Claim("AVEL, weak supervision: segment accuracy", _mean("avel-weak", "acc"), low=0.75),
    Claim("AVEL, weak supervision: above the clip-class oracle", _above_oracle("avel-weak"), low=0.10),
    Claim("CML, A2V (audio query): exact start (random 12.5 %)", _mean("cml", "a2v"), low=0.60),
    Claim("CML, V2A (visual query): exact start (random 12.5 %)", _mean("cml", "v2a"), low=0.60),
    Claim("CML, audio swapped, A2V", _mean("cml", "a2v", "audio_swapped"), low=0.075, high=0.175),
    Claim("CML, audio swapped, V2A", _mean("cml", "v2a", "audio_swapped"), low=0.075, high=0.175),
    Claim("shuffles, both alike, A2V: change of an exact matcher's score", _change("a2v"), high=0.0),
    Claim("shuffles, both alike, V2A: change of an exact matcher's score", _change("v2a"), high=0.0),
    Claim("shuffles, both apart, A2V (chance 10 %)", _mean("shuffles", "a2v", "both_independent"), low=0.05, high=0.15),
    Claim("shuffles, both apart, V2A (chance 10 %)", _mean("shuffles", "v2a", "both_independent"), low=0.05, high=0.15),
)
