"""Ratios of the storage benchmark are taken within rounds."""

import pytest

from benchmarks.loaders.verdicts import Requirement, verdict, verdicts
from benchmarks.storage.cases import CACHED_EPOCHS, Case, Route, own
from benchmarks.storage.contents import INCOMPLETE
from benchmarks.storage.readings import Reading
from benchmarks.storage.requirements import costs, fault_pair, faults_s, requirements
from benchmarks.storage.sites import STALL_S


def at_cost(cpu_ms_per_clip: float) -> Reading:
    """A thousand clips at that cost."""
    return Reading(1000, 1.0, cpu_ms_per_clip)


def at_rate(clips_per_s: float, **fields) -> Reading:
    """Ten seconds at that rate."""
    return Reading(round(10 * clips_per_s), 10.0, 1.0, **fields)


def required(*parts: str) -> Requirement:
    """The requirement with those words in its title."""
    (found,) = [one for one in requirements() if all(part in one.title for part in parts)]
    return found


def test_the_cost_of_reading_is_what_is_added_to_the_disk():
    """Of two bare clients the one that costs less counts."""
    cost = costs(None)[0]
    threads, asyncio = cost.bare
    rounds = [
        {cost.disk: at_cost(0.2), cost.far: at_cost(0.8), threads: at_cost(0.6), asyncio: at_cost(0.4)},
        {cost.disk: at_cost(0.4), cost.far: at_cost(1.3), threads: at_cost(0.9), asyncio: at_cost(0.6)},
    ]
    found = verdict(required("HTTP, obstore; as fast"), rounds)
    assert found.against == asyncio
    assert found.per_round == pytest.approx((1.5, 1.5))
    assert not found.holds


def test_latency_is_compared_with_none_through_the_same_proxy():
    """20 ms against 0 ms, and not against the server without a proxy."""
    rounds = [
        {
            own("http").name: at_rate(900),
            own("http", latency_ms=0).name: at_rate(500),
            own("http", latency_ms=20).name: at_rate(480),
        }
    ]
    found = verdict(required("20 ms a request ÷ without", "HTTP"), rounds)
    assert found.per_round == (0.96,)
    assert found.holds


def test_the_better_peer_counts():
    """Of peers, and of a peer's epochs, the quickest is what shardkit is compared with."""
    litdata = Case("litdata", Route("s3"), "decord", epochs=2)
    measured = {
        own("s3").name: at_rate(700),
        Case("webdataset", Route("s3"), "decord").name: at_rate(200),
        litdata.figures[0]: at_rate(150),
        litdata.figures[1]: at_rate(280),
    }
    found = verdict(required("S3, peers as their users run them"), [measured])
    assert (found.against, found.median) == (litdata.figures[1], 2.5)


def test_without_one_of_the_peers_the_better_one_is_not_known():
    """A peer that failed cannot be beaten: no verdict, also where the other one is left far behind."""
    measured = {own("s3").name: at_rate(700), Case("webdataset", Route("s3"), "decord").name: at_rate(200)}
    assert verdict(required("S3, peers as their users run them"), [measured]) is None


def test_an_epoch_with_faults_must_be_exact_in_every_round():
    """One clip that is another, or missing, in one of three rounds is one too many."""
    clean, faulty = fault_pair("http")
    requirement = required("HTTP", "every clip once")
    same = {clean: at_rate(300, contents="aa"), faulty: at_rate(200, contents="aa", faults={})}
    for contents in ("bb", INCOMPLETE):
        other = {clean: at_rate(300, contents="aa"), faulty: at_rate(200, contents=contents, faults={})}
        found = verdict(requirement, [same, other, same])
        assert found.per_round == (1, 0, 1)
        assert not found.holds
    assert verdict(requirement, [same] * 3).holds
    both = {name: at_rate(300, contents=INCOMPLETE, faults={}) for name in (clean, faulty)}
    assert not verdict(requirement, [both]).holds


def test_faults_explain_their_own_time():
    """A stall explains its length, another fault the wait before the next try; more than that is lost elsewhere.

    Workers wait at the same time: three are held up by a third of it.
    """
    clean, faulty = fault_pair("http")
    faults = {"stall": 4, "500": 10, "reset": 10}
    assert faults_s(at_rate(1, faults=faults, workers=1)) == pytest.approx(4 * STALL_S + 20 * 0.1)
    assert faults_s(at_rate(1, faults=faults, workers=3)) == pytest.approx((4 * STALL_S + 20 * 0.1) / 3)
    clips = {"clips": 1000, "cpu_s": 1.0, "workers": 3}
    for elapsed_s, holds in ((11.9, True), (12.1, False)):
        measured = {
            clean: Reading(elapsed_s=10.0, **clips),
            faulty: Reading(elapsed_s=elapsed_s, faults=faults, **clips),
        }
        assert verdict(required("HTTP", "faults' own"), [measured]).holds is holds


def test_a_cache_is_compared_with_the_disk_when_it_is_filled():
    """The last epoch with the last epoch."""
    disk = own("disk", epochs=CACHED_EPOCHS).figures
    cached = own("http", cache="whole", epochs=CACHED_EPOCHS).figures
    measured = {disk[0]: at_rate(100), disk[-1]: at_rate(500), cached[0]: at_rate(900), cached[-1]: at_rate(480)}
    assert verdict(required("from the cache ÷ from the disk"), [measured]).median == 0.96


@pytest.mark.parametrize("cache", ["half", "half-windows"])
def test_a_cache_that_is_too_small_is_compared_with_none(cache: str):
    """Whoever waits for room is slower than whoever asks the server every time: last epoch with last epoch."""
    without, small = (own("http", cache=which, epochs=CACHED_EPOCHS).figures for which in ("none", cache))
    measured = {without[0]: at_rate(900), without[-1]: at_rate(500), small[0]: at_rate(100), small[-1]: at_rate(450)}
    found = verdict(required(f"with cache {cache} ÷ without"), [measured])
    assert (found.against, found.median) == (without[-1], 0.9)
    assert not found.holds


def test_a_limit_must_hold_in_every_round():
    """A byte too many in one of three is too many."""
    figure = own("http", cache="half-windows", epochs=CACHED_EPOCHS).figures[-1]
    below, beyond = ({figure: at_rate(400, most_cached_bytes=most, cache_limit_bytes=100)} for most in (100, 101))
    assert verdict(required("limit: half-windows"), [below] * 3).holds
    assert not verdict(required("limit: half-windows"), [below, beyond, below]).holds


def test_what_was_not_measured_has_no_verdict():
    """A run of some cases says nothing about the others, and figures too short to have cost anything say nothing."""
    assert verdicts(requirements(), [{own("http").name: at_rate(500)}]) == []
    cost = costs(None)[1]
    free = {cost.disk: at_cost(0.2), cost.far: at_cost(0.8), cost.bare[0]: at_cost(0.0)}
    assert verdict(required(cost.title, "as fast"), [free]) is None
