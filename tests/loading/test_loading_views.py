"""Views, frame choice, crops and flips through real loaders, against the members decoded and cut apart from them."""

import itertools
import shutil

import numpy as np
import pytest
import torch
from reference import Place, differences, drawn_place, expected_view, loaded_views, stored_clips

import shardkit
from shardkit.errors import UsageError
from shardkit.format.wav import WAV_HEADER_BYTES
from shardkit.loading.filler import SlotFiller
from shardkit.loading.plan import BatchLayout, slot_of
from shardkit.storage.shards import ShardReader

CLIPS, STORED_FRAMES, RATE_HZ, CHANNELS = 12, 16, 16000, 2
SIZE = (79, 71)
"""Leaves odd rooms, whose middle is another place for a fixed crop than for a drawn one."""
SIGMAS = 5


@pytest.fixture(scope="module")
def packed16(pack16):
    """The clips as MJPEG and PCM."""
    return pack16()


@pytest.fixture(scope="module")
def stored(packed16):
    """Every clip as it stands in the tars."""
    return stored_clips(packed16)


def _loader(source, **options):
    return shardkit.loader(source, **({"batch_size": 5, "workers": 1, "worker_type": "thread"} | options))


def _by_position(loader, *, epochs=1):
    """(epoch, position) to (key, the clip's views), for every real clip of whole epochs from the loader's place on."""
    found = {}
    state = loader.state_dict()
    for epoch in range(state["epoch"], state["epoch"] + epochs):
        position = loader.state_dict()["delivered"] % CLIPS
        for batch in loader:
            for place, key in enumerate(batch.keys):
                if batch.weight[place]:
                    found[epoch, position] = key, loaded_views(batch, place)
                    position += 1
    return found


def _assert_as_placed(found, stored, options, place_of):
    """Every view in `found` is what the clip shows at `place_of(epoch, position, view)`."""
    assert found
    for (epoch, position), (key, views) in found.items():
        for view, content in enumerate(views):
            expected = expected_view(
                stored[key],
                place_of(epoch, position, view),
                options,
                frames=len(content["frame_times_s"]),
                sound=content["audio"].shape,
            )
            assert differences(content, expected) == [], (epoch, position, key, view)


# --- every view is that of its (seed, epoch, position, view)

DRAWN = {
    "one of phases": {"window_s": 1.5, "frames": 3, "frame_choice": "random", "crop": "random", "flip": 0.5, "seed": 7},
    "two of runs": {"window_s": 2.0, "frames": 5, "frame_choice": "contiguous", "crop": "random", "views": 2},
    "two as stored": {"window_s": 1.0, "crop": "random", "flip": 0.5, "views": 2, "shuffle": False},
    "three of whole clips": {"frames": 8, "frame_choice": "random", "flip": 0.3, "views": 3},
    "one thinned": {"frames": 8, "crop": "random", "flip": 0.5},
    "a middle run": {"frames": 8, "frame_choice": "contiguous", "shuffle": False},
    "longer than the clips": {"window_s": 4.3, "frames": 20, "frame_choice": "random", "flip": 0.5, "views": 2},
}


@pytest.mark.parametrize("options", DRAWN.values(), ids=DRAWN)
def test_every_view_is_that_of_its_seed_epoch_position_and_number(packed16, stored, options):
    """Window, frames, crop, flip, samples, times and events of two epochs are those the hash says, pixel by pixel."""
    options = {"size": SIZE} | options
    with _loader(packed16, **options) as loader:
        found = _by_position(loader, epochs=2)
    assert len(found) == 2 * CLIPS

    def place_of(epoch, position, view):
        return drawn_place(options, epoch=epoch, position=position, view=view)

    _assert_as_placed(found, stored, options, place_of)


def test_views_are_the_same_for_any_batch_size_and_workers_and_after_resume(packed16):
    """Batches of 3, 5 or 12 by threads or processes, and a run resumed at position 6, give the same at each place."""
    options = DRAWN["two of runs"] | {"size": SIZE, "flip": 0.5}
    with _loader(packed16, **options) as loader:
        whole = _by_position(loader, epochs=2)
    with _loader(packed16, batch_size=12, workers=2, worker_type="process", **options) as loader:
        _assert_equal(_by_position(loader, epochs=2), whole)
    with _loader(packed16, batch_size=3, **options) as loader:
        for _ in itertools.islice(loader, 2):
            state = loader.state_dict()
    with _loader(packed16, batch_size=4, workers=3, **options) as loader:
        loader.load_state_dict(state)
        resumed = _by_position(loader, epochs=2)
    assert min(resumed) == (0, 6)
    _assert_equal(resumed, {place: content for place, content in whole.items() if place >= (0, 6)})


