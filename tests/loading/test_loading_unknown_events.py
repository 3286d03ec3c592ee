"""Clips of which nobody has said what happens in them when: their targets are unknown, not background."""

import json
import shutil

import pytest
import torch

import shardkit
from shardkit.errors import UsageError
from shardkit.tasks import SegmentShuffle


@pytest.fixture(scope="module")
def half_known(spelled, tmp_path_factory):
    """The spelled clips, relabelled by a file that names the first six only."""
    root = tmp_path_factory.mktemp("half")
    shards = shutil.copytree(spelled, root / "shards")
    rows = (spelled.parent / "spelled.jsonl").read_text().splitlines()[:6]
    (root / "six.jsonl").write_text("\n".join(rows))
    shardkit.relabel(shards, root / "six.jsonl")
    return shards


@pytest.fixture(scope="module")
def packed_tones(spelled, tmp_path_factory):
    """The sound of the spelled clips, without labels and events."""
    root = tmp_path_factory.mktemp("tones")
    rows = [{"id": path.stem, "media": path.name} for path in sorted((spelled.parent / "media").glob("*.mkv"))]
    (root / "table.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    shardkit.pack(
        root / "table.jsonl",
        media=spelled.parent / "media",
        out=root / "shards",
        require="audio",
        frames_per_segment=1,
        size=64,
        workers=1,
    )
    return root / "shards"


def _batch(shards, **options):
    with shardkit.loader(shards, batch_size=12, shuffle=False, worker_type="thread", **options) as loader:
        return next(iter(loader))


def test_targets_of_clips_that_a_file_does_not_name_are_unknown(half_known):
    """-100 in every segment and modality; the others keep theirs."""
    batch = _batch(half_known, task="avel")
    known = torch.tensor([int(key[7:9]) < 6 for key in batch.keys])
    assert known.sum() == 6
    assert (batch.target[~known] == -100).all()
    assert (batch.target[known] != -100).any(dim=1).all()
    for marks in batch.segment_targets.values():
        assert (marks[~known] == -100).all()
        assert set(marks[known].unique().tolist()) <= {0.0, 1.0}


def test_seconds_of_events_are_not_looked_for_where_they_are_unknown(half_known):
    """CML: such a clip has no event second, and is left out as one without an event."""
    batch = _batch(half_known, task="cml")
    assert not batch.target[batch.segment_targets["av"][:, 0, 0] < 0].any()


@pytest.mark.parametrize("scope", ["within", "across"])
def test_what_is_unknown_stays_so_when_it_moves(half_known, scope):
    """A second whose sound or picture comes from such a clip has no known label."""
    batch = _batch(half_known, task="avel")
    moved = SegmentShuffle("both_independent", scope=scope, seed=1)(batch)
    for name in ("audio", "visual"):
        source = moved.segment_source[name][..., 0]
        assert torch.equal(moved.segment_targets[name][..., 0] < 0, (batch.segment_targets[name][:, 0, 0] < 0)[source])
    either = (moved.segment_targets["audio"][..., 0] < 0) | (moved.segment_targets["visual"][..., 0] < 0)
    assert (moved.segment_labels[either] == -100).all()
    assert (moved.segment_targets["av"][either] == -100).all()


@pytest.mark.parametrize("task", ["avel", "avvp", "cml"])
def test_targets_of_events_are_refused_where_none_is_known(half_known, task):
    """The error says which flags tell so, and the remedy."""
    with pytest.raises(UsageError, match=r"unknown_audio_events.*supervision='weak'"):
        shardkit.loader(half_known, batch_size=4, task=task, where='"unknown_audio_events" in flags')


def test_without_event_classes_no_segment_is_background(packed_tones):
    """Of a data set that has no events nothing is known of its segments."""
    batch = _batch(packed_tones, segment_s=1.0)
    assert (batch.segment_labels == -100).all()
    assert batch.segment_targets["av"].shape == (12, 10, 0)
