"""What a batch is, checked against random access to the same clips."""

import numpy as np
import pytest
import torch
from snapshots import snapshot, snapshots

import shardkit
from shardkit.errors import UsageError

FRAMES = 8
SAMPLES = 32000


def _loader(source, **options):
    return shardkit.loader(source, **{"batch_size": 4, "workers": 1, "worker_type": "thread"} | options)


def _by_key(source, **options):
    """Key to (batch of one epoch, place in it), for every real clip."""
    found = {}
    with _loader(source, **options) as loader:
        for batch in loader:
            moved = batch.to("cpu", non_blocking=False)
            copy = type(batch)(**{**batch.as_dict(), "events": moved.events, **_cloned(batch)})
            for place, key in enumerate(batch.keys):
                if batch.weight[place]:
                    found[key] = (copy, place)
    return found


def _cloned(batch):
    return {name: getattr(batch, name).clone() for name in ("video", "audio") if getattr(batch, name) is not None}


def test_a_batch_has_the_documented_shapes_and_types(packed):
    """Every field has the dtype and shape that its docstring says, and all of them are there."""
    with _loader(packed, columns=("number", "note")) as loader:
        batch = next(iter(loader))
        shapes = {
            name: (str(value.dtype).removeprefix("torch."), tuple(value.shape))
            for name, value in batch.as_dict().items()
            if isinstance(value, torch.Tensor)
        }
    assert shapes == {
        "video": ("uint8", (4, FRAMES, 3, 96, 128)),
        "audio": ("float32", (4, 1, SAMPLES)),
        "window_s": ("float64", (4, 2)),
        "frame_times_s": ("float64", (4, FRAMES)),
        "frame_count": ("int64", (4,)),
        "audio_samples": ("int64", (4,)),
        "has_video": ("bool", (4,)),
        "has_audio": ("bool", (4,)),
        "background": ("bool", (4,)),
        "weight": ("float32", (4,)),
        "positions": ("int64", (4,)),
    }
    assert {name: (value.dtype, tuple(value.shape)) for name, value in batch.labels.items()} == {
        "label": (torch.int64, (4, 1)),
        "labels": (torch.uint8, (4, 3)),
        "level": (torch.int64, (4, 2)),
    }
    assert batch.columns["number"].dtype == torch.int64
    assert batch.columns["note"] == [f"note {n}" if n < 22 else None for n in batch.columns["number"].tolist()]
    assert len(batch) == len(batch.keys) == 4


def test_video_is_a_view_of_channels_last_memory(packed):
    """`video` is laid out as [B, T, H, W, 3], so that models in channels_last format get it without a copy."""
    with _loader(packed) as loader:
        video = next(iter(loader)).video
        assert video.permute(0, 1, 3, 4, 2).is_contiguous()
        assert video.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("worker_type", ["process", "thread"])
def test_every_clip_equals_random_access(packed, worker_type):
    """Video is bit-exact, sound, times, labels and columns are equal to ds[key] for every clip of an epoch."""
    ds = shardkit.open(packed)
    found = _by_key(ds, worker_type=worker_type, columns=("number",))
    assert set(found) == set(ds.keys)
    for key, (batch, place) in found.items():
        sample = ds[key]
        frames, samples = int(batch.frame_count[place]), int(batch.audio_samples[place])
        assert bool(batch.has_video[place]) == (sample.video is not None)
        assert bool(batch.has_audio[place]) == (sample.audio is not None)
        if sample.video is not None:
            assert frames == len(sample.video)
            assert np.array_equal(batch.video[place, :frames], sample.video)
            assert batch.frame_times_s[place, :frames].tolist() == sample.frame_times_s.tolist()
        if sample.audio is not None:
            assert samples == sample.audio.shape[1]
            assert np.array_equal(batch.audio[place, :, :samples], sample.audio)
        assert batch.window_s[place].tolist() == [0, sample.duration_s]
        for name, ids in sample.labels.items():
            found_ids = batch.labels[name][place]
            # Of several classes a batch says which are there, a sample which they are.
            assert (np.flatnonzero(found_ids) if name == "labels" else found_ids).tolist() == ids.tolist()
        assert int(batch.columns["number"][place]) == sample.columns["number"]