def _assert_equal(found, expected):
    assert found.keys() == expected.keys()
    for place, (key, views) in found.items():
        expected_key, expected_views = expected[place]
        assert key == expected_key
        assert [differences(*pair) for pair in zip(views, expected_views, strict=True)] == [[]] * len(views)


def test_another_epoch_and_another_seed_show_other_parts(packed16):
    """No window of a clip comes again in the next epoch, or with the next seed; those of the same two do."""
    options = {"window_s": 1.0, "views": 2, "modalities": ("audio",)}

    def windows(epoch, seed):
        with _loader(packed16, seed=seed, **options) as loader:
            loader.set_epoch(epoch)
            return {
                tuple(window) for batch in loader for window in batch.window_s[batch.weight > 0].view(-1, 2).tolist()
            }

    first = windows(0, 0)
    assert len(first) == 2 * CLIPS
    assert windows(0, 0) == first
    assert not windows(1, 0) & first
    assert not windows(0, 1) & first


def test_the_windows_of_a_clips_views_are_uniform_and_uncorrelated(packed16):
    """Over 1,200 draws of two views each: tenths of the room are hit alike, and the views do not go together."""
    with _loader(packed16, window_s=1.0, views=2, modalities=("audio",), batch_size=12, epochs=110) as loader:
        starts_s = torch.cat(
            [batch.window_s[:, :, 0][torch.tensor([key != "clip07_0" for key in batch.keys])] for batch in loader]
        )
    assert starts_s.shape == (110 * 11, 2)
    shares = starts_s.numpy() / 3.0  # of the room that one second has in four
    count = len(shares)
    for view in (0, 1):
        tenths = np.histogram(shares[:, view], bins=10, range=(0.0, 1.0))[0]
        assert int(tenths.sum()) == count
        assert np.abs(tenths - count / 10).max() < SIGMAS * np.sqrt(count * 0.1 * 0.9)
    assert abs(np.corrcoef(shares.T)[0, 1]) < SIGMAS / np.sqrt(count)


def test_two_views_of_a_clip_are_two_also_in_stored_order(packed16, stored):
    """views=2 with shuffle=False: clips come as stored, and each has two windows, another two the next epoch."""
    with _loader(packed16, window_s=1.0, views=2, shuffle=False, modalities=("audio",)) as loader:
        found = _by_position(loader, epochs=2)
    assert [key for key, _ in found.values()] == 2 * list(stored)
    assert len({float(content["window_s"][0]) for _, views in found.values() for content in views}) == 4 * CLIPS


def test_one_view_that_was_asked_for_has_a_dimension_and_is_the_same(packed16):
    """views=1 is [B, 1, …] and shows what a loader without views shows."""
    options = {"window_s": 1.0, "size": SIZE, "crop": "random"}
    with _loader(packed16, **options) as plain, _loader(packed16, views=1, **options) as one:
        for without, batch in zip(plain, one, strict=True):
            assert batch.video.shape == (5, 1, *without.video.shape[1:])
            assert torch.equal(batch.video[:, 0], without.video)
            assert torch.equal(batch.audio[:, 0], without.audio)
            assert torch.equal(batch.window_s[:, 0], without.window_s)


# --- frames


def _times(batch, place, stored):
    """The places among the stored frames of those that a batch shows."""
    return [stored[batch.keys[place]].times_s.tolist().index(time_s) for time_s in batch.frame_times_s[place].tolist()]


@pytest.mark.parametrize(
    ("choice", "shuffle", "expected"),
    [
        ("uniform", True, {(1, 3, 5, 7, 9, 11, 13, 15)}),
        ("random", False, {(0, 2, 4, 6, 8, 10, 12, 14), (1, 3, 5, 7, 9, 11, 13, 15)}),
        ("contiguous", True, {tuple(range(first, first + 8)) for first in range(9)}),
        ("contiguous", False, {tuple(range(4, 12))}),
    ],
)
def test_eight_of_sixteen_frames(packed16, stored, choice, shuffle, expected):
    """The middles of eight parts; the same phase of every part; a run, from anywhere or in the middle. All come up."""
    options = {"frames": 8, "frame_choice": choice, "shuffle": shuffle, "size": SIZE, "modalities": ("video",)}
    with _loader(packed16, epochs=12, **options) as loader:
        seen = {
            tuple(_times(batch, place, stored))
            for batch in loader
            for place in torch.nonzero(batch.has_video).flatten().tolist()
        }
    assert seen == expected


