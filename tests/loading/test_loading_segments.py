"""Segments of loaded clips: what their labels say is what is seen and heard in them."""

import shutil
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import torch
from spelled_clips import BACKGROUND, RATE_HZ, SECONDS, Spelled, read_colour, read_tone, spelled_clips

import shardkit
from shardkit.errors import UsageError
from shardkit.format.index import Ragged
from shardkit.loading.collate import NO_CLIP, Collator
from shardkit.loading.frame_segments import segment_frames
from shardkit.loading.plan import BatchLayout
from shardkit.loading.segments_view import segments_view
from shardkit.planning.segments import SegmentGrid
from shardkit.tasks import SegmentShuffle

CLIP_OF = {clip.name: clip for clip in spelled_clips()}


def _loader(source, **options):
    return shardkit.loader(source, **({"batch_size": 6, "workers": 1, "worker_type": "thread", "seed": 3} | options))


def _clip(key):
    return CLIP_OF[key.split("_")[0]]


def _assert_spelled(batch):
    """Every segment of a batch has the labels, the picture and the sound of its second; returns how many there were."""
    view, checked = batch.segments_view(), 0
    for place, key in enumerate(batch.keys):
        clip, first = _clip(key), round(float(batch.window_s[place, 0]))
        assert first == float(batch.window_s[place, 0])
        count = int(batch.segment_count[place])
        assert count == min(batch.segment_labels.shape[1], round(clip.duration_s) - first)
        assert (batch.segment_labels[place, count:] == -100).all()
        for segment in range(count):
            second = first + segment
            heard, seen = clip.heard[second], clip.seen[second]
            if view.video is not None:
                said = {read_colour(frame.numpy()) for frame in view.video[place, segment]}
                assert said == {Spelled(seen, second, clip.number)}
            if view.audio is not None:
                assert read_tone(view.audio[place, segment, 0].numpy()) == Spelled(heard, second, clip.number)
            for modality, class_id in (
                ("audio", heard),
                ("visual", seen),
                ("av", heard if heard == seen else BACKGROUND),
            ):
                marked = batch.segment_targets[modality][place, segment].nonzero().flatten().tolist()
                assert marked == [class_id] * (class_id != BACKGROUND)
            assert batch.segment_labels[place, segment] == (heard if heard == seen else BACKGROUND)
            checked += 1
        for targets in batch.segment_targets.values():
            assert not targets[place, count:].any()
    return checked


@pytest.mark.parametrize(
    ("options", "segments"),
    [
        ({}, SECONDS),
        ({"worker_type": "process", "window_s": 4.0}, 4),
        ({"window_s": 3.0, "frames": 6, "frame_choice": "random", "size": 48, "crop": "random", "flip": 0.5}, 3),
        ({"window_s": 5.0, "shuffle": False, "frames": 5}, 5),
        ({"modalities": ("audio",), "window_s": 2.0}, 2),
        ({"modalities": ("video",)}, SECONDS),
    ],
    ids=["whole", "in processes", "cut and mirrored", "in the middle", "sound", "picture"],
)
def test_every_segment_is_what_its_labels_say(spelled, options, segments):
    """Colour, tone, targets and labels of each segment are those of one second, whatever window is drawn."""
    checked = 0
    with _loader(spelled, task="avel", epochs=2, **options) as loader:
        for batch in loader:
            assert batch.segment_labels.shape == (6, segments)
            checked += _assert_spelled(batch)
    assert checked > 2 * 12 * segments - 60


def test_windows_begin_at_every_segment(spelled):
    """Over some epochs a window of nine seconds begins at both places that it has, and nowhere else."""
    begun = set()
    with _loader(spelled, segment_s=1.0, window_s=9.0, modalities=("audio",), epochs=4) as loader:
        for batch in loader:
            begun |= {float(start) for start, _ in batch.window_s}
    assert begun == {0.0, 1.0}


