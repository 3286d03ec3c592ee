"""What must hold: ratios of figures that were measured in the same round, medians over the rounds."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from benchmarks.loaders.verdicts import Ratio, Requirement
from benchmarks.storage.cases import (
    BARE_CLIENTS,
    CACHED_EPOCHS,
    FAR_SERVERS,
    FAULTY_SERVERS,
    FAULTY_SHARE,
    LATENCIES_MS,
    PACED_CLIPS_PER_S,
    PEER_EPOCHS,
    Case,
    Route,
    Server,
    own,
)
from benchmarks.storage.contents import INCOMPLETE
from benchmarks.storage.faults import Fault
from benchmarks.storage.readings import Reading, Round
from benchmarks.storage.sites import STALL_S
from shardkit.storage.fetching import Patience

COST_AT_MOST = 1.2
OF_NO_LATENCY_AT_LEAST = {20: 0.95, 100: 0.9}
OF_BETTER_PEER_AT_LEAST = 2.0
OF_DISK_AT_LEAST = 0.95
OF_NO_CACHE_AT_LEAST = 0.95
WAYS: dict[Server, str] = {
    "http": "HTTP, obstore",
    "rclone-206": "S3, obstore",
    "rclone": "S3, s3fs",
    "s3": "S3 (nginx for a store), obstore",
}
"""What reads where, for tables."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Figures by which the cost of one way to read is told."""

    title: str
    disk: str
    far: str
    bare: tuple[str, ...]

    def added_s(self, measured: Round) -> float:
        """CPU seconds that reading from afar adds to a clip."""
        return measured[self.far].cpu_s_per_clip - measured[self.disk].cpu_s_per_clip


def costs(pace: int | None) -> list[Cost]:
    """Every way to read that is compared with a bare client."""

    def cost(server: Server, title: str, clients: Sequence[str], reader: str = "shardkit") -> Cost:
        return Cost(
            title,
            own("disk", stored="thin", pace=pace).name,
            own(server, reader=reader, stored="thin", pace=pace).name,
            tuple(Case(client, Route(server), "", "thin", pace).name for client in clients),
        )

    return [
        cost("http", "HTTP, obstore", [name for name in BARE_CLIENTS["http"] if "obstore" in name]),
        cost("http", "HTTP, fsspec", ["bare-fsspec"], "shardkit-fsspec"),
        cost("s3", WAYS["s3"], BARE_CLIENTS["s3"]),
        cost("rclone", WAYS["rclone"], BARE_CLIENTS["rclone"]),
    ]


def requirements() -> list[Requirement]:
    """All of them."""
    return [*_cost(), *_latency(), *_peers(), *_faults(), *_cache()]


def _cost() -> Iterator[Requirement]:
    for pace, how in ((PACED_CLIPS_PER_S, f"{PACED_CLIPS_PER_S} clips/s"), (None, "as fast as it goes")):
        for cost in costs(pace):
            title = f"CPU that reading adds ÷ bare client: {cost.title}; {how}"
            yield Requirement(title, "at most", COST_AT_MOST, {bare: _of_bare(cost, bare) for bare in cost.bare})


def _of_bare(cost: Cost, bare: str) -> Ratio:
    return lambda measured: cost.added_s(measured) / measured[bare].cpu_s_per_clip


def _latency() -> Iterator[Requirement]:
    for server in FAR_SERVERS:
        near = own(server, latency_ms=0).name
        for latency_ms in LATENCIES_MS:
            if latency_ms in OF_NO_LATENCY_AT_LEAST:
                yield Requirement(
                    f"clips/s with {latency_ms} ms a request ÷ without: {WAYS[server]}",
                    "at least",
                    OF_NO_LATENCY_AT_LEAST[latency_ms],
                    {near: _rates(own(server, latency_ms=latency_ms).name, near)},
                )


def _rates(ours: str, other: str) -> Ratio:
    return lambda measured: measured[ours].clips_per_s / measured[other].clips_per_s


