"""IndexSettings: what decides the frames and the sound that an indexed data set has."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from shardkit.decoding.rules import ClipRules
from shardkit.errors import UsageError
from shardkit.planning.sampling import FrameSampling

FASTEST_PICTURES = 1000.0
"""A second."""


@dataclass(frozen=True, slots=True)
class IndexSettings:
    """How samples become clips."""

    rules: ClipRules
    """Of pictures, only those about sound count."""
    pictures: bool = False
    """Whether frames are JPEG pictures of their own, all of them taken as they are, and not sampled from a video."""
    image_fps: float | None = None
    """Pictures a second; None spreads them over the sound, or is one a second where there is none."""

    def __post_init__(self) -> None:
        if self.image_fps is not None and not 0 < self.image_fps <= FASTEST_PICTURES:
            raise UsageError(f"image_fps={self.image_fps!r}: pictures a second, up to {FASTEST_PICTURES:g}, are needed")

    def to_json(self) -> dict[str, Any]:
        """The settings as the workers get them."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "IndexSettings":
        """The inverse of `to_json`."""
        rules = dict(data["rules"])
        sampling = FrameSampling.from_json(rules.pop("sampling"))
        return cls(ClipRules(sampling=sampling, **rules), data["pictures"], data["image_fps"])

    def manifest(self, *, audio_codec: Literal["source", "pcm"]) -> dict[str, Any]:
        """The settings as the manifest has them, beside those of packing."""
        rules = asdict(self.rules)
        if self.pictures:
            rules |= {"sampling": None, "image_fps": self.image_fps}
            del rules["size"], rules["fit"]
        return {"video_codec": "mjpeg" if self.pictures else "source", "audio_codec": audio_codec} | rules
