"""A loader's state: plain, strict, and tied to the order it counts in."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardkit.errors import UsageError
from shardkit.planning.state import LoaderState, check_fingerprint, fingerprint

GOOD = {"version": 1, "seed": 3, "epoch": 2, "delivered": 40, "fingerprint": "9f"}
COVERED = {
    "order_version": 1,
    "dataset_digest": "ab",
    "clip_count": 10,
    "window_shards": 4,
    "selection_digest": "cd",
    "shuffle": True,
}
COUNTS = st.integers(0, 2**63)


@given(COUNTS, COUNTS, COUNTS, st.text(min_size=1))
def test_a_state_survives_json(seed, epoch, delivered, digest):
    """to_dict, JSON and from_dict give the same state back."""
    state = LoaderState(seed, epoch, delivered, digest)
    assert LoaderState.from_dict(json.loads(json.dumps(state.to_dict()))) == state


def test_a_state_is_plain_ints_and_strings():
    """The dict holds nothing but int and str, so that any checkpoint format can take it."""
    state = LoaderState(seed=3, epoch=2, delivered=40, fingerprint="9f").to_dict()
    assert state == GOOD
    assert {type(value) for value in state.values()} == {int, str}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 2}, "version is 2, this shardkit reads 1"),
        ({"version": "1"}, "version is '1'"),
        ({"version": True}, "version is True"),
        ({"seed": -1}, "seed is -1"),
        ({"epoch": 1.0}, "epoch is 1.0"),
        ({"delivered": True}, "delivered is True"),
        ({"delivered": None}, "delivered is None"),
        ({"fingerprint": 7}, "fingerprint is 7"),
        ({"fingerprint": ""}, "fingerprint is ''"),
        ({"rank": 0}, "unknown keys: rank"),
    ],
)
def test_a_state_with_a_wrong_value_is_refused_by_name(changes, message):
    """Wrong version, type, sign or an unknown key is a UsageError that names it."""
    with pytest.raises(UsageError, match=message):
        LoaderState.from_dict({**GOOD, **changes})


@pytest.mark.parametrize("key", sorted(GOOD))
def test_a_state_without_a_key_is_refused_by_name(key):
    """Each missing key is named."""
    with pytest.raises(UsageError, match=f"missing keys: {key}"):
        LoaderState.from_dict({name: value for name, value in GOOD.items() if name != key})


def test_a_later_version_is_named_even_where_its_keys_differ():
    """A state of version 2 with other keys is told to be of version 2, not to have unknown keys."""
    with pytest.raises(UsageError, match="version is 2"):
        LoaderState.from_dict({"version": 2, "position": 7})


def test_what_is_no_mapping_is_refused():
    """A state that is a list, say, is a UsageError and not a failed lookup."""
    with pytest.raises(UsageError, match="got a list"):
        LoaderState.from_dict([1, 2])


def test_the_fingerprint_of_the_same_order_is_the_same_everywhere():
    """The digest is fixed: states saved by one machine or version are known to the next."""
    assert fingerprint(**COVERED) == "b9bed3442da05a23-4f2e68615992b271-57113311b2928b28-462d939c38d14002"


@pytest.mark.parametrize(
    "changes",
    [
        {"order_version": 2},
        {"dataset_digest": "ac"},
        {"clip_count": 11},
        {"window_shards": 5},
        {"nodes": 2},
        {"window_shards": None},
        {"selection_digest": "ce"},
        {"shuffle": False},
        {"balance": "label/label"},
        {"dataset_digest": "cd", "selection_digest": "ab"},
    ],
)
def test_whatever_changes_the_order_changes_the_fingerprint(changes):
    """Order version, data set, clips, window, selection and shuffling are covered, by name."""
    assert fingerprint(**{**COVERED, **changes}) != fingerprint(**COVERED)


def test_a_state_of_the_same_order_is_accepted():
    """Equal fingerprints pass."""
    check_fingerprint(LoaderState(0, 0, 5, "9f"), "9f")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset_digest": "ac"}, "the data set is another one.*; load the one that the state was saved with"),
        ({"dataset_digest": "ac", "clip_count": 9, "window_shards": 3}, "the data set is another one"),
        ({"clip_count": 11}, "split=, where= or the selection of clips is another one.*; load the same clips"),
        ({"selection_digest": "ce", "window_shards": 3}, "split=, where= or the selection of clips is another one"),
        ({"shuffle": False}, "shuffle= or, .* is not the same.*; make the loader with the same"),
        ({"balance": "label/label"}, "shuffle_shards= or balance= is not the same.*; make the loader with the same"),
        (
            {"order_version": 2},
            "this version of shardkit orders clips in another way.*load the state with the version",
        ),
    ],
)
def test_a_state_of_another_order_is_refused_with_what_differs_and_a_remedy(changes, message):
    """The error names the first thing that differs, in the words of options, and how to go on."""
    state = LoaderState(0, 4, 5, fingerprint(**{**COVERED, **changes}))
    with pytest.raises(UsageError, match=rf"epoch 4, 5 clips delivered.*{message}.*set_epoch\(4\)"):
        check_fingerprint(state, fingerprint(**COVERED))


@pytest.mark.parametrize("saved", ["9f", "f08054da5cc38716bb578c591b4dc063", "-", "1-2-3-4-5"])
def test_a_fingerprint_of_another_kind_is_another_versions(saved):
    """Where the parts are not known, no option is blamed."""
    with pytest.raises(UsageError, match="load the state with the version that saved it"):
        check_fingerprint(LoaderState(0, 4, 5, saved), fingerprint(**COVERED))