def test_more_frames_than_are_stored_repeat_the_last_of_each_view(packed16):
    """frames=20 of 16: every view has 16 and then the last one again, and says so."""
    with _loader(packed16, frames=20, size=SIZE, crop="random", flip=0.5, views=2) as loader:
        batch = next(iter(loader))
        assert batch.frame_count.tolist() == [[16, 16] if there else [0, 0] for there in batch.has_video.tolist()]
        assert bool(batch.video[batch.has_video].any())
        assert torch.equal(batch.video[:, :, 15:16].expand(-1, -1, 5, -1, -1, -1), batch.video[:, :, 15:])


# --- flips


@pytest.mark.parametrize("views", [None, 2])
def test_a_flip_mirrors_every_frame_of_a_view_or_none(packed16, views):
    """Against flip=0: flip=1 mirrors all, flip=0.5 some views, each with all its frames; sound stays as it is."""
    options = {"size": SIZE, "crop": "random", "frames": 4, "views": views, "shuffle": False, "epochs": 8}
    with (
        _loader(packed16, flip=0.0, **options) as plain,
        _loader(packed16, flip=1.0, **options) as mirrored,
        _loader(packed16, flip=0.5, **options) as mixed,
    ):
        flips = []
        for straight, turned, either in zip(plain, mirrored, mixed, strict=True):
            assert torch.equal(either.audio, straight.audio)
            real = (straight.has_video & (straight.weight > 0)).numpy()
            one, other, found = (batch.video.numpy()[real] for batch in (straight, turned, either))
            assert np.array_equal(other, one[..., ::-1])
            is_turned = (found == other).all(axis=(-3, -2, -1))
            is_straight = (found == one).all(axis=(-3, -2, -1))
            assert (is_turned != is_straight).all()
            assert np.array_equal(is_turned.all(axis=-1), is_turned.any(axis=-1))
            flips += is_turned[..., 0].ravel().tolist()
    count = 8 * (CLIPS - 2) * (views or 1)
    assert len(flips) == count
    assert abs(sum(flips) - count / 2) < SIGMAS * np.sqrt(count / 4)


def test_whole_frames_are_mirrored_too(packed16):
    """Without a crop, where frames are decoded straight into the slot unless they are mirrored: both ways are right."""
    ds = shardkit.open(packed16)
    wide = ds.select(mask=(ds.index.height == 112) & (ds.index.width == 160))
    with _loader(wide, batch_size=1, shuffle=False, flip=0.5, epochs=8) as loader:
        kinds = set()
        for batch in loader:
            whole = ds[batch.keys[0]].video
            found = batch.video[0].numpy()
            kinds.add((np.array_equal(found, whole), np.array_equal(found, whole[..., ::-1])))
    assert kinds == {(True, False), (False, True)}


# --- fixed places


@pytest.mark.parametrize(("windows", "crops"), [(3, 3), (2, 1), (1, 2), (1, 1), (4, 1)])
def test_a_grid_is_windows_by_crops_at_fixed_places(packed16, stored, windows, crops):
    """View w·m + c shows window w of k, from start to end, and crop c of m along the side with more room."""
    options = {"window_s": 1.5, "frames": 3, "size": SIZE}
    with _loader(packed16, views=(windows, crops), **options) as loader:
        found = _by_position(loader, epochs=2)

    def along(place, count):
        return place / (count - 1) if count > 1 else 0.5

    for (epoch, position), (key, views) in found.items():
        assert len(views) == windows * crops
        portrait = stored[key].frames is not None and stored[key].frames.shape[1] > stored[key].frames.shape[2]

        def place_of(_epoch, _position, view, *, portrait=portrait):
            window, crop = divmod(view, crops)
            share = along(crop, crops)
            return Place(window=along(window, windows), crop=(share, 0.5) if portrait else (0.5, share))

        _assert_as_placed({(epoch, position): (key, views)}, stored, options, place_of)


