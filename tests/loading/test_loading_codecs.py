"""H.264, raw and FLAC shards through real loaders, against decord, and against the same sound packed as PCM."""

import random
import shutil

import numpy as np
import pytest
from reference import Place, differences, drawn_place, expected_view, loaded_views, stored_clips
from snapshots import snapshots

import shardkit
from shardkit.errors import CorruptShardError, DataError
from shardkit.format.digest import xxh3
from shardkit.loading.filler import SlotFiller
from shardkit.loading.plan import BatchLayout, ClipPlan, VideoPlan, slot_of
from shardkit.planning.views import ViewRules
from shardkit.storage.shards import ShardReader

CLIPS, RATE_HZ, CHANNELS, KEYINT = 12, 16000, 2, 8
SIZE = (80, 72)
WIDE = (112, 160)
CODECS = ("h264", "raw")


@pytest.fixture(scope="module", params=CODECS)
def codec(request):
    """H.264, then raw."""
    return request.param


@pytest.fixture(scope="module")
def coded(pack16, codec):
    """The clips in that codec, their sound in FLAC."""
    return pack16(video_codec=codec, audio_codec="flac")


@pytest.fixture(scope="module")
def stored(pack16, coded):
    """Frames by decord; samples of the same clips packed as PCM, by the standard library."""
    pcm = stored_clips(pack16())
    clips = stored_clips(coded)
    for key, clip in clips.items():
        assert (clip.pcm is None) == (pcm[key].pcm is None)
        assert clip.pcm is None or np.array_equal(clip.pcm, pcm[key].pcm)
    return clips


def _loader(source, **options):
    return shardkit.loader(source, **({"batch_size": 3, "workers": 1, "worker_type": "thread"} | options))


def _wide(source):
    """The clips of one frame size that have sound: their frames are decoded straight into the slots."""
    ds = shardkit.open(source)
    index = ds.index
    return ds.select(mask=(index.height == WIDE[0]) & (index.width == WIDE[1]) & (index.audio_bytes > 0))


def _assert_views(loader, stored, options, place_of):
    """Every view of an epoch is what `place_of(position, view)` says; how many there were."""
    position = seen = 0
    for batch in loader:
        for place, key in enumerate(batch.keys):
            if not batch.weight[place]:
                continue
            for view, content in enumerate(loaded_views(batch, place)):
                expected = expected_view(
                    stored[key],
                    place_of(position, view),
                    options,
                    frames=len(content["frame_times_s"]),
                    sound=content["audio"].shape,
                )
                assert differences(content, expected) == [], (key, view)
                seen += 1
            position += 1
    return seen


PARTS = {
    "whole": {"size": SIZE},
    "thinned": {"size": SIZE, "frames": 8},
    "window": {"size": SIZE, "window_s": 1.5, "crop": "random", "flip": 0.5},
    "run": {"size": SIZE, "window_s": 2.0, "frames": 3, "frame_choice": "contiguous", "crop": "random"},
    "phases of two views": {"size": SIZE, "window_s": 2.0, "frames": 3, "frame_choice": "random", "views": 2},
    "more than stored": {"size": SIZE, "frames": 20, "views": 2, "crop": "random"},
}


@pytest.mark.parametrize("decoder", ["auto", "decord"])
@pytest.mark.parametrize("options", PARTS.values(), ids=PARTS)
def test_every_part_is_what_decord_and_the_pcm_give(coded, stored, options, decoder):
    """Windows, crops, flips, chosen frames and views: pixels are decord's to the last bit, samples are the PCM's."""
    with _loader(coded, decoder=decoder, **options) as loader:
        views = options.get("views", 1)

        def place_of(position, view):
            return drawn_place(options, epoch=0, position=position, view=view)

        assert _assert_views(loader, stored, options, place_of) == CLIPS * views


@pytest.mark.parametrize("decoder", ["auto", "decord"])
@pytest.mark.parametrize("frames", [None, 5, 8, 20])
def test_whole_frames_go_straight_into_the_slot(coded, stored, frames, decoder):
    """Frames of one size without a crop: all, some, and more than there are; each is decord's, to the last bit."""
    options = {"size": WIDE, "frames": frames, "shuffle": False}
    with _loader(_wide(coded), decoder=decoder, frames=frames, shuffle=False) as loader:
        seen = _assert_views(loader, stored, options, lambda _position, _view: Place())
    assert seen == len(_wide(coded)) >= 3


