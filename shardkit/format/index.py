"""index.arrow: one row a clip, one record batch; enough to load without opening anything else.

Lists and strings have 64-bit offsets: 10 million clips of 300 frames are more packets than 32 bits count.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from shardkit.clip import EVENT_MODALITIES, Event, Scalar
from shardkit.errors import CorruptShardError, DataError, FormatVersionError
from shardkit.format.digest import HashingFile, file_digest
from shardkit.format.manifest import FORMAT_VERSION, FileInfo
from shardkit.format.record import AudioLayout, Feature, Member, Placed, VideoLayout
from shardkit.taxonomy import LabelSet

LABEL_PREFIX = "label_"
COLUMN_PREFIX = "column_"
SPLIT_PREFIX = "split_"
FEATURE_PREFIX = "feature_"
VERSION_FIELD = b"shardkit_format_version"

_EVENT = pa.struct(
    [("start_s", pa.float64()), ("end_s", pa.float64()), ("class_id", pa.int32()), ("modality", pa.int8())],
)
_FIXED_FIELDS: list[tuple[str, pa.DataType]] = [
    ("key", pa.large_string()),
    ("row", pa.int64()),
    ("source_id", pa.large_string()),
    ("source", pa.large_string()),
    ("source_start_s", pa.float64()),
    ("duration_s", pa.float64()),
    ("split", pa.large_string()),
    ("shard", pa.int32()),
    *[
        (f"{member}_{field}", kind)
        for member in ("video", "audio", "message")
        # A member that is not there has 0 bytes.
        for field, kind in (("offset", pa.int64()), ("bytes", pa.int64()), ("xxh3", pa.uint64()))
    ],
    ("height", pa.int32()),
    ("width", pa.int32()),
    ("packet_offset", pa.large_list(pa.uint32())),
    ("packet_bytes", pa.large_list(pa.uint32())),
    ("packet_xxh3", pa.large_list(pa.uint64())),
    ("frame_time_s", pa.large_list(pa.float64())),
    ("audio_rate_hz", pa.int32()),
    ("audio_channels", pa.int32()),
    ("audio_samples", pa.int64()),
    ("audio_data_offset", pa.int32()),
    ("second_bytes", pa.large_list(pa.uint32())),
    ("second_xxh3", pa.large_list(pa.uint64())),
    ("events", pa.large_list(_EVENT)),
    ("flags", pa.large_list(pa.large_string())),
]
_FEATURE_FIELDS: list[tuple[str, pa.DataType]] = [
    ("offset", pa.int64()),
    ("bytes", pa.int64()),
    ("xxh3", pa.uint64()),
    ("shape", pa.large_list(pa.int64())),
]
_COLUMN_TYPES: dict[type, pa.DataType] = {
    str: pa.large_string(),
    bool: pa.bool_(),
    int: pa.int64(),
    float: pa.float64(),
}
_ABSENT = Member(offset=0, size_bytes=0, xxh3=0)
_NO_FEATURE = Feature(_ABSENT, ())
_NO_VIDEO = VideoLayout(0, 0, (), (), (), ())
_NO_AUDIO = AudioLayout(0, 0, 0, 0, ())


def column_type(values: Iterable[Any]) -> pa.DataType:
    """The Arrow type of an annotation column: of its values that are not None; strings where they differ."""
    kinds = {type(value) for value in values if value is not None}
    if kinds == {int, float}:
        return pa.float64()
    return _COLUMN_TYPES[kinds.pop()] if len(kinds) == 1 else pa.large_string()


def index_schema(
    label_sets: Sequence[LabelSet],
    columns: Mapping[str, pa.DataType],
    *,
    split_sets: Iterable[str] = (),
    features: Iterable[str] = (),
) -> pa.Schema:
    """The schema of an index with these label sets, annotation columns, named divisions into splits, and features."""
    fields = list(_FIXED_FIELDS)
    for label_set in label_sets:
        kind = pa.large_list(pa.int32()) if label_set.kind == "multi" else pa.list_(pa.int32(), label_set.depth)
        fields.append((LABEL_PREFIX + label_set.name, kind))
    fields += [(COLUMN_PREFIX + name, kind) for name, kind in columns.items()]
    fields += [(SPLIT_PREFIX + name, pa.large_string()) for name in split_sets]
    fields += [(f"{FEATURE_PREFIX}{name}_{field}", kind) for name in features for field, kind in _FEATURE_FIELDS]
    return pa.schema(fields, metadata={VERSION_FIELD: str(FORMAT_VERSION).encode()})


def index_batch(rows: Sequence[Placed], schema: pa.Schema) -> pa.RecordBatch:
    """Index rows of packed clips, in the given order."""
    return pa.RecordBatch.from_pylist([_row(placed, schema) for placed in rows], schema=schema)


def _row(placed: Placed, schema: pa.Schema) -> dict[str, Any]:
    record = placed.record
    video, audio = record.video or _NO_VIDEO, record.audio or _NO_AUDIO
    row: dict[str, Any] = {
        "key": record.key,
        "row": record.row,
        "source_id": record.source_id,
        "source": record.source,
        "source_start_s": record.source_start_s,
        "duration_s": record.duration_s,
        "split": record.split,
        "shard": placed.shard,
        "height": video.height,
        "width": video.width,
        "packet_offset": video.packet_offset,
        "packet_bytes": video.packet_bytes,
        "packet_xxh3": video.packet_xxh3,
        "frame_time_s": video.frame_time_s,
        "audio_rate_hz": audio.rate_hz,
        "audio_channels": audio.channels,
        "audio_samples": audio.samples,
        "audio_data_offset": audio.data_offset,
        "second_bytes": audio.second_bytes,
        "second_xxh3": audio.second_xxh3,
        "events": event_values(record.events),
        "flags": record.flags,
    }
    for name, member in (("video", placed.video), ("audio", placed.audio), ("message", placed.message)):
        there = member or _ABSENT
        row |= {
            f"{name}_offset": there.offset,
            f"{name}_bytes": there.size_bytes,
            f"{name}_xxh3": there.xxh3,
        }
    row |= {LABEL_PREFIX + name: ids for name, ids in record.labels.items()}
    for name, value in record.columns.items():
        row[COLUMN_PREFIX + name] = column_value(value, schema.field(COLUMN_PREFIX + name).type)
    row |= {SPLIT_PREFIX + name: record.splits.get(name, "") for name in split_sets(schema)}
    for name in feature_names(schema):
        feature = placed.features.get(name, _NO_FEATURE)
        values = (feature.member.offset, feature.member.size_bytes, feature.member.xxh3, feature.shape)
        fields = (f"{FEATURE_PREFIX}{name}_{field}" for field, _ in _FEATURE_FIELDS)
        row |= zip(fields, values, strict=True)
    return row


def split_sets(schema: pa.Schema) -> tuple[str, ...]:
    """Names of the named divisions into splits that an index holds, beside the column `split`."""
    return tuple(name.removeprefix(SPLIT_PREFIX) for name in schema.names if name.startswith(SPLIT_PREFIX))


def feature_names(schema: pa.Schema) -> tuple[str, ...]:
    """Names of the features that an index holds."""
    end = f"_{_FEATURE_FIELDS[-1][0]}"
    return tuple(
        name.removeprefix(FEATURE_PREFIX).removesuffix(end)
        for name in schema.names
        if name.startswith(FEATURE_PREFIX) and name.endswith(end)
    )


def event_values(events: Iterable[Event]) -> list[dict[str, Any]]:
    """A row of the `events` column."""
    return [
        {
            "start_s": event.start_s,
            "end_s": event.end_s,
            "class_id": event.class_id,
            "modality": EVENT_MODALITIES.index(event.modality),
        }
        for event in events
    ]


def column_value(value: Scalar, kind: pa.DataType) -> Scalar:
    """A value of an annotation column; where the column's values differ in type, all of them are text."""
    return str(value) if kind == pa.large_string() and value is not None else value