def test_sound_is_the_stored_pcm_over_32768(packed):
    """A sample of the batch is the WAV member's 16-bit value divided by 32,768, as read by the standard library."""
    import io
    import tarfile
    import wave

    stored = {}
    for shard in packed.glob("*.tar"):
        with tarfile.open(shard) as tar:
            for member in tar:
                if member.name.endswith(".wav"):
                    with wave.open(io.BytesIO(tar.extractfile(member).read())) as file:
                        pcm = np.frombuffer(file.readframes(file.getnframes()), "<i2")
                    stored[member.name.removesuffix(".wav")] = pcm / np.float32(32768)
    found = _by_key(packed, modalities=("audio",))
    assert set(found) - set(stored) == {"clip20_0", "clip21_0"}
    for key, pcm in stored.items():
        batch, place = found[key]
        assert np.array_equal(batch.audio[place, 0, : len(pcm)], pcm)
        assert -1 <= float(batch.audio[place].min()) < 0 < float(batch.audio[place].max()) <= 1


def test_short_clips_repeat_the_last_frame_and_pad_sound_with_zeros(packed):
    """A clip of 1.1 s among clips of 2 s has 4 frames, the last repeated, and 17,600 samples, then zeros."""
    batch, place = _by_key(packed)["clip04_0"]
    frames, samples = int(batch.frame_count[place]), int(batch.audio_samples[place])
    assert (frames, samples) == (4, 17600)
    assert bool((batch.video[place, frames:] == batch.video[place, frames - 1]).all())
    assert bool((batch.frame_times_s[place, frames:] == batch.frame_times_s[place, frames - 1]).all())
    assert bool((batch.audio[place, :, samples:] == 0).all())
    assert bool(batch.audio[place, :, :samples].any())


def test_clips_without_a_modality_are_zeros_that_say_so(packed):
    """A clip without sound has has_audio False and silence; one without picture has_video False and black."""
    found = _by_key(packed)
    batch, place = found["clip20_0"]
    assert (bool(batch.has_audio[place]), int(batch.audio_samples[place])) == (False, 0)
    assert not batch.audio[place].any()
    assert batch.video[place].any()
    batch, place = found["clip22_0"]
    assert (bool(batch.has_video[place]), int(batch.frame_count[place])) == (False, 0)
    assert not batch.video[place].any()
    assert not batch.frame_times_s[place].any()
    assert batch.audio[place].any()


def test_reused_slots_hold_nothing_of_the_clip_before(packed):
    """Over many epochs through the same six buffers, clips without a modality stay zeros."""
    with _loader(packed, batch_size=3) as loader:
        for _ in range(4):
            for batch in loader:
                assert not batch.video[~batch.has_video].any()
                assert not batch.audio[~batch.has_audio].any()


def test_labels_name_the_classes_of_the_table(packed):
    """Ids lead back to the table's class names, in single, multi and hierarchy label sets; unknown is -100."""
    ds = shardkit.open(packed)
    names = {label_set.name: label_set for label_set in ds.label_sets}
    found = _by_key(ds)
    batch, place = found["clip01_0"]
    (single,) = batch.labels["label"][place].tolist()
    upper, lower = batch.labels["level"][place].tolist()
    present = np.flatnonzero(batch.labels["labels"][place])
    assert names["label"].leaf.classes[single] == "Electric_guitar"
    assert [names["level"].levels[0].classes[upper], names["level"].leaf.classes[lower]] == [
        "string",
        "Electric_guitar",
    ]
    assert [names["labels"].leaf.classes[i] for i in present] == ["loud", "near"]
    batch, place = found["clip23_0"]
    assert batch.labels["label"][place].tolist() == [shardkit.UNKNOWN]
    assert batch.labels["level"][place].tolist()[1] == shardkit.UNKNOWN


def test_events_are_the_tables_and_offsets_delimit_them(packed):
    """Clip i's events are columns offsets[i] to offsets[i + 1], equal to ds[key].events in whole clips."""
    ds = shardkit.open(packed)
    found = _by_key(ds)
    assert any(len(ds[key].events) == 2 for key in found)
    for key, (batch, place) in found.items():
        first, stop = batch.events.offsets[place : place + 2].tolist()
        events = [
            (
                float(batch.events.start_s[e]),
                float(batch.events.end_s[e]),
                int(batch.events.class_id[e]),
                shardkit.EVENT_MODALITIES[int(batch.events.modality[e])],
            )
            for e in range(first, stop)
        ]
        assert events == [(e.start_s, e.end_s, e.class_id, e.modality) for e in ds[key].events]