@pytest.mark.parametrize("codec", ["mjpeg", "raw"])
def test_jpeg_frames_begin_beside_multiples_of_16(codec):
    """What begins at one, libjpeg-turbo writes past the cache; raw frames are read to the beginning of a cache line."""
    video = VideoPlan(16, 224, 224, sampling={}, codec=codec, keyint=None, decoder="auto")
    layout = BatchLayout.of(ClipPlan(video, None, window_s=None, rules=ViewRules(seed=0), verify=True), 3)
    video, times = (layout.views(np.zeros(layout.size_bytes, np.uint8))[name] for name in ("video", "frame_times_s"))
    starts = {frame.ctypes.data - times.ctypes.data for slot in video for frame in slot[0]}
    assert {start % 16 for start in starts} == {0 if codec == "raw" else 8}


def test_pixels_that_lie_before_the_sound_are_read_straight_too(pack16):
    """Raw frames with PCM, which stands behind them in the tar and not before as FLAC does: both are right."""
    source = pack16(video_codec="raw")
    wide = _wide(source)
    assert (wide.index.video_offset[wide.rows] < wide.index.audio_offset[wide.rows]).all()
    with _loader(wide, frames=8, window_s=2.0) as loader:
        options = {"size": WIDE, "window_s": 2.0, "frames": 8}

        def place_of(position, view):
            return drawn_place(options, epoch=0, position=position, view=view)

        assert _assert_views(loader, stored_clips(source), options, place_of) == len(wide)


def test_processes_give_what_threads_give(coded):
    """Worker processes, several, give the same batches of views."""
    options = PARTS["phases of two views"] | {"flip": 0.5}
    with _loader(coded, **options) as loader:
        expected = snapshots(loader)
    with _loader(coded, workers=2, worker_type="process", **options) as loader:
        assert snapshots(loader) == expected


def test_random_access_gives_whole_clips(coded, stored):
    """ds[key] decodes frames and sound of every codec."""
    ds = shardkit.open(coded)
    for key, clip in stored.items():
        sample = ds[key]
        assert (sample.video is None) == (clip.frames is None)
        assert (sample.audio is None) == (clip.pcm is None)
        if clip.frames is not None:
            assert np.array_equal(sample.video, clip.frames.transpose(0, 3, 1, 2))
        if clip.pcm is not None:
            assert np.array_equal(sample.audio, clip.pcm.T / np.float32(32768))


# --- what is read


class RecordingReader(ShardReader):
    """Writes down what it is asked for."""

    def __init__(self, ds):
        super().__init__(ds.folder.path, ds.shard_names)
        self.ranges = []
        self.into = []

    def read(self, shard, ranges, into=None, **begun):
        """As ShardReader."""
        self.ranges, self.into = list(ranges), list(into or ())
        return super().read(shard, ranges, into, **begun)


def _filled(source, **options):
    """For every clip: the index, its row, its slot once filled, and the reader."""
    with _loader(source, **options) as loader:
        ds, plan = loader.dataset, loader._plan
    layout = BatchLayout.of(plan, 1)
    with RecordingReader(ds) as reader:
        filler = SlotFiller(ds.index, reader, plan)
        for row in ds.rows.tolist():
            buffer = np.zeros(layout.size_bytes, np.uint8)
            slot = slot_of(layout.views(buffer), 0)
            clip = filler.plan(row=row, position=row, epoch=0)
            filler.place(clip, slot)
            filler.fill(clip, filler.read(clip))
            yield ds.index, row, slot, reader


def _packets(index, row, frames):
    offsets = index.packet_offset.row(row)[frames] + int(index.video_offset[row])
    return list(zip(offsets.tolist(), index.packet_bytes.row(row)[frames].tolist(), strict=True))


