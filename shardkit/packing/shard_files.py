"""Shard files: a tar written with webdataset's TarWriter, and beside it, until the manifest is written, its part.

A part holds the shard's index rows, its size and digest, and the rejects met on the way. It is renamed into place after
its tar, so a part that is there says that the shard is complete; that is all that `--resume` needs.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from shardkit.clip import Reason, Reject
from shardkit.errors import DataError
from shardkit.format.digest import FileHasher, xxh3
from shardkit.format.index import decode_batch, encode_index, index_batch
from shardkit.format.manifest import ShardInfo
from shardkit.format.record import Member, Placed, Record
from shardkit.packing.tar_writer import tar_writer_class
from shardkit.storage.files import atomic_file, read_bytes, write_atomic

BLOCK_BYTES = 512
PART_SUFFIX = ".part"
_PART_FIELD = b"shardkit_part"
_MEMBER_OF = {"mp4": "video", "mov": "video", "wav": "audio", "flac": "audio", "msg": "message"}


class HashingFile:
    """A file to write that counts and digests what passes."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hasher = FileHasher()
        self.size_bytes = 0

    @property
    def closed(self) -> bool:
        """Whether the file is closed; Arrow asks."""
        return self._file.closed

    def write(self, data: bytes) -> int:
        """Writes all of the data."""
        self._hasher.update(data)
        self.size_bytes += len(data)
        return self._file.write(data)

    @property
    def digest(self) -> str:
        """xxh3_128 of what was written, as the manifest has it."""
        return str(self._hasher.hexdigest())


@dataclass(frozen=True, slots=True)
class ShardPart:
    """What is known of one finished shard."""

    info: ShardInfo
    batch: pa.RecordBatch
    """Its index rows."""
    rejects: tuple[Reject, ...]


def write_shard(
    path: Path, samples: Iterable[tuple[Record, Mapping[str, bytes]]], *, shard: int
) -> tuple[ShardInfo, list[Placed]]:
    """Writes a shard of (record, extension to file) samples; it appears complete and synced, or not at all.

    Raises:
        StorageError: It cannot be written.
    """
    placed = []
    with atomic_file(path) as file:
        sink = HashingFile(file)
        with tar_writer_class()(sink, mtime=0, encoder=False, user="", group="") as writer:
            for record, members in samples:
                offset = writer.tarstream.offset
                places: dict[str, Member] = {}
                # TarWriter writes the members of a sample sorted by extension, a header block before each.
                for extension, data in sorted(members.items()):
                    places[_MEMBER_OF[extension]] = Member(offset + BLOCK_BYTES, len(data), xxh3(data))
                    offset += BLOCK_BYTES - (-len(data) // BLOCK_BYTES) * BLOCK_BYTES
                writer.write({"__key__": record.key, **members})
                assert writer.tarstream.offset == offset
                placed.append(Placed(record, shard, places.get("video"), places.get("audio"), places["message"]))
    info = ShardInfo(path.name, len(placed), sink.size_bytes, sink.digest)
    return info, placed


def write_part(
    path: Path, info: ShardInfo, rows: Sequence[Placed], rejects: Sequence[Reject], schema: pa.Schema
) -> None:
    """Writes a shard's part.

    Raises:
        StorageError: It cannot be written.
    """
    about = {
        "info": [info.name, info.clips, info.size_bytes, info.xxh3],
        "rejects": [reject_to_json(reject) for reject in rejects],
    }
    batch = index_batch(rows, schema)
    metadata = (schema.metadata or {}) | {_PART_FIELD: json.dumps(about).encode()}
    write_atomic(path, encode_index(batch.replace_schema_metadata(metadata)))


def read_part(path: Path) -> ShardPart:
    """A finished shard's part.

    Raises:
        StorageError: It cannot be read.
        DataError: It is damaged.
    """
    # Not mapped: a process may have some 65,000 mappings, and all parts are held at once.
    batch = decode_batch(read_bytes(path), path=str(path))
    try:
        about: dict[str, Any] = json.loads(batch.schema.metadata[_PART_FIELD])
        info = ShardInfo(*about["info"])
        rejects = tuple(reject_from_json(reject) for reject in about["rejects"])
    except (KeyError, TypeError, ValueError) as exc:
        raise DataError(f"{path}: damaged ({exc!r}); delete it and run again with --resume") from exc
    metadata = {name: value for name, value in batch.schema.metadata.items() if name != _PART_FIELD}
    return ShardPart(info, batch.replace_schema_metadata(metadata), rejects)


def reject_to_json(reject: Reject) -> dict[str, Any]:
    """A line of `rejects.jsonl`."""
    return {
        "row": reject.row,
        "id": reject.id,
        "media": reject.media,
        "reason": reject.reason.value,
        "detail": reject.detail,
    }


def reject_from_json(data: Mapping[str, Any]) -> Reject:
    """The inverse of `reject_to_json`."""
    return Reject(
        row=data["row"],
        id=data["id"],
        reason=Reason(data["reason"]),
        detail=data["detail"],
        media=data["media"],
    )