def _peers() -> Iterator[Requirement]:
    for title, ours, rivals in (
        ("HTTP, peers as their users run them", own("http"), [Case("webdataset", Route("http"), "decord")]),
        ("HTTP, libjpeg-turbo on both sides", own("http"), [Case("webdataset", Route("http"))]),
        ("S3, peers as their users run them", own("s3"), _rivals("s3", "decord")),
        ("S3, libjpeg-turbo on both sides", own("s3"), _rivals("s3", "turbo")),
        (
            "20 ms a request, libjpeg-turbo on both sides",
            own("s3", latency_ms=20),
            [
                Case("webdataset", Route("http", 20)),
                Case("litdata", Route("s3", 20), epochs=PEER_EPOCHS),
            ],
        ),
    ):
        figures = [figure for rival in rivals for figure in rival.figures]
        ratios = {figure: _rates(ours.name, figure) for figure in figures}
        yield Requirement(f"clips/s ÷ better peer: {title}", "at least", OF_BETTER_PEER_AT_LEAST, ratios)
    # litdata cannot do without a cache, and is compared above with loading that has none.
    copies = own("http", cache="whole", epochs=CACHED_EPOCHS).figures[-1]
    again = Case("litdata", Route("s3"), epochs=PEER_EPOCHS).figures[-1]
    title = "clips/s ÷ better peer: both from their caches, libjpeg-turbo on both sides"
    yield Requirement(title, "at least", OF_BETTER_PEER_AT_LEAST, {again: _rates(copies, again)})


def _rivals(server: Server, decoder: Literal["turbo", "decord"]) -> list[Case]:
    route = Route(server)
    return [Case("webdataset", route, decoder), Case("litdata", route, decoder, epochs=PEER_EPOCHS)]


def faults_s(reading: Reading) -> float:
    """How long an epoch's faults hold up workers that each wait for one fault after the other.

    Stalls count as long as they last, others with the longest wait before the second try. Workers have many requests in
    flight, so that this is the least that they overlap.
    """
    assert reading.faults is not None
    assert reading.workers is not None
    stalls = reading.faults.get(Fault.STALL.value, 0)
    all_s = stalls * STALL_S + (sum(reading.faults.values()) - stalls) * Patience().first_wait_s
    return all_s / reading.workers


def fault_pair(server: Server) -> tuple[str, str]:
    """Figures without and with faults."""
    clean, faulty = (own(server, faulty_share=share, epochs=1).figures[0] for share in (0.0, FAULTY_SHARE))
    return clean, faulty


def _faults() -> Iterator[Requirement]:
    for server in FAULTY_SERVERS:
        clean, faulty = fault_pair(server)
        title = f"{FAULTY_SHARE:.0%} of requests fail, {WAYS[server]}"
        exact = {clean: _exact(clean, faulty)}
        yield Requirement(f"{title}: every clip once and the same", "at least", 1, exact, in_every_round=True)
        explained = {clean: _of_explained(clean, faulty)}
        yield Requirement(f"{title}: time ÷ (time without + the faults' own)", "at most", 1, explained)


def _exact(clean: str, faulty: str) -> Ratio:
    return lambda measured: float(measured[faulty].contents == measured[clean].contents != INCOMPLETE)


def _of_explained(clean: str, faulty: str) -> Ratio:
    return lambda measured: measured[faulty].elapsed_s / (measured[clean].elapsed_s + faults_s(measured[faulty]))


def _cache() -> Iterator[Requirement]:
    disk = own("disk", epochs=CACHED_EPOCHS).figures[-1]
    warm = own("http", cache="whole", epochs=CACHED_EPOCHS).figures[-1]
    yield Requirement(
        "clips/s from the cache ÷ from the disk", "at least", OF_DISK_AT_LEAST, {disk: _rates(warm, disk)}
    )
    without = own("http", epochs=CACHED_EPOCHS).figures[-1]
    for cache in ("half", "half-windows"):
        figure = own("http", cache=cache, epochs=CACHED_EPOCHS).figures[-1]
        title = f"most bytes in the cache ÷ its limit: {cache}"
        yield Requirement(title, "at most", 1, {"the limit": _filled(figure)}, in_every_round=True)
        title = f"clips/s with cache {cache} ÷ without a cache"
        yield Requirement(title, "at least", OF_NO_CACHE_AT_LEAST, {without: _rates(figure, without)})


def _filled(figure: str) -> Ratio:
    return lambda measured: (measured[figure].most_cached_bytes or 0) / (measured[figure].cache_limit_bytes or 0)