def test_the_first_and_the_last_window_touch_the_clips_ends_and_crops_its_edges(packed16, stored):
    """Of three windows and crops: [0, 1.5), the middle, [2.5, 4); left or top edge, centre, right or bottom edge."""
    with _loader(packed16, window_s=1.5, size=SIZE, views=(3, 3), shuffle=False) as loader:
        found = _by_position(loader)
    shapes = set()
    for key, views in found.values():
        clip = stored[key]
        end_s = clip.duration_s
        windows = [tuple(content["window_s"]) for content in views[::3]]
        assert windows == [(0.0, 1.5), ((end_s - 1.5) / 2, (end_s + 1.5) / 2), (end_s - 1.5, end_s)]
        if clip.pcm is not None:
            last = clip.pcm[-round(1.5 * RATE_HZ) :].T / np.float32(32768)
            assert np.array_equal(views[-1]["audio"], last)
        if clip.frames is None:
            continue
        height, width = clip.frames.shape[1:3]
        shapes.add((height, width))
        shown = [content["video"][0] for content in views[:3]]
        whole = clip.frames[0].transpose(2, 0, 1)
        down, across = (height - 79) // 2, (width - 71) // 2
        if height > width:
            expected = [whole[:, top : top + 79, across : across + 71] for top in (0, down, height - 79)]
        else:
            expected = [whole[:, down : down + 79, left : left + 71] for left in (0, across, width - 71)]
        assert all(itertools.starmap(np.array_equal, zip(shown, expected, strict=True)))
    assert shapes == {(112, 160), (160, 112)}


def test_a_grid_of_phases_and_of_runs_covers_whole_clips(packed16, stored):
    """Without windows: 4 phases of 16 frames show each frame once; 3 runs of 4 begin at 0, 6 and 12."""
    for choice, windows, expected in (
        ("random", 4, [[first + 4 * part for part in range(4)] for first in range(4)]),
        ("contiguous", 3, [list(range(first, first + 4)) for first in (0, 6, 12)]),
    ):
        options = {"frames": 4, "frame_choice": choice, "views": (windows, 1), "size": SIZE}
        with _loader(packed16, **options) as loader:
            for key, views in _by_position(loader).values():
                if stored[key].frames is not None:
                    times_s = [stored[key].times_s[frames].tolist() for frames in expected]
                    assert [content["frame_times_s"].tolist() for content in views] == times_s


@pytest.mark.parametrize("views", [4, (2, 2)])
def test_views_have_a_dimension_behind_the_clips(packed16, views):
    """What a view has for itself is [B, V, …]; labels, weights, keys are the clip's; events come view by view."""
    with _loader(packed16, window_s=1.0, frames=3, size=SIZE, views=views) as loader:
        batch = next(iter(loader))
        assert batch.video.shape == (5, 4, 3, 3, *SIZE)
        assert batch.video.permute(0, 1, 2, 4, 5, 3).is_contiguous()
        assert batch.audio.shape == (5, 4, CHANNELS, RATE_HZ)
        assert batch.window_s.shape == (5, 4, 2)
        assert batch.frame_times_s.shape == (5, 4, 3)
        assert batch.frame_count.shape == batch.audio_samples.shape == (5, 4)
        assert batch.has_video.shape == batch.has_audio.shape == batch.weight.shape == (5,)
        assert batch.labels["label"].shape == (5, 1)
        assert batch.events.offsets.shape == (5 * 4 + 1,)
        assert int(batch.events.offsets[-1]) == len(batch.events.start_s) > 0
        assert len(batch) == len(batch.keys) == 5


@pytest.mark.parametrize("modality", ["video", "audio"])
def test_views_of_one_modality_are_those_of_both(packed16, modality):
    """modalities=('audio',) and ('video',) give the same windows, samples and frames as both together, and no other."""
    options = {"window_s": 1.0, "frames": 3, "size": SIZE, "crop": "random", "flip": 0.5, "views": 2}
    other = {"video": "audio", "audio": "video"}[modality]
    with _loader(packed16, **options) as both, _loader(packed16, modalities=(modality,), **options) as alone:
        for expected, batch in zip(both, alone, strict=True):
            assert getattr(batch, other) is None
            assert torch.equal(getattr(batch, modality), getattr(expected, modality))
            assert torch.equal(batch.window_s, expected.window_s)
            assert torch.equal(batch.events.start_s, expected.events.start_s)


