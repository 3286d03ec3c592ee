"""The synthetic experiments: what their clips say, and what is claimed of the results."""

import json
from pathlib import Path

import numpy as np
import pytest

import shardkit
from shardkit.errors import UsageError
from tools.baselines.claims import CLAIMS, Claim
from tools.baselines.config import read_config
from tools.baselines.experiments import configurations
from tools.baselines.shuffles import shuffled_scores
from tools.baselines.synthetic import CML_EVENT_S, LEAVES, SECONDS, _avel, _cml
from tools.baselines.tables import table_of
from tools.baselines.training import Outcome, spread_permutation

RESULTS = Path(__file__).parents[2] / "tools" / "baselines" / "results" / "synthetic.json"
REAL = Path(__file__).parents[3] / "shared" / "data" / "annotations"


def test_an_exact_matcher_bears_shuffles_alike_and_not_apart(baseline_data):
    """Spelled clips are read back without a mistake; both modalities shuffled alike change nothing, apart they do."""
    scores = shuffled_scores(baseline_data("spelled") / "spelled" / "shards", seeds=[0])
    assert scores["none"]["a2v"] == scores["both_same"]["a2v"] == scores["both_same"]["v2a"] == [1.0]
    assert scores["both_independent"]["a2v"][0] < 0.5
    assert scores["both_independent"]["a2v_moved"] == scores["both_independent"]["v2a_moved"] == [1.0]


def test_the_fusion_clips_carry_the_taxonomy_of_avo65(baseline_data):
    """Twenty leaves, four below each of the five roots, under the names that the data set has."""
    dataset = shardkit.open(baseline_data("fusion") / "fusion" / "shards")
    (instrument,) = dataset.label_sets
    paths = {tuple(path) for path in dataset.index.labels(instrument)[dataset.rows].tolist()}
    assert len(paths) == 20
    assert np.bincount([root for root, *_ in paths]).tolist() == [4] * 5
    assert {instrument.leaf.classes[leaf] for *_, leaf in paths} >= {"Gong", "Piano", "Theremin"}


@pytest.mark.skipif(not (REAL / "AVO-65.csv").is_file(), reason="the released file is not here")
def test_the_fusion_leaves_are_where_avo65_has_them():
    """Each of the twenty stands below the same classes as in the released file."""
    rows = (REAL / "AVO-65.csv").read_text("utf-8-sig").splitlines()[1:]
    paths = {tuple(map(int, row.split(",")[3:7])) for row in rows}
    assert {(*above, leaf) for leaf, above in LEAVES} <= paths


def test_background_is_heard_or_seen_but_never_both():
    """In AVEL's clips the event's seconds have sound and picture of the class, all others one of them or none."""
    draw = np.random.default_rng(0)
    counts = np.zeros(4, dtype=int)
    for _ in range(200):
        script, start, stop = _avel("clip", 3, draw)
        for second, (sound, picture) in enumerate(zip(script.sounds, script.pictures, strict=True)):
            assert {sound, picture} <= {3, None}
            assert (sound == picture == 3) == (start <= second < stop)
            counts[2 * (sound is None) + (picture is None)] += 1
    shares = counts / counts.sum()
    assert shares == pytest.approx([1 / 2, 1 / 6, 1 / 6, 1 / 6], abs=0.04)


def test_only_agreement_gives_a_cross_modality_event_away():
    """In CML's clips sound and picture are of one class in the event's seconds, and of two others everywhere else."""
    draw = np.random.default_rng(0)
    for _ in range(50):
        script, start, stop = _cml("clip", 3, draw)
        agree = [sound == picture for sound, picture in zip(script.sounds, script.pictures, strict=True)]
        assert agree == [start <= second < stop for second in range(SECONDS)]
        assert stop - start == CML_EVENT_S
        assert script.sounds.count(3) == script.pictures.count(3) == CML_EVENT_S


def test_permuted_labels_say_nothing_of_classes():
    """They are the same labels, and the clips of each class have each label once or twice."""
    ids = np.random.default_rng(0).permutation(np.repeat(np.arange(20), 30))
    permuted = spread_permutation(ids, seed=1)
    assert np.bincount(permuted).tolist() == [30] * 20
    pairs = np.bincount(20 * ids + permuted, minlength=400)
    assert set(pairs.tolist()) == {1, 2}


def test_a_slip_in_a_configuration_names_the_key(tmp_path):
    """An unknown key, and one that is missing, are UsageErrors that say which."""
    path = tmp_path / "slip.yaml"
    path.write_text("name: x\ndata: y\ntask: {name: cml}\noptimisation: {epochs: 1, learning_rat: 1.0}\n")
    with pytest.raises(UsageError, match=r"learning_rat.*learning_rate"):
        read_config(path)
    path.write_text("name: x\ndata: y\ntask: {name: cml}\noptimisation: {epochs: 1, learning_rate: 1.0}\n")
    with pytest.raises(UsageError, match="'model' is missing"):
        read_config(path)


def test_every_claim_is_about_an_experiment_that_is_there():
    """Each claim can be measured once all configurations have run."""
    names = {config.name for _, config in configurations()}
    asked = _Figures(names | {"shuffles"})
    for claim in CLAIMS:
        claim.measure(asked)
    assert asked.used == names | {"shuffles"}


def test_the_results_are_those_that_the_claims_ask_for():
    """What `make baselines` wrote has today's claims, all of which hold, for three seeds."""
    results = json.loads(RESULTS.read_text("utf-8"))
    assert [(row["text"], row["bounds"]) for row in results["claims"]] == [
        (claim.text, claim.bounds) for claim in CLAIMS
    ]
    assert all(row["holds"] for row in results["claims"])
    assert results["seeds"] == [0, 1, 2]


def test_bounds_are_kept_to_a_hair():
    """A value on the bound keeps it; beyond it does not, also where it is NaN."""
    claim = Claim("x", lambda _figures: 0.0, low=0.1, high=0.3)
    assert [claim.holds(value) for value in (0.1, 1 - 0.7, 0.31, float("nan"))] == [True, True, False, False]
    assert claim.bounds == "10 to 30 %"


def test_the_table_says_mean_deviation_and_waiting():
    """Two seeds, in percent; counts of clips are no figures to take a mean of."""
    outcomes = [
        Outcome(seed, {"test": {"acc": acc, "clips": 400.0}}, 0, 0.5, train_s=10.0, wait_s=1.0, start_wait_s=0.5)
        for seed, acc in enumerate((0.5, 0.7))
    ]
    lines = table_of("x", outcomes).splitlines()
    assert lines[1].split() == ["test", "acc", "60.00", "±", "14.14", "%"]
    assert lines[2].split() == ["training", "waiting", "for", "batches", "10.00", "±", "0.00", "%"]
    assert len(lines) == 3


class _Figures(dict):
    """Has a value for whatever is asked of the experiments that there are, and remembers which were asked."""

    def __init__(self, names):
        self.names, self.used = names, set()

    def __getitem__(self, name):
        assert name in self.names
        self.used.add(name)
        return _Anything()


class _Anything(dict):
    def __getitem__(self, name):
        return [0.5] if name in ("acc", "clip_class_oracle", "a2v", "v2a") else _Anything()
