"""What a storage measurement notes down besides its rate."""

import json
import shutil
import time
from pathlib import Path

import pytest

import shardkit
from benchmarks.loaders.measurement import Measurement
from benchmarks.loaders.prepare import BenchFolder
from benchmarks.loaders.scale import TINY
from benchmarks.storage.cache_watch import CacheWatch, folder_bytes
from benchmarks.storage.contents import INCOMPLETE, Contents
from benchmarks.storage.readings import Asked, Moment, Pace, Reading


def contents_of(folder: Path, *, seed: int, batch_size: int = TINY.batch_size, left_out: int = 0, **options) -> str:
    """The digest of an epoch, of which the last batches can be left out."""
    with shardkit.loader(folder, batch_size=batch_size, seed=seed, workers=1, **options) as loader:
        contents = Contents(loader.dataset.keys)
        for _, batch in zip(range(len(loader) - left_out), loader, strict=False):
            contents.add(batch)
        return contents.digest()


def test_contents_depend_on_clips_and_not_on_their_order(bench_folder: BenchFolder):
    """Another seed, other batches with padding in the last one: the same clips have the same digest."""
    folder = bench_folder.packed("square")
    digest = contents_of(folder, seed=1)
    assert digest != INCOMPLETE
    assert contents_of(folder, seed=2, batch_size=7) == digest


def test_contents_tell_a_changed_byte(bench_folder: BenchFolder, tmp_path: Path):
    """One sample of one clip that differs makes another digest."""
    copy = Path(shutil.copytree(bench_folder.packed("square"), tmp_path / "square"))
    dataset = shardkit.open(copy)
    tar = copy / dataset.shard_names[dataset.index.shard[5]]
    with tar.open("r+b") as file:
        file.seek(int(dataset.index.audio_offset[5]) + 1000)
        byte = file.read(1)[0]
        file.seek(-1, 1)
        file.write(bytes([byte ^ 1]))
    assert contents_of(copy, seed=1, verify=False) != contents_of(bench_folder.packed("square"), seed=1)


def test_contents_tell_a_clip_that_is_missing_or_came_twice(bench_folder: BenchFolder):
    """An epoch that is not whole has no digest."""
    folder = bench_folder.packed("square")
    assert contents_of(folder, seed=1, left_out=1) == INCOMPLETE
    with shardkit.loader(folder, batch_size=TINY.clips, workers=1) as loader:
        contents = Contents(loader.dataset.keys)
        for _ in range(2):
            contents.add(next(iter(loader)))
    assert contents.digest() == INCOMPLETE


def test_the_most_that_lay_in_a_folder_is_seen(tmp_path: Path):
    """Also when it is gone at the end, and in folders below it."""
    with CacheWatch(tmp_path) as watch:
        (tmp_path / "below").mkdir()
        (tmp_path / "below" / "large").write_bytes(bytes(1_000_000))
        (tmp_path / "small").write_bytes(bytes(10_000))
        assert watch.most_bytes >= 1_010_000
        (tmp_path / "below" / "large").unlink()
    assert 1_010_000 <= watch.most_bytes < 1_100_000
    assert 10_000 <= folder_bytes(tmp_path) < 20_000


def test_space_that_is_set_aside_counts(tmp_path: Path):
    """A file takes its size also where its blocks are not written yet."""
    with (tmp_path / "part").open("wb") as file:
        file.truncate(1_000_000)
    assert folder_bytes(tmp_path) >= 1_000_000


def test_a_reading_survives_the_way_from_its_process():
    """What JSON carries is what was measured; what there is nothing of is left out."""
    asked = Asked(1.0, 490_000.0, 200.0, 0.002, 0.03, retries=3, cached_share=0.5)
    whole = Reading(100, 2.0, 0.5, workers=3, asked=asked, contents="8a85", faults={"500": 3}, most_cached_bytes=10)
    told = json.loads(json.dumps(whole.to_json()))
    assert Reading.of_json(told) == whole
    assert told["clips_per_s"] == 50
    plain = Reading.of(Measurement(100, 2.0, 0.5))
    assert plain.to_json().keys() == {
        *("clips", "elapsed_s", "cpu_s", "burnt_s"),
        *("clips_per_s", "cpu_s_per_clip"),
    }
    assert Reading.of_json(plain.to_json()) == plain


def test_between_two_moments_lie_clips_and_cpu_time():
    """CPU time is that of this process and all below it."""
    began = Moment.now(10)
    until_s = time.process_time() + 0.1
    while time.process_time() < until_s:
        pass
    found = began.until(Moment.now(30))
    assert found.clips == 20
    assert 0.08 < found.cpu_s < 0.5
    assert found.elapsed_s >= 0.1


def test_a_pace_is_kept_and_not_caught_up_with():
    """Takers wait for their turn; after a pause they go on at the same pace, and not faster."""
    times_s = [5.0, 5.0, 5.001, 5.021, 9.0, 9.0, 9.0]
    pace = Pace(100, clock=iter(times_s).__next__)
    waits_s = [pace.wait_s(1) for _ in times_s]
    assert waits_s == pytest.approx([0, 0.01, 0.019, 0.009, 0, 0.01, 0.02])
    assert [Pace(None).wait_s(10) for _ in range(3)] == [0, 0, 0]
