"""What is measured: who reads, over which way, and how."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from benchmarks.loaders.cases import Decoder, Stored, chosen_names
from benchmarks.storage.link import Link

Server = Literal["disk", "http", "s3", "rclone", "rclone-206"]
"""This machine's disk; nginx over HTTP; nginx as an S3 store, which answers as S3 does but checks no signature; rclone,
which does but answers ranges with status 200, so that shardkit takes s3fs for obstore; rclone with that mended."""
Cache = Literal["none", "whole", "half", "half-windows"]
"""Of the node: without one; as large as it gets; half of the data set; the same, with a shuffle that fits into it."""

LATENCIES_MS = (0, 1, 20, 100)
FAR_SERVERS: tuple[Server, ...] = ("http", "rclone-206", "rclone")
"""Those that are put far away."""
CAPS_MB_PER_S = (50, 100)
FAULTY_SHARE = 0.05
FAULTY_SERVERS: tuple[Server, ...] = ("http", "rclone-206")
PACED_CLIPS_PER_S = 300
"""What a training loop takes that does not wait for the storage; more than two cores decode."""
CACHED_EPOCHS = 4
"""In the first a cache is filled; shards may still be missing in the two after it, since epochs take seconds here."""
PEER_EPOCHS = 2
BARE_CLIENTS: dict[Server, tuple[str, ...]] = {
    "http": ("bare-obstore-threads", "bare-obstore-asyncio", "bare-fsspec"),
    "s3": ("bare-obstore-threads", "bare-obstore-asyncio"),
    "rclone": ("bare-fsspec",),
}
"""Clients that ask for the same ranges and do nothing else."""
RANKS = (1, 2, 4)
WORKERS_A_RANK = (1, 2)


@dataclass(frozen=True, slots=True)
class Route:
    """The way to the data."""

    server: Server
    latency_ms: int | None = None
    """Of every request, through a proxy; None is without one."""
    cap_mb_per_s: int | None = None
    """Of all answers together, through a proxy."""
    faulty_share: float | None = None
    """How many of the requests fail, through a proxy."""

    @property
    def name(self) -> str:
        """As in `http`, `s3+20ms`, `http+50MB/s`, `rclone-206+5%`."""
        parts = [
            "" if self.latency_ms is None else f"+{self.latency_ms}ms",
            "" if self.cap_mb_per_s is None else f"+{self.cap_mb_per_s}MB/s",
            "" if self.faulty_share is None else f"+{self.faulty_share:.0%}",
        ]
        return self.server + "".join(parts)

    @property
    def link(self) -> Link | None:
        """What the proxy does; None where there is none."""
        mends = self.server == "rclone-206"
        if not mends and self.latency_ms is None and self.cap_mb_per_s is None and self.faulty_share is None:
            return None
        bytes_per_s = None if self.cap_mb_per_s is None else self.cap_mb_per_s * 1e6
        return Link((self.latency_ms or 0) / 1e3, bytes_per_s, mend_206=mends)


@dataclass(frozen=True, slots=True)
class Case:
    """One thing to measure."""

    reader: str
    """shardkit; shardkit-fsspec, which does without obstore; webdataset; litdata; a bare client; `bench`, which is
    `shardkit bench` under torchrun."""
    route: Route
    decoder: Decoder | Literal[""] = "turbo"
    """Empty for those that decode nothing, or choose for themselves."""
    stored: Stored = "square"
    pace: int | None = None
    """Clips a second that are taken; None is as many as come."""
    cache: Cache = "none"
    epochs: int | None = None
    """Whole ones are measured, each by itself; None measures for a while."""
    ranks: int | None = None
    """Of `bench`; it measures several numbers of workers."""

    @property
    def name(self) -> str:
        """As in `shardkit-turbo@http+20ms`, or `bare-fsspec@rclone, thin, 400/s`."""
        return self._base if self.epochs is None else f"{self._base}, by epochs"

    @property
    def figures(self) -> list[str]:
        """Names of what is measured: one, or one for each epoch or number of workers."""
        if self.epochs is not None:
            return [f"{self._base}, epoch {number}" for number in range(1, self.epochs + 1)]
        if self.ranks is not None:
            return [f"{self._base}, {workers} a rank" for workers in WORKERS_A_RANK]
        return [self._base]

    @property
    def _base(self) -> str:
        decoder = f"-{self.decoder}" if self.decoder else ""
        ranks = "" if self.ranks is None else f"-{self.ranks}"
        parts = [
            f"{self.reader}{decoder}{ranks}@{self.route.name}",
            "" if self.stored == "square" else self.stored,
            "" if self.pace is None else f"{self.pace}/s",
            "" if self.cache == "none" else f"cache {self.cache}",
        ]
        return ", ".join(part for part in parts if part)


def own(server: Server, **fields) -> Case:
    """A case of shardkit's own; `fields` are those of Case and of Route."""
    of_route = {name: fields.pop(name) for name in ("latency_ms", "cap_mb_per_s", "faulty_share") if name in fields}
    return Case(fields.pop("reader", "shardkit"), Route(server, **of_route), **fields)


