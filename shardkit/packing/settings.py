"""PackSettings: what decides the bytes of a data set, and nothing else does."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal, get_args

from shardkit.decoding.rules import ClipRules, Fit, Require, check_choice, check_range
from shardkit.errors import UsageError
from shardkit.format.flac import block_samples
from shardkit.planning.sampling import FrameSampling

VideoCodec = Literal["mjpeg", "h264", "raw"]
AudioCodec = Literal["pcm", "flac"]
PackRequire = Literal["av", "audio", "video", "any", "features"]
"""What a clip must have; `features` are those that are packed beside the media, which it then need not have."""


@dataclass(frozen=True, slots=True)
class Mjpeg:
    """Every frame a JPEG: the fastest to decode of those that are small, and any frame alone."""

    codec: ClassVar[VideoCodec] = "mjpeg"
    has_even_sides: ClassVar[bool] = False

    quality: int = 90
    """libjpeg's quality; 90 gives a median clip 42 to 43 dB, see benchmarks/README.md."""
    chroma: Literal["420", "444"] = "420"

    def __post_init__(self) -> None:
        check_range("quality", self.quality, 1, 100)
        check_choice("chroma", self.chroma, ("420", "444"))


@dataclass(frozen=True, slots=True)
class H264:
    """Frames that refer to those before them: half the bytes of JPEG."""

    codec: ClassVar[VideoCodec] = "h264"
    has_even_sides: ClassVar[bool] = True
    """The colour is halved both ways."""

    crf: int = 13
    """x264's constant rate factor; 13 gives a median clip 41 dB at 224 square."""
    keyint: int = 8
    """Every so many frames one is a keyframe, from which on the others can be decoded."""

    def __post_init__(self) -> None:
        # 0 would be lossless, in a profile that few decoders know.
        check_range("crf", self.crf, 1, 51)
        check_range("keyint", self.keyint, 1, 250)


@dataclass(frozen=True, slots=True)
class Raw:
    """The pixels as they are: nothing to decode, 18 times the bytes of JPEG."""

    codec: ClassVar[VideoCodec] = "raw"
    has_even_sides: ClassVar[bool] = True
    """QuickTime pads the rows of odd widths, and packets would not be the pixels."""


VideoSettings = Mjpeg | H264 | Raw
_VIDEO_SETTINGS: tuple[type[VideoSettings], ...] = (Mjpeg, H264, Raw)


def video_settings(
    video_codec: VideoCodec,
    *,
    quality: int | None = None,
    chroma: Literal["420", "444"] | None = None,
    crf: int | None = None,
) -> VideoSettings:
    """The settings of a codec; None takes its default.

    Raises:
        UsageError: There is no such codec, an option is out of range, or one is given that is another codec's.
    """
    check_choice("video_codec", video_codec, tuple(kind.codec for kind in _VIDEO_SETTINGS))
    given: dict[str, Any] = {
        name: value for name, value in (("quality", quality), ("chroma", chroma), ("crf", crf)) if value is not None
    }
    kind = next(kind for kind in _VIDEO_SETTINGS if kind.codec == video_codec)
    for name, value in given.items():
        if name not in kind.__dataclass_fields__:
            owner = next(other.codec for other in _VIDEO_SETTINGS if name in other.__dataclass_fields__)
            raise UsageError(
                f"{name}={value!r} is for video_codec={owner!r}, and this is {video_codec!r}: leave it out, or choose "
                f"{owner}"
            )
    return kind(**given)


@dataclass(frozen=True, slots=True)
class PackSettings:
    """Media settings of a data set; `dataset.json` holds them."""

    sampling: FrameSampling
    size: int = 256
    """Short side of the stored frames, in pixels."""
    fit: Fit = "short"
    video: VideoSettings = field(default_factory=Mjpeg)
    audio_codec: AudioCodec = "pcm"
    audio_rate_hz: int | None = 16000
    """None keeps each source's own."""
    audio_channels: int = 1
    require: PackRequire = "av"
    shard_bytes: int = 512_000_000
    """Size that shards are planned for."""
    seed: int = 0

    def __post_init__(self) -> None:
        check_choice("require", self.require, get_args(PackRequire))
        self._rules(self.size)
        check_choice("audio_codec", self.audio_codec, ("pcm", "flac"))
        if self.audio_rate_hz is not None and self.audio_codec == "flac":
            block_samples(self.audio_rate_hz)
        check_range("shard_size", self.shard_bytes, 1, 1 << 40)
        check_range("seed", self.seed, 0, (1 << 63) - 1)

    @property
    def frame_size(self) -> int:
        """Short side of the stored frames: `size`, rounded down to even where the codec has even sides only."""
        # Long sides are even always.
        return self.size - self.size % 2 if self.video.has_even_sides else self.size

    @property
    def rules(self) -> ClipRules:
        """How clips are decoded for it."""
        return self._rules(self.frame_size)

    def _rules(self, size: int) -> ClipRules:
        require: Require = "any" if self.require == "features" else self.require
        return ClipRules(self.sampling, size, self.fit, self.audio_rate_hz, self.audio_channels, require)

    def to_json(self) -> dict[str, Any]:
        """The settings as the manifest and the workers get them."""
        plain = asdict(self) | {"sampling": self.sampling.to_json()}
        # Flat: what a codec has of its own stands beside the rest.
        video: dict[str, Any] = plain.pop("video")
        return {"video_codec": self.video.codec} | video | plain

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "PackSettings":
        """The inverse of `to_json`."""
        fields = dict(data)
        kind = next(kind for kind in _VIDEO_SETTINGS if kind.codec == fields["video_codec"])
        del fields["video_codec"]
        video = kind(**{name: fields.pop(name) for name in kind.__dataclass_fields__ if name in data})
        return cls(**fields | {"sampling": FrameSampling.from_json(data["sampling"]), "video": video})
