"""What the storage benchmark measures: every case by a name of its own, and nothing that must hold without figures."""

import pytest

from benchmarks.loaders.verdicts import verdict
from benchmarks.storage.cases import Route, chosen_cases, groups, own
from benchmarks.storage.link import Link
from benchmarks.storage.readings import Reading
from benchmarks.storage.requirements import requirements

EVERY = chosen_cases(["*"])


def test_every_figure_has_a_name_of_its_own():
    """Two cases that differ never write to the same place."""
    figures = [figure for case in EVERY for figure in case.figures]
    assert len(figures) == len(set(figures))
    assert len({case.name for case in EVERY}) == len(EVERY)
    assert {case.name for cases in groups().values() for case in cases} == {case.name for case in EVERY}


def test_every_requirement_is_about_figures_that_are_measured():
    """With a reading for each figure, each requirement has a verdict against each of its rivals."""
    reading = Reading(
        clips=100,
        elapsed_s=1.0,
        cpu_s=1.0,
        workers=2,
        contents="same",
        faults={"500": 3},
        most_cached_bytes=1,
        cache_limit_bytes=2,
    )
    measured = {figure: reading for case in EVERY for figure in case.figures}
    for requirement in requirements():
        assert verdict(requirement, [measured]) is not None
        assert all(isinstance(ratio(measured), float) for ratio in requirement.ratios.values())


def test_cases_are_chosen_by_group_and_by_pattern():
    """Names of groups and patterns of names choose cases; one that fits nothing is an error."""
    assert chosen_cases(["bandwidth"]) == groups()["bandwidth"]
    chosen = [case.name for case in chosen_cases(["bandwidth", "*@rclone+20ms"])]
    assert chosen == ["shardkit-turbo@rclone+20ms", "shardkit-turbo@http+50MB/s", "shardkit-turbo@http+100MB/s"]
    with pytest.raises(SystemExit, match="fits none"):
        chosen_cases(["nothing"])


def test_a_route_without_a_proxy_has_no_link():
    """Latency 0 is through a proxy, as all latencies are that it is compared with; rclone's mending needs one too."""
    assert Route("http").link is None
    assert Route("http", latency_ms=0).link == Link()
    assert Route("http", latency_ms=20).link == Link(latency_s=0.02)
    assert Route("http", cap_mb_per_s=50).link == Link(bytes_per_s=50e6)
    assert Route("rclone-206").link == Link(mend_206=True)
    assert own("http", faulty_share=0.0).route.link == Link()
