"""dataset.json: the manifest. It is written last, so a folder without one holds no data set."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from shardkit.errors import CorruptShardError, DataError, FormatVersionError
from shardkit.format.digest import json_digest
from shardkit.taxonomy import LabelSet

FORMAT_VERSION = 1
MANIFEST_NAME = "dataset.json"
INDEX_NAME = "index.arrow"
REJECTS_NAME = "rejects.jsonl"
SHARD_NAME = r"[A-Za-z0-9_-]+-[0-9]{6,}\.tar"
"""What a shard that was packed is called."""


@dataclass(frozen=True, slots=True)
class ShardInfo:
    """One tar file of a data set."""

    name: str
    clips: int
    size_bytes: int
    xxh3: str
    """xxh3_128 of the file, hex."""


@dataclass(frozen=True, slots=True)
class FileInfo:
    """Size and digest of a file that the manifest vouches for."""

    size_bytes: int
    xxh3: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a data set is: settings, meanings of labels, shards and the digest of its index."""

    name: str
    order_version: int
    settings: Mapping[str, Any]
    """The pack settings that decide the bytes: sampling, size, quality, audio rate, seed, …"""
    libraries: Mapping[str, str]
    """Versions of what made the bytes, and the machine's architecture."""
    label_sets: tuple[LabelSet, ...]
    event_classes: tuple[str, ...]
    columns: tuple[str, ...]
    splits: Mapping[str, int]
    """Clips a split."""
    clip_count: int
    duration_s: float
    reject_counts: Mapping[str, int]
    shards: tuple[ShardInfo, ...]
    index: FileInfo
    annotations: Mapping[str, Any]
    """Name, format, rows and digest of the annotation file, the same of those that belong to it, and what else there is
    to say of where clips come from; see README.md."""
    packed: bool = True
    """Whether shardkit wrote the shards; if not, nobody has vouched for what is in them."""
    split_sets: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Named divisions of the data set beside `splits`, such as `ave_match`: split to clips."""
    feature_sources: Mapping[str, Any] = field(default_factory=dict)
    """Feature to the file or folder that its arrays were packed from, and a digest of it."""
    base: str | None = None
    """Folder or URL that shard names are relative to; None: the folder of the manifest."""

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the feature arrays that clips have."""
        return tuple(self.feature_sources)

    def digest(self) -> str:
        """Digest of the manifest's content: it names the data set, media, labels and all."""
        return json_digest(self._content())

    def to_bytes(self) -> bytes:
        """The file `dataset.json`."""
        content = self._content() | {"digest": self.digest()}
        return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()

    def _content(self) -> dict[str, Any]:
        # What packing never says is not there: its manifests are as they were before there was anything else.
        optional: dict[str, Any] = {} if self.packed else {"packed": False}
        if self.base is not None:
            optional["base"] = self.base
        if self.split_sets:
            optional["split_sets"] = {name: dict(splits) for name, splits in self.split_sets.items()}
        if self.feature_sources:
            optional["feature_sources"] = dict(self.feature_sources)
        return optional | {
            "format": "shardkit",
            "format_version": FORMAT_VERSION,
            "order_version": self.order_version,
            "name": self.name,
            "clips": self.clip_count,
            "duration_s": self.duration_s,
            "settings": dict(self.settings),
            "libraries": dict(self.libraries),
            "label_sets": [label_set.to_json() for label_set in self.label_sets],
            "event_classes": list(self.event_classes),
            "columns": list(self.columns),
            "splits": dict(self.splits),
            "rejects": dict(self.reject_counts),
            "annotations": dict(self.annotations),
            "index": {"bytes": self.index.size_bytes, "xxh3": self.index.xxh3},
            "shards": [{"name": s.name, "clips": s.clips, "bytes": s.size_bytes, "xxh3": s.xxh3} for s in self.shards],
        }

    @classmethod
    def from_bytes(cls, data: bytes, *, path: str) -> "Manifest":
        """Read `dataset.json`.

        Raises:
            DataError: It is not a shardkit manifest.
            FormatVersionError: It was written in another format version.
            CorruptShardError: Its digest does not fit its content.
        """
        try:
            content = json.loads(data)
        except ValueError as exc:
            raise CorruptShardError(f"{path}: not JSON ({exc}); copy the data set again") from exc
        if not isinstance(content, dict) or content.get("format") != "shardkit":
            raise DataError(f"{path}: not a shardkit manifest; point at a folder that `shardkit pack` wrote")
        version = content.get("format_version")
        if version != FORMAT_VERSION:
            raise FormatVersionError(
                f"{path}: format version {version}, this shardkit reads version {FORMAT_VERSION}; "
                "install the shardkit that wrote it, or pack again",
            )
        said = content.pop("digest", None)
        found = json_digest(content)
        if said != found:
            raise CorruptShardError(
                f"{path}: digest {said}, its content has {found}; the file was edited or damaged: copy it again "
                "(`shardkit relabel` changes labels and splits)",
            )
        try:
            return cls._from_content(content)
        except (KeyError, TypeError, ValueError) as exc:
            raise CorruptShardError(f"{path}: a field is missing or of the wrong type: {exc!r}") from exc

    @classmethod
    def _from_content(cls, content: Mapping[str, Any]) -> "Manifest":
        packed = content.get("packed", True)
        return cls(
            name=content["name"],
            order_version=content["order_version"],
            settings=content["settings"],
            libraries=content["libraries"],
            label_sets=tuple(LabelSet.from_json(label_set) for label_set in content["label_sets"]),
            event_classes=tuple(content["event_classes"]),
            columns=tuple(content["columns"]),
            splits=content["splits"],
            clip_count=content["clips"],
            duration_s=content["duration_s"],
            reject_counts=content["rejects"],
            annotations=content["annotations"],
            index=FileInfo(content["index"]["bytes"], content["index"]["xxh3"]),
            shards=tuple(
                ShardInfo(_shard_name(s["name"], packed=packed), s["clips"], s["bytes"], s["xxh3"])
                for s in content["shards"]
            ),
            packed=packed,
            base=content.get("base"),
            split_sets=content.get("split_sets", {}),
            feature_sources=content.get("feature_sources", {}),
        )


def _shard_name(name: str, *, packed: bool) -> str:
    # Names are opened, and those of packed ones deleted by --overwrite: none may lead out of the folder.
    if not (re.fullmatch(SHARD_NAME, name) if packed else is_inside(name)):
        raise ValueError(f"{name!r} is no shard's name")
    return name


def is_inside(name: str) -> bool:
    """Whether a relative path, such as the name of a shard that was not packed here, stays below where it starts."""
    return "\0" not in name and all(part not in ("", ".", "..") for part in name.split("/"))
