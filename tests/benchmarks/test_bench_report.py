"""What benchmarks/README.md says is what was measured."""

import json
from pathlib import Path

from benchmarks.loaders.report import tables

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_the_readme_has_the_tables_of_the_stored_run():
    """All four tables stand in benchmarks/README.md as they come out of results/loaders.json."""
    text = (BENCHMARKS / "README.md").read_text("utf-8")
    for table in tables(json.loads((BENCHMARKS / "results" / "loaders.json").read_text("utf-8"))):
        assert table in text


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
