"""PackSettings: what decides the bytes of a data set, and nothing else does."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from shardkit.errors import UsageError
from shardkit.planning.sampling import FrameSampling

Require = Literal["av", "audio", "video", "any"]

AUDIO_BITS = 16
LOWEST_RATE_HZ, HIGHEST_RATE_HZ = 1000, 384_000
MAX_FRAMES = 4096
"""Frames of a clip: 1 GB at the usual size, and a clip is one sample."""
SIZE_LIMITS = (16, 4096)


@dataclass(frozen=True, slots=True)
class PackSettings:
    """Media settings of a data set; `dataset.json` holds them."""

    sampling: FrameSampling
    size: int = 256
    """Short side of the stored frames, in pixels."""
    fit: Literal["short", "square"] = "short"
    quality: int = 90
    """libjpeg's quality; 90 gives a median clip 42 to 43 dB, see benchmarks/README.md."""
    chroma: Literal["420", "444"] = "420"
    audio_rate_hz: int | None = 16000
    """None keeps each source's own."""
    audio_channels: int = 1
    require: Require = "av"
    shard_bytes: int = 512_000_000
    """Size that shards are planned for."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.sampling.value > MAX_FRAMES:
            raise UsageError(f"{self.sampling.value:g} frames: at most {MAX_FRAMES} a clip, second or segment")
        _check_range("size", self.size, *SIZE_LIMITS)
        _check_choice("fit", self.fit, ("short", "square"))
        _check_range("quality", self.quality, 1, 100)
        _check_choice("chroma", self.chroma, ("420", "444"))
        if self.audio_rate_hz is not None:
            _check_range("audio_rate", self.audio_rate_hz, LOWEST_RATE_HZ, HIGHEST_RATE_HZ)
        _check_range("audio_channels", self.audio_channels, 1, 2)
        _check_choice("require", self.require, ("av", "audio", "video", "any"))
        _check_range("shard_size", self.shard_bytes, 1, 1 << 40)
        _check_range("seed", self.seed, 0, (1 << 63) - 1)

    def to_json(self) -> dict[str, Any]:
        """The settings as the manifest and the workers get them."""
        return asdict(self) | {
            "sampling": self.sampling.to_json(),
            "video_codec": "mjpeg",
            "audio_codec": f"pcm_s{AUDIO_BITS}le",
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "PackSettings":
        """The inverse of `to_json`."""
        fields = {name: value for name, value in data.items() if name not in ("video_codec", "audio_codec")}
        return cls(**fields | {"sampling": FrameSampling.from_json(data["sampling"])})


def _check_range(name: str, value: Any, lowest: int, highest: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
        raise UsageError(f"{name}={value!r}: a whole number from {lowest} to {highest} is needed")


def _check_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UsageError(f"{name}={value!r}: one of {', '.join(choices)} is needed")
