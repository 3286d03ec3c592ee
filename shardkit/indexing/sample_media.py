"""A sample's media on their way to a worker process, and what is found in them on its way back."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from shardkit.format.record import AudioLayout, VideoLayout


@dataclass(frozen=True, slots=True)
class SampleMedia:
    """The media members of a sample, on their way to a worker."""

    name: str
    """For messages."""
    video: bytes | None
    """The video, also where only its sound is wanted."""
    pictures: Sequence[bytes]
    sound: bytes | None
    """A sound member; None: the video's own sound."""

    def to_wire(self) -> dict[str, Any]:
        """Plain values for the way into the worker process."""
        return {"path": self.name, "video": self.video, "pictures": list(self.pictures), "sound": self.sound}

    @classmethod
    def from_wire(cls, data: dict[str, Any]) -> "SampleMedia":
        """The inverse of `to_wire`."""
        return cls(data["path"], data["video"], data["pictures"], data["sound"])


@dataclass(frozen=True, slots=True)
class ProbedSample:
    """What was found in the media of a sample."""

    duration_s: float
    video: VideoLayout | None
    """Of pictures without their offsets."""
    video_xxh3: int
    audio: AudioLayout | None
    """With digests of seconds, and `data_offset`, only for plain PCM that is as the settings want it."""
    audio_xxh3: int
    flags: tuple[str, ...]

    def to_wire(self) -> dict[str, Any]:
        """Plain values for the way out of the worker process."""
        return asdict(self)

    @classmethod
    def from_wire(cls, data: dict[str, Any]) -> "ProbedSample":
        """The inverse of `to_wire`."""
        return cls(
            duration_s=data["duration_s"],
            video=VideoLayout.from_wire(data["video"]) if data["video"] else None,
            video_xxh3=data["video_xxh3"],
            audio=AudioLayout.from_wire(data["audio"]) if data["audio"] else None,
            audio_xxh3=data["audio_xxh3"],
            flags=tuple(data["flags"]),
        )
