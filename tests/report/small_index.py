"""Indexes without media, made of records."""

from collections.abc import Sequence
from typing import Any

from shardkit.format.digest import file_digest
from shardkit.format.index import ClipIndex, decode_index, encode_index, index_batch, index_schema
from shardkit.format.manifest import FileInfo, Manifest
from shardkit.format.record import Placed, Record
from shardkit.taxonomy import UNKNOWN, LabelSet, Level

TREE = LabelSet(
    "tree",
    "hierarchy",
    (Level("top", ("x", "y")), Level("leaf", ("p", "q", "r"))),
    ((0, 1, UNKNOWN),),
)
MANY = LabelSet("many", "multi", (Level("many", ("a", "b", "c")),))


def record(row: int, **fields: Any) -> Record:
    """A clip of two seconds, of a source of its own, without a split, with no labels but unknown ones."""
    plain: dict[str, Any] = {
        "key": f"k{row}",
        "source_id": f"s{row}",
        "source": f"s{row}.mp4",
        "source_start_s": 0.0,
        "duration_s": 2.0,
        "split": "",
        "video": None,
        "audio": None,
        "labels": {"tree": (UNKNOWN, UNKNOWN), "many": ()},
    }
    return Record(row=row, **(plain | fields))


def small_index(records: Sequence[Record], *, split_sets: Sequence[str] = ()) -> ClipIndex:
    """An index of these clips."""
    schema = index_schema((TREE, MANY), {}, split_sets=split_sets)
    data = encode_index(index_batch([Placed(one, 0, None, None, None) for one in records], schema))
    return decode_index(data, path="index.arrow", digest=file_digest(data))


def small_manifest(clips: int, **fields: Any) -> Manifest:
    """A manifest of as many clips."""
    plain: dict[str, Any] = {
        "name": "small",
        "order_version": 1,
        "settings": {},
        "libraries": {},
        "label_sets": (TREE, MANY),
        "event_classes": ("bang",),
        "columns": (),
        "splits": {},
        "clip_count": clips,
        "duration_s": 2.0 * clips,
        "reject_counts": {},
        "shards": (),
        "index": FileInfo(0, ""),
        "annotations": {},
    }
    return Manifest(**(plain | fields))
