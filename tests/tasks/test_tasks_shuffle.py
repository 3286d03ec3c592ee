"""Shuffled segments: media, features and labels move together."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from spelled_clips import BACKGROUND, CLASSES, SECONDS, Spelled, read_colour, read_tone, spelled_clips

import shardkit
from shardkit.errors import UsageError
from shardkit.tasks import CML, SegmentShuffle, localize, moved

CLIP_OF = {clip.name: clip for clip in spelled_clips()}
MODALITIES = ("audio", "visual", "both_same", "both_independent")
SCOPES = (
    {"scope": "within"},
    {"scope": "across"},
    {"scope": "across", "pool": "same_action", "label": "label"},
    {"scope": "across", "pool": "same_material", "label": "labels"},
)


def _clips(batch):
    return [CLIP_OF[key.split("_")[0]] for key in batch.keys]


def _one_hot(class_id):
    return [float(class_id == column) for column in range(CLASSES)]


@pytest.mark.parametrize("scope", SCOPES, ids=lambda scope: scope.get("pool", scope["scope"]))
@pytest.mark.parametrize("modality", MODALITIES)
def test_colour_tone_and_labels_of_every_segment_agree(spelled_batches, modality, scope):
    """What is seen and heard in a segment is what its source and its targets say, whatever was moved."""
    batch = spelled_batches(task="avel")[0]
    shuffled = SegmentShuffle(modality, seed=2, **scope)(batch)
    view, clips = shuffled.segments_view(), _clips(batch)
    for place, count in enumerate(batch.segment_count.tolist()):
        for segment in range(count):
            sources = {name: shuffled.segment_source[name][place, segment].tolist() for name in ("audio", "visual")}
            (heard_in, heard_at), (seen_in, seen_at) = sources["audio"], sources["visual"]
            heard, seen = clips[heard_in].heard[heard_at], clips[seen_in].seen[seen_at]
            tone = read_tone(view.audio[place, segment, 0].numpy())
            assert tone == Spelled(heard, heard_at, clips[heard_in].number)
            for frame in view.video[place, segment, ::3]:
                assert read_colour(frame.numpy()) == Spelled(seen, seen_at, clips[seen_in].number)
            assert shuffled.segment_targets["audio"][place, segment].tolist() == _one_hot(heard)
            assert shuffled.segment_targets["visual"][place, segment].tolist() == _one_hot(seen)
            both = heard if heard == seen else BACKGROUND
            assert shuffled.segment_targets["av"][place, segment].tolist() == _one_hot(both)
            assert shuffled.segment_labels[place, segment] == both
        assert (shuffled.segment_labels[place, count:] == -100).all()


@pytest.mark.parametrize("scope", SCOPES, ids=lambda scope: scope.get("pool", scope["scope"]))
@pytest.mark.parametrize("modality", MODALITIES)
def test_only_what_is_named_moves_and_padding_never(spelled_batches, modality, scope):
    """A modality that is not shuffled is the batch's own memory; clips of weight 0 are their own sources."""
    for batch in spelled_batches(task="avel"):
        shuffled = SegmentShuffle(modality, seed=2, **scope)(batch)
        assert (shuffled.audio is batch.audio) == (modality == "visual")
        assert (shuffled.video is batch.video) == (modality == "audio")
        own = torch.stack(torch.meshgrid(torch.arange(8), torch.arange(SECONDS), indexing="ij"), dim=-1)
        for name, source in shuffled.segment_source.items():
            if modality in (name, "both_same", "both_independent"):
                assert not torch.equal(source, own)
                kept = (batch.weight == 0)[:, None] | (torch.arange(SECONDS) >= batch.segment_count[:, None])
                assert torch.equal(source[kept], own[kept])
            else:
                assert torch.equal(source, own)


def test_both_same_keeps_pairs_and_both_independent_does_not(spelled_batches):
    """The sound of a second stays with its picture, or each goes its own way."""
    batch = spelled_batches(task="avel")[0]
    same = SegmentShuffle("both_same", seed=4)(batch)
    assert torch.equal(same.segment_source["audio"], same.segment_source["visual"])
    assert torch.equal(same.segment_labels, moved(batch.segment_labels, same.segment_source["audio"]))
    apart = SegmentShuffle("both_independent", seed=4)(batch)
    assert not torch.equal(apart.segment_source["audio"], apart.segment_source["visual"])


