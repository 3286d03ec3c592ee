"""PackJob: what a packing run is asked to do."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from shardkit.annotations.request import AnnotationRequest
from shardkit.decoding.rules import check_run
from shardkit.errors import UsageError
from shardkit.packing.annotation_file import further_file
from shardkit.packing.features import FeatureInput
from shardkit.packing.parts import Part
from shardkit.packing.settings import PackSettings
from shardkit.storage.locations import Location

EngineName = Literal["local", "ray"]


@dataclass(frozen=True, slots=True)
class PackJob:
    """A packing run: inputs, output and how to run. What decides the bytes is in `settings` and the inputs."""

    annotations: Location
    media: Location | None
    """None: clips have features only."""
    out: Location
    settings: PackSettings
    features: tuple[FeatureInput, ...] = ()
    request: AnnotationRequest = field(default_factory=AnnotationRequest)
    """How the annotation file is read, and which files belong to it."""
    already_cut: bool = False
    """Media files are cut to their clips' spans, also those that are named by the id alone."""
    background: Location | None = None
    """Folder of event-free media for training, each a clip beside the annotated ones."""
    name: str = "clips"
    split: Mapping[str, float] | None = None
    split_group: str = "id"
    stratify: str | None = None
    workers: int | None = None
    clip_timeout_s: float = 60.0
    max_rejects: float = 1.0
    resume: bool = False
    overwrite: bool = False
    part: Part | None = None
    """Pack the shards of this part, and write no manifest."""
    finish: bool = False
    """Pack nothing: check what the parts have packed, and write the manifest."""
    engine: EngineName = "local"
    ray_address: str | None = None

    @property
    def locations(self) -> tuple[Location, ...]:
        """All places that it reads and writes."""
        further = (further_file(name, self.annotations) for name in self.request.files)
        places = (self.annotations, *further, self.media, self.out, self.background)
        return tuple(place for place in places if place is not None)

    def __post_init__(self) -> None:
        if not self.name or not all(c.isascii() and (c.isalnum() or c in "_-") for c in self.name):
            raise UsageError(f"name={self.name!r}: letters, digits, '_' and '-' make the shards' names")
        check_run(
            workers=self.workers,
            clip_timeout_s=self.clip_timeout_s,
            max_rejects=self.max_rejects,
            resume=self.resume,
            overwrite=self.overwrite,
        )
        require = self.settings.require
        if not self.features and (self.media is None or require == "features"):
            raise UsageError(f"{'no media' if self.media is None else f'require={require!r}'}: give features to pack")
        if self.media is None and require not in ("any", "features"):
            raise UsageError(f"require={require!r} asks for media: give the folder that holds them, or leave it out")
        if self.stratify is not None and self.split is None:
            raise UsageError(f"stratify={self.stratify!r} says how to split: give the shares too, as split")
        if self.part is not None and self.finish:
            raise UsageError("part packs a part, finish takes in all of them when they are packed: give one of them")
        if self.overwrite and (self.part is not None or self.finish):
            raise UsageError(
                "overwrite would remove what other parts have packed: remove the old data set yourself, or choose "
                "another folder"
            )
        if self.engine not in ("local", "ray"):
            raise UsageError(f"engine={self.engine!r}: one of local, ray is needed")
        if self.ray_address is not None and self.engine != "ray":
            raise UsageError(f"ray_address={self.ray_address!r} is for engine 'ray': give that too")
        try:
            json.dumps([dict(each.storage_options) for each in self.locations])
        except (TypeError, ValueError) as exc:
            raise UsageError(f"storage_options: plain values are needed ({exc}), for other processes get them") from exc
