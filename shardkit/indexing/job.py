"""IndexJob: what an indexing run is asked to do."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from shardkit.decoding.rules import ClipRules, Fit, Require, check_run
from shardkit.errors import UsageError
from shardkit.indexing.sample_texts import TextRules
from shardkit.indexing.settings import IndexSettings
from shardkit.planning.sampling import FrameSampling
from shardkit.storage.locations import Location

DEFAULT_FRAMES = 16


@dataclass(frozen=True, slots=True)
class IndexJob:
    """An indexing run: tars, output and how to run."""

    sources: tuple[Location, ...]
    """Tars, and folders of them."""
    out: Location | None = None
    """None: where the tars lie."""
    sampling: FrameSampling | None = None
    """None is not said, as with `size` and `fit`: pictures are taken as they are."""
    size: int | None = None
    fit: Fit | None = None
    image_fps: float | None = None
    audio_rate_hz: int | None = 16000
    audio_channels: int = 1
    require: Require = "av"
    texts: TextRules = field(default_factory=lambda: TextRules({}))
    workers: int | None = None
    clip_timeout_s: float = 60.0
    max_rejects: float = 1.0
    resume: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        if not self.sources:
            raise UsageError("no tars: name a folder, a tar, or a pattern such as data-{000000..000012}.tar")
        check_run(
            workers=self.workers,
            clip_timeout_s=self.clip_timeout_s,
            max_rejects=self.max_rejects,
            resume=self.resume,
            overwrite=self.overwrite,
        )
        given = self._given("sampling", "size", "fit")
        if given and self.image_fps is not None:
            raise UsageError(f"{given} is for videos, image_fps={self.image_fps!r} for pictures: leave one of them out")
        self.settings(pictures=self.image_fps is not None)

    def settings(self, *, pictures: bool) -> IndexSettings:
        """The settings for tars that hold videos, or pictures.

        Raises:
            UsageError: An option is out of range, or is for the other kind.
        """
        if pictures and (given := self._given("sampling", "size", "fit")):
            raise UsageError(
                f"{given} is for videos, and these tars hold pictures, which are taken as they are; choose among them "
                "with loader(frames=), and crop with loader(size=)"
            )
        if not pictures and (given := self._given("image_fps")):
            raise UsageError(f"{given} is for pictures, and these tars hold videos; leave it out")
        rules = ClipRules(
            sampling=self.sampling or FrameSampling.count(DEFAULT_FRAMES),
            size=256 if self.size is None else self.size,
            fit=self.fit or "short",
            audio_rate_hz=self.audio_rate_hz,
            audio_channels=self.audio_channels,
            require=self.require,
        )
        return IndexSettings(rules, pictures, self.image_fps)

    def _given(self, *names: str) -> str | None:
        """The first of some options that was said, as it was said."""
        said: Mapping[str, Any] = {name: getattr(self, name) for name in names}
        for name, value in said.items():
            if isinstance(value, FrameSampling):
                return f"frame sampling by {value.mode} {value.value:g}"
            if value is not None:
                return f"{name}={value!r}"
        return None