def test_segments_can_be_shorter_than_those_packed(spelled):
    """Half-second segments of clips with four frames a second have two each; a label stands in both halves."""
    with _loader(spelled, segment_s=0.5, frames=40, shuffle=False) as loader:
        batch = next(iter(loader))
        with _loader(spelled, segment_s=1.0, shuffle=False) as whole:
            seconds = next(iter(whole))
        assert batch.segments_view().video.shape == (6, 20, 2, 3, 64, 64)
        full = (batch.segment_labels != -100) & (seconds.segment_labels.repeat_interleave(2, dim=1) != -100)
        assert torch.equal(batch.segment_labels[full], seconds.segment_labels.repeat_interleave(2, dim=1)[full])
        assert dict(zip(batch.keys, batch.segment_count.tolist(), strict=True))["spelled03_0"] == 19  # of 9.7 s


def test_the_packing_says_how_long_segments_are(spelled, pack_spelled):
    """A task that needs segments takes those that frames were packed by, else seconds; other loaders have none."""
    with _loader(spelled, task="cml") as loader:
        assert next(iter(loader)).segment_s == 1.0
    with _loader(pack_spelled(frames_per_segment=4, segment_s=2), task="cml") as loader:
        assert next(iter(loader)).segments_view().video.shape[1:3] == (5, 4)
    with _loader(spelled) as loader:
        batch = next(iter(loader))
        assert (batch.segment_s, batch.segment_count, batch.segment_labels) == (None, None, None)
        with pytest.raises(UsageError, match="segment_s="):
            batch.segments_view()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frames": 16}, r"frames=16 do not divide evenly among 10 segments.*frames=N\*K.*frames=10"),
        ({"frames": 50}, r"5 of its own.*has one with 4; ask for frames=40.*--frames-per-segment 5"),
        (
            {"segment_s": 0.4},
            r"segments of 0.4 s.*show 2 of.*has one with 1; ask for frames=25 .*-segment 2 --segment 0.4",
        ),
        ({"segment_s": 0.1}, r"has one with 0; pack with --frames-per-segment 1 --segment 0.1"),
        ({"frames": 10, "frame_choice": "contiguous"}, "contiguous.*segments"),
        ({"views": (2, 1), "window_s": 2.0}, "views.*segments"),
        ({"window_s": 2.5}, "window_s=2.5 is no multiple of segment_s=1"),
        ({"segment_s": -1.0}, "segment_s=-1.0"),
    ],
)
def test_frames_that_are_not_spread_over_segments_are_refused(spelled, options, message):
    """A loader with segments says what does not fit, and how to get what does."""
    with pytest.raises(UsageError, match=message):
        _loader(spelled, task="avel", **options)


def test_frames_a_second_may_be_as_good_as_packed_by_segments(pack_spelled):
    """Five frames a second are five a segment, but for a segment that is cut short: three of each it is."""
    with pytest.raises(UsageError, match=r"show 5 of its own.*'spelled03_0' has one with 3; ask for frames=30"):
        _loader(pack_spelled(fps=5), task="avel")
    with _loader(pack_spelled(fps=5), task="avel", frames=30, window_s=10.0) as loader:
        assert sum(_assert_spelled(batch) for batch in loader) == 116


def test_frames_counted_over_a_clip_are_refused(pack_spelled):
    """Sixteen in ten seconds are one or two in each; sound alone has nothing to refuse."""
    shards = pack_spelled(frames=16)
    with pytest.raises(UsageError, match=r"one with 1.*; ask for frames=10 .*--frames-per-segment 3"):
        _loader(shards, segment_s=1.0)
    with _loader(shards, segment_s=1.0, modalities=("audio",)) as loader:
        assert next(iter(loader)).segments_view().audio.shape == (6, SECONDS, 1, RATE_HZ)


