"""Runs cases in turns, each measurement in a process of its own, one at a time."""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from benchmarks.loaders.cases import Case
from benchmarks.loaders.contestants import contestant
from benchmarks.loaders.contestants.contract import Setup
from benchmarks.loaders.measure import Request
from benchmarks.loaders.measurement import Measurement, Timing
from benchmarks.loaders.prepare import BenchFolder

T = TypeVar("T")

REPOSITORY = Path(__file__).parents[2]
CALIBRATIONS = 2
"""Times that each set-up is tried: between one and the other the machine may be another."""
LIMIT_S = 600.0
"""No measurement takes as long: one that does hangs."""


class CaseError(Exception):
    """A measurement failed; the message has what the process wrote."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run does."""

    root: Path
    is_tiny: bool
    cores: int
    timing: Timing
    calibration: Timing
    repeats: int


@dataclass(slots=True)
class Results:
    """What came out so far."""

    setups: dict[str, Setup] = field(default_factory=dict)
    """The best set-up of each case."""
    tried: dict[str, dict[str, float]] = field(default_factory=dict)
    """Clips a second with each set-up that was tried, the mean of both times."""
    rounds: list[dict[str, Measurement]] = field(default_factory=list)
    errors: dict[str, str] = field(default_factory=dict)
    """Cases that failed, and why; they are not tried again."""


Runner = Callable[[Request], Measurement]


def in_a_process(request: Request) -> Measurement:
    """Measures in a fresh interpreter.

    Raises:
        CaseError: It failed or hung.
    """
    needed = contestant(request.case.contestant).environment
    environment = needed(BenchFolder(Path(request.root))) if needed else {}
    command = ["-m", "benchmarks.loaders.measure"]
    return Measurement(**json.loads(python_output(request.case.name, command, request.to_json(), environment)))


def python_output(
    name: str, arguments: Sequence[str], text: str = "", environment: Mapping[str, str] | None = None
) -> str:
    """What a fresh interpreter prints that gets `text` on its input.

    Args:
        name: Of the case, for messages.
        arguments: Of the interpreter.
        text: Its input.
        environment: Variables besides ours.

    Raises:
        CaseError: It failed or hung.
    """
    try:
        done = subprocess.run(
            [sys.executable, *arguments],
            input=text,
            check=False,
            capture_output=True,
            text=True,
            cwd=REPOSITORY,
            env={**os.environ, **(environment or {})},
            timeout=LIMIT_S,
        )
    except subprocess.TimeoutExpired as exc:
        raise CaseError(f"{name}: nothing after {LIMIT_S:.0f} s") from exc
    if done.returncode:
        raise CaseError(f"{name}: {done.stderr.strip()[-3000:]}")
    return done.stdout


def calibrate(plan: Plan, cases: Sequence[Case], results: Results, run: Runner = in_a_process) -> None:
    """Finds each case's best set-up, in passes over all of them; one that is known already is kept."""
    rates: dict[str, dict[Setup, list[float]]] = {}
    for number in range(CALIBRATIONS):
        for case in cases:
            if case.name in results.setups or case.name in results.errors:
                continue
            tried = rates.setdefault(case.name, {})
            try:
                setups = contestant(case.contestant).setups(plan.cores)
                for setup in setups:
                    # With a single one there is nothing to find out.
                    rate = _measured(plan, case, setup, plan.calibration, number, run) if len(setups) > 1 else 0.0
                    tried.setdefault(setup, []).append(rate)
            except (CaseError, ImportError) as exc:
                results.errors[case.name] = str(exc)
                continue
            found = {f"{setup.workers} {setup.mode}".strip(): statistics.mean(seen) for setup, seen in tried.items()}
            print(f"{case.name}: {found}", flush=True)
            results.tried[case.name] = found
    for name, tried in rates.items():
        if name not in results.errors:
            results.setups[name] = max(tried, key=lambda setup: statistics.mean(tried[setup]))


def _measured(plan: Plan, case: Case, setup: Setup, timing: Timing, seed: int, run: Runner) -> float:
    return run(_request(plan, case, setup, timing, seed)).clips_per_s


def _request(plan: Plan, case: Case, setup: Setup, timing: Timing, seed: int) -> Request:
    return Request(str(plan.root), plan.is_tiny, case, setup, seed, replace(timing, burn_ms=case.burn_ms))


def turns(cases: Sequence[T], *, number: int, repeats: int) -> list[T]:
    """The cases in the order of round `number`.

    Rounds begin at different places, and every second one goes backwards: a drift of the machine's speed favours now
    one side of a ratio, now the other.
    """
    shift = number * len(cases) // repeats
    turned = [*cases[shift:], *cases[:shift]]
    return turned if number % 2 == 0 else turned[::-1]


def measure_rounds(
    plan: Plan,
    cases: Sequence[Case],
    results: Results,
    run: Runner = in_a_process,
    after_round: Callable[[], None] = lambda: None,
) -> None:
    """Measures every case once a round, in `turns`; `after_round` can store what is there."""
    for number in range(plan.repeats):
        measurements: dict[str, Measurement] = {}
        for case in turns(cases, number=number, repeats=plan.repeats):
            if case.name in results.errors:
                continue
            try:
                request = _request(plan, case, results.setups[case.name], plan.timing, number)
                measurements[case.name] = run(request)
            except CaseError as exc:
                results.errors[case.name] = str(exc)
                continue
            shown = measurements[case.name]
            print(
                f"round {number + 1}: {case.name} {shown.clips_per_s:.1f} clips/s, "
                f"{1000 * shown.cpu_s_per_clip:.2f} ms of CPU a clip",
                flush=True,
            )
        results.rounds.append(measurements)
        after_round()
