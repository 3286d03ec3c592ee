"""Runs cases in turns, each with servers of its own or idle ones, and in a process of its own."""

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks.loaders.measurement import Timing
from benchmarks.loaders.prepare import BenchFolder, read_once
from benchmarks.loaders.rounds import CaseError, python_output, turns
from benchmarks.loaders.scale import FULL, TINY, Scale
from benchmarks.storage.cache_watch import CacheWatch
from benchmarks.storage.cases import Case
from benchmarks.storage.far_loaders import NodeCache
from benchmarks.storage.measure import Request
from benchmarks.storage.readings import Reading
from benchmarks.storage.scaling import measured_ranks
from benchmarks.storage.servers import ServerMissingError
from benchmarks.storage.sites import Servers, Site


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run does."""

    root: Path
    is_tiny: bool
    timing: Timing
    repeats: int
    workers: int
    """Of each loader, where `setups` has none."""
    setups: Mapping[str, int] = field(default_factory=dict)
    """Workers with which a loader was quickest on local data, by its case's name in benchmarks/loaders."""

    @property
    def scale(self) -> Scale:
        """Clips and shapes."""
        return TINY if self.is_tiny else FULL

    @property
    def folder(self) -> BenchFolder:
        """Where the data sets are."""
        return BenchFolder(self.root)

    def workers_of(self, case: Case) -> int:
        """How many workers a case has."""
        return self.setups.get(f"{case.reader}-{case.decoder}@{case.stored}", self.workers)


@dataclass(slots=True)
class Results:
    """What came out so far."""

    rounds: list[dict[str, Reading]] = field(default_factory=list)
    errors: dict[str, str] = field(default_factory=dict)
    """Cases that failed, and why; they are not tried again."""


Runner = Callable[[Plan, Case, Site, int, NodeCache | None], list[Reading]]


def in_a_process(plan: Plan, case: Case, site: Site, seed: int, cache: NodeCache | None) -> list[Reading]:
    """Measures a case in a fresh interpreter, or several.

    Raises:
        CaseError: It failed or hung.
    """
    if case.ranks is not None:
        return measured_ranks(case, site, plan.scale, plan.timing.measured_s, cache)
    request = Request(str(plan.root), plan.is_tiny, case, site, plan.workers_of(case), seed, plan.timing, cache)
    answer = json.loads(python_output(case.name, ["-m", "benchmarks.storage.measure"], request.to_json()))
    return [Reading.of_json(reading) for reading in answer]


def files_of(plan: Plan, case: Case) -> list[Path]:
    """The folders that a case reads."""
    if case.reader == "litdata":
        return [plan.folder.copy("litdata", case.stored)]
    return [plan.folder.packed(case.stored)]


def run_case(plan: Plan, case: Case, servers: Servers, *, seed: int, run: Runner = in_a_process) -> dict[str, Reading]:
    """Measures a case; the servers' files are in the page cache then, and a node's cache is empty.

    Raises:
        CaseError: It failed or hung.
        ServerMissingError: A server is not installed.
    """
    # Systems that reclaim memory by its age take files out of the page cache between two turns.
    data_bytes = read_once(files_of(plan, case))
    with ExitStack() as stack:
        site, proxy = stack.enter_context(servers.site(case.route, seed=seed))
        cache, watch = None, None
        if case.cache != "none" or case.reader == "litdata":
            own = stack.enter_context(tempfile.TemporaryDirectory(prefix="cache-", dir=plan.root))
            cache = NodeCache(own, None if case.cache in ("none", "whole") else data_bytes // 2)
            watch = stack.enter_context(CacheWatch(Path(own)))
        readings = run(plan, case, site, seed, cache)
        if proxy is not None and case.route.faulty_share is not None:
            faults = proxy.stats().faults
            readings = [replace(reading, faults=faults) for reading in readings]
        if cache is not None and watch is not None:
            about = {"most_cached_bytes": watch.most_bytes, "cache_limit_bytes": cache.limit_bytes}
            readings = [replace(reading, **about) for reading in readings]
    return dict(zip(case.figures, readings, strict=True))


def measure_rounds(
    plan: Plan,
    cases: Sequence[Case],
    results: Results,
    *,
    run: Runner = in_a_process,
    after_round: Callable[[], None] = lambda: None,
) -> None:
    """Measures every case once a round, in turns; `after_round` can store what is there."""
    with Servers(plan.root) as servers:
        for number in range(plan.repeats):
            found: dict[str, Reading] = {}
            for case in turns(cases, number=number, repeats=plan.repeats):
                # No ratio needs the ranks, and torchrun takes its time.
                if case.name in results.errors or (case.ranks is not None and number):
                    continue
                try:
                    its = run_case(plan, case, servers, seed=number, run=run)
                except (CaseError, ServerMissingError) as exc:
                    results.errors[case.name] = str(exc)
                    continue
                found |= its
                for name, reading in its.items():
                    print(
                        f"round {number + 1}: {name}: {reading.clips_per_s:.1f} clips/s, "
                        f"{1000 * reading.cpu_s_per_clip:.3f} ms of CPU a clip",
                        flush=True,
                    )
            results.rounds.append(found)
            after_round()
