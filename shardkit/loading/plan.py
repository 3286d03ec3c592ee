"""ClipPlan: everything that decides what a clip's slot holds, fixed for a loader's life; and the slot's layout.

Plain data, so that a worker process gets it as JSON.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from shardkit.planning.segments import SegmentGrid
from shardkit.planning.views import ViewRules

ALIGNMENT = 64
"""Fields of a batch buffer begin at multiples of this: a cache line."""
JPEG_SHIFT = 8
"""How far behind such a multiple JPEG frames begin. What begins at a multiple of a SIMD register is written past the
cache by libjpeg-turbo (non-temporal stores), which makes decoding 4 to 5 % slower; see benchmarks/README.md."""

Bytes = npt.NDArray[np.uint8]
"""uint8 [size]: what was read."""
Rows = npt.NDArray[np.int64]
"""int64 [N]: rows of the index."""
Slot = Mapping[str, npt.NDArray[Any]]
"""The arrays of one slot by field, as `ClipPlan.slot_fields` describes them."""
VIEW_FIELDS = ("video", "audio", "window_s", "frame_times_s", "frame_count", "audio_samples")
"""Fields of a slot that every view has for itself, as it has those of features."""
FEATURE_FIELD = "feature "
"""What the names of features' fields in a slot begin with."""


@dataclass(frozen=True, slots=True)
class VideoPlan:
    """Fixed shape of the frames."""

    frames: int
    """T: frames a clip."""
    height: int
    width: int
    sampling: Mapping[str, Any] | None
    """How the stored frames were sampled (FrameSampling as JSON); None: they are pictures, each a file of its own."""
    codec: str
    """How the frames are stored: mjpeg, h264 or raw; source: in a video of any kind, among others."""
    keyint: int | None
    """H.264: frames from one keyframe to the next."""
    decoder: Literal["auto", "decord"]
    size: int | None = None
    """Of source: the short side that frames are scaled to."""
    fit: Literal["short", "square"] = "short"
    """Of source: keep the aspect, or the centre square."""


@dataclass(frozen=True, slots=True)
class AudioPlan:
    """Fixed shape of the samples."""

    rate_hz: int
    channels: int
    samples: int
    """S: samples a channel."""
    codec: str
    """How they are stored: pcm or flac; source: in a file of any kind."""
    dtype: Literal["float32", "int16"]
    """What the slot holds."""


@dataclass(frozen=True, slots=True)
class FeaturePlan:
    """Fixed shape of a feature's arrays."""

    name: str
    shape: tuple[int, ...]
    """As they are stored, of all clips."""
    rows: int | None = None
    """How many of the first dimension are loaded; None: the array as it is."""

    @property
    def field(self) -> str:
        """Its name in a slot."""
        return f"{FEATURE_FIELD}{self.name}"

    @property
    def loaded_shape(self) -> tuple[int, ...]:
        """Of each view."""
        return self.shape if self.rows is None else (self.rows, *self.shape[1:])


@dataclass(frozen=True, slots=True)
class ClipPlan:
    """What becomes of a clip, as a pure function of (seed, epoch, position)."""

    video: VideoPlan | None
    audio: AudioPlan | None
    window_s: float | None
    rules: ViewRules
    verify: bool
    packed: bool = True
    """Whether shardkit wrote the shards."""
    segments: SegmentGrid | None = None
    """The segments of every window, if it has any: frames lie in them, and windows begin at one."""
    features: tuple[FeaturePlan, ...] = ()

    def to_json(self) -> str:
        """The plan as a worker process gets it."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "ClipPlan":
        """The inverse of `to_json`."""
        data = json.loads(text)
        video, audio, rules = data.pop("video"), data.pop("audio"), data.pop("rules")
        segments = data.pop("segments")
        features = data.pop("features")
        return cls(
            rules=ViewRules(**rules),
            video=None if video is None else VideoPlan(**video),
            audio=None if audio is None else AudioPlan(**audio),
            segments=None if segments is None else SegmentGrid(**segments),
            features=tuple(FeaturePlan(each["name"], tuple(each["shape"]), each["rows"]) for each in features),
            **data,
        )

    def slot_fields(self) -> dict[str, tuple[np.dtype[Any], tuple[int, ...]]]:
        """Dtype and shape of what one slot holds, by name; V views, one where they have no dimension of their own."""
        frames = 0 if self.video is None else self.video.frames
        views = self.rules.count or 1
        fields: dict[str, tuple[np.dtype[Any], tuple[int, ...]]] = {
            # What to load, written by the trainer's process.
            "row": (np.dtype(np.int64), ()),
            "position": (np.dtype(np.int64), ()),
            # What was loaded, written by the worker.
            "window_s": (np.dtype(np.float64), (views, 2)),
            "frame_times_s": (np.dtype(np.float64), (views, frames)),
            "frame_count": (np.dtype(np.int64), (views,)),
            "audio_samples": (np.dtype(np.int64), (views,)),
            "has_video": (np.dtype(np.bool_), ()),
            "has_audio": (np.dtype(np.bool_), ()),
        }
        if self.video is not None:
            fields["video"] = (np.dtype(np.uint8), (views, frames, self.video.height, self.video.width, 3))
        if self.audio is not None:
            fields["audio"] = (np.dtype(self.audio.dtype), (views, self.audio.channels, self.audio.samples))
        for feature in self.features:
            fields[feature.field] = (np.dtype(np.float32), (views, *feature.loaded_shape))
        return fields


@dataclass(frozen=True, slots=True)
class BatchLayout:
    """Where the fields of a batch lie in its buffer: field by field, clip after clip."""

    batch_size: int
    fields: Mapping[str, tuple[int, np.dtype[Any], tuple[int, ...]]]
    """Name to byte offset, dtype and shape [B, …]."""
    size_bytes: int

    @classmethod
    def of(cls, plan: ClipPlan, batch_size: int) -> "BatchLayout":
        """The layout of `batch_size` slots."""
        fields: dict[str, tuple[int, np.dtype[Any], tuple[int, ...]]] = {}
        end = 0
        for name, (dtype, slot_shape) in plan.slot_fields().items():
            shape = (batch_size, *slot_shape)
            start = _aligned(end)
            if name == "video" and plan.video is not None and plan.video.codec == "mjpeg":
                start += JPEG_SHIFT
            fields[name] = (start, dtype, shape)
            end = start + int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        return cls(batch_size, fields, _aligned(end))

    def views(self, buffer: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[Any]]:
        """Arrays over a batch buffer (uint8 [size_bytes]), by field."""
        return {
            name: np.ndarray(shape, dtype, buffer=buffer, offset=offset)
            for name, (offset, dtype, shape) in self.fields.items()
        }


def slot_of(views: Mapping[str, npt.NDArray[Any]], place: int) -> Slot:
    """One slot of a batch's arrays [B, …]: views without that dimension, writable also where they are scalars."""
    return {name: array[place, ...] for name, array in views.items()}


def _aligned(size_bytes: int) -> int:
    return -(-size_bytes // ALIGNMENT) * ALIGNMENT
