"""Ratios are taken within rounds, against the strongest rival."""

import pytest

from benchmarks.loaders.cases import Case, all_cases, chosen_cases
from benchmarks.loaders.measurement import Measurement
from benchmarks.loaders.ratios import OWN, fair_share, requirements
from benchmarks.loaders.verdicts import Requirement, Verdict, verdict

WEBDATASET = Case("webdataset", "square", "decord")
LITDATA = Case("litdata", "square", "decord")


def rate(clips_per_s: float, *, cpu_s: float = 1.0, burnt_s: float = 0.0) -> Measurement:
    """Ten seconds at that rate."""
    return Measurement(clips=round(10 * clips_per_s), elapsed_s=10.0, cpu_s=cpu_s, burnt_s=burnt_s)


def required(title_part: str) -> Requirement:
    """The requirement with those words in its title."""
    (found,) = [r for r in requirements(cores=2, batch_size=16) if title_part in r.title]
    return found


def held(requirement: Requirement, *rounds: dict[str, Measurement]) -> Verdict | None:
    """Against rounds in which peers that are not named are slow, and cost much."""
    return verdict(requirement, [dict.fromkeys(requirement.ratios, rate(1)) | measured for measured in rounds])


def test_a_ratio_is_the_median_of_the_rounds_ratios():
    """Rounds are compared each within itself: a machine that slows down for a round takes both sides along."""
    rounds = [
        {OWN.name: rate(600), WEBDATASET.name: rate(200)},
        {OWN.name: rate(300), WEBDATASET.name: rate(100)},
        {OWN.name: rate(700), WEBDATASET.name: rate(200)},
    ]
    found = held(required("as its users run it"), *rounds)
    assert found.per_round == (3.0, 3.0, 3.5)
    assert found.median == 3.0
    assert found.holds


def test_the_strongest_rival_counts():
    """Of several peers the one that leaves the least is compared with."""
    measured = {OWN.name: rate(600), WEBDATASET.name: rate(200), LITDATA.name: rate(240)}
    found = held(required("as its users run it"), measured)
    assert (found.against, found.median) == (LITDATA.name, 2.5)
    assert not found.holds


def test_what_was_not_measured_has_no_verdict():
    """A run of some cases says nothing about the others, and one of some peers nothing about the best of them."""
    assert verdict(required("as its users run it"), [{OWN.name: rate(600)}]) is None
    assert verdict(required("as its users run it"), [{WEBDATASET.name: rate(600)}]) is None
    assert verdict(required("as its users run it"), [{OWN.name: rate(600), WEBDATASET.name: rate(100)}]) is None


def test_the_fair_share_leaves_the_consumer_its_cpu_time():
    """Two cores at 700 clips a second cost 2/700 core seconds a clip; 12 ms a batch of 16 add 0.75 ms to each."""
    assert fair_share(700, 0.012, cores=2, batch_size=16) == pytest.approx(2 / (2 / 700 + 0.00075))
    # 100 ms a batch: the consumer itself takes no more than ten batches a second.
    assert fair_share(700, 0.100, cores=2, batch_size=16) == pytest.approx(160)


def test_beside_a_consumer_the_share_is_that_of_the_same_round():
    """The idle rate of the round decides what the burning consumer's case is held against."""
    burning = Case("shardkit", "square", "turbo", 12)
    share = fair_share(500, 0.012, cores=2, batch_size=16)
    found = verdict(required("burns 12 ms"), [{OWN.name: rate(500), burning.name: rate(share)}])
    assert found.median == pytest.approx(1.0, rel=1e-3)


def test_what_the_consumer_burns_is_no_cost_of_the_loader():
    """CPU seconds a clip leave the consumer's out."""
    assert rate(100, cpu_s=12.0, burnt_s=2.0).cpu_s_per_clip == pytest.approx(0.01)


def test_cpu_seconds_are_compared_the_other_way_round():
    """Above 1 where shardkit needs less than the thriftiest peer."""
    measured = {OWN.name: rate(100, cpu_s=2.0), WEBDATASET.name: rate(100, cpu_s=5.0)}
    assert held(required("CPU seconds"), measured).median == pytest.approx(2.5)


def test_every_requirement_names_cases_that_are_measured():
    """Nothing that must hold is left without figures."""
    measured = {case.name: rate(100) for case in all_cases()}
    for requirement in requirements(cores=2, batch_size=16):
        assert verdict(requirement, [measured]) is not None


def test_cases_are_chosen_by_pattern():
    """Patterns choose cases by name, in the order in which they are measured; one that fits nothing is an error."""
    assert [case.name for case in chosen_cases(["*@h264", "bare-turbo@s*"])] == [
        "bare-turbo@square",
        "bare-turbo@short",
        "shardkit-turbo@h264",
        "webdataset-decord@h264",
    ]
    with pytest.raises(SystemExit, match="fits none"):
        chosen_cases(["nothing"])
