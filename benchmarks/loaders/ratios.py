"""What must hold: ratios of cases that were measured in the same round, medians over the rounds."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.loaders.cases import BURNS_MS, PEERS, Case, Decoder, Stored
from benchmarks.loaders.measurement import Measurement

Round = Mapping[str, Measurement]

OWN = Case("shardkit", "square", "turbo")
SHOWN = (
    ("bare-turbo@square", "spdl-decord@square"),
    ("bare-turbo@square", "spdl-spdl@square"),
    ("bare-turbo@square", "spdl-turbo@square"),
    ("bare-decord@square", "spdl-decord@square"),
    ("bare-turbo@short", "spdl-spdl@short"),
    ("shardkit-turbo@short", "bare-turbo@short"),
    ("shardkit-turbo@square", "spdl-tuned-turbo@square"),
    ("shardkit-decord@square", "spdl-tuned-decord@square"),
)
"""Pairs whose ratios tell why others are what they are; nothing is required of them."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """A ratio, and how large it has to be."""

    title: str
    at_least: float
    ours: Case
    rivals: tuple[Case, ...]
    """The best of them is what is compared with: the one whose ratio has the least median over the rounds."""
    ratio: Callable[[Measurement, Measurement], float]


@dataclass(frozen=True, slots=True)
class Verdict:
    """A requirement, held against the rounds."""

    title: str
    at_least: float
    against: str
    """The case compared with."""
    per_round: tuple[float, ...]

    @property
    def median(self) -> float:
        """What counts."""
        return statistics.median(self.per_round)

    @property
    def holds(self) -> bool:
        """Whether it is reached."""
        return self.median >= self.at_least


def requirements(*, cores: int, batch_size: int) -> list[Requirement]:
    """All of them."""
    rates = _rates
    return [
        Requirement("as shipped ÷ best peer as its users run it (224² stored)", 2.7, OWN, as_run("square"), rates),
        Requirement(
            "the same, short side 256 cropped to 224²",
            2.0,
            Case("shardkit", "short", "turbo"),
            as_run("short"),
            rates,
        ),
        Requirement(
            "with decord on both sides ÷ best peer",
            1.5,
            Case("shardkit", "square", "decord"),
            _peers("square", "decord"),
            rates,
        ),
        Requirement("with libjpeg-turbo on both sides ÷ best peer", 2.0, OWN, _peers("square", "turbo"), rates),
        Requirement(
            "as shipped ÷ bare libjpeg-turbo on all cores", 0.85, OWN, (Case("bare", "square", "turbo"),), rates
        ),
        Requirement(
            "decord path ÷ bare decord on all cores",
            0.85,
            Case("shardkit", "square", "decord"),
            (Case("bare", "square", "decord"),),
            rates,
        ),
        Requirement(
            "as shipped ÷ decoding the originals every epoch",
            25,
            OWN,
            (Case("originals", "square", "decord"),),
            rates,
        ),
        Requirement("raw shards ÷ mjpeg shards", 2.0, Case("shardkit", "raw", "turbo"), (OWN,), rates),
        Requirement(
            "H.264 shards ÷ webdataset + decord on the same shards",
            1.5,
            Case("shardkit", "h264", "turbo"),
            (Case("webdataset", "h264", "decord"),),
            rates,
        ),
        *[
            Requirement(
                f"beside a consumer that burns {burn_ms} ms of Python a batch ÷ fair share",
                0.95,
                Case("shardkit", "square", "turbo", burn_ms),
                (OWN,),
                _of_fair_share(burn_ms, cores=cores, batch_size=batch_size),
            )
            for burn_ms in BURNS_MS
        ],
        Requirement(
            "CPU seconds a clip: least of the peers' ÷ ours (224² stored)",
            1.0,
            OWN,
            (*as_run("square"), *_peers("square", "turbo")),
            lambda ours, rival: rival.cpu_s_per_clip / ours.cpu_s_per_clip,
        ),
    ]


def _rates(ours: Measurement, rival: Measurement) -> float:
    return ours.clips_per_s / rival.clips_per_s


def _peers(stored: Stored, decoder: Decoder) -> tuple[Case, ...]:
    return tuple(Case(peer, stored, decoder) for peer in PEERS)


def as_run(stored: Stored) -> tuple[Case, ...]:
    """Peers as their users run them: with decord, SPDL also with its own decoding."""
    return (*_peers(stored, "decord"), Case("spdl", stored, "spdl"))


def fair_share(idle_clips_per_s: float, burn_s: float, *, cores: int, batch_size: int) -> float:
    """Clips a second that can be had beside a consumer that burns `burn_s` of one core on each batch.

    A clip costs at most cores ÷ rate, as measured beside an idle consumer; the burning comes on top, on the same cores.
    And a batch that takes the consumer `burn_s` cannot be asked for more often than that.
    """
    shared = cores / (cores / idle_clips_per_s + burn_s / batch_size)
    return min(shared, batch_size / burn_s)


def _of_fair_share(burn_ms: int, *, cores: int, batch_size: int) -> Callable[[Measurement, Measurement], float]:
    def ratio(burning: Measurement, idle: Measurement) -> float:
        share = fair_share(idle.clips_per_s, burn_ms / 1000, cores=cores, batch_size=batch_size)
        return burning.clips_per_s / share

    return ratio


def verdict(requirement: Requirement, rounds: Sequence[Round]) -> Verdict | None:
    """Holds a requirement against the rounds that have all it needs; None where a case of it was not measured."""
    ours = requirement.ours.name
    whole = [measured for measured in rounds if ours in measured]
    # A ratio's median over the rounds names the rival: the least ratio is the strongest one.
    per_rival = {}
    for rival in requirement.rivals:
        ratios = [requirement.ratio(m[ours], m[rival.name]) for m in whole if rival.name in m]
        if ratios:
            per_rival[rival.name] = tuple(ratios)
    if not per_rival:
        return None
    against = min(per_rival, key=lambda name: statistics.median(per_rival[name]))
    return Verdict(requirement.title, requirement.at_least, against, per_rival[against])