@pytest.mark.parametrize(
    "options", [{"frames": 2, "frame_choice": "contiguous"}, {"window_s": 0.75}, {"frames": 2, "views": (2, 1)}]
)
def test_h264_is_read_from_the_keyframe_before_each_frame_to_the_last_that_is_shown(pack16, options):
    """Packets before the keyframe, and behind the last shown one of its run, are not read."""
    coded = pack16(video_codec="h264", audio_codec="flac")
    options = {"frame_choice": "random", "size": SIZE} | options
    if "frames" not in options:
        options["frames"] = 3
    fewest = 16
    for index, row, slot, reader in _filled(coded, modalities=("video",), **options):
        if not index.video_bytes[row]:
            continue
        times_s = index.frame_time_s.row(row).tolist()
        shown = {times_s.index(time_s) for time_s in slot["frame_times_s"].flat}
        needed = sorted({before for frame in shown for before in range(frame // KEYINT * KEYINT, frame + 1)})
        assert reader.ranges == _packets(index, row, needed)
        fewest = min(fewest, len(needed))
    assert fewest < 16


def test_raw_frames_of_the_slots_size_are_read_straight_into_it(pack16):
    """Without a crop the kernel writes the pixels where the batch holds them: there is no copy."""
    coded = pack16(video_codec="raw", audio_codec="flac")
    for index, row, slot, reader in _filled(_wide(coded), frames=8):
        assert len(reader.into) == 8
        assert all(np.shares_memory(place, slot["video"]) for place in reader.into)
        assert reader.ranges[-8:] == _packets(index, row, list(range(1, 16, 2)))
        sound = reader.ranges[:-8]
        assert sum(size for _, size in sound) == int(index.second_bytes.row(row).sum())


def test_a_window_of_flac_reads_the_seconds_it_touches(pack16):
    """1.5 s of sound are two or three of the seconds' frames, side by side, and no byte of the others."""
    counts = set()
    for index, row, slot, reader in _filled(
        pack16(video_codec="raw", audio_codec="flac"), modalities=("audio",), window_s=1.5
    ):
        if not index.audio_bytes[row]:
            continue
        first = round(float(slot["window_s"][0, 0]) * RATE_HZ)
        seconds = range(first // RATE_HZ, (first + round(1.5 * RATE_HZ) - 1) // RATE_HZ + 1)
        sizes = index.second_bytes.row(row).tolist()
        start = int(index.audio_offset[row]) + int(index.audio_data_offset[row])
        assert reader.ranges == [(start + sum(sizes[: seconds.start]), sum(sizes[seconds.start : seconds.stop]))]
        counts.add(len(seconds))
    assert counts == {2, 3}


# --- damage


@pytest.fixture
def to_damage(coded, tmp_path):
    """A copy of the clips to damage."""
    return shardkit.open(shutil.copytree(coded, tmp_path / "shards"))


def _place(ds, key, member):
    row = ds.keys.index(key)
    offset, size = (int(getattr(ds.index, f"{member}_{field}")[row]) for field in ("offset", "bytes"))
    return ds.folder.path / ds.shard_names[ds.index.shard[row]], offset, size


def _flip(path, offset, mask=0x10):
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ mask]))


@pytest.mark.parametrize("member", ["video", "audio"])
@pytest.mark.parametrize("size", [SIZE, None], ids=["cropped", "direct"])
def test_a_flipped_bit_is_a_corrupt_shard_error(to_damage, codec, member, size):
    """In a packet, or in a second's FLAC frames: the error names shard, clip, member and byte; a mend is noticed."""
    ds = _wide(to_damage.folder.path)
    key = ds.keys[1]
    with _loader(ds, size=size, batch_size=2) as loader:
        expected = snapshots(loader)
        path, offset, length = _place(to_damage, key, member)
        _flip(path, offset + length // 2)
        loader.set_epoch(0)
        with pytest.raises(CorruptShardError, match=rf"{path.name}, clip '{key}', {member} at byte [\d,]+: xxh3 is"):
            snapshots(loader)
        _flip(path, offset + length // 2)
        assert snapshots(loader) == expected


def test_a_shard_that_ends_early_is_a_corrupt_shard_error(to_damage):
    """A file cut within the frames of a clip, that are read to where they belong: the error names clip and shard."""
    ds = _wide(to_damage.folder.path)
    key = ds.keys[0]
    path, offset, length = _place(to_damage, key, "video")
    with path.open("r+b") as file:
        file.truncate(offset + length // 2)
    with _loader(ds) as loader, pytest.raises(CorruptShardError, match=rf"{path.name}: ends at byte .*copy it again"):
        snapshots(loader)


def test_a_damaged_clip_is_passed_over_and_its_neighbours_are_right(to_damage, stored):
    """on_error='skip': the bad clip is counted, all others are what they were."""
    key = _wide(to_damage.folder.path).keys[1]
    path, offset, length = _place(to_damage, key, "video")
    _flip(path, offset + length // 2)
    with _loader(to_damage, size=SIZE, shuffle=False, on_error="skip", batch_size=1) as loader:
        found = {batch.keys[0]: loaded_views(batch, 0)[0] for batch in loader if batch.weight[0]}
        assert loader.skipped == 1
    assert set(found) == set(stored) - {key}
    for other, content in found.items():
        expected = expected_view(stored[other], Place(), {"size": SIZE}, frames=16, sound=(CHANNELS, 4 * RATE_HZ))
        assert differences(content, expected) == []


def test_unverified_damage_never_reaches_another_clip(to_damage, codec, stored):
    """Forty flipped bytes with verify=False, in frames and sound: no crash, and the clips behind the bad one are right.

    What the decoders notice is a DataError that names clip and shard; FLAC has checksums, so its damage always is.
    """
    ds = to_damage.select(
        keys=[key for key in to_damage.keys if stored[key].frames is not None and stored[key].pcm is not None][:3]
    )
    first = ds.keys[0]
    options = {"size": SIZE, "frames": 8, "shuffle": False, "batch_size": 1, "verify": False}
    draw = random.Random(0)
    noticed = dict.fromkeys(("video", "audio"), 0)
    with _loader(ds, on_error="skip", worker_type="process", max_skipped=1.0, **options) as loader:
        right = snapshots(loader)
        assert loader.skipped == 0
        for member in ("video", "audio"):
            path, offset, length = _place(to_damage, first, member)
            row = to_damage.keys.index(first)
            start = int(to_damage.index.audio_data_offset[row]) if member == "audio" else 0
            for at in draw.sample(range(start, length), 20):
                mask = 1 << draw.randrange(8)
                _flip(path, offset + at, mask)
                found = snapshots(loader)
                assert found[1:] == right[1:]
                assert found[0] != right[0] or member == "video"
                noticed[member] += loader.skipped
                _flip(path, offset + at, mask)
        assert snapshots(loader) == right
    assert noticed["audio"] == 20
    assert (noticed["video"] > 5) == (codec == "h264")


def test_undecodable_bytes_are_a_data_error_that_names_clip_and_shard(pack16, tmp_path):
    """With verify=False, zeroed H.264 packets and FLAC frames: DataErrors with shard, clip and remedy, not silence."""
    ds = shardkit.open(shutil.copytree(pack16(video_codec="h264", audio_codec="flac"), tmp_path / "shards"))
    key = "clip03_0"
    row = ds.keys.index(key)
    starts = {"video": ds.index.packet_offset.row(row)[3], "audio": ds.index.audio_data_offset[row]}
    for member, start in starts.items():
        path, offset, _ = _place(ds, key, member)
        with path.open("r+b") as file:
            file.seek(offset + int(start))
            file.write(bytes(64))
        with (
            _loader(ds, verify=False, modalities=(member,), size=SIZE) as loader,
            pytest.raises(DataError, match=rf"{path.name}, clip '{key}': .*(H.264|FLAC).*pack the clip again"),
        ):
            snapshots(loader)


def test_digests_of_flac_seconds_are_of_their_bytes(pack16):
    """The index's digest of each second is xxh3 of just its FLAC frames in the tar."""
    ds = shardkit.open(pack16(video_codec="raw", audio_codec="flac"))
    row = ds.keys.index("clip07_0")
    path, offset, length = _place(ds, "clip07_0", "audio")
    member = path.read_bytes()[offset : offset + length]
    place = int(ds.index.audio_data_offset[row])
    sizes = ds.index.second_bytes.row(row).tolist()
    assert len(sizes) == 3
    for size, digest in zip(sizes, ds.index.second_xxh3.row(row).tolist(), strict=True):
        assert xxh3(member[place : place + size]) == digest
        place += size
    assert place == length


@pytest.mark.parametrize("video_codec", ["mjpeg", *CODECS])
def test_decord_decodes_every_codec(pack16, video_codec):
    """decoder='decord' on MJPEG, H.264 and raw shards: the frames of the other decoder, within JPEG's differences."""
    source = pack16() if video_codec == "mjpeg" else pack16(video_codec=video_codec, audio_codec="flac")
    options = {"size": SIZE, "frames": 8, "views": 2, "crop": "random", "flip": 0.5, "modalities": ("video",)}
    with _loader(source, **options) as ours, _loader(source, decoder="decord", **options) as theirs:
        for batch, other in zip(ours, theirs, strict=True):
            difference = np.abs(batch.video.numpy().astype(np.int16) - other.video.numpy())
            assert difference.mean() < (2.5 if video_codec == "mjpeg" else 1e-9)
