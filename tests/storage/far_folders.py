"""A folder of shards behind a server and a proxy, and clients that read it: what tests of reading from afar share."""

from dataclasses import dataclass, field

import numpy as np

from benchmarks.storage.fault_proxy import RunningProxy
from shardkit.storage.clients import Engine, RangeClient, make_client
from shardkit.storage.locations import Location

BUCKET, NAME = "bucket", "clips-000000.tar"
PREFIX = f"/{BUCKET}/shards"
"""The folder's path on either server."""
CONTENT = np.random.default_rng(0).integers(0, 256, 6_000_000, dtype=np.uint8).tobytes()
"""Of the shard: more than fsspec's client asks for at once."""
LARGE_NAME = "large.tar"
LARGE = CONTENT * 6
"""A shard of several parts, and of several spans."""
SMALL_NAMES = [f"small-{number:06d}.tar" for number in range(8)]
SMALL_BYTES = 200_000
STALL_S = 0.4
"""Short: for what is to stall. A machine that pauses makes one of any request."""


def small_content(number: int) -> bytes:
    """Of the shard SMALL_NAMES[number]."""
    return CONTENT[number * 1_000 : number * 1_000 + SMALL_BYTES]


@dataclass(frozen=True)
class FarFolder:
    """The folder, as one client reads it."""

    proxy: RunningProxy
    """Before the server."""
    location: Location
    engine: Engine
    clients: dict[tuple[Engine, float], RangeClient] = field(default_factory=dict, repr=False)
    """Those that were made: s3fs takes half a second for one."""

    def client(self, *, stall_s: float = 30.0) -> RangeClient:
        """The engine's client, which gives a connection up after `stall_s` without a byte."""
        if (self.engine, stall_s) not in self.clients:
            self.clients[self.engine, stall_s] = make_client(self.location, self.engine, stall_s=stall_s)
        return self.clients[self.engine, stall_s]

    def asked(self, name: str = NAME) -> list[tuple[int, int]]:
        """The ranges [start, stop) that were asked for since the rules were set, in the order in which they ended."""
        return [
            _range(served.range) for served in self.proxy.log() if served.path == f"{PREFIX}/{name}" and served.range
        ]


def _range(header: str) -> tuple[int, int]:
    first, _, last = header.removeprefix("bytes=").partition("-")
    return int(first), int(last) + 1
