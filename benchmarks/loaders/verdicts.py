"""A requirement held against rounds: a ratio within each of them, their median, and whether it is reached."""

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Round = Mapping[str, Any]
"""What was measured in turns, by figure or case."""
Ratio = Callable[[Round], float]


@dataclass(frozen=True, slots=True)
class Requirement:
    """A ratio, and what it may be."""

    title: str
    bound: Literal["at least", "at most"]
    limit: float
    ratios: Mapping[str, Ratio]
    """By what is compared with; the one that leaves the least is what counts."""
    in_every_round: bool = False
    """Whether each round must hold, and not their median."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A requirement, held against the rounds."""

    title: str
    bound: Literal["at least", "at most"]
    limit: float
    against: str
    per_round: tuple[float, ...]
    in_every_round: bool

    @property
    def median(self) -> float:
        """Of the rounds."""
        return statistics.median(self.per_round)

    @property
    def holds(self) -> bool:
        """Whether it is reached."""
        if self.bound == "at least":
            return (min(self.per_round) if self.in_every_round else self.median) >= self.limit
        return (max(self.per_round) if self.in_every_round else self.median) <= self.limit

    def to_json(self) -> dict[str, Any]:
        """All of it, and what follows from it."""
        return {
            "title": self.title,
            self.bound.replace(" ", "_"): self.limit,
            "against": self.against,
            "per_round": self.per_round,
            "median": self.median,
            "holds": self.holds,
        }


def verdict(requirement: Requirement, rounds: Sequence[Round]) -> Verdict | None:
    """Holds a requirement against the rounds that have all it needs.

    None where a case of it was not measured: the better of two rivals is not known where one of them failed.
    """
    found = {}
    for against, ratio in requirement.ratios.items():
        per_round = []
        for measured in rounds:
            try:
                per_round.append(ratio(measured))
            except (KeyError, ZeroDivisionError):  # not measured, or too short to have cost a tick of the clock
                continue
        if per_round:
            found[against] = tuple(per_round)
    if found.keys() != requirement.ratios.keys():
        return None
    strictest = min if requirement.bound == "at least" else max
    against = strictest(found, key=lambda name: statistics.median(found[name]))
    limit, in_every_round = requirement.limit, requirement.in_every_round
    return Verdict(requirement.title, requirement.bound, limit, against, found[against], in_every_round)


def verdicts(requirements: Iterable[Requirement], rounds: Sequence[Round]) -> list[Verdict]:
    """Of all requirements that all was measured for."""
    return [found for one in requirements if (found := verdict(one, rounds)) is not None]