def test_frames_of_clips_without_a_picture_are_black_in_every_view(packed16):
    """Two of the clips have no picture, one has no sound: zeros in all views, also where a slot is used again."""
    with _loader(packed16, window_s=1.0, size=SIZE, views=3, batch_size=2) as loader:
        for _ in range(4):
            for batch in loader:
                shown, heard = batch.has_video.numpy(), batch.has_audio.numpy()
                assert not batch.video.numpy()[~shown].any()
                assert not batch.frame_count.numpy()[~shown].any()
                assert not batch.audio.numpy()[~heard].any()
                assert (batch.video.numpy()[shown].max(axis=(2, 3, 4, 5)) > 0).all()


def test_the_sound_behind_a_short_clip_is_silence_also_in_a_slot_that_was_used(packed16):
    """Four epochs of whole clips through twelve slots: behind the 2.5 s of the short one nothing of another is left."""
    with _loader(packed16, modalities=("audio",), views=1, batch_size=2, epochs=4) as loader:
        short = 0
        for batch in loader:
            for place in range(2):
                samples = int(batch.audio_samples[place, 0])
                assert not batch.audio[place, :, :, samples:].any()
                short += batch.keys[place] == "clip07_0" and samples == round(2.5 * RATE_HZ)
    assert short == 4


# --- bad clips and padding


def test_a_bad_clips_views_are_a_good_clips(packed16, tmp_path):
    """on_error='skip' with views: the bad slot has weight 0 and all views, events too, of a good clip of the batch."""
    folder = tmp_path / "shards"
    shutil.copytree(packed16, folder)
    ds = shardkit.open(folder)
    row = ds.keys.index("clip04_0")
    with (folder / ds.shard_names[ds.index.shard[row]]).open("r+b") as file:
        file.seek(int(ds.index.video_offset[row]) + int(ds.index.packet_offset.row(row)[8]) + 20)
        file.write(b"damage")
    options = {"window_s": 2.0, "frames": 8, "size": SIZE, "crop": "random", "views": 3}
    with _loader(packed16, **options) as loader:
        undisturbed = _by_position(loader)
    with _loader(ds, on_error="skip", **options) as loader:
        seen = 0
        position = 0
        for batch in loader:
            bad = [place for place in range(5) if not batch.weight[place] and position + place < CLIPS]
            for place in range(5):
                if place in bad:
                    good = next(p for p in range(5) if p not in bad)
                    assert batch.keys[place] == batch.keys[good]
                    assert [
                        differences(*pair)
                        for pair in zip(loaded_views(batch, place), loaded_views(batch, good), strict=True)
                    ] == [[]] * 3
                    assert undisturbed[0, position + place][0] == "clip04_0"
                    seen += 1
                elif batch.weight[place]:
                    _assert_equal(
                        {0: (batch.keys[place], loaded_views(batch, place))}, {0: undisturbed[0, position + place]}
                    )
            position += 5
        assert seen == loader.skipped == 1


def test_padding_at_the_end_has_views_too(packed16):
    """The last batch's padding repeats the epoch's first clips with weight 0, in views of their own positions."""
    with _loader(packed16, window_s=1.0, size=SIZE, views=2, batch_size=8) as loader:
        first, last = ((batch.keys, batch.weight.tolist(), batch.window_s.clone()) for batch in loader)
    assert last[1] == [1] * 4 + [0] * 4
    assert last[0][4:] == first[0][:4]
    assert not torch.equal(last[2][4:], first[2][:4])


# --- what is read


class RecordingReader(ShardReader):
    """Writes down the ranges it is asked for."""

    def __init__(self, ds):
        super().__init__(ds.folder.path, ds.shard_names)
        self.ranges = []

    def read(self, shard, ranges, into=None, **begun):
        """As ShardReader."""
        self.ranges = list(ranges)
        return super().read(shard, ranges, into, **begun)


def _ranges_of_clips(source, **options):
    """For every clip: its row, the filled slot, and the ranges that were asked of the shard for it."""
    with _loader(source, **options) as loader:
        ds, plan = loader.dataset, loader._plan
    layout = BatchLayout.of(plan, 1)
    with RecordingReader(ds) as reader:
        filler = SlotFiller(ds.index, reader, plan)
        for row in range(CLIPS):
            buffer = np.zeros(layout.size_bytes, np.uint8)
            slot = slot_of(layout.views(buffer), 0)
            clip = filler.plan(row=row, position=row, epoch=0)
            filler.place(clip, slot)
            filler.fill(clip, filler.read(clip))
            yield ds.index, row, slot, sorted(reader.ranges)
        assert filler.tally.clips == CLIPS


