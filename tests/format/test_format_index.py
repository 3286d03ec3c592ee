"""index.arrow: what goes in comes out, as columns of views; other bytes are refused."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardkit.clip import EVENT_MODALITIES, Event
from shardkit.errors import CorruptShardError, DataError, FormatVersionError
from shardkit.format.digest import file_digest
from shardkit.format.index import (
    column_type,
    decode_index,
    encode_index,
    index_batch,
    index_schema,
    joined,
    rows_with,
    write_index,
)
from shardkit.format.manifest import FileInfo
from shardkit.format.record import AudioLayout, Member, Placed, Record, VideoLayout
from shardkit.taxonomy import UNKNOWN, LabelSet, Level

LABEL_SETS = (
    LabelSet("one", "single", (Level("one", ("a", "b")),)),
    LabelSet("many", "multi", (Level("many", ("x", "y", "z")),)),
    LabelSet("tree", "hierarchy", (Level("top", ("p",)), Level("leaf", ("q", "r"))), ((0, 0),)),
)
COLUMNS = {"note": pa.large_string(), "year": pa.int64()}

_u64 = st.integers(0, 2**64 - 1)
_times = st.floats(0, 1e5, allow_nan=False)
_members = st.builds(Member, st.integers(0, 2**50), st.integers(1, 2**40), _u64)


@st.composite
def _videos(draw):
    count = draw(st.integers(1, 5))

    def several(values):
        return tuple(draw(st.lists(values, min_size=count, max_size=count)))

    small = st.integers(0, 2**32 - 1)
    return VideoLayout(draw(st.integers(1, 9000)), 320, several(small), several(small), several(_u64), several(_times))


_audios = st.builds(
    AudioLayout,
    st.just(16000),
    st.integers(1, 2),
    st.integers(0, 2**40),
    st.just(44),
    st.lists(_u64, max_size=4).map(tuple),
    st.lists(st.integers(0, 2**32 - 1), max_size=4).map(tuple),
)
_events = st.builds(Event, _times, _times, st.integers(0, 99), st.sampled_from(EVENT_MODALITIES))
_records = st.builds(
    Record,
    key=st.from_regex(r"[A-Za-z0-9_-]{1,20}", fullmatch=True),
    row=st.integers(1, 2**40),
    source_id=st.text(max_size=8),
    source=st.text(max_size=8),
    source_start_s=_times,
    duration_s=_times,
    split=st.sampled_from(["", "train", "test"]),
    video=st.none() | _videos(),
    audio=st.none() | _audios,
    labels=st.fixed_dictionaries(
        {
            "one": st.tuples(st.sampled_from([UNKNOWN, 0, 1])),
            "many": st.sets(st.integers(0, 2)).map(sorted).map(tuple),
            "tree": st.tuples(st.just(0), st.integers(0, 1)),
        }
    ),
    events=st.lists(_events, max_size=3).map(tuple),
    flags=st.lists(st.sampled_from(["still", "silent"]), max_size=2).map(tuple),
    columns=st.fixed_dictionaries({"note": st.none() | st.text(max_size=5), "year": st.none() | st.integers(0, 3000)}),
)


@st.composite
def _placed(draw):
    record = draw(_records)
    return Placed(
        record,
        draw(st.integers(0, 9)),
        draw(_members) if record.video else None,
        draw(_members) if record.audio else None,
        draw(_members),
    )


def _index(rows):
    return _decoded(encode_index(index_batch(rows, index_schema(LABEL_SETS, COLUMNS))))


def _decoded(data, path="index.arrow"):
    return decode_index(data, path=path, digest=file_digest(data))


@given(st.lists(st.lists(_placed(), max_size=3), max_size=4))
def test_an_index_of_many_shards_is_that_of_all_their_rows(shards):
    """One record batch, of any number of batches; written into a file, with the digest of what is in it."""
    schema = index_schema(LABEL_SETS, COLUMNS)
    batch = joined([index_batch(rows, schema) for rows in shards], schema)
    expected = encode_index(index_batch([placed for rows in shards for placed in rows], schema))
    file = io.BytesIO()
    assert write_index(file, batch) == FileInfo(len(expected), file_digest(expected))
    assert file.getvalue() == expected


@given(st.lists(_placed(), max_size=6))
def test_what_goes_into_an_index_comes_out(rows):
    """Every field of every record is read back unchanged, absent members as 0 bytes."""
    index = _index(rows)
    assert len(index) == len(rows)
    for row, placed in enumerate(rows):
        record = placed.record
        assert index.text("key", row) == record.key
        assert (int(index.row[row]), int(index.shard[row])) == (record.row, placed.shard)
        assert (float(index.duration_s[row]), float(index.source_start_s[row])) == (
            record.duration_s,
            record.source_start_s,
        )
        assert (index.text("split", row), index.text("source", row)) == (record.split, record.source)
        assert int(index.video_bytes[row]) == (placed.video.size_bytes if placed.video else 0)
        assert int(index.audio_bytes[row]) == (placed.audio.size_bytes if placed.audio else 0)
        assert (int(index.message_offset[row]), int(index.message_xxh3[row])) == (
            placed.message.offset,
            placed.message.xxh3,
        )
        video = record.video
        assert index.packet_bytes.row(row).tolist() == list(video.packet_bytes if video else ())
        assert index.packet_offset.row(row).tolist() == list(video.packet_offset if video else ())
        assert index.packet_xxh3.row(row).tolist() == list(video.packet_xxh3 if video else ())
        assert index.frame_time_s.row(row).tolist() == list(video.frame_time_s if video else ())
        assert index.second_xxh3.row(row).tolist() == list(record.audio.second_xxh3 if record.audio else ())
        assert index.second_bytes.row(row).tolist() == list(record.audio.second_bytes if record.audio else ())
        assert int(index.audio_samples[row]) == (record.audio.samples if record.audio else 0)
        assert tuple(index.labels(LABEL_SETS[0])[row]) == record.labels["one"]
        assert tuple(index.label_lists(LABEL_SETS[1]).row(row)) == record.labels["many"]
        assert tuple(index.labels(LABEL_SETS[2])[row]) == record.labels["tree"]
        events = slice(int(index.event_offsets[row]), int(index.event_offsets[row + 1]))
        assert index.event_start_s[events].tolist() == [event.start_s for event in record.events]
        assert index.event_class_id[events].tolist() == [event.class_id for event in record.events]
        assert [EVENT_MODALITIES[m] for m in index.event_modality[events]] == [
            event.modality for event in record.events
        ]
        assert {name: index.column(name)[row].as_py() for name in COLUMNS} == record.columns
    assert index.keys(np.arange(len(rows))) == [placed.record.key for placed in rows]


@given(st.binary(max_size=64))
def test_bytes_that_are_no_index_are_refused(data):
    """Whatever the bytes, the error is CorruptShardError with the path."""
    with pytest.raises(CorruptShardError, match=r"some/index\.arrow"):
        _decoded(data, "some/index.arrow")


def test_a_multi_label_set_has_no_fixed_depth():
    """labels() of a multi label set is refused: its rows differ in length."""
    with pytest.raises(DataError, match="'many' is multi"):
        _index([]).labels(LABEL_SETS[1])


def test_an_index_without_a_version_or_of_another_is_refused():
    """The version in the file's metadata is checked before its columns."""
    for metadata in ({}, {b"shardkit_format_version": b"7"}):
        batch = pa.RecordBatch.from_pydict({"key": ["a"]}).replace_schema_metadata(metadata)
        with pytest.raises((FormatVersionError, CorruptShardError), match=r"index\.arrow"):
            _decoded(encode_index(batch))


