"""balance= through real loaders: what they draw, resume and refuse."""

import logging
from collections import Counter

import numpy as np
import pytest
from snapshots import real_keys

import shardkit
from shardkit.errors import UsageError
from shardkit.loading.balance import Balance
from shardkit.planning.balance import BalancedOrder

CLIPS = 24


def _loader(source, **options):
    defaults = {"batch_size": 4, "workers": 1, "worker_type": "thread", "modalities": ("audio",), "balance": "label"}
    return shardkit.loader(source, **(defaults | options))


def _classes(ds, name: str) -> dict[str, int]:
    """Key to class id."""
    (label_set,) = (known for known in ds.label_sets if known.name == name)
    return dict(zip(ds.keys, ds.index.labels(label_set)[ds.rows, -1].tolist(), strict=True))


def test_the_order_is_the_same_for_any_batch_size_and_workers(packed):
    """An epoch is as many draws as there are clips, the ones that the order says, in batches of 3 or 7."""
    ds = shardkit.open(packed)
    order = BalancedOrder(Balance.of(ds, "label").weights, seed=9, epoch=0)
    expected = [ds.keys[place] for place in order.take(np.arange(CLIPS))]
    for options in ({"batch_size": 3}, {"batch_size": 7, "workers": 2}):
        with _loader(ds, seed=9, **options) as loader:
            assert real_keys(loader) == expected


def test_rare_classes_come_as_often_as_others(packed):
    """Of a selection with 2 and 7 clips a class, counted in it and not in the whole, both come alike."""
    ds = shardkit.open(packed).select(where="label == 0 or label == 1 and number < 6")
    class_of = _classes(ds, "label")
    assert Counter(class_of.values()) == {0: 8, 1: 2}
    with _loader(ds, balance="label", batch_size=10, epochs=20) as loader:
        drawn = Counter(class_of[key] for batch in loader for key in batch.keys)
    # 200 draws of even chance: five standard deviations are 35.
    assert drawn.total() == 200
    assert abs(drawn[0] - 100) < 35


def test_resume_goes_on_with_the_same_draws(packed):
    """A state taken in the middle goes on in a loader with another batch size, and the next epoch follows."""
    with _loader(packed) as loader:
        expected = real_keys(loader) + real_keys(loader)
    with _loader(packed) as first:
        for place, _ in enumerate(first, start=1):
            if place == 2:
                state = first.state_dict()
                break
    with _loader(packed, batch_size=5) as second:
        second.load_state_dict(state)
        assert real_keys(second) + real_keys(second) == expected[8:]


def test_names_of_one_level_are_one_balance(packed):
    """A label set's name is its deepest level's: a state of the one is good for the other, of another level not."""
    with _loader(packed, balance="level_2") as loader:
        state = loader.state_dict()
    with _loader(packed, balance="level") as loader:
        loader.load_state_dict(state)
    for other in ("level_1", "label", None):
        with _loader(packed, balance=other) as loader, pytest.raises(UsageError, match="balance= is not the same"):
            loader.load_state_dict(state)


def test_clips_without_a_known_class_are_never_drawn_and_that_is_said(packed, caplog):
    """Two clips have no label: a line of the log counts them, and no epoch holds them."""
    with caplog.at_level(logging.WARNING, logger="shardkit"), _loader(packed, epochs=10) as loader:
        drawn = set(real_keys(loader))
    assert not drawn & {"clip22_0", "clip23_0"}
    assert "balance='label': 2 of 24 clips have no known class there and are never drawn" in caplog.text


def test_a_clip_of_several_labels_weighs_what_all_of_them_do(packed):
    """A clip that is both loud and near has the weights of both; one without labels has none."""
    ds = shardkit.open(packed)
    balance = Balance.of(ds, "labels")
    counts = Counter(name for names in ds.table.column("label_labels").to_pylist() for name in names)
    weights = [sum(1 / (counts[id] + 0.01) for id in ids) for ids in ds.table.column("label_labels").to_pylist()]
    assert sorted(counts.values()) == [7, 7, 8]
    assert balance.name == "labels/labels"
    assert np.diff(balance.weights.cumulative, prepend=0.0) == pytest.approx(weights)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"balance": "genre"}, "balance='genre': no such label set or level; there are label, labels, level, level_1"),
        ({"balance": "label", "where": "label == None"}, "balance='label': no selected clip has a known class"),
        ({"shuffle": False}, "balance='label' and shuffle=False exclude each other"),
        ({"shuffle_shards": 2}, "balance='label' and shuffle_shards=2 exclude each other"),
        ({"locality": "node"}, "balance='label' and locality='node' exclude each other"),
        ({"balance": 3}, "balance=3: the name of a level"),
    ],
)
def test_what_cannot_be_balanced_is_refused(packed, options, message):
    """Unknown names, clips without classes, and orders that balance makes no sense with: UsageError, says why."""
    with pytest.raises(UsageError, match=message):
        _loader(packed, **options)