@pytest.mark.parametrize(
    "options",
    [
        {"frames": 8},
        {"frames": 8, "frame_choice": "random"},
        {"frames": 4, "frame_choice": "contiguous"},
        {"frames": 4, "frame_choice": "random", "views": 3},
        {"frames": 4, "frame_choice": "contiguous", "views": (3, 2)},
        {"window_s": 1.0},
    ],
    ids=["uniform", "phase", "run", "views", "grid", "window"],
)
def test_only_the_packets_of_the_shown_frames_are_read_and_each_once(packed16, options):
    """Frames that no view shows are not read; one that several show, only once."""
    fewest = STORED_FRAMES
    for index, row, slot, ranges in _ranges_of_clips(packed16, modalities=("video",), size=SIZE, **options):
        times_s = index.frame_time_s.row(row)
        shown = (
            sorted({times_s.tolist().index(time_s) for time_s in slot["frame_times_s"].flat}) if len(times_s) else []
        )
        offsets = index.packet_offset.row(row)[shown] + int(index.video_offset[row])
        sizes = index.packet_bytes.row(row)[shown]
        assert ranges == list(zip(offsets.tolist(), sizes.tolist(), strict=True))
        fewest = min(fewest, len(shown) or STORED_FRAMES)
    assert fewest < STORED_FRAMES


