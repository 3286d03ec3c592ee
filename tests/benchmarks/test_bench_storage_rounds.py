"""Storage cases are measured in turns, with what they need around them, and one that fails takes none along."""

import time
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.loaders.rounds import CaseError
from benchmarks.storage.cases import Case, own
from benchmarks.storage.far_loaders import NodeCache
from benchmarks.storage.readings import Reading
from benchmarks.storage.rounds import Plan, Results, measure_rounds, run_case
from benchmarks.storage.sites import Servers, Site

CASES = [own("disk"), own("disk", stored="thin"), own("disk", epochs=2), own("disk", reader="bench", ranks=2)]


class Recorder:
    """A runner that takes notes, and answers with a reading for each figure."""

    def __init__(self, failing: str = "") -> None:
        self.asked: list[tuple[Case, Site, int, NodeCache | None]] = []
        self._failing = failing

    def __call__(self, plan: Plan, case: Case, site: Site, seed: int, cache: NodeCache | None) -> list[Reading]:
        """Answers, or breaks."""
        del plan
        self.asked.append((case, site, seed, cache))
        if case.name == self._failing:
            raise CaseError("it broke")
        if cache is not None:
            (Path(cache.folder) / "copy").write_bytes(bytes(100_000))
        return [Reading(100, 1.0, 0.5)] * len(case.figures)

    @property
    def names(self) -> list[str]:
        """What was asked for, in order."""
        return [case.name for case, *_ in self.asked]


def test_rounds_go_forth_and_back_with_a_seed_of_their_own(storage_plan: Plan):
    """Every second round goes backwards; each has every figure but those of ranks, which only the first one has."""
    run, results = Recorder(), Results()
    measure_rounds(replace(storage_plan, repeats=2), CASES, results, run=run)
    a, b, c, ranks = (case.name for case in CASES)
    # The second round begins half way.
    assert run.names == [a, b, c, ranks, b, a, c]
    assert [seed for _, _, seed, _ in run.asked] == [0] * 4 + [1] * 3
    assert set(results.rounds[0]) == {figure for case in CASES for figure in case.figures}
    assert set(results.rounds[1]) == {figure for case in CASES[:3] for figure in case.figures}


def test_a_case_that_fails_is_named_and_the_others_go_on(storage_plan: Plan):
    """What it said is kept, it is not tried again, and figures are handed on after every round."""
    run, results, stored = Recorder(failing=CASES[1].name), Results(), []
    plan = replace(storage_plan, repeats=2)
    measure_rounds(plan, CASES, results, run=run, after_round=lambda: stored.append(len(results.rounds)))
    assert results.errors == {CASES[1].name: "it broke"}
    assert run.names.count(CASES[1].name) == 1
    assert run.names.count(CASES[0].name) == 2
    assert stored == [1, 2]


@pytest.mark.parametrize("cache", ["whole", "half"])
def test_a_cache_is_watched_limited_and_gone_afterwards(storage_plan: Plan, cache: str):
    """Half is half of the shards' bytes; most is what lay there; nothing stays in the folder of the data sets."""
    run = Recorder()
    before = set(storage_plan.root.iterdir())
    case = own("disk", cache=cache, epochs=2)

    def slowly(*asked) -> list[Reading]:
        found = run(*asked)
        time.sleep(0.2)
        return found

    with Servers(storage_plan.root) as servers:
        found = run_case(storage_plan, case, servers, seed=0, run=slowly)
    assert set(storage_plan.root.iterdir()) == before
    ((_, _, _, told),) = run.asked
    data_bytes = sum(path.stat().st_size for path in storage_plan.folder.packed("square").iterdir())
    expected = None if cache == "whole" else data_bytes // 2
    assert told is not None
    assert told.limit_bytes == expected
    assert [reading.most_cached_bytes for reading in found.values()] == pytest.approx([100_000] * 2, rel=0.1)
    assert {reading.cache_limit_bytes for reading in found.values()} == {expected}


def test_workers_are_those_that_were_best_on_local_data(storage_plan: Plan):
    """By reader, decoder and data set; what nobody has tried has as many as the plan says."""
    plan = replace(storage_plan, workers=5, setups={"shardkit-turbo@square": 3, "webdataset-decord@square": 2})
    assert plan.workers_of(own("http", latency_ms=20)) == 3
    assert plan.workers_of(own("http", stored="thin")) == 5
    assert plan.workers_of(own("s3", reader="webdataset", decoder="decord")) == 2