def test_events_are_shifted_and_cut_to_the_window(packed):
    """In the window [0.5, 1.5) the event [0.25, 0.75) becomes [0, 0.25) and [0.5, 1) becomes [0, 0.5)."""
    batch, place = _by_key(packed, window_s=1.0, shuffle=False)["clip02_0"]
    first, stop = batch.events.offsets[place : place + 2].tolist()
    assert batch.window_s[place].tolist() == [0.5, 1.5]
    assert batch.events.start_s[first:stop].tolist() == [0, 0]
    assert batch.events.end_s[first:stop].tolist() == [0.25, 0.5]


def test_windows_cut_frames_and_sound_at_the_same_place(packed):
    """A window's sound is the clip's from round(t0 · rate) on, its frames are those whose instants lie in it."""
    whole = _by_key(packed)
    windows = _by_key(packed, window_s=0.6, seed=5)
    starts = set()
    for key, (batch, place) in windows.items():
        full, at = whole[key]
        start_s, end_s = batch.window_s[place].tolist()
        assert end_s - start_s == pytest.approx(0.6)
        starts.add(start_s)
        if batch.has_audio[place]:
            first = round(start_s * 16000)
            assert batch.audio.shape[2] == 9600
            assert int(batch.audio_samples[place]) == 9600
            assert torch.equal(batch.audio[place], full.audio[at, :, first : first + 9600])
        if batch.has_video[place]:
            instants_s = (np.arange(int(full.frame_count[at])) + 0.5) / 4
            inside = np.flatnonzero((instants_s >= start_s) & (instants_s < end_s))
            count = int(batch.frame_count[place])
            assert count == len(inside)
            assert torch.equal(batch.video[place, :count], full.video[at, inside])
    assert len(starts) == len(windows)


def test_frames_thins_the_stored_frames_evenly(packed):
    """frames=2 of eight takes the third and the seventh: floor((i + ½) · 8 / 2)."""
    whole, few = _by_key(packed), _by_key(packed, frames=2)
    batch, place = few["clip00_0"]
    full, at = whole["clip00_0"]
    assert torch.equal(batch.video[place], full.video[at, [2, 6]])


def test_a_centre_crop_is_the_middle_of_the_frame(packed):
    """size=64 of 96×128 takes rows 16 to 80 and columns 32 to 96 of every frame."""  # noqa: RUF002
    whole, cropped = _by_key(packed), _by_key(packed, size=64)
    for key, (batch, place) in cropped.items():
        full, at = whole[key]
        assert torch.equal(batch.video[place], full.video[at, :, :, 16:80, 32:96])


def test_a_crop_may_be_oblong(packed):
    """size=(40, 100) crops to height 40 and width 100."""
    with _loader(packed, size=(40, 100)) as loader:
        assert next(iter(loader)).video.shape[-2:] == (40, 100)


def test_random_crops_differ_by_clip_and_epoch_and_are_reproducible(packed):
    """A random crop is some rectangle of the frame, another one the next epoch, the same for the same seed."""
    whole = _by_key(packed)

    def places(epoch, seed=0):
        found = {}
        with _loader(packed, size=64, crop="random", seed=seed) as loader:
            loader.set_epoch(epoch)
            for batch in loader:
                for place, key in enumerate(batch.keys):
                    if batch.weight[place] and batch.has_video[place]:
                        full, at = whole[key]
                        views = full.video[at, 0, 0].unfold(0, 64, 1).unfold(1, 64, 1)  # [33, 65, 64, 64]
                        same = (views == batch.video[place, 0, 0]).all(dim=(2, 3))
                        (found[key],) = same.nonzero().tolist()
        return found

    first = places(0)
    assert len({tuple(place) for place in first.values()}) > len(first) // 2
    assert places(0) == first
    assert places(1) != first
    assert places(0, seed=1) != first


def test_decord_decodes_the_same_frames(packed):
    """decoder='decord' gives the same clips, with pixels within the JPEG decoders' differences."""
    ours, decord = _by_key(packed, size=64), _by_key(packed, size=64, decoder="decord")
    for key, (batch, place) in decord.items():
        ours_batch, at = ours[key]
        difference = (batch.video[place].float() - ours_batch.video[at].float()).abs()
        assert float(difference.mean()) < 2.5
        assert torch.equal(batch.frame_times_s[place], ours_batch.frame_times_s[at])


@pytest.mark.parametrize("decoder", ["auto", "decord"])
def test_sound_alone_touches_no_video_byte(damaged, decoder):
    """With every byte of every video member inverted, modalities=('audio',) loads as before; with video it fails."""
    ds = shardkit.open(damaged)
    with _loader(ds, modalities=("audio",), decoder=decoder) as loader:
        before = snapshots(loader)
    _invert_members(ds, ds.index.video_offset, ds.index.video_bytes)
    with _loader(ds, modalities=("audio",), decoder=decoder) as loader:
        after = snapshots(loader)
    assert before == after
    assert all(name != "video" for name in after[0].arrays)
    with _loader(ds) as loader, pytest.raises(shardkit.CorruptShardError):
        next(iter(loader))


