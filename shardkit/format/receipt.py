"""Receipts: what is known of one finished shard, until the manifest is written; all that resuming needs.

A receipt is an Arrow file of the shard's index rows; its metadata have the shard's size and digest, the rejects, and
the digest of the plan that the shard is of.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from shardkit.clip import Reason, Reject
from shardkit.errors import DataError
from shardkit.format.index import decode_batch, encode_index
from shardkit.format.manifest import ShardInfo

RECEIPT_SUFFIX = ".receipt"
_RECEIPT_FIELD = b"shardkit_receipt"


@dataclass(frozen=True, slots=True)
class Receipt:
    """What is known of one finished shard."""

    info: ShardInfo
    batch: pa.RecordBatch
    """Its index rows."""
    rejects: tuple[Reject, ...]
    plan_digest: str = ""
    """Of the plan that the shard is of, where several plans could meet."""


def encode_receipt(
    info: ShardInfo, batch: pa.RecordBatch, rejects: Sequence[Reject], *, plan_digest: str = ""
) -> bytes:
    """A shard's receipt as a file."""
    about = {
        "plan": plan_digest,
        "info": [info.name, info.clips, info.size_bytes, info.xxh3],
        "rejects": [_reject_to_json(reject) for reject in rejects],
    }
    metadata = (batch.schema.metadata or {}) | {_RECEIPT_FIELD: json.dumps(about).encode()}
    return encode_index(batch.replace_schema_metadata(metadata))


def decode_receipt(data: bytes, *, path: str) -> Receipt:
    """The inverse of `encode_receipt`.

    Raises:
        DataError: It is damaged.
    """
    batch = decode_batch(data, path=path)
    try:
        about: dict[str, Any] = json.loads(batch.schema.metadata[_RECEIPT_FIELD])
        info = ShardInfo(*about["info"])
        rejects = tuple(_reject_from_json(reject) for reject in about["rejects"])
        plan_digest = str(about["plan"])
    except (KeyError, TypeError, ValueError) as exc:
        raise DataError(f"{path}: damaged ({exc!r}); delete it and run again with --resume") from exc
    metadata = {name: value for name, value in batch.schema.metadata.items() if name != _RECEIPT_FIELD}
    return Receipt(info, batch.replace_schema_metadata(metadata), rejects, plan_digest)


def rejects_file(rejects: Iterable[Reject]) -> bytes:
    """The file `rejects.jsonl`, in the order of rows; those of one row, and of none, by their file."""
    lines = [
        json.dumps(_reject_to_json(reject), ensure_ascii=False) + "\n"
        for reject in sorted(rejects, key=lambda reject: (reject.row, reject.media or ""))
    ]
    return "".join(lines).encode()


def _reject_to_json(reject: Reject) -> dict[str, Any]:
    return {
        "row": reject.row,
        "id": reject.id,
        "media": reject.media,
        "reason": reject.reason.value,
        "detail": reject.detail,
    }


def _reject_from_json(data: Mapping[str, Any]) -> Reject:
    return Reject(
        row=data["row"],
        id=data["id"],
        reason=Reason(data["reason"]),
        detail=data["detail"],
        media=data["media"],
    )