def test_pools_exchange_segments_within_them_only(spelled_batches):
    """The same class; or a class in common, where a clip has several. Segments do come from other clips."""
    batch = spelled_batches(task="avel")[0]
    for label, shuffle in (
        ("label", SegmentShuffle("audio", scope="across", pool="same_action", label="label")),
        ("labels", SegmentShuffle("audio", scope="across", pool="same_material", label="labels")),
    ):
        clip = shuffle(batch).segment_source["audio"][..., 0]
        labels = batch.labels[label]
        elsewhere = clip != torch.arange(8)[:, None]
        assert elsewhere.any()
        for place, segment in elsewhere.nonzero().tolist():
            one, other = labels[place], labels[clip[place, segment]]
            assert (one * other).any() if label == "labels" else (one == other).all() and one >= 0


@pytest.mark.parametrize(("name", "field"), [("audio", "has_audio"), ("visual", "has_video")])
def test_clips_that_lack_a_modality_keep_out_of_its_exchange(spelled_batches, name, field):
    """Nobody gets the silence of a clip without sound, nor the black of one without picture."""
    batch = spelled_batches(task="avel")[0]
    has = torch.tensor([True] * 7 + [False])
    source = SegmentShuffle("both_independent", scope="across")(replace(batch, **{field: has})).segment_source
    assert (source[name][:7, :, 0] < 7).all()
    assert (source[name][7, :, 0] == 7).all()


def test_what_moves_beside_the_media(spelled_batches):
    """Times of frames, named features, and the events, which are read off the grid again; other features stay."""
    batch = spelled_batches(task="avel")[0]
    rows = torch.arange(8 * SECONDS * 2.0).reshape(8, SECONDS, 2)
    batch = replace(batch, features={"vggish": rows, "resnet": rows + 1, "fixed": rows, "clip": torch.zeros(8, 10)})
    features = {"vggish": "audio", "resnet": "visual", "fixed": None}
    shuffled = SegmentShuffle("both_independent", features=features)(batch)
    audio, visual = (shuffled.segment_source[name] for name in ("audio", "visual"))
    assert torch.equal(shuffled.features["vggish"], moved(rows, audio))
    assert torch.equal(shuffled.features["resnet"], moved(rows + 1, visual))
    assert shuffled.features["fixed"] is rows
    times_s = shuffled.frame_times_s.reshape(8, SECONDS, 4)
    assert torch.equal(times_s, moved(batch.frame_times_s.reshape(8, SECONDS, 4), visual))
    assert _grid(shuffled.events) == _cells(shuffled.segment_targets)
    # The short last segment may be anywhere now: silence behind it is sound.
    assert shuffled.audio_samples.tolist() == (batch.segment_count * 16000).tolist()


def _grid(events):
    """(clip, second, class, heard or seen) of every event."""
    cells = set()
    for clip, (first, stop) in enumerate(itertools.pairwise(events.offsets.tolist())):
        for event in range(first, stop):
            kinds = {0: ("audio",), 1: ("visual",), 2: ("audio", "visual")}[int(events.modality[event])]
            for second in range(int(events.start_s[event]), int(events.end_s[event])):
                cells |= {(clip, second, int(events.class_id[event]), kind) for kind in kinds}
    return cells


def _cells(targets):
    return {(*cell, kind) for kind in ("audio", "visual") for cell in map(tuple, targets[kind].nonzero().tolist())}


def test_memory_of_frames_stays_channels_last(spelled_batches):
    """As the loader's own: models get [B, T, H, W, 3] without another copy."""
    shuffled = SegmentShuffle("visual")(spelled_batches(task="avel")[0])
    assert shuffled.video.permute(0, 1, 3, 4, 2).is_contiguous()


def test_the_same_clip_is_shuffled_alike_in_any_batch(spelled):
    """Within clips: by seed, epoch and position, whatever the batch size; as a loader's transform."""
    found = []
    for batch_size in (3, 5):
        shuffle = SegmentShuffle("both_independent", seed=9)
        loader = shardkit.loader(
            spelled, batch_size=batch_size, task="cml", transform=shuffle, workers=1, worker_type="thread", epochs=2
        )
        with loader:
            found.append(
                {
                    (batch.epoch, int(batch.positions[place])): (
                        batch.segment_source["audio"][place, :, 1].tolist(),
                        batch.segment_source["visual"][place, :, 1].tolist(),
                    )
                    for batch in loader
                    for place in range(len(batch))
                    if batch.weight[place]
                }
            )
    assert found[0] == found[1]
    assert len(found[0]) == 24
    assert len(set(map(str, found[0].values()))) > 20