def joined(batches: Sequence[pa.RecordBatch], schema: pa.Schema) -> pa.RecordBatch:
    """The one record batch of an index, of many."""
    table = pa.Table.from_batches(batches, schema).combine_chunks()
    return table.to_batches()[0] if table.num_rows else pa.RecordBatch.from_pylist([], schema=schema)


def counts_of(column: pa.Array) -> dict[str, int]:
    """How often each text stands in a column, by text."""
    counted = column.value_counts()
    return dict(sorted(zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True)))


def counts_of_splits(batch: pa.RecordBatch) -> dict[str, dict[str, int]]:
    """Named division of an index's clips to split to clips."""
    return {name: counts_of(batch.column(SPLIT_PREFIX + name)) for name in split_sets(batch.schema)}


def write_index(file: BinaryIO, batch: pa.RecordBatch) -> FileInfo:
    """Writes `index.arrow` into a file; in memory, an index of ten million clips would stand once more."""
    sink = HashingFile(file)
    with pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return FileInfo(sink.size_bytes, sink.digest)


def encode_index(batch: pa.RecordBatch) -> bytes:
    """The Arrow IPC file of one record batch."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return bytes(memoryview(sink.getvalue()))


def decode_index(buffer: Any, *, path: str, digest: str | None) -> "ClipIndex":
    """An index over the bytes of `index.arrow`, which it keeps and does not copy.

    Args:
        buffer: The file's bytes.
        path: For messages.
        digest: xxh3_128 that the manifest gives for the file; None where it has been compared already.

    Raises:
        CorruptShardError: The bytes are others than the manifest vouches for.
        FormatVersionError: It was written in another format version.
    """
    if digest is not None and (found := file_digest(buffer)) != digest:
        # Arrow trusts its bytes: columns of a damaged file can end the process. Only the version is safe to look at.
        check_version(buffer, path=path)
        raise CorruptShardError(
            f"{path}: xxh3 is {found}, the manifest says {digest}; copy the data set again, or run "
            "`shardkit relabel` again if that was cut short",
        )
    return ClipIndex(decode_batch(buffer, path=path), path=path)


def check_version(buffer: Any, *, path: str) -> None:
    """Refuses an index that names another format version; says nothing of one that names none.

    Raises:
        FormatVersionError: It was written in another format version.
    """
    try:
        metadata = pa.ipc.open_file(pa.py_buffer(buffer)).schema.metadata or {}
    except (pa.ArrowException, ValueError, OSError):
        return
    version = metadata.get(VERSION_FIELD, str(FORMAT_VERSION).encode()).decode(errors="replace")
    if version != str(FORMAT_VERSION):
        raise FormatVersionError(
            f"{path}: index of format version {version}, this shardkit reads version {FORMAT_VERSION}; "
            "install the shardkit that wrote it, or pack again",
        )


def decode_batch(buffer: Any, *, path: str) -> pa.RecordBatch:
    """The one record batch of an Arrow IPC file, checked for version and columns, but not for damage."""
    check_version(buffer, path=path)
    try:
        reader = pa.ipc.open_file(pa.py_buffer(buffer))
        if reader.num_record_batches != 1:
            raise CorruptShardError(f"{path}: {reader.num_record_batches} record batches, expected 1; pack again")
        batch = reader.get_batch(0)
    except (pa.ArrowException, ValueError, OSError) as exc:
        raise CorruptShardError(f"{path}: not a readable Arrow file ({exc}); copy the data set again") from exc
    for name, kind in _FIXED_FIELDS:
        place = batch.schema.get_field_index(name)
        if place < 0 or batch.schema.field(place).type != kind:
            raise CorruptShardError(
                f"{path}: column {name!r} of type {kind} is missing; copy the data set again, or pack it again"
            )
    return batch


class Ragged:
    """A list column: all values one after another, row i's from offsets[i] to offsets[i + 1]."""

    __slots__ = ("offsets", "values")

    def __init__(self, column: pa.Array) -> None:
        self.offsets: npt.NDArray[np.int64] = column.offsets.to_numpy(zero_copy_only=True)
        values = column.values
        self.values: npt.NDArray[Any] = (
            values.to_numpy(zero_copy_only=True) if not pa.types.is_struct(values.type) else np.empty(0)
        )

    def row(self, row: int) -> npt.NDArray[Any]:
        """Row `row`'s values, a view."""
        return self.values[self.offsets[row] : self.offsets[row + 1]]

    def counts(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """How many values each of `rows` has."""
        return self.offsets[rows + 1] - self.offsets[rows]


def ragged_places(
    offsets: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Places of all values of several rows of a list column, row after row; and how many each row has.

    Args:
        offsets: int64 [N + 1], of the column.
        rows: int64 [B].

    Returns:
        int64 [sum of counts]; int64 [B].
    """
    firsts = offsets[rows]
    counts = offsets[rows + 1] - firsts
    before = np.cumsum(counts) - counts
    return np.arange(int(counts.sum())) + np.repeat(firsts - before, counts), counts


def rows_with(column: pa.Array, wanted: pa.Array) -> npt.NDArray[np.bool_]:
    """Which rows of a list column, bool [N], hold one of the values that are wanted.

    Args:
        column: The column.
        wanted: Truth of each of its values (`column.values`), one row's after another's.
    """
    places = np.flatnonzero(wanted.to_numpy(zero_copy_only=False))
    found = np.zeros(len(column), dtype=np.bool_)
    found[np.searchsorted(column.offsets.to_numpy(zero_copy_only=True), places, side="right") - 1] = True
    return found


class FeatureColumns(NamedTuple):
    """Where the arrays of one feature lie, one value a clip."""

    offset: npt.NDArray[np.int64]
    size_bytes: npt.NDArray[np.int64]
    """0 for a clip that has no such array."""
    xxh3: npt.NDArray[np.uint64]
    shape: Ragged


class ClipIndex:
    """NumPy views of an index's columns; an Arrow scalar costs tens of microseconds, a view's item a tenth of one.

    The columns are attributes named as in the file.
    """

    def __init__(self, batch: pa.RecordBatch, *, path: str) -> None:
        self.batch = batch
        self.path = path

        def plain(name: str) -> npt.NDArray[Any]:
            array: npt.NDArray[Any] = batch.column(name).to_numpy(zero_copy_only=True)
            return array

        self.row = plain("row")
        self.shard = plain("shard")
        self.duration_s = plain("duration_s")
        self.source_start_s = plain("source_start_s")
        self.video_offset, self.video_bytes = plain("video_offset"), plain("video_bytes")
        self.video_xxh3 = plain("video_xxh3")
        self.audio_offset, self.audio_bytes = plain("audio_offset"), plain("audio_bytes")
        self.audio_xxh3 = plain("audio_xxh3")
        self.message_offset, self.message_bytes = plain("message_offset"), plain("message_bytes")
        self.message_xxh3 = plain("message_xxh3")
        self.height, self.width = plain("height"), plain("width")
        self.packet_offset, self.packet_bytes = (
            Ragged(batch.column("packet_offset")),
            Ragged(batch.column("packet_bytes")),
        )
        self.packet_xxh3, self.frame_time_s = (
            Ragged(batch.column("packet_xxh3")),
            Ragged(batch.column("frame_time_s")),
        )
        self.audio_rate_hz, self.audio_channels = plain("audio_rate_hz"), plain("audio_channels")
        self.audio_samples, self.audio_data_offset = plain("audio_samples"), plain("audio_data_offset")
        self.second_bytes, self.second_xxh3 = Ragged(batch.column("second_bytes")), Ragged(batch.column("second_xxh3"))
        _, key_offsets, key_bytes = batch.column("key").buffers()
        self._key_offsets: npt.NDArray[np.int64] = np.frombuffer(key_offsets, np.int64)
        self._key_bytes = memoryview(key_bytes) if key_bytes is not None else memoryview(b"")
        events = batch.column("events")
        self.event_offsets: npt.NDArray[np.int64] = events.offsets.to_numpy(zero_copy_only=True)
        self.event_start_s, self.event_end_s, self.event_class_id, self.event_modality = (
            events.values.field(name).to_numpy(zero_copy_only=True)
            for name in ("start_s", "end_s", "class_id", "modality")
        )

    def __len__(self) -> int:
        return int(self.batch.num_rows)

    def keys(self, rows: npt.NDArray[np.int64]) -> list[str]:
        """The keys of `rows`."""
        # Cut out of the column's bytes: Arrow's `take` costs ten times as much for the rows of a batch.
        starts, stops = self._key_offsets[rows].tolist(), self._key_offsets[rows + 1].tolist()
        return [str(self._key_bytes[start:stop], "utf-8") for start, stop in zip(starts, stops, strict=True)]

    def text(self, name: str, row: int) -> str:
        """One value of a string column."""
        return str(self.batch.column(name)[row].as_py())

    def labels(self, label_set: LabelSet) -> npt.NDArray[np.int32]:
        """Ids of a `single` or `hierarchy` label set, int32 [N, depth], a view."""
        if label_set.kind == "multi":
            raise DataError(f"label set {label_set.name!r} is multi: its rows differ in length")
        column = self.batch.column(LABEL_PREFIX + label_set.name)
        ids: npt.NDArray[np.int32] = column.values.to_numpy(zero_copy_only=True)
        return ids.reshape(-1, label_set.depth)

    def label_lists(self, label_set: LabelSet) -> Ragged:
        """Ids of a `multi` label set."""
        return Ragged(self.batch.column(LABEL_PREFIX + label_set.name))

    def feature(self, name: str) -> "FeatureColumns":
        """Where the arrays of a feature lie."""
        batch = self.batch
        offset, size_bytes, digest = (
            batch.column(f"{FEATURE_PREFIX}{name}_{field}").to_numpy(zero_copy_only=True)
            for field in ("offset", "bytes", "xxh3")
        )
        return FeatureColumns(offset, size_bytes, digest, Ragged(batch.column(f"{FEATURE_PREFIX}{name}_shape")))

    def column(self, name: str) -> pa.Array:
        """An annotation column under the annotation file's name."""
        return self.batch.column(COLUMN_PREFIX + name)
