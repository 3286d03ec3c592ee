"""AnnotationRequest: how an annotation file is to be read, and which files belong to it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from shardkit.errors import UsageError

FormatName = Literal["auto", "ave", "avo65", "avvp", "chapters", "table"]
LevelNames = Literal["inferred"]

_NAME = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class AnnotationRequest:
    """How to read an annotation file."""

    format: FormatName = "auto"
    """`auto` recognises the format by the header."""
    column: Mapping[str, str] = field(default_factory=dict)
    """For tables: our column name to the file's, such as `{"id": "ytid"}`."""
    names: LevelNames | None = None
    """For avo65: `inferred` names the classes of levels 2 and 3, which were released as numbers."""
    also: Mapping[str, str] = field(default_factory=dict)
    """Role to a further file of the format, such as `{"audio": "AVVP_eval_audio.csv"}`."""
    duration_s: float | None = None
    """For chapters: length of the source, where its last chapter ends."""
    split_files: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Name of a division into splits to split to the file that lists its clips."""

    def __post_init__(self) -> None:
        if self.names not in (None, "inferred"):
            raise UsageError(f"names={self.names!r}: 'inferred' or None is needed")
        if self.duration_s is not None and not 0 < self.duration_s < float("inf"):
            raise UsageError(f"duration_s={self.duration_s!r}: seconds above 0 are needed")
        for scheme, files in self.split_files.items():
            if not files:
                raise UsageError(f"split_files: {scheme!r} has no files; give at least one split's")
            for name in (scheme, *files):
                if not _NAME.fullmatch(name):
                    raise UsageError(
                        f"split_files: {name!r} is no name of a split; letters, digits, '_' and '-' make one, as in "
                        "--split-file ave:train=train_order.h5"
                    )

    @property
    def files(self) -> tuple[str, ...]:
        """The further files, each once."""
        named = [*self.also.values(), *(name for files in self.split_files.values() for name in files.values())]
        return tuple(dict.fromkeys(named))