def test_a_loader_sets_the_target_of_what_was_shuffled(spelled_batches, spelled):
    """The transform's batch has none; its loader's task sees what is heard and seen at once now."""
    shuffle = SegmentShuffle("audio", seed=3)
    alone = shuffle(spelled_batches(task="cml")[0])
    assert alone.target is None
    with shardkit.loader(
        spelled, batch_size=8, workers=1, worker_type="thread", seed=5, task="cml", transform=shuffle
    ) as loader:
        batch = next(iter(loader))
        assert torch.equal(batch.segment_labels, alone.segment_labels)
        assert torch.equal(batch.target, CML()(alone).target)


def _exact(source):
    """Distances of a matcher that knows which second of which clip each sound and each picture is: [B, N, N]."""
    audio, visual = source["audio"][:, :, None], source["visual"][:, None]
    return (audio != visual).any(dim=-1).float()


def _hits(batch, shuffle):
    """Of an exact matcher at l = 1, over each clip's first event second: hits of A2V and V2A, and clips."""
    batch = replace(batch, audio=None, video=None)
    event = torch.zeros_like(batch.target)
    event[torch.arange(len(event)), batch.target.int().argmax(dim=1)] = batch.target.any(dim=1)
    shuffled = shuffle(batch)
    source = shuffled.segment_source
    heard, seen = moved(event, source["audio"]), moved(event, source["visual"])
    found = localize(_exact(source), heard, seen, segment_count=batch.segment_count)
    asked = found.query_a2v >= 0
    return (
        int((found.start_a2v == found.query_a2v)[asked].sum()),
        int((found.start_v2a == found.query_v2a)[asked].sum()),
        int(asked.sum()),
    )


def test_both_same_leaves_an_exact_matchers_hits_as_they_are(spelled_batches):
    """At l = 1: all of them, whatever the seed."""
    batch = spelled_batches(task="cml")[0]
    for seed in range(20):
        a2v, v2a, asked = _hits(batch, SegmentShuffle("both_same", seed=seed))
        assert a2v == v2a == asked > 0


def test_both_independent_drives_an_exact_matcher_to_chance(spelled_batches):
    """At l = 1: one of N, since picture and sound of an event are at places of their own."""
    batch = spelled_batches(task="cml")[0]
    hits = np.array([_hits(batch, SegmentShuffle("both_independent", seed=seed)) for seed in range(150)])
    a2v, v2a, asked = hits.sum(axis=0)
    expected = asked * float(np.mean(1 / batch.segment_count[batch.target.any(dim=1)].numpy()))
    for found in (a2v, v2a):
        assert abs(found - expected) < 5 * expected**0.5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"modality": "both"}, "'audio', 'visual', 'both_same', 'both_independent'"),
        ({"modality": "audio", "scope": "batch"}, "'within', 'across'"),
        ({"modality": "audio", "scope": "across", "pool": "colour"}, "'all', 'same_action', 'same_material'"),
        ({"modality": "audio", "pool": "same_action"}, "stay within their clip have no pool"),
        ({"modality": "audio", "scope": "across", "label": "label"}, "pool='all'"),
        ({"modality": "audio", "features": {"vggish": "sound"}}, "'vggish' is of 'sound'"),
    ],
)
def test_options_are_checked(options, message):
    """A choice that there is not, or that does nothing, is refused when the shuffle is made."""
    with pytest.raises(UsageError, match=message):
        SegmentShuffle(**options)


def test_what_a_batch_does_not_have_is_refused(spelled_batches):
    """Segments, a label set to pool by, features that are named; and features with a row a segment must be."""
    batch = spelled_batches(task="avel")[0]
    with pytest.raises(UsageError, match="no segments"):
        SegmentShuffle("audio")(replace(batch, segment_count=None))
    with pytest.raises(UsageError, match=r"'action'.*'label', 'labels'.*label="):
        SegmentShuffle("audio", scope="across", pool="same_action")(batch)
    with pytest.raises(UsageError, match="no feature 'vggish'"):
        SegmentShuffle("audio", features={"vggish": "audio"})(batch)
    with pytest.raises(UsageError, match="row for each of 10"):
        SegmentShuffle("audio", features={"vggish": "audio"})(replace(batch, features={"vggish": torch.zeros(8, 5)}))
    with pytest.raises(UsageError, match="say which modality"):
        SegmentShuffle("audio")(replace(batch, features={"vggish": torch.zeros(8, 10, 128)}))
    with pytest.raises(UsageError, match="does not divide into 10 equal segments"):
        SegmentShuffle("audio")(replace(batch, audio=torch.zeros(8, 1, 15)))
