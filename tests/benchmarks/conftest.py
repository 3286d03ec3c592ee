"""A folder that every contestant can work in: 24 clips of a second, packed in several shapes."""

from collections.abc import Iterator

import pytest

from benchmarks.loaders.measurement import Timing
from benchmarks.loaders.prepare import BenchFolder, make_packed
from benchmarks.loaders.scale import TINY
from benchmarks.storage.cases import Route
from benchmarks.storage.rounds import Plan
from benchmarks.storage.servers import ServerMissingError
from benchmarks.storage.sites import Servers


@pytest.fixture(scope="session")
def bench_folder(tmp_path_factory: pytest.TempPathFactory) -> BenchFolder:
    """Packed `square` and `short`; peers' copies are made by those who need them."""
    folder = BenchFolder(tmp_path_factory.mktemp("bench"))
    make_packed(folder, TINY, "square", workers=2)
    make_packed(folder, TINY, "short", workers=2)
    return folder


@pytest.fixture(scope="session")
def storage_plan(bench_folder: BenchFolder) -> Plan:
    """A run that takes no longer than it must; also with clips that need no decoding."""
    make_packed(bench_folder, TINY, "thin", workers=2)
    timing = Timing(warm_up_s=0, measured_s=0.1, measured_batches=2)
    return Plan(bench_folder.root, is_tiny=True, timing=timing, repeats=1, workers=1)


@pytest.fixture(scope="module")
def storage_servers(storage_plan: Plan) -> Iterator[Servers]:
    """Servers of that folder, which start when they are asked for."""
    with Servers(storage_plan.root) as servers:
        for server in ("http", "rclone"):
            try:
                with servers.site(Route(server), seed=0):
                    pass
            except ServerMissingError as exc:
                pytest.skip(str(exc))
        yield servers