def groups() -> dict[str, list[Case]]:
    """Every case, by what it is measured for; those whose ratio is taken stand close to each other."""
    return {
        "cost": [*_cost(None), *_cost(PACED_CLIPS_PER_S), own("disk"), own("http")],
        "latency": [
            own(server, latency_ms=latency_ms)
            for server in FAR_SERVERS
            for latency_ms in LATENCIES_MS
            if server == "http" or latency_ms != 1
        ],
        "bandwidth": [own("http", cap_mb_per_s=cap) for cap in CAPS_MB_PER_S],
        "peers": [
            own("http", decoder="decord"),
            *_peers("http"),
            *_peers("s3"),
            *_peers("http", latency_ms=20),
            *_peers("s3", latency_ms=20),
        ],
        "faults": [
            own(server, faulty_share=share, epochs=1) for server in FAULTY_SERVERS for share in (0.0, FAULTY_SHARE)
        ],
        "cache": [
            own("disk", epochs=CACHED_EPOCHS),
            *(own("http", cache=cache, epochs=CACHED_EPOCHS) for cache in ("none", "whole", "half", "half-windows")),
        ],
        "scaling": [
            *(own("http", reader="bench", decoder="", ranks=ranks) for ranks in RANKS),
            own("http", reader="bench", decoder="", ranks=2, cache="whole"),
        ],
    }


def _cost(pace: int | None) -> list[Case]:
    cases = [own("disk", stored="thin", pace=pace)]
    for server, clients in BARE_CLIENTS.items():
        cases.append(own(server, stored="thin", pace=pace))
        cases += [Case(client, Route(server), "", "thin", pace) for client in clients]
        if server == "http":
            cases.append(own(server, reader="shardkit-fsspec", stored="thin", pace=pace))
    return cases


def _peers(server: Server, *, latency_ms: int | None = None) -> list[Case]:
    """Each with both decoders; from afar with the quicker one, and webdataset over HTTP only: its curl is the same."""
    route = Route(server, latency_ms)
    decoders: tuple[Decoder, ...] = ("turbo", "decord") if latency_ms is None else ("turbo",)
    cases = [Case("shardkit", route)]
    if server == "http" or latency_ms is None:
        cases += [Case("webdataset", route, decoder) for decoder in decoders]
    if server == "s3":
        cases += [Case("litdata", route, decoder, epochs=PEER_EPOCHS) for decoder in decoders]
    return cases


def chosen_cases(patterns: Iterable[str]) -> list[Case]:
    """The cases of the groups, and those whose names fit, that patterns name; each once.

    Raises:
        SystemExit: A pattern fits none.
    """
    by_group = groups()
    every = {case.name: case for cases in by_group.values() for case in cases}
    wanted: dict[str, Case] = {}
    for pattern in patterns:
        named = by_group.get(pattern)
        found = named if named is not None else [every[name] for name in chosen_names(list(every), [pattern])]
        wanted |= {case.name: case for case in found}
    return [case for name, case in every.items() if name in wanted]
