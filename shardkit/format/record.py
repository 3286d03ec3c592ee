"""Record: what the index knows of one packed clip, one row of `index.arrow`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from shardkit.clip import Event, Scalar


@dataclass(frozen=True, slots=True)
class Member:
    """One file in the tar."""

    offset: int
    """Byte of the shard at which the member's data begins."""
    size_bytes: int
    xxh3: int
    """Digest of the member's data."""


@dataclass(frozen=True, slots=True)
class VideoLayout:
    """Where the frames lie inside the video member, or which frames of it are sampled."""

    height: int
    width: int
    packet_offset: tuple[int, ...]
    """Byte of the member at which each frame's packet begins; empty, as the next two, where the whole member is decoded
    to have them."""
    packet_bytes: tuple[int, ...]
    packet_xxh3: tuple[int, ...]
    frame_time_s: tuple[float, ...]
    """True time of each frame by the source's pts, in seconds from the clip's start; may be slightly negative."""

    @classmethod
    def from_wire(cls, data: Mapping[str, Any]) -> "VideoLayout":
        """A layout as a worker process sent it, with lists for tuples."""
        return cls(**_with_tuples(data))


@dataclass(frozen=True, slots=True)
class AudioLayout:
    """Where the samples lie inside the audio member."""

    rate_hz: int
    channels: int
    samples: int
    """Samples a channel."""
    data_offset: int
    """Byte of the member at which the samples begin."""
    second_xxh3: tuple[int, ...]
    """Digest of each second's bytes as they are stored; the last second may be shorter."""
    second_bytes: tuple[int, ...] = ()
    """Bytes of each second, side by side from `data_offset` on; empty for PCM, where they follow from the rate."""

    @classmethod
    def from_wire(cls, data: Mapping[str, Any]) -> "AudioLayout":
        """A layout as a worker process sent it, with lists for tuples."""
        return cls(**_with_tuples(data))


@dataclass(frozen=True, slots=True)
class Feature:
    """One feature array of a clip, and where its member lies."""

    member: Member
    """The .npy file: float16, C order; its data are the last bytes of it."""
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Record:
    """One clip as packed, apart from its place in a shard."""

    key: str
    row: int
    """1-based data row of the annotation file; 0 for a clip that it does not name, such as background."""
    source_id: str
    source: str
    """Media file, relative to the media folder."""
    source_start_s: float
    """Start of the clip in the media file."""
    duration_s: float
    split: str
    """Empty where there is none."""
    video: VideoLayout | None
    audio: AudioLayout | None
    labels: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    events: tuple[Event, ...] = ()
    flags: tuple[str, ...] = ()
    """What is odd or special about its row and its media, sorted."""
    columns: Mapping[str, Scalar] = field(default_factory=dict)
    splits: Mapping[str, str] = field(default_factory=dict)
    """Division of the data set to this clip's split in it."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A record and where its members lie."""

    record: Record
    shard: int
    video: Member | None
    audio: Member | None
    message: Member | None
    features: Mapping[str, Feature] = field(default_factory=dict)
    """Feature name to its array; a clip may lack some."""


def _with_tuples(data: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in data.items()}
