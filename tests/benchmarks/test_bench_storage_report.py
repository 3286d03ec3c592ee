"""What benchmarks/README.md says of storage is what was measured."""

import json
from pathlib import Path

import pytest

from benchmarks.storage.cases import FAULTY_SHARE, chosen_cases, own
from benchmarks.storage.readings import Asked, Reading
from benchmarks.storage.report import figures, tables, with_tables
from benchmarks.storage.requirements import costs, fault_pair

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
RESULTS = BENCHMARKS / "results" / "storage.json"
ASKED = Asked(1.0, 490_000.0, 47.5, 0.0021, 0.031, retries=3, cached_share=0.25)


def told(*rounds: dict[str, Reading], errors: dict[str, str] | None = None) -> dict[str, str]:
    """Tables of rounds, after a way through JSON."""
    return tables(json.loads(json.dumps(figures({}, rounds, errors or {}))))


def test_the_readme_has_the_tables_of_the_stored_run():
    """Each table stands between its marks as it comes out of results/storage.json."""
    if not RESULTS.exists():
        pytest.skip("nothing is stored: make bench-storage, then put its tables into the README")
    text = (BENCHMARKS / "README.md").read_text("utf-8")
    assert with_tables(text, tables(json.loads(RESULTS.read_text("utf-8")))) == text


def test_the_readme_has_a_place_for_every_table():
    """And nothing is lost when they are put there."""
    text = (BENCHMARKS / "README.md").read_text("utf-8")
    named = dict.fromkeys(tables({"rounds": [], "errors": {}}), "| new |")
    found = with_tables(text, named)
    assert found.count("| new |") == len(named)
    assert with_tables(found, named) == found
    with pytest.raises(ValueError, match="'other'"):
        with_tables(text, {"other": ""})


def test_a_run_of_everything_fills_every_table():
    """Every figure that is measured is shown somewhere: no row and no cell of a full run is missing."""
    rounds = []
    for rate in (800, 900, 1000):
        reading = Reading(
            rate,
            1.0,
            2.0,
            workers=2,
            asked=ASKED,
            contents="aa",
            faults={"500": 3},
            most_cached_bytes=4,
            cache_limit_bytes=5,
        )
        rounds.append({figure: reading for case in chosen_cases(["*"]) for figure in case.figures})
    found = told(*rounds)
    assert found.pop("failed") == "No case failed."
    rows = {name: table.splitlines()[2:] for name, table in found.items()}
    assert {name: len(its) for name, its in rows.items()} == {
        "verdicts": 29,
        "cost": 9,
        "latency": 10,
        "bandwidth": 2,
        "peers": 8,
        "faults": 2,
        "cache": 5,
        "scaling": 8,
    }
    assert "900 (800–1000)" in rows["latency"][0]  # noqa: RUF001


def test_the_cost_table_shows_what_is_added():
    """From the disk, from the URL, the difference, and the bare clients, in milliseconds of CPU time a clip."""
    cost = costs(None)[0]
    spent_ms = dict(zip((cost.disk, cost.far, *cost.bare), (0.2, 0.75, 0.5, 0.4), strict=True))
    found = told({name: Reading(1000, 1.0, cpu_ms) for name, cpu_ms in spent_ms.items()})
    assert "| HTTP, obstore; as fast as it goes | 0.20 | 0.75 | 0.55 | 0.50 | 0.40 |" in found["cost"]
    assert "300 clips/s" not in found["cost"]


def test_the_bandwidth_table_shows_the_share_of_the_cap():
    """Of 50 MB/s, 47.5 came through."""
    name = own("http", cap_mb_per_s=50).name
    assert "| 50 MB/s | 97 | 95% |" in told({name: Reading(97, 1.0, 1.0, asked=ASKED)})["bandwidth"]


def test_the_table_of_faults_shows_what_they_cost():
    """Rates with and without, what was lost, what faults explain with two workers, whether the clips were the same."""
    clean, faulty = fault_pair("http")
    measured = {
        clean: Reading(2000, 5.0, 1.0, contents="aa", faults={}),
        faulty: Reading(2000, 8.0, 1.0, workers=2, asked=ASKED, contents="aa", faults={"stall": 2, "500": 40}),
    }
    row = "| HTTP, obstore | 400 | 250 | 42 | 3 | 3.0 | 3.0 | yes |"
    assert f"{FAULTY_SHARE:.0%}" == "5%"
    assert row in told(measured)["faults"]
    measured[faulty] = Reading(2000, 8.0, 1.0, workers=2, asked=ASKED, contents="bb", faults={"stall": 2, "500": 40})
    assert row.replace("yes", "**no**") in told(measured)["faults"]


def test_what_was_not_measured_is_left_out():
    """A run of one case has a table with that, and empty ones."""
    found = told({own("http", latency_ms=100).name: Reading(500, 1.0, 1.0, asked=ASKED)})
    assert found["latency"].splitlines()[2:] == ["| HTTP, obstore, 100 ms | 500 | | 2.00 | 2 | 31 |"]
    assert all(len(table.splitlines()) == 2 for name, table in found.items() if name not in ("latency", "failed"))


def test_what_failed_is_named():
    """A case without figures has a line, with the last of what it said; the others have their rows."""
    name = own("http", cap_mb_per_s=50).name
    errors = {"litdata-turbo@s3, by epochs": "litdata-turbo@s3: Traceback:\n  somewhere\nOSError: no such bucket\n"}
    found = told({name: Reading(97, 1.0, 1.0, asked=ASKED)}, errors=errors)
    assert found["failed"] == "- litdata-turbo@s3, by epochs failed: OSError: no such bucket"
    assert "50 MB/s" in found["bandwidth"]
