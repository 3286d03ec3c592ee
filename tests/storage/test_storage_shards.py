"""ShardReader: byte ranges of real files."""

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from watching import open_files

from shardkit.errors import CorruptShardError, StorageError
from shardkit.storage.shards import GAP_BYTES, MAX_OPEN_SHARDS, MAX_PIECES, ShardReader

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


@given(ranges=_ranges(), share=st.floats(0.0, 1.0))
def test_the_last_ranges_are_read_to_where_they_are_wanted(folder, ranges, share):
    """However many of the ranges have a place of their own: it holds their bytes, and so do the others' views."""
    places = [np.zeros(size, np.uint8) for _, size in ranges[round(share * len(ranges)) :]]
    with ShardReader(folder, ["a.tar"]) as reader:
        views = reader.read(0, ranges, places)
        assert [bytes(view) for view in views] == [CONTENT[offset : offset + size] for offset, size in ranges]
    beside = len(ranges) - len(places)
    assert all(view is place for view, place in zip(views[beside:], places, strict=True))


def test_ranges_with_places_may_lie_before_those_without(folder):
    """Sound behind the pixels is read beside, the pixels before it to their places: each group ascends by itself."""
    place = np.zeros(50, np.uint8)
    with ShardReader(folder, ["a.tar"]) as reader:
        sound, pixels = reader.read(0, [(30_000, 100), (200, 50)], [place])
        assert bytes(sound) == CONTENT[30_000:30_100]
    assert pixels is place
    assert bytes(place) == CONTENT[200:250]


def test_ranges_with_places_leave_what_lies_around_them_alone(folder):
    """Every second row of an array is filled, the rows between keep what they held: gaps are not read into them."""
    rows = np.full((20, 10), 7, np.uint8)
    with ShardReader(folder, ["a.tar"]) as reader:
        reader.read(0, [(100 * row, 10) for row in range(10)], list(rows[::2]))
    assert [bytes(row) for row in rows[::2]] == [CONTENT[100 * row : 100 * row + 10] for row in range(10)]
    assert (rows[1::2] == 7).all()


def test_more_places_than_one_call_takes_are_filled_by_several(folder):
    """2,500 ranges side by side are more than Linux reads in one call: each place has its bytes all the same."""
    count = 2 * MAX_PIECES + 452
    rows = np.zeros((count, 12), np.uint8)
    with ShardReader(folder, ["a.tar"]) as reader:
        reader.read(0, [(1 + 12 * row, 12) for row in range(count)], list(rows))
    assert rows.tobytes() == CONTENT[1 : 1 + 12 * count]


@pytest.mark.parametrize("longest", [1, 7, 25])
def test_a_read_that_comes_in_parts_is_gone_on_with(folder, monkeypatch, longest):
    """Where the kernel gives fewer bytes than asked for, within a piece or between two, the rest follows."""
    whole = os.preadv

    def shortened(handle, buffers, offset):
        room, cut = longest, []
        for buffer in buffers:
            cut.append(memoryview(buffer)[:room])
            room -= len(cut[-1])
        return whole(handle, cut, offset)

    monkeypatch.setattr(os, "preadv", shortened)
    rows = np.zeros((6, 10), np.uint8)
    with ShardReader(folder, ["a.tar"]) as reader:
        (beside, *_) = reader.read(0, [(500, 60), *((10 * row, 10) for row in range(6))], list(rows))
        assert bytes(beside) == CONTENT[500:560]
    assert rows.tobytes() == CONTENT[:60]


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


def test_a_file_that_ends_within_a_place_is_a_corrupt_shard(folder):
    """The end of the file in the second of three places that are read at once: the error says what was missing."""
    rows = np.zeros((3, 10), np.uint8)
    with (
        ShardReader(folder, ["a.tar"]) as reader,
        pytest.raises(CorruptShardError, match=r"a.tar: ends at byte 40,000, .* reaches to byte 40,015; .*copy it"),
    ):
        reader.read(0, [(SIZE - 15 + 10 * row, 10) for row in range(3)], list(rows))


def test_a_shard_that_is_gone_is_a_storage_error(tmp_path):
    """A file that is not there: StorageError with its path."""
    with ShardReader(tmp_path, ["gone.tar"]) as reader, pytest.raises(StorageError, match=r"gone.tar: No such file"):
        reader.read(0, [(0, 1)])


def test_only_so_many_files_stay_open(tmp_path):
    """Reading more shards than MAX_OPEN_SHARDS closes the ones used longest ago; close() closes the rest."""
    names = [f"{number}.tar" for number in range(MAX_OPEN_SHARDS + 10)]
    for name in names:
        (tmp_path / name).write_bytes(name.encode())
    reader = ShardReader(tmp_path, names)
    for _ in range(2):
        for shard, name in enumerate(names):
            assert bytes(reader.read(shard, [(0, len(name))])[0]) == name.encode()
    assert len(open_files(tmp_path)) == MAX_OPEN_SHARDS
    assert repr(reader) == f"ShardReader({str(tmp_path)!r}, {len(names)} shards, {MAX_OPEN_SHARDS} open)"
    reader.close()
    assert open_files(tmp_path) == []
    assert bytes(reader.read(0, [(0, 1)])[0]) == b"0"
    reader.close()


def test_descriptors_are_not_inherited(folder):
    """The files of a reader do not pass to processes that the user's program starts."""
    with ShardReader(folder, ["a.tar"]) as reader:
        reader.read(0, [(0, 1)])
        assert not any(os.get_inheritable(descriptor) for descriptor in reader._open.values())
