"""PackJob: what a packing run is asked to do."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from shardkit.annotations.reading import FormatName
from shardkit.errors import UsageError
from shardkit.packing.settings import PackSettings

LONGEST_TIMEOUT_S = 86_400.0


@dataclass(frozen=True, slots=True)
class PackJob:
    """A packing run: inputs, output and how to run. What decides the bytes is in `settings` and the inputs."""

    annotations: Path
    media: Path
    out: Path
    settings: PackSettings
    format: FormatName = "auto"
    column: Mapping[str, str] = field(default_factory=dict)
    name: str = "clips"
    split: Mapping[str, float] | None = None
    split_group: str = "id"
    stratify: str | None = None
    workers: int | None = None
    clip_timeout_s: float = 60.0
    max_rejects: float = 1.0
    resume: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        if not self.name or not all(c.isascii() and (c.isalnum() or c in "_-") for c in self.name):
            raise UsageError(f"name={self.name!r}: letters, digits, '_' and '-' make the shards' names")
        if not 0 <= self.max_rejects <= 1:
            raise UsageError(f"max_rejects={self.max_rejects!r}: a share from 0 to 1 is needed")
        if self.workers is not None and self.workers < 1:
            raise UsageError(f"workers={self.workers!r}: at least 1 is needed")
        if not 0 < self.clip_timeout_s <= LONGEST_TIMEOUT_S:
            raise UsageError(f"clip_timeout={self.clip_timeout_s!r}: seconds above 0, up to a day, are needed")
        if self.stratify is not None and self.split is None:
            raise UsageError(f"stratify={self.stratify!r} says how to split: give the shares too, as split")
        if self.resume and self.overwrite:
            raise UsageError("resume goes on with what is there, overwrite removes it: give one of them")
