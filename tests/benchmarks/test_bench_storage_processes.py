"""Peers and ranks of the storage benchmark run in small: those that need processes of their own."""

from importlib.util import find_spec

import pytest

from benchmarks.loaders.contestants import contestant
from benchmarks.storage.cases import WORKERS_A_RANK, Case, chosen_cases
from benchmarks.storage.rounds import Plan, in_a_process, run_case
from benchmarks.storage.sites import Servers

CASES = chosen_cases(["webdataset-turbo@http", "webdataset-turbo@s3", "litdata-turbo@s3, by epochs", "bench-2*"])


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_peers_and_ranks_run(storage_plan: Plan, storage_servers: Servers, case: Case):
    """Peers read their own kind of URL, and torchrun starts the ranks; each in processes of its own."""
    if case.reader != "bench":
        if find_spec(case.reader) is None:
            pytest.skip(f"{case.reader} is not installed: pip install '.[bench]', and litdata with --no-deps")
        copy = contestant(case.reader).prepare
        if copy is not None:
            copy(storage_plan.folder, storage_plan.scale, case.stored)
    found = run_case(storage_plan, case, storage_servers, seed=0, run=in_a_process)
    assert list(found) == case.figures
    assert all(reading.clips_per_s > 0 for reading in found.values())
    # Of all ranks together.
    workers = [storage_plan.workers] * len(found) if case.ranks is None else [case.ranks * n for n in WORKERS_A_RANK]
    assert [reading.workers for reading in found.values()] == workers
    if case.reader == "litdata":
        # What came over the network is in its cache.
        assert all((reading.most_cached_bytes or 0) > 100_000 for reading in found.values())