@pytest.mark.parametrize("missing", ["packet_xxh3", "second_bytes"])
def test_a_missing_column_is_named(missing):
    """An index of the right version that lacks a column: CorruptShardError with the column's name, and what to do."""
    batch = index_batch([], index_schema(LABEL_SETS, COLUMNS))
    kept = [name for name in batch.schema.names if name != missing]
    with pytest.raises(CorruptShardError, match=f"column '{missing}' of type .* pack it again"):
        _decoded(encode_index(batch.select(kept)))


def test_the_same_rows_give_the_same_bytes():
    """Two encodings of one batch are equal byte for byte."""
    batch = index_batch([], index_schema(LABEL_SETS, COLUMNS))
    assert encode_index(batch) == encode_index(batch)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, None, 2], pa.int64()),
        ([1, 2.5], pa.float64()),
        ([True, False], pa.bool_()),
        (["a", 1], pa.large_string()),
        ([None], pa.large_string()),
        ([True, 1], pa.large_string()),
    ],
)
def test_a_columns_type_is_its_values(values, kind):
    """Numbers stay numbers, None says nothing, and values of several types become text."""
    assert column_type(values) == kind


def test_a_flipped_bit_anywhere_is_refused_before_arrow_trusts_it():
    """Columns of a damaged file can end the process, so the digest comes first; every bit of the file is covered."""
    data = bytearray(encode_index(index_batch([], index_schema(LABEL_SETS, COLUMNS))))
    digest = file_digest(data)
    for place in range(len(data)):
        data[place] ^= 1 << (place % 8)
        with pytest.raises((CorruptShardError, FormatVersionError), match=r"index\.arrow"):
            decode_index(bytes(data), path="index.arrow", digest=digest)
        data[place] ^= 1 << (place % 8)


@given(st.lists(st.lists(st.sampled_from("xyz"), max_size=4), max_size=8))
def test_rows_with_a_value_are_found(rows):
    """Whichever other values a row of a list column holds beside it, and however many; empty rows hold none."""
    column = pa.array(rows, pa.large_list(pa.large_string()))
    assert rows_with(column, pc.equal(column.values, "x")).tolist() == ["x" in row for row in rows]
