"""What must hold: ratios of cases that were measured in the same round, medians over the rounds."""

from collections.abc import Callable, Sequence

from benchmarks.loaders.cases import BURNS_MS, PEERS, Case, Decoder, Stored
from benchmarks.loaders.measurement import Measurement
from benchmarks.loaders.verdicts import Ratio, Requirement

Comparison = Callable[[Measurement, Measurement], float]
"""Ours with a rival's."""

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


def requirements(*, cores: int, batch_size: int) -> list[Requirement]:
    """All of them."""
    return [
        _at_least("as shipped ÷ best peer as its users run it (224² stored)", 2.7, OWN, as_run("square")),
        _at_least(
            "the same, short side 256 cropped to 224²",
            2.0,
            Case("shardkit", "short", "turbo"),
            as_run("short"),
        ),
        _at_least(
            "with decord on both sides ÷ best peer",
            1.5,
            Case("shardkit", "square", "decord"),
            _peers("square", "decord"),
        ),
        _at_least("with libjpeg-turbo on both sides ÷ best peer", 2.0, OWN, _peers("square", "turbo")),
        _at_least("as shipped ÷ bare libjpeg-turbo on all cores", 0.85, OWN, (Case("bare", "square", "turbo"),)),
        _at_least(
            "decord path ÷ bare decord on all cores",
            0.85,
            Case("shardkit", "square", "decord"),
            (Case("bare", "square", "decord"),),
        ),
        _at_least(
            "as shipped ÷ decoding the originals every epoch",
            25,
            OWN,
            (Case("originals", "square", "decord"),),
        ),
        _at_least("raw shards ÷ mjpeg shards", 2.0, Case("shardkit", "raw", "turbo"), (OWN,)),
        _at_least(
            "H.264 shards ÷ webdataset + decord on the same shards",
            1.5,
            Case("shardkit", "h264", "turbo"),
            (Case("webdataset", "h264", "decord"),),
        ),
        *[
            _at_least(
                f"beside a consumer that burns {burn_ms} ms of Python a batch ÷ fair share",
                0.95,
                Case("shardkit", "square", "turbo", burn_ms),
                (OWN,),
                _of_fair_share(burn_ms, cores=cores, batch_size=batch_size),
            )
            for burn_ms in BURNS_MS
        ],
        _at_least(
            "CPU seconds a clip: least of the peers' ÷ ours (224² stored)",
            1.0,
            OWN,
            (*as_run("square"), *_peers("square", "turbo")),
            lambda ours, rival: rival.cpu_s_per_clip / ours.cpu_s_per_clip,
        ),
    ]


def _rates(ours: Measurement, rival: Measurement) -> float:
    return ours.clips_per_s / rival.clips_per_s


def _at_least(title: str, limit: float, ours: Case, rivals: Sequence[Case], of: Comparison = _rates) -> Requirement:
    """That no rival leaves less than `limit`."""

    def against(rival: Case) -> Ratio:
        return lambda measured: of(measured[ours.name], measured[rival.name])

    return Requirement(title, "at least", limit, {rival.name: against(rival) for rival in rivals})


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


def _of_fair_share(burn_ms: int, *, cores: int, batch_size: int) -> Comparison:
    def ratio(burning: Measurement, idle: Measurement) -> float:
        share = fair_share(idle.clips_per_s, burn_ms / 1000, cores=cores, batch_size=batch_size)
        return burning.clips_per_s / share

    return ratio