@pytest.mark.parametrize("views", [None, 3, (2, 1)])
def test_a_window_reads_the_seconds_it_touches_and_no_others(packed16, views):
    """A window of 1.5 s reads two or three whole seconds of sound; several windows, each second once."""
    counts = set()
    for index, row, slot, ranges in _ranges_of_clips(packed16, modalities=("audio",), window_s=1.5, views=views):
        if not index.audio_bytes[row]:
            assert ranges == []
            continue
        touched = set()
        for start_s, _ in slot["window_s"].reshape(-1, 2).tolist():
            first = round(start_s * RATE_HZ)
            last = min(first + round(1.5 * RATE_HZ), int(index.audio_samples[row])) - 1
            touched |= set(range(first // RATE_HZ, last // RATE_HZ + 1))
        start = int(index.audio_offset[row]) + WAV_HEADER_BYTES
        stop = int(index.audio_offset[row] + index.audio_bytes[row])
        second_bytes = RATE_HZ * CHANNELS * 2
        read = [(offset, offset + size) for offset, size in ranges]
        wanted = [(start + s * second_bytes, min(start + (s + 1) * second_bytes, stop)) for s in sorted(touched)]
        assert sum(b - a for a, b in read) == sum(b - a for a, b in wanted)
        assert all(any(a <= low and high <= b for a, b in read) for low, high in wanted)
        counts.add(len(touched))
    assert counts == {None: {2, 3}, 3: {3, 4}, (2, 1): {3, 4}}[views]


def test_a_loader_that_wants_little_reads_little(packed16, monkeypatch):
    """Bytes that the kernel is asked for, gaps too: a run of 2 frames and 1 s of sound are under half of all."""
    import os

    whole = os.preadv
    sizes = []

    def counted(handle, buffers, offset):
        count = whole(handle, buffers, offset)
        sizes.append(count)
        return count

    monkeypatch.setattr(os, "preadv", counted)
    totals = []
    for options in ({}, {"frames": 2, "frame_choice": "contiguous", "window_s": 1.0}):
        with _loader(packed16, size=SIZE, **options) as loader:
            sizes.clear()
            assert sum(len(batch) for batch in loader) == 15
            totals.append(sum(sizes))
    ds = shardkit.open(packed16)
    assert totals[0] >= int(ds.index.packet_bytes.values.sum())
    assert totals[1] < totals[0] / 2


def test_damage_in_what_no_view_shows_is_not_noticed(packed16, tmp_path):
    """Every even packet of every clip zeroed: the eight odd frames load as before, those of both phases do not."""
    folder = tmp_path / "shards"
    shutil.copytree(packed16, folder)
    ds = shardkit.open(folder)
    options = {"views": (2, 1), "frames": 8, "frame_choice": "random", "size": SIZE, "shuffle": False}
    with _loader(ds, **options) as loader:
        phases = [content["frame_times_s"] for content in _by_position(loader)[0, 2][1]]
    odd = {"frames": 8, "frame_choice": "uniform", "size": SIZE, "shuffle": False}
    with _loader(ds, **odd) as loader:
        before = _by_position(loader)
    assert np.array_equal(before[0, 2][1][0]["frame_times_s"], phases[1])
    for row in range(CLIPS):
        with (folder / ds.shard_names[ds.index.shard[row]]).open("r+b") as file:
            for offset, size in list(zip(ds.index.packet_offset.row(row), ds.index.packet_bytes.row(row), strict=True))[
                ::2
            ]:
                file.seek(int(ds.index.video_offset[row]) + int(offset))
                file.write(bytes(int(size)))
    with _loader(ds, **odd) as loader:
        _assert_equal(_by_position(loader), before)
    with _loader(ds, **options) as loader, pytest.raises(shardkit.CorruptShardError, match="video at byte"):
        _by_position(loader)


# --- options that cannot be


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"views": 0}, "views=0: a whole number of at least 1"),
        ({"views": True}, "views=True: a whole number"),
        ({"views": 2.0}, r"views=2\.0: a whole number"),
        ({"views": "2x3"}, "views='2x3': a whole number"),
        ({"views": (1, 2, 3)}, r"views=\(1, 2, 3\): a number, or \(windows, crops\)"),
        ({"views": ()}, r"views=\(\): a number, or \(windows, crops\)"),
        ({"views": (0, 1), "window_s": 1.0}, "views=0: a whole number"),
        ({"views": (2, 1.0), "window_s": 1.0}, r"views=1\.0: a whole number"),
        ({"views": (2, 1)}, "2 windows of whole clips are all the same; give window_s=, or frames="),
        ({"views": (2, 1), "frames": 4}, "all the same; give window_s=, .*frame_choice='contiguous'"),
        ({"views": 2}, r"views=2: nothing is drawn.* window_s=.* crop='random'.* flip=.* frame_choice='random'"),
        ({"views": 2, "crop": "random"}, "views=2: nothing is drawn"),
        ({"views": 2, "flip": 1.0, "size": 80, "frames": 4}, "views=2: nothing is drawn"),
        ({"views": 2, "flip": 0.5, "modalities": ("audio",)}, "views=2: nothing is drawn"),
        ({"views": 2, "window_s": 4.3, "size": 80}, "views=2: all views of a clip would be the same"),
        ({"views": 2, "frames": 16, "frame_choice": "random", "size": 80}, "views=2: all views of a clip would be"),
        ({"views": (2, 1), "window_s": 4.3, "size": 80}, r"views=\(2, 1\): all views of a clip would be the same"),
        ({"views": (1, 3)}, "3 crops of whole frames are all the same; give size="),
        ({"views": (1, 3), "size": 80, "flip": 0.5}, "fixed places: flip=0.5 does not go with them"),
        ({"views": (1, 3), "size": 80, "crop": "random"}, "fixed places: crop='random' does not go with them"),
        ({"views": [2, 1], "window_s": 1.0, "crop": "random"}, "fixed places: crop='random' does not go with them"),
        ({"flip": 2}, "flip=2: a chance from 0 to 1"),
        ({"flip": -0.1}, r"flip=-0\.1: a chance from 0 to 1"),
        ({"flip": float("nan")}, "flip=nan: a chance from 0 to 1"),
        ({"flip": "0.5"}, "flip='0.5': a chance from 0 to 1"),
        ({"flip": True}, "flip=True: a chance from 0 to 1"),
        ({"frame_choice": "first", "frames": 2}, "frame_choice='first': one of 'uniform', 'random', 'contiguous'"),
        ({"frame_choice": "random"}, "frame_choice='random' .*: say how many, frames="),
        ({"frame_choice": "contiguous"}, "frame_choice='contiguous' .*: say how many, frames="),
    ],
)
def test_options_that_cannot_be_are_refused_with_what_to_do(packed16, options, message):
    """Each is a UsageError that shows the option and what would do."""
    with pytest.raises(UsageError, match=message):
        shardkit.loader(packed16, batch_size=1, **options)
