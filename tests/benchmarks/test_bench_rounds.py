"""Cases are measured in turns, and one that fails does not take the others along."""

from pathlib import Path

import pytest

from benchmarks.loaders.cases import Case
from benchmarks.loaders.contestants.contract import Setup
from benchmarks.loaders.measure import Request
from benchmarks.loaders.measurement import Measurement, Timing
from benchmarks.loaders.rounds import CaseError, Plan, Results, calibrate, measure_rounds

TIMING = Timing(warm_up_s=0, measured_s=1, measured_batches=1)
CASES = [Case("shardkit", "square", "turbo"), Case("torch", "square", "decord"), Case("bare", "square", "turbo")]


class Recorder:
    """A runner that takes notes, and answers with a rate for each number of workers."""

    def __init__(self, rates: dict[int, int], failing: str = "") -> None:
        self.requests: list[Request] = []
        self._rates = rates
        self._failing = failing

    def __call__(self, request: Request) -> Measurement:
        """Answers, or breaks."""
        self.requests.append(request)
        if request.case.name == self._failing:
            raise CaseError("it broke")
        return Measurement(self._rates[request.setup.workers], 1.0, 1.0)

    @property
    def names(self) -> list[str]:
        """What was asked for, in order."""
        return [request.case.name for request in self.requests]


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """Three rounds on two cores."""
    return Plan(tmp_path, is_tiny=True, cores=2, timing=TIMING, calibration=TIMING, repeats=3)


@pytest.fixture
def results() -> Results:
    """With set-ups that are known."""
    return Results(setups={case.name: Setup(2) for case in CASES})


def test_the_best_number_of_workers_is_found(plan: Plan):
    """One less than cores, as many, and one more are tried: the fastest is kept, the others' rates are recorded."""
    results = Results()
    calibrate(plan, CASES[:2], results, Recorder({1: 100, 2: 300, 3: 200}))
    assert results.setups == {case.name: Setup(2) for case in CASES[:2]}
    assert results.tried[CASES[0].name] == {"1": 100, "2": 300, "3": 200}


def test_bare_decoders_take_all_cores(plan: Plan):
    """The limit is not tuned: a process a core."""
    results, run = Results(), Recorder({})
    calibrate(plan, CASES[2:], results, run)
    assert results.setups[CASES[2].name] == Setup(2)
    assert not run.requests


def test_rounds_interleave_the_cases_and_rotate_them(plan: Plan, results: Results):
    """Every round has every case once; rounds begin at different places, and every second one goes backwards."""
    run = Recorder({2: 100})
    measure_rounds(plan, CASES, results, run)
    a, b, c = (case.name for case in CASES)
    assert run.names == [a, b, c, a, c, b, c, a, b]
    assert [set(found) for found in results.rounds] == [{a, b, c}] * 3
    assert [request.seed for request in run.requests] == [0] * 3 + [1] * 3 + [2] * 3


def test_a_case_that_fails_is_named_and_the_others_go_on(plan: Plan, results: Results):
    """What it said is kept, and it is not tried again."""
    run = Recorder({2: 100}, failing=CASES[1].name)
    measure_rounds(plan, CASES, results, run)
    assert results.errors == {CASES[1].name: "it broke"}
    assert run.names.count(CASES[1].name) == 1
    assert run.names.count(CASES[0].name) == 3


def test_figures_are_handed_on_after_every_round(plan: Plan, results: Results):
    """A run that is broken off leaves what it has."""
    rounds = []
    measure_rounds(plan, CASES, results, Recorder({2: 100}), after_round=lambda: rounds.append(len(results.rounds)))
    assert rounds == [1, 2, 3]


def test_a_request_survives_the_way_to_its_process():
    """What a process is told is what it does."""
    request = Request("/data", True, CASES[1], Setup(3, "threads"), 4, Timing(1, 2, 3, burn_ms=12))
    assert Request.of_json(request.to_json()) == request
