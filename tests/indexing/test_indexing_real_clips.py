"""A plain WebDataset of the real clips: indexed, loaded, and damaged in five hundred ways, before and after."""

import gc
import random
from pathlib import Path

import numpy as np
import webdataset
from real_clips import BROKEN, CLIPS, UNREADABLE, names, needs_clips
from tar_files import rejects

import shardkit

pytestmark = needs_clips

COPIES, ROUNDS = 500, 4
SMALL_BYTES = 170_000
SLOW = {"androidx__edit_list_positive_shift.mp4", "moviepy__no_duration.webm"}
"""What is copied and damaged are a dozen clips in four containers that decode in 5 to 30 ms."""
QUICK = {"frames": 2, "size": 64, "audio_rate": 8000, "require": "any", "workers": 2}


def write(folder: Path, samples) -> Path:
    """Tars of webdataset's own writer out of (key, extension, data, label)."""
    folder.mkdir(parents=True, exist_ok=True)
    with webdataset.ShardWriter(str(folder / "real-%04d.tar"), maxcount=100, verbose=0) as writer:
        for key, extension, data, label in samples:
            writer.write({"__key__": key, extension: data, "json": {"file": f"{key}.{extension}"}, "cls": label})
    gc.collect()  # webdataset leaves closing its files to the garbage collector
    return folder


def damaged(data: bytes, draw: random.Random) -> bytes:
    """A copy with flipped bytes, without its end, or with a block of zeros; anywhere, headers too."""
    copy = bytearray(data)
    kind = draw.choice(["flip", "flip", "cut", "zeros"])
    if kind == "cut":
        return bytes(copy[: draw.randrange(1, len(copy))])
    if kind == "zeros":
        start = draw.randrange(len(copy))
        stop = min(len(copy), start + draw.choice([64, 1024, 16384]))
        copy[start:stop] = bytes(stop - start)
        return bytes(copy)
    # Half of the damages where the headers of most containers are.
    reach = min(len(copy), draw.choice([2048, len(copy)]))
    for _ in range(draw.choice([1, 4, 64])):
        copy[draw.randrange(reach)] = draw.randrange(256)
    return bytes(copy)


def small_clips() -> list[tuple[str, str, bytes]]:
    """Key, extension and bytes of the small real clips that load."""
    return [
        (*name.rsplit(".", 1), (CLIPS / name).read_bytes())
        for name in names(without=UNREADABLE | BROKEN | SLOW)
        if (CLIPS / name).stat().st_size < SMALL_BYTES
    ]


def load(folder, **options) -> tuple[int, int]:
    """How many clips came out of one epoch, and how many were skipped."""
    options = {
        "batch_size": 8,
        "frames": 2,
        "size": 48,
        "window_s": 2.0,
        "max_skipped": 1.0,
        "on_error": "skip",
        "workers": 2,
    } | options
    with shardkit.loader(folder, **options) as loader:
        return sum(int(batch.weight.sum()) for batch in loader), loader.skipped


def test_a_webdataset_of_the_real_clips_loads(tmp_path):
    """All containers as they are: each clip is loaded, or rejected with a reason; labels come along."""
    clips = [name for name in names(without=set()) if (CLIPS / name).stat().st_size < 600_000]
    samples = ((*name.rsplit(".", 1), (CLIPS / name).read_bytes(), place % 3) for place, name in enumerate(clips))
    folder = write(tmp_path / "tars", samples)
    report = shardkit.index(folder, **QUICK)
    broken = sorted(name for name in clips if name in UNREADABLE | BROKEN)
    assert (report.samples, report.indexed) == (len(clips), len(clips) - len(broken))
    assert sorted(each["id"] for each in rejects(folder)) == [name.rsplit(".", 1)[0] for name in broken]
    ds = shardkit.open(folder)
    files = ds.table.column("column_file").to_pylist()
    assert sorted(files) == sorted(set(clips) - set(broken))
    labels = [int(ids[0]) for ids in ds.index.labels(ds.label_sets[0])]
    assert labels == [clips.index(name) % 3 for name in files]
    assert load(folder) == (len(ds), 0)


def test_copies_that_were_damaged_before_indexing_crash_nothing(tmp_path):
    """Five hundred of them: each is a reject or a clip, and each clip is loaded or skipped."""
    clips, draw = small_clips(), random.Random(6)
    samples = (
        (f"{place:03d}_{key}", kind, damaged(data, draw), 0)
        for place in range(COPIES)
        for key, kind, data in [clips[place % len(clips)]]
    )
    folder = write(tmp_path / "tars", samples)
    report = shardkit.index(folder, clip_timeout_s=20, **QUICK)
    assert report.samples == COPIES
    assert report.indexed + len(rejects(folder)) == COPIES
    assert 100 < report.indexed < 450
    assert set(report.rejected) <= {"unreadable", "decode_error", "too_short", "too_long", "timeout", "crash"}
    loaded, skipped = load(folder)
    assert (loaded, skipped) == (report.indexed, 0)


def test_copies_that_were_damaged_after_indexing_crash_nothing(tmp_path):
    """Five hundred of them, in four rounds: by their digests all are known and none is decoded; without, none crashes.

    What cannot be decoded then, or is another clip than was indexed, is skipped.
    """
    clips, draw = small_clips(), random.Random(7)
    each = COPIES // ROUNDS
    samples = (
        (f"{place:03d}_{key}", kind, data, 0)
        for place in range(each)
        for key, kind, data in [clips[place % len(clips)]]
    )
    folder = write(tmp_path / "tars", samples)
    assert shardkit.index(folder, **QUICK).indexed == each
    whole = {path: path.read_bytes() for path in folder.glob("*.tar")}
    ends = []
    for _ in range(ROUNDS):
        damage(folder, draw)
        assert load(folder) == (0, each)
        ends.append(load(folder, verify=False, timeout_s=20))
        for path, data in whole.items():
            path.write_bytes(data)
    assert [loaded + skipped for loaded, skipped in ends] == [each] * ROUNDS
    loaded, skipped = np.sum(ends, axis=0)
    assert loaded > 50
    assert skipped > 50


def damage(folder: Path, draw: random.Random) -> None:
    """Damages every member of media where it lies in its tar; what is cut off becomes zeros."""
    ds = shardkit.open(folder)
    index = ds.index
    for shard, name in enumerate(ds.shard_names):
        with (folder / name).open("r+b") as file:
            for row in np.flatnonzero(index.shard == shard):
                member = "video" if index.video_bytes[row] else "audio"
                offset, size = (int(getattr(index, f"{member}_{field}")[row]) for field in ("offset", "bytes"))
                file.seek(offset)
                whole = file.read(size)
                copy = damaged(whole, draw).ljust(size, b"\0")
                file.seek(offset)
                file.write(copy if copy != whole else bytes([whole[0] ^ 1]) + whole[1:])
