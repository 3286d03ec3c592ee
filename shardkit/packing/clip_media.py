"""One clip's media: decoded, sampled, encoded. What a pack worker does; it knows nothing of labels."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from shardkit.clip import Reason
from shardkit.decoding.clip import DecodedClip, RejectedClipError, decode_clip
from shardkit.errors import UsageError
from shardkit.format.flac import block_samples
from shardkit.format.record import AudioLayout, VideoLayout
from shardkit.media.audio import Audio
from shardkit.media.frames import Frames
from shardkit.packing.members import encode_audio, encode_video
from shardkit.packing.settings import PackSettings

MIN_PSNR_DB = 36.0
MAX_VIDEO_BYTES = 2_000_000_000
"""Of a clip's stored frames, which are held in memory several times over; only raw ones come near."""


@dataclass(frozen=True, slots=True)
class PackedMedia:
    """The media members of one clip."""

    start_s: float
    duration_s: float
    video: VideoLayout | None
    audio: AudioLayout | None
    members: dict[str, bytes]
    """Extension to file: mp4 or mov, wav or flac."""
    flags: tuple[str, ...]

    def to_wire(self) -> dict[str, Any]:
        """Plain values for the way out of the worker process."""
        return asdict(self)

    @classmethod
    def from_wire(cls, data: dict[str, Any]) -> "PackedMedia":
        """The inverse of `to_wire`."""
        return cls(
            start_s=data["start_s"],
            duration_s=data["duration_s"],
            video=VideoLayout.from_wire(data["video"]) if data["video"] else None,
            audio=AudioLayout.from_wire(data["audio"]) if data["audio"] else None,
            members=data["members"],
            flags=tuple(data["flags"]),
        )


def pack_media(
    path: str, start_s: float | None, end_s: float | None, settings: PackSettings, *, may_end_early: bool = False
) -> PackedMedia:
    """Decodes the span [start_s, end_s) of a media file, or what there is of it, and encodes what is stored of it.

    Raises:
        RejectedClipError: It cannot be packed.
    """
    clip = decode_clip(path, path, start_s, end_s, settings.rules, may_end_early=may_end_early)
    return _encoded(clip, Path(path).name, settings)


def _encoded(clip: DecodedClip, name: str, settings: PackSettings) -> PackedMedia:
    members: dict[str, bytes] = {}
    flags = [*clip.flags]
    video = audio = None
    if clip.frames is not None:
        _check_room(name, clip.frames, settings)
        picture = encode_video(
            clip.frames.rgb,
            clip.instants_s - clip.instants_s[0],
            frame_time_s=clip.frames.time_s - clip.start_s,
            settings=settings.video,
        )
        members[picture.extension], video = picture.data, picture.layout
        if picture.psnr_db < MIN_PSNR_DB:
            flags.append("low_fidelity")
    if clip.sound is not None:
        _check_rate(name, clip.sound, settings)
        stored = encode_audio(clip.sound.pcm, rate_hz=clip.sound.rate_hz, codec=settings.audio_codec)
        members[stored.extension], audio = stored.data, stored.layout
    return PackedMedia(clip.start_s, clip.duration_s, video, audio, members, tuple(sorted(flags)))


def _check_room(name: str, frames: Frames, settings: PackSettings) -> None:
    if settings.video.codec == "raw" and frames.rgb.nbytes > MAX_VIDEO_BYTES:
        count, height, width = frames.rgb.shape[:3]
        raise RejectedClipError(
            Reason.TOO_LONG,
            f"{name}: {count} raw frames of {width}x{height} are {frames.rgb.nbytes / 1e9:.1f} GB, at most "
            f"{MAX_VIDEO_BYTES / 1e9:g} GB are stored; take fewer or smaller frames, or --video-codec mjpeg",
        )


def _check_rate(name: str, sound: Audio, settings: PackSettings) -> None:
    if settings.audio_codec == "flac":
        try:
            block_samples(sound.rate_hz)
        except UsageError as exc:
            raise RejectedClipError(Reason.DECODE_ERROR, f"{name}: {exc}") from exc
