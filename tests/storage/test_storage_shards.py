"""ShardReader: byte ranges of real files."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardkit.errors import CorruptShardError, StorageError
from shardkit.storage.shards import GAP_BYTES, MAX_OPEN_SHARDS, ShardReader

SIZE = 40_000
CONTENT = np.random.default_rng(0).integers(0, 256, SIZE, dtype=np.uint8).tobytes()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with one file, `a.tar`."""
    path = tmp_path_factory.mktemp("shards")
    (path / "a.tar").write_bytes(CONTENT)
    return path


@st.composite
def _ranges(draw):
    """Ascending ranges that do not overlap, near and far from each other, empty ones among them."""
    ranges, at = [], 0
    for _ in range(draw(st.integers(0, 8))):
        at += draw(st.integers(0, 2 * GAP_BYTES))
        size = draw(st.integers(0, 3000))
        if at + size > SIZE:
            break
        ranges.append((at, size))
        at += size
    return ranges


@given(ranges=_ranges())
def test_every_range_has_its_bytes(folder, ranges):
    """Whether ranges are read together or apart, each view holds the file's bytes at its place."""
    with ShardReader(folder, ["a.tar"]) as reader:
        views = [bytes(view) for view in reader.read(0, ranges)]
    assert views == [CONTENT[offset : offset + size] for offset, size in ranges]


def test_the_memory_is_used_again(folder):
    """A second read of the same size takes the memory of the first: views are valid until then."""
    with ShardReader(folder, ["a.tar"]) as reader:
        (first,) = reader.read(0, [(0, 100)])
        (second,) = reader.read(0, [(200, 100)])
        assert np.shares_memory(first, second)


def test_more_than_the_scratch_holds_is_read_too(tmp_path):
    """A range larger than the reader's first memory is read whole."""
    (tmp_path / "big.tar").write_bytes(CONTENT * 60)
    with ShardReader(tmp_path, ["big.tar"]) as reader:
        (view,) = reader.read(0, [(1, SIZE * 60 - 1)])
        assert bytes(view) == (CONTENT * 60)[1:]


def test_a_range_past_the_end_is_a_corrupt_shard(folder):
    """A range that the file does not have: CorruptShardError with the file, its end, and the byte that was wanted."""
    with (
        ShardReader(folder, ["a.tar"]) as reader,
        pytest.raises(
            CorruptShardError, match=r"a.tar: ends at byte 40,000, .* reaches to byte 40,010; .*copy it again"
        ),
    ):
        reader.read(0, [(SIZE - 10, 20)])


def test_a_shard_that_is_gone_is_a_storage_error(tmp_path):
    """A file that is not there: StorageError with its path."""
    with ShardReader(tmp_path, ["gone.tar"]) as reader, pytest.raises(StorageError, match=r"gone.tar: No such file"):
        reader.read(0, [(0, 1)])


def test_only_so_many_files_stay_open(tmp_path):
    """Reading more shards than MAX_OPEN_SHARDS closes the ones used longest ago; close() closes the rest."""
    names = [f"{number}.tar" for number in range(MAX_OPEN_SHARDS + 10)]
    for name in names:
        (tmp_path / name).write_bytes(name.encode())
    before = sum(1 for _ in Path("/proc/self/fd").iterdir())
    reader = ShardReader(tmp_path, names)
    for _ in range(2):
        for shard, name in enumerate(names):
            assert bytes(reader.read(shard, [(0, len(name))])[0]) == name.encode()
    assert sum(1 for _ in Path("/proc/self/fd").iterdir()) - before == MAX_OPEN_SHARDS
    assert repr(reader) == f"ShardReader({str(tmp_path)!r}, {len(names)} shards, {MAX_OPEN_SHARDS} open)"
    reader.close()
    assert sum(1 for _ in Path("/proc/self/fd").iterdir()) == before
    assert bytes(reader.read(0, [(0, 1)])[0]) == b"0"
    reader.close()


def test_descriptors_are_not_inherited(folder):
    """The files of a reader do not pass to processes that the user's program starts."""
    with ShardReader(folder, ["a.tar"]) as reader:
        reader.read(0, [(0, 1)])
        assert not any(os.get_inheritable(descriptor) for descriptor in reader._open.values())