def test_picture_alone_touches_no_sound_byte(damaged):
    """With every sample of every clip inverted, modalities=('video',) loads as before."""
    ds = shardkit.open(damaged)
    with _loader(ds, modalities=("video",)) as loader:
        before = snapshots(loader)
    _invert_members(ds, ds.index.audio_offset, ds.index.audio_bytes)
    with _loader(ds, modalities=("video",)) as loader:
        assert snapshots(loader) == before


def _invert_members(ds, offsets, sizes):
    for shard, offset, size in zip(ds.index.shard, offsets.tolist(), sizes.tolist(), strict=True):
        with (ds.folder.path / ds.shard_names[shard]).open("r+b") as file:
            file.seek(offset)
            data = file.read(size)
            file.seek(offset)
            file.write(bytes(byte ^ 0xFF for byte in data))


def test_moving_a_batch_moves_every_tensor(packed):
    """`.to` gives a Batch whose tensors, nested ones too, are all on the device, with the same contents."""
    with _loader(packed, columns=("number",)) as loader:
        batch = next(iter(loader))
        meta = batch.to("meta")
        there = [
            meta.video,
            meta.audio,
            meta.weight,
            meta.events.start_s,
            meta.columns["number"],
            *meta.labels.values(),
        ]
        assert {tensor.device.type for tensor in there} == {"meta"}
        assert snapshot(batch.to("cpu")) == snapshot(batch)


def test_a_batch_shows_shapes_and_not_values(packed):
    """The repr says dtype and shape of every field, in a line that fits a log."""
    with _loader(packed) as loader:
        text = repr(next(iter(loader)))
    assert text.startswith(
        "Batch(video=uint8[4, 8, 3, 96, 128], audio=float32[4, 1, 32000], labels={label: int64[4, 1]"
    )
    assert len(text) < 600


def test_as_dict_holds_every_field_by_name(packed):
    """as_dict has the fields of Batch, with events as a dictionary too."""
    with _loader(packed) as loader:
        content = next(iter(loader)).as_dict()
    assert list(content) == [
        "video",
        "audio",
        "labels",
        "events",
        "window_s",
        "frame_times_s",
        "frame_count",
        "audio_samples",
        "has_video",
        "has_audio",
        "background",
        "weight",
        "loss_scale",
        "epoch",
        "positions",
        "keys",
        "columns",
        "features",
        "segment_s",
        "segment_count",
        "segment_targets",
        "segment_labels",
        "segment_source",
        "target",
    ]
    assert set(content["events"]) == {"start_s", "end_s", "class_id", "modality", "offsets"}


def test_padding_has_weight_zero_and_loss_scale_counts_real_clips(packed):
    """The last of ceil(24 / 9) batches has 6 real clips: weights 1 and 0, loss_scale 1/6; padding repeats clips."""
    with _loader(packed, batch_size=9) as loader:
        batches = snapshots(loader)
    assert [sum(batch.weight) for batch in batches] == [9, 9, 6]
    assert [batch.loss_scale for batch in batches] == [1 / 9, 1 / 9, 1 / 6]
    assert batches[2].keys[6:] == batches[0].keys[:3]


def test_the_transform_is_called_in_this_process_and_its_result_is_yielded(packed):
    """The transform gets each Batch in the training process, in order; the loop gets what it returns."""
    import os

    seen = []

    def transform(batch):
        seen.append((os.getpid(), batch.keys[0]))
        return batch.keys[0]

    with _loader(packed, transform=transform) as loader:
        yielded = list(loader)
    assert seen == [(os.getpid(), key) for key in yielded]


def test_a_string_is_no_sequence_of_names(packed):
    """modalities='video' and columns='note' are refused, with the tuple to write instead."""
    with pytest.raises(UsageError, match=r"'video',\)"):
        shardkit.loader(packed, batch_size=1, modalities="video")
    with pytest.raises(UsageError, match=r"'note',\)"):
        shardkit.loader(packed, batch_size=1, columns="note")


def test_an_unknown_column_is_refused_by_name(packed):
    """A column that the annotation file did not have is a UsageError that lists those it had."""
    with pytest.raises(UsageError, match=r"no column 'colour'.*number, note"):
        shardkit.loader(packed, batch_size=1, columns=("colour",))