def test_slots_without_a_clip_have_no_labels(spelled):
    """Where no clip of a batch could be loaded: -100, zeros, and no segments."""
    with _loader(spelled, task="avel") as loader:
        layout = BatchLayout.of(loader._plan, 3)
        slots = layout.views(np.zeros(layout.size_bytes, np.uint8))
        keys = loader.dataset.keys
        collator = Collator(loader.dataset, (), views=None, segments=loader._plan.segments)
    batch = collator.batch(
        slots,
        np.array([keys.index("spelled00_0"), NO_CLIP, keys.index("spelled01_0")]),
        weight=np.array([1, 0, 1], np.float32),
        loss_scale=0.5,
        epoch=0,
        positions=np.arange(3),
    )
    assert batch.segment_count.tolist() == [10, 0, 10]
    assert (batch.segment_labels[1] == -100).all()
    assert not any(targets[1].any() for targets in batch.segment_targets.values())
    assert batch.segment_targets["av"][0].any()
    assert batch.background.tolist() == [False, False, False]


def test_a_skipped_clip_has_the_segments_of_the_one_in_its_place(spelled, tmp_path, caplog):
    """Its labels, too, are those of the good clip; a shuffle leaves it where it is."""
    ds = shardkit.open(shutil.copytree(spelled, tmp_path / "shards"))
    row = ds.keys.index("spelled04_0")
    with (ds.folder.path / ds.shard_names[ds.index.shard[row]]).open("r+b") as shard:
        shard.seek(int(ds.index.audio_offset[row] + ds.index.audio_bytes[row] // 2))  # in every window
        byte = shard.read(1)[0]
        shard.seek(-1, 1)
        shard.write(bytes([byte ^ 1]))
    with _loader(ds, task="avel", on_error="skip", window_s=6.0, batch_size=12, features=("rows",)) as loader:
        batch = next(iter(loader))
    assert "spelled04_0" in caplog.text
    (bad,) = (batch.weight == 0).nonzero().flatten().tolist()
    assert batch.keys.count(batch.keys[bad]) == 2
    _assert_spelled(batch)
    source = SegmentShuffle("both_same", scope="across", features={"rows": "audio"})(batch).segment_source["audio"]
    assert (source[bad, :, 0] == bad).all()
    assert (source[..., 0] == bad).sum() == 6


def test_every_tensor_goes_along_to_a_device(spelled):
    """Also those by name, such as features, targets and sources of segments; a dictionary has the same."""

    def tensors(value):
        held = value.values() if isinstance(value, dict) else [value]
        return [value] if isinstance(value, torch.Tensor) else [t for v in held if v is not value for t in tensors(v)]

    shuffle = SegmentShuffle("audio", features={"rows": "audio"})
    with _loader(spelled, task="avvp", features=("rows",), transform=shuffle) as loader:
        batch = next(iter(loader))
    moved = batch.to("meta")
    assert {tensor.device.type for tensor in moved.tensors()} == {"meta"}
    assert {id(tensor) for tensor in tensors(moved.as_dict())} == {id(tensor) for tensor in moved.tensors()}
    assert len(moved.tensors()) == len(tensors(batch.as_dict())) == 27


def test_pictures_are_counted_by_their_own_times():
    """Frames that no rule has sampled, such as pictures of indexed tars: two a segment, but for one clip's last."""
    times_s = [[0.0, 0.5, 1.0, 1.5], [0.1, 0.2, 1.1, 1.9], [0.0, 0.4, 0.8, 1.2]]
    index = SimpleNamespace(
        duration_s=np.full(3, 2.0),
        frame_time_s=Ragged(pa.array(times_s, pa.large_list(pa.float64()))),
        text=lambda name, row: f"{name} of {row}",
    )
    manifest, grid = SimpleNamespace(settings={"sampling": None}), SegmentGrid(1.0, 2)
    assert segment_frames("shards", manifest, index, np.array([0, 1]), grid, frames=None) == 4
    with pytest.raises(UsageError, match=r"show 2 of its own, and clip 'key of 2' has one with 1; ask for frames=2 "):
        segment_frames("shards", manifest, index, np.array([0, 1, 2]), grid, frames=4)


def test_segments_view_copies_nothing(spelled):
    """Video and sound of segments, also with context inside the window, lie in the batch's own memory."""
    with _loader(spelled, task="avel", batch_size=2) as loader:
        batch = next(iter(loader))
        view, context = batch.segments_view(), batch.segments_view(0.96)
        assert view.video.shape == (2, SECONDS, 4, 3, 64, 64)
        assert view.video.untyped_storage().data_ptr() == batch.video.untyped_storage().data_ptr()
        for audio in (view.audio, context.audio):
            assert audio.untyped_storage().data_ptr() == batch.audio.untyped_storage().data_ptr()
        assert torch.equal(context.audio, view.audio[..., 320:-320])  # 0.02 s less on both sides


def test_context_reaches_over_segments_and_is_silent_beyond_the_window():
    """Two seconds around the middle of each one-second segment, with zeros before the first and behind the last."""
    audio = torch.arange(1.0, 31.0).reshape(1, 1, 30)
    found = segments_view(None, audio, segments=3, segment_s=1.0, context_s=2.0).audio
    padded = torch.cat((torch.zeros(5), audio[0, 0], torch.zeros(5)))
    assert found.shape == (1, 3, 1, 20)
    assert [row[0].tolist() for row in found[0]] == [padded[start : start + 20].tolist() for start in (0, 10, 20)]


def test_samples_that_do_not_divide_evenly_are_left_out_between_segments():
    """Segment k begins at floor(k * S / N) and has floor(S / N) samples: of 11 over 4 segments, 2 each."""
    audio = torch.arange(11.0).reshape(1, 1, 11)
    found = segments_view(None, audio, segments=4, segment_s=0.5, context_s=None).audio
    assert found[0, :, 0].tolist() == [[0, 1], [2, 3], [5, 6], [8, 9]]
    around = segments_view(None, audio, segments=4, segment_s=0.5, context_s=0.6).audio
    assert around[0, :, 0].tolist() == [[0, 1, 2], [3, 4, 5], [5, 6, 7], [8, 9, 10]]


@pytest.mark.parametrize("context_s", [0.0, -1.0, float("nan")])
def test_a_context_has_a_length(context_s):
    """Anything that is no number of seconds above 0 is refused."""
    with pytest.raises(UsageError, match="context_s="):
        segments_view(None, torch.zeros(1, 1, 8), segments=2, segment_s=1.0, context_s=context_s)


def test_a_span_that_is_no_whole_number_of_segments_has_whole_ones(spelled):
    """The longest clip of 9.7 s has ten segments of a second each: sound is padded to the end of the last."""
    alone = shardkit.open(spelled).select(keys=["spelled03_0"])
    with _loader(alone, task="avel", batch_size=1) as loader:
        batch = next(iter(loader))
        assert batch.segments_view().audio.shape == (1, SECONDS, 1, RATE_HZ)
        assert batch.audio_samples.tolist() == [round(9.7 * RATE_HZ)]
        assert _assert_spelled(batch) == SECONDS


@pytest.mark.parametrize("options", [{}, {"window_s": 4.0}], ids=["whole", "window"])
def test_rows_of_features_are_those_of_their_segments(spelled, options):
    """An array with a row a segment is cut as the window is, also where its clip is a little short."""
    ten = shardkit.open(spelled).select(mask=[not key.startswith("spelled07") for key in shardkit.open(spelled).keys])
    with _loader(ten, task="avel", features=("rows",), modalities=("audio",), epochs=3, **options) as loader:
        for batch in loader:
            shuffled = SegmentShuffle("audio", features={"rows": "audio"}, seed=1)(batch)
            for one in (batch, shuffled):
                audio = one.segments_view().audio
                for place, count in enumerate(one.segment_count.tolist()):
                    tones = [read_tone(audio[place, segment, 0].numpy()) for segment in range(count)]
                    rows = one.features["rows"][place, :count].tolist()
                    assert rows == [[tone.second, tone.clip] for tone in tones]
