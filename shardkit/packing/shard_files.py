"""Shard files: a tar written with webdataset's TarWriter, and its receipt, which is there until the manifest is.

A receipt (`shardkit.format.receipt`) appears after its tar: one that is there says that the shard is complete.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import pyarrow as pa

from shardkit.clip import Reject
from shardkit.format.digest import HashingFile, xxh3
from shardkit.format.index import index_batch
from shardkit.format.manifest import ShardInfo
from shardkit.format.receipt import RECEIPT_SUFFIX, Receipt, decode_receipt, encode_receipt
from shardkit.format.record import Feature, Member, Placed, Record
from shardkit.packing.tar_writer import tar_writer_class
from shardkit.storage.folders import Folder

BLOCK_BYTES = 512
WORK_NAME = ".packing"
"""Folder of what a packing run needs and a data set does not; gone once the manifest is written."""
_MEMBER_OF = {"mp4": "video", "mov": "video", "wav": "audio", "flac": "audio", "msg": "message"}


class PackedSample(NamedTuple):
    """A clip as it goes into a shard."""

    record: Record
    members: Mapping[str, bytes]
    """Extension to file; `NAME.npy` of features."""
    feature_shapes: Mapping[str, tuple[int, ...]] = {}
    """Feature to the shape of its array."""


def write_shard(
    folder: Folder, name: str, samples: Iterable[PackedSample], *, shard: int
) -> tuple[ShardInfo, list[Placed]]:
    """Writes a shard; it appears complete, or not at all.

    Raises:
        StorageError: It cannot be written.
    """
    placed = []
    with folder.writer(name) as file:
        sink = HashingFile(file)
        with tar_writer_class()(sink, mtime=0, encoder=False, user="", group="") as writer:
            for record, members, shapes in samples:
                offset = writer.tarstream.offset
                places: dict[str, Member] = {}
                # TarWriter writes the members of a sample sorted by extension, a header block before each.
                for extension, data in sorted(members.items()):
                    places[_MEMBER_OF.get(extension, extension)] = Member(offset + BLOCK_BYTES, len(data), xxh3(data))
                    offset += BLOCK_BYTES - (-len(data) // BLOCK_BYTES) * BLOCK_BYTES
                writer.write({"__key__": record.key, **members})
                assert writer.tarstream.offset == offset
                features = {name: Feature(places[f"{name}.npy"], shape) for name, shape in shapes.items()}
                placed.append(
                    Placed(record, shard, places.get("video"), places.get("audio"), places["message"], features)
                )
    info = ShardInfo(name, len(placed), sink.size_bytes, sink.digest)
    return info, placed


def receipt_name(shard_name: str) -> str:
    """Where in the output folder a shard's receipt lies."""
    return f"{WORK_NAME}/{shard_name}{RECEIPT_SUFFIX}"


def write_receipt(
    folder: Folder,
    info: ShardInfo,
    rows: Sequence[Placed],
    rejects: Sequence[Reject],
    *,
    schema: pa.Schema,
    plan_digest: str,
) -> None:
    """Writes a shard's receipt.

    Raises:
        StorageError: It cannot be written.
    """
    receipt = encode_receipt(info, index_batch(rows, schema), rejects, plan_digest=plan_digest)
    folder.write(receipt_name(info.name), receipt)


def read_receipt(folder: Folder, shard_name: str) -> Receipt:
    """A finished shard's receipt.

    Raises:
        StorageError: It cannot be read.
        DataError: It is damaged.
    """
    name = receipt_name(shard_name)
    # Not mapped: a process may have some 65,000 mappings, and all receipts are held at once.
    return decode_receipt(folder.read(name), path=f"{folder.location}/{name}")
