"""Damaged data sets and wrong arguments: a clear error or a counted gap, never a wrong tensor."""

import json
import os
import random
import shutil
import subprocess
import sys
import threading
from collections import deque
from dataclasses import replace

import pytest
import torch
from snapshots import snapshot, snapshots

import shardkit
from shardkit.errors import (
    CorruptShardError,
    DataError,
    FormatVersionError,
    StorageError,
    TooManyRejectsError,
    UsageError,
)
from shardkit.format.manifest import FORMAT_VERSION, Manifest
from shardkit.loading.board import Board
from shardkit.loading.config import LoaderConfig
from shardkit.loading.filler import SlotFiller


def _loader(source, **options):
    return shardkit.loader(source, **({"batch_size": 4, "workers": 2, "worker_type": "thread"} | options))


def _flip(path, offset, mask=0x10):
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ mask]))


def _place(ds, key, member):
    """(file, first byte, bytes) of a member of a clip."""
    row = ds.keys.index(key)
    offset, size = getattr(ds.index, f"{member}_offset")[row], getattr(ds.index, f"{member}_bytes")[row]
    return ds.folder.path / ds.shard_names[ds.index.shard[row]], int(offset), int(size)


@pytest.mark.parametrize("worker_type", ["process", "thread"])
@pytest.mark.parametrize("member", ["video", "audio"])
def test_a_flipped_byte_is_a_corrupt_shard_error(damaged, member, worker_type):
    """One flipped bit in a packet or in a second of sound: the error names shard, clip, member, byte and remedy."""
    ds = shardkit.open(damaged)
    path, offset, size = _place(ds, "clip06_0", member)
    _flip(path, offset + size // 2)
    with (
        _loader(ds, worker_type=worker_type) as loader,
        pytest.raises(
            CorruptShardError,
            match=rf"{path.name}, clip 'clip06_0', {member} at byte [\d,]+: xxh3 is .* index says .*copy it again",
        ),
    ):
        deque(loader, maxlen=0)


def test_the_byte_named_is_where_the_damaged_packet_begins(damaged):
    """The offset in the message is that of the packet in the shard, which `dd` and friends can be pointed at."""
    ds = shardkit.open(damaged)
    path, offset, _ = _place(ds, "clip06_0", "video")
    row = ds.keys.index("clip06_0")
    start = offset + int(ds.index.packet_offset.row(row)[3])
    _flip(path, start + 7)
    with _loader(ds) as loader, pytest.raises(CorruptShardError, match=f"at byte {start:,}:"):
        deque(loader, maxlen=0)


def test_a_shard_cut_in_half_is_a_corrupt_shard_error(damaged):
    """A truncated tar: the error names the shard, a clip that was lost, where the file ends, and the remedy."""
    shard = damaged / "clips-000002.tar"
    size = shard.stat().st_size
    with shard.open("r+b") as file:
        file.truncate(size // 2)
    ends = f"clips-000002.tar: ends at byte {size // 2:,}, "
    with (
        _loader(damaged) as loader,
        pytest.raises(CorruptShardError, match=rf"clip 'clip\d\d_0': .*{ends}.*copy it again"),
    ):
        deque(loader, maxlen=0)


def test_workers_that_find_another_data_set_say_so(damaged, capfd):
    """The manifest was replaced between opening and the first batch: an error that says so, once, and no traceback."""
    ds = shardkit.open(damaged)
    other = replace(ds.manifest, index=replace(ds.manifest.index, xxh3="0" * len(ds.manifest.index.xxh3)))
    (damaged / "dataset.json").write_bytes(other.to_bytes())
    with (
        _loader(ds, worker_type="process") as loader,
        pytest.raises(CorruptShardError, match="was replaced while it is being loaded; start the loader anew"),
    ):
        deque(loader, maxlen=0)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("worker_type", ["thread", "process"])
def test_an_index_that_contradicts_its_manifest_names_the_clip(damaged, worker_type):
    """What is found before anything is read names shard, clip and remedy, too."""
    ds = shardkit.open(damaged)
    sampling = dict(ds.manifest.settings["sampling"], value=15)
    ds.manifest = replace(ds.manifest, settings=ds.manifest.settings | {"sampling": sampling})
    words = r"clips-\d+.tar, clip 'clip\d\d_0': \d+ frames in the index, its sampling says \d+; pack the clip again"
    with _loader(ds, worker_type=worker_type, window_s=2.0) as loader, pytest.raises(DataError, match=words):
        next(iter(loader))


def test_a_cancelled_run_is_not_planned(packed, monkeypatch):
    """What an abandoned iteration had ordered costs the workers nothing."""
    planned, filled, cancelled = [], [], threading.Event()
    plan, fill, cancel = SlotFiller.plan, SlotFiller.fill, Board.cancel

    def held_fill(self, clip, data):
        filled.append(clip)
        assert len(filled) <= 8 or cancelled.wait(60)
        fill(self, clip, data)

    monkeypatch.setattr(SlotFiller, "plan", lambda self, **place: planned.append(place) or plan(self, **place))
    # What it does with the second batch may take as long as this thread takes to end the iteration.
    monkeypatch.setattr(SlotFiller, "fill", held_fill)
    monkeypatch.setattr(Board, "cancel", lambda self: (cancel(self), cancelled.set()))
    with _loader(packed, batch_size=8, worker_type="thread", workers=1, epochs=100) as loader:
        next(iter(loader))  # the iterator dies here, with some batches under way
        assert len(planned) <= 8 + 8


@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_a_deleted_shard_is_a_storage_error(damaged, on_error):
    """A shard that is gone: StorageError with its path, and the clip that was asked for; no clip's damage to skip."""
    (damaged / "clips-000001.tar").unlink()
    with (
        _loader(damaged, on_error=on_error, max_skipped=1.0) as loader,
        pytest.raises(StorageError, match=r"clip 'clip\d\d_0': .*clips-000001.tar: No such file.*check the path"),
    ):
        deque(loader, maxlen=0)


@pytest.mark.parametrize("on_error", ["raise", "skip"])
@pytest.mark.parametrize("replacement", ["other", "none"])
def test_a_data_set_that_was_replaced_is_not_called_damaged(damaged, mixed, replacement, on_error):
    """Another data set, or none, comes into the folder of a loader that runs: the error says that, and what to do."""
    with _loader(damaged, on_error=on_error) as loader:
        next(iter(loader))
        loader.close()  # what is open now stays readable
        shutil.rmtree(damaged)
        if replacement == "other":
            shutil.copytree(mixed, damaged)
        with pytest.raises(CorruptShardError, match=r"shards: the data set was replaced while it is .*; start .* anew"):
            deque(loader, maxlen=0)


def test_damage_is_called_damage_where_only_labels_are_new(damaged):
    """A relabelled data set has the shards that it had: a clip's damage is reported as such."""
    ds = shardkit.open(damaged)
    other = replace(ds.manifest, splits={"train": 24})
    (damaged / "dataset.json").write_bytes(other.to_bytes())
    path, offset, size = _place(ds, "clip06_0", "video")
    _flip(path, offset + size // 2)
    with _loader(ds) as loader, pytest.raises(CorruptShardError, match="clip 'clip06_0', video at byte"):
        deque(loader, maxlen=0)


def test_an_undecodable_frame_is_a_data_error_even_unverified(damaged):
    """With verify=False a packet that is no JPEG is still an error that names clip and frame, not a wrong picture."""
    ds = shardkit.open(damaged)
    path, offset, _ = _place(ds, "clip06_0", "video")
    start = offset + int(ds.index.packet_offset.row(ds.keys.index("clip06_0"))[2])
    for at in range(4):
        _flip(path, start + at, mask=0xFF)
    with (
        _loader(ds, verify=False, worker_type="process") as loader,
        pytest.raises(DataError, match=r"clip 'clip06_0': frame 2: .*pack the clip again"),
    ):
        deque(loader, maxlen=0)


@pytest.mark.parametrize("decoder", ["auto", "decord"])
def test_wherever_a_byte_is_flipped_the_tensors_are_right_or_there_is_an_error(damaged, decoder):
    """Sixty single-byte damages over a clip's members: each raises DataError, or changes nothing that is loaded."""
    ds = shardkit.open(damaged)
    draw = random.Random(0)
    outcomes = []
    with _loader(ds.select(keys=["clip06_0"]), batch_size=1, decoder=decoder) as loader:
        loader.set_epoch(0)
        right = snapshots(loader)
        for member in ("video", "audio", "message"):
            path, offset, size = _place(ds, "clip06_0", member)
            for at in (0, size - 1, *draw.sample(range(size), 18)):
                mask = 1 << draw.randrange(8)
                _flip(path, offset + at, mask)
                try:
                    assert snapshots(loader) == right
                    outcomes.append("right")
                except DataError:
                    outcomes.append("error")
                _flip(path, offset + at, mask)
    assert set(outcomes) == {"right", "error"}


def test_the_loader_can_be_used_after_an_error(damaged):
    """After a damaged clip ended the loop, and the shard was mended, the same loader gives the whole epoch."""
    ds = shardkit.open(damaged)
    path, offset, size = _place(ds, "clip06_0", "video")
    with _loader(ds, worker_type="process") as loader:
        expected = snapshots(loader)
        loader.set_epoch(0)
        _flip(path, offset + size // 2)
        for _ in range(2):
            with pytest.raises(CorruptShardError):
                list(map(snapshot, loader))
        _flip(path, offset + size // 2)
        assert snapshots(loader) == expected


def test_skip_gives_a_bad_clip_weight_zero_and_a_copy_of_a_good_one(damaged):
    """on_error='skip': shapes stay, the bad slot has weight 0 and is a good clip's copy, and it is counted."""
    ds = shardkit.open(damaged)
    with _loader(ds) as loader:
        undisturbed = snapshots(loader)
    path, offset, size = _place(ds, "clip06_0", "video")
    _flip(path, offset + size // 2)
    with _loader(ds, on_error="skip") as loader:
        batches = snapshots(loader)
        assert loader.skipped == 1
    for before, after in zip(undisturbed, batches, strict=True):
        if "clip06_0" not in before.keys:
            assert after == before
            continue
        bad = before.keys.index("clip06_0")
        assert after.weight == [0.0 if place == bad else 1.0 for place in range(4)]
        good = next(place for place in range(4) if place != bad and after.keys[place] == after.keys[bad])
        for name in ("video", "audio", "labels.label", "frame_times_s", "window_s"):
            assert after.arrays[name].shape == before.arrays[name].shape
            assert (after.arrays[name][bad] == after.arrays[name][good]).all()
            for place in set(range(4)) - {bad}:
                assert (after.arrays[name][place] == before.arrays[name][place]).all()


def test_skip_counts_anew_each_epoch(damaged):
    """`skipped` is the current epoch's number of bad clips, not the sum of all epochs."""
    ds = shardkit.open(damaged)
    path, offset, size = _place(ds, "clip06_0", "audio")
    _flip(path, offset + size // 2)
    with _loader(ds, on_error="skip", epochs=2) as loader:
        assert len(snapshots(loader)) == 12
        assert loader.skipped == 1


def test_a_batch_without_any_good_clip_is_zeros_and_unknown(damaged):
    """Where no clip of a batch can be loaded: zeros, labels -100, no events, empty keys, weight 0."""
    os.truncate(damaged / "clips-000000.tar", 0)
    ds = shardkit.open(damaged)
    with _loader(ds, on_error="skip", shuffle=False, modalities=("audio",)) as loader:
        batch = next(iter(loader))
        assert not batch.weight.any()
        assert not batch.audio.any()
        assert batch.labels["label"].tolist() == [[shardkit.UNKNOWN]] * 4
        assert not batch.labels["labels"].any()
        assert batch.keys == [""] * 4
        assert batch.events.offsets.tolist() == [0] * 5


def test_more_bad_clips_than_allowed_end_the_epoch(damaged):
    """Beyond max_skipped (and eight clips) on_error='skip' raises TooManyRejectsError, with the last clip's fault."""
    os.truncate(damaged / "clips-000000.tar", 0)
    os.truncate(damaged / "clips-000001.tar", 0)
    with (
        _loader(damaged, on_error="skip", max_skipped=0.4) as loader,
        pytest.raises(
            TooManyRejectsError, match=r"clips of epoch 0 .* more than max_skipped=0.4 .*the last one: .*tar"
        ),
    ):
        list(map(snapshot, loader))
    with _loader(damaged, on_error="skip", max_skipped=1.0) as loader:
        assert len(snapshots(loader)) == 6
        assert loader.skipped == int((loader.dataset.index.shard < 2).sum())


def _edit_manifest(folder, change):
    path = folder / "dataset.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_an_edited_manifest_is_refused(damaged):
    """A manifest changed by hand: CorruptShardError that points to `shardkit relabel`."""
    _edit_manifest(damaged, lambda content: content["splits"].update(train=3))
    with pytest.raises(CorruptShardError, match=r"dataset.json: digest .*edited or damaged.*shardkit relabel"):
        shardkit.open(damaged)


def test_a_manifest_of_another_version_is_refused(damaged):
    """Another format version: FormatVersionError that says which is read."""
    _edit_manifest(damaged, lambda content: content.update(format_version=FORMAT_VERSION + 1))
    with pytest.raises(FormatVersionError, match=r"dataset.json: format version 2, this shardkit reads version 1"):
        shardkit.open(damaged)


def test_an_index_of_another_version_is_refused(damaged):
    """An index of another version: FormatVersionError, before anything is said of digests."""
    import pyarrow as pa

    path = damaged / "index.arrow"
    with pa.ipc.open_file(path.read_bytes()) as reader:
        batch = reader.get_batch(0)
    metadata = {**batch.schema.metadata, b"shardkit_format_version": b"2"}
    batch = batch.replace_schema_metadata(metadata)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
    with pytest.raises(FormatVersionError, match=r"index.arrow: index of format version 2"):
        shardkit.open(damaged)


def test_an_index_that_the_manifest_does_not_vouch_for_is_refused(damaged):
    """A flipped byte in the index's data: CorruptShardError with both digests."""
    path = damaged / "index.arrow"
    _flip(path, path.stat().st_size // 2)
    with pytest.raises(CorruptShardError, match=r"index.arrow: "):
        shardkit.open(damaged)


@pytest.mark.parametrize("share", [0, 0.3, 0.99])
def test_a_cut_index_is_refused(damaged, share):
    """An index that is empty or ends early: CorruptShardError, no crash."""
    path = damaged / "index.arrow"
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(CorruptShardError, match=r"index.arrow: .*copy the data set again"):
        shardkit.open(damaged)


def test_a_folder_without_a_manifest_is_no_data_set(tmp_path):
    """A folder without dataset.json, as an unfinished pack leaves it: DataError that says how to finish."""
    with pytest.raises(DataError, match=r"no dataset.json.*--resume"):
        shardkit.open(tmp_path)


def test_a_missing_folder_is_a_storage_error(tmp_path):
    """A path that does not exist: StorageError with the path."""
    with pytest.raises(StorageError, match=r"nowhere.*No such file"):
        shardkit.open(tmp_path / "nowhere")


def test_frames_of_several_sizes_need_a_size(mixed):
    """Mixed sizes without size=: UsageError that names two clips, their sizes, and the size to ask for."""
    with pytest.raises(
        UsageError, match=r"differ in size.*has 96.\d+, .*has 96.\d+; crop to one size \(size=96, --size 96\)"
    ):
        _loader(mixed, modalities=("video",))


def test_sample_rates_that_differ_are_refused(mixed):
    """Mixed sample rates: UsageError that names two clips and how to pack."""
    with pytest.raises(UsageError, match=r"differ in sample rate: .*(44100|48000).*--audio-rate"):
        _loader(mixed, modalities=("audio",))


def test_a_size_larger_than_the_frames_is_refused(packed):
    """size=512 of frames of 96 lines: UsageError with a clip and its size."""
    with pytest.raises(UsageError, match=r"size=\(512, 512\) is larger than stored frames: 'clip.*has 96"):
        _loader(packed, size=512)


def test_a_size_that_needs_a_crop_is_refused_without_one(packed):
    """size=64 with crop=None: UsageError that says which crops there are."""
    with pytest.raises(UsageError, match="pass crop='center' or 'random'"):
        _loader(packed, size=64, crop=None)


def test_a_window_longer_than_every_clip_is_refused(packed):
    """window_s=2000, meant as milliseconds: UsageError with the longest clip; a little longer than it is taken."""
    longest = r"window_s=2000 is longer than every clip: the longest is 'clip\d\d_0' with 2 s, .*leave window_s out"
    with pytest.raises(UsageError, match=longest):
        _loader(packed, window_s=2000)
    with pytest.raises(UsageError, match=r"window_s=1\.3 .*the longest is 'clip04_0' with 1\.1 s"):
        _loader(shardkit.open(packed).select(keys=["clip04_0"]), window_s=1.3)
    with _loader(packed, window_s=2.05) as loader:
        assert next(iter(loader)).audio.shape[-1] == 2.05 * 16000


def test_an_unknown_split_is_refused_by_name(packed):
    """A split that is not there: UsageError that lists those that are."""
    with pytest.raises(UsageError, match=r"no split 'val'; the data set has 'test', 'train'"):
        _loader(packed, split="val")


def test_an_empty_selection_is_refused(packed):
    """A selection without clips has nothing to load: UsageError."""
    with pytest.raises(UsageError, match="no clips in this selection"):
        _loader(shardkit.open(packed).select(keys=[]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size=0"),
        ({"drop_last": "no"}, "drop_last='no': one of True, False"),
        ({"batch_size": True}, "batch_size=True"),
        ({"batch_size": 2.0}, "batch_size=2.0"),
        ({"frames": 0}, "frames=0"),
        ({"workers": 0}, "workers=0"),
        ({"epochs": 0}, "epochs=0"),
        ({"seed": -1}, "seed=-1"),
        ({"size": 0}, "size=0"),
        ({"size": (1, 2, 3)}, "one number, or"),
        ({"crop": "left"}, "crop='left'"),
        ({"decoder": "gpu"}, "decoder='gpu'"),
        ({"worker_type": "fork"}, "worker_type='fork'"),
        ({"on_error": "ignore"}, "on_error='ignore'"),
        ({"modalities": ()}, r"modalities=\(\)"),
        ({"modalities": ("text",)}, "modalities="),
        ({"window_s": 0}, "window_s=0"),
        ({"window_s": "2"}, "window_s='2': a number of seconds above 0"),
        ({"window_s": float("inf")}, "window_s=inf"),
        ({"timeout_s": float("nan")}, "timeout_s=nan"),
        ({"timeout_s": None}, "timeout_s=None: a number of seconds above 0"),
        ({"timeout_s": True}, "timeout_s=True"),
        ({"transform": 5}, "transform=5: a function of a batch"),
        ({"max_skipped": 2}, "max_skipped=2"),
        ({"max_skipped": None}, "max_skipped=None: a share from 0 to 1"),
    ],
)
def test_wrong_options_are_refused_by_name(packed, options, message):
    """An option that makes no sense is a UsageError that names it and its value."""
    with pytest.raises(UsageError, match=message):
        _loader(packed, **options)


def test_options_are_shown_without_secrets():
    """The key of a storage is in nobody's log."""
    config = LoaderConfig(batch_size=4, storage_options={"key": "AKIA", "secret": "xyzzy"})
    assert "batch_size=4" in repr(config)
    assert "AKIA" not in repr(config)
    assert "xyzzy" not in repr(config)


def test_unverified_decord_in_threads_is_refused(packed):
    """Decord can end the process on damaged bytes, so unverified it is not allowed into this one."""
    with pytest.raises(UsageError, match="decord can end the whole process"):
        _loader(packed, decoder="decord", verify=False)


def test_modalities_that_no_clip_has_are_refused(packed):
    """Clips without sound, modalities=('audio',): UsageError instead of batches of silence."""
    ds = shardkit.open(packed).select(keys=["clip20_0", "clip21_0"])
    with pytest.raises(UsageError, match="no clip has audio"):
        _loader(ds, modalities=("audio",))


def test_a_manifest_survives_its_own_reader(packed):
    """dataset.json as packed is read and written back byte for byte."""
    data = (packed / "dataset.json").read_bytes()
    assert Manifest.from_bytes(data, path="dataset.json").to_bytes() == data


@pytest.mark.filterwarnings("ignore:batch_size=1000000000 is more than")
def test_a_batch_that_no_memory_holds_and_a_device_that_is_not_there_are_usage_errors(packed):
    """Both name the option."""
    with shardkit.loader(packed, batch_size=10**9) as loader, pytest.raises(UsageError, match="batch_size"):
        next(iter(loader))
    for device, reason in (
        ("cuda:77", "cannot be used here"),
        ("bogus", "cannot be used here"),
        ("hpu", "cannot be used here"),
        ("meta", "holds no values"),
        (1.5, "cannot be used here"),
    ):
        with pytest.raises(UsageError, match=f"device='{device}' {reason}") as raised:
            shardkit.loader(packed, batch_size=1, device=device)
        assert "\n" not in str(raised.value)


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="this machine has MPS")
def test_a_kind_of_device_that_is_not_there_is_named(packed):
    """device='mps' on a machine without: a UsageError of one line, and not what PyTorch knows of its dispatch keys."""
    with pytest.raises(UsageError, match=r"^device='mps' cannot be used here: this PyTorch has no such device$"):
        shardkit.loader(packed, batch_size=1, device="mps")


def test_a_flipped_bit_of_the_index_is_an_error_and_never_a_crash(damaged):
    """Anywhere in index.arrow; in a process of its own, since Arrow can crash on damaged columns."""
    script = """
import random, sys
from pathlib import Path
import shardkit
path = Path(sys.argv[1]) / "index.arrow"
data = path.read_bytes()
for place in random.Random(1).sample(range(len(data)), 300):
    path.write_bytes(data[:place] + bytes([data[place] ^ 1 << place % 8]) + data[place + 1:])
    try:
        shardkit.open(path.parent)
    except shardkit.DataError as exc:
        assert "index.arrow" in str(exc)
    else:
        raise SystemExit(f"byte {place} was not noticed")
"""
    subprocess.run([sys.executable, "-c", script, str(damaged)], check=True, timeout=150)
