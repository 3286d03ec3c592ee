"""What benchmarks/README.md says is what was measured."""

import dataclasses
import json
from pathlib import Path

import pytest

from benchmarks.loaders.measurement import Measurement
from benchmarks.loaders.ratios import requirements
from benchmarks.loaders.report import figures, tables
from benchmarks.loaders.rounds import Results
from benchmarks.loaders.verdicts import verdicts

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_the_readme_has_the_tables_of_the_stored_run():
    """All four tables stand in benchmarks/README.md as they come out of results/loaders.json."""
    text = (BENCHMARKS / "README.md").read_text("utf-8")
    for table in tables(json.loads((BENCHMARKS / "results" / "loaders.json").read_text("utf-8"))):
        assert table in text


@pytest.mark.parametrize("name", ["loaders", "against_bare"])
def test_the_stored_ratios_are_those_of_the_stored_rounds(name: str):
    """What held when a run was made is what its figures say."""
    told = json.loads((BENCHMARKS / "results" / f"{name}.json").read_text("utf-8"))
    fields = [field.name for field in dataclasses.fields(Measurement)]
    rounds = [
        {case: Measurement(**{field: one[field] for field in fields}) for case, one in measured.items()}
        for measured in told["rounds"]
    ]
    wanted = requirements(cores=int(told["machine"]["usable_cores"]), batch_size=told["batch_size"])
    assert (
        json.loads(json.dumps(figures({}, Results(rounds=rounds), verdicts(wanted, rounds))["ratios"]))
        == told["ratios"]
    )


def test_tables_show_medians_and_spread_of_what_was_measured():
    """Missing cases leave their cells empty, or are left out; rates are rounded to whole clips."""
    measured = [
        {"shardkit-turbo@square": {"clips_per_s": rate, "cpu_s_per_clip": 0.0025}, "bare-turbo@square": bare}
        for rate, bare in zip(
            (790, 800.4, 850), ({"clips_per_s": 1000, "cpu_s_per_clip": 0.002} for _ in range(3)), strict=True
        )
    ]
    setup = {"workers": 2, "mode": ""}
    ratio = {"title": "one ÷ other", "at_least": 0.85, "per_round": [0.79, 0.8, 0.85], "against": "other"}
    verdicts, _, shapes, others = tables(
        {
            "rounds": measured,
            "setups": dict.fromkeys(measured[0], setup),
            "ratios": [ratio | {"median": 0.8, "holds": False}],
        }
    )
    assert "| one ÷ other | 0.85 | 0.80 | 0.79–0.85 | other | **not reached** |" in verdicts  # noqa: RUF001
    assert "| shardkit-turbo | 800 (790–850) | 2.50 | 2 | | | |" in shapes  # noqa: RUF001
    assert len(others.splitlines()) == 2
