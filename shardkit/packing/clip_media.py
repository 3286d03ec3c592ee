"""One clip's media: decoded, sampled, encoded. What a pack worker does; it knows nothing of labels."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shardkit.clip import Reason
from shardkit.errors import DataError, UsageError
from shardkit.format.flac import block_samples
from shardkit.format.record import AudioLayout, VideoLayout
from shardkit.media.audio import Audio, read_audio
from shardkit.media.errors import MediaDecodeError, NoStreamError, UnreadableMediaError
from shardkit.media.frames import Frames, read_frames
from shardkit.media.probe import OpenSpan, SourceInfo, StreamInfo, open_span
from shardkit.packing.members import encode_audio, encode_video
from shardkit.packing.settings import MAX_FRAMES, PackSettings

MIN_CLIP_S = 0.01
MIN_COVERED = 0.5
"""A clip whose media covers less of its span than this is too short."""
MIN_DECODED = 0.9
"""Where a decoder returns less of the packets than this, it has dropped them without an error."""
SLACK_FRAMES, SLACK_S = 2, 0.1
"""What may be missing of any clip: at the ends of the span, packets and what is decoded of them differ by rounding."""
LATE_S = 0.1
"""Streams that start this much after the clip are flagged: more than a few frames, and clearly heard."""
SHORT_S = 0.5
MIN_PSNR_DB = 36.0
MAX_VIDEO_BYTES = 2_000_000_000
"""Of a clip's stored frames, which are held in memory several times over; only raw ones come near."""
STILL_LEVELS = 0.5
"""Mean difference of neighbouring frames, of 255 levels, below which a clip is a still picture."""
SILENT_PEAK = 32
"""-60 dB of full scale."""
CLIPPED_SHARE = 0.001


class RejectedClipError(DataError):
    """A clip that cannot be packed, and why."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


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

        def tuples(layout: dict[str, Any]) -> dict[str, Any]:
            return {name: tuple(value) if isinstance(value, list) else value for name, value in layout.items()}

        return cls(
            start_s=data["start_s"],
            duration_s=data["duration_s"],
            video=VideoLayout(**tuples(data["video"])) if data["video"] else None,
            audio=AudioLayout(**tuples(data["audio"])) if data["audio"] else None,
            members=data["members"],
            flags=tuple(data["flags"]),
        )


def pack_media(path: str, start_s: float | None, end_s: float | None, settings: PackSettings) -> PackedMedia:
    """Decodes the span [start_s, end_s) of a media file and encodes what is stored of it.

    Raises:
        RejectedClipError: It cannot be packed.
    """
    try:
        with open_span(path, start_s=start_s, end_s=end_s) as span:
            return _pack_span(span, path, start_s or 0.0, end_s, settings)
    except UnreadableMediaError as exc:
        raise RejectedClipError(Reason.UNREADABLE, str(exc)) from exc
    except NoStreamError as exc:
        raise RejectedClipError(Reason.NO_VIDEO if exc.kind == "video" else Reason.NO_AUDIO, str(exc)) from exc
    except MediaDecodeError as exc:
        raise RejectedClipError(Reason.DECODE_ERROR, str(exc)) from exc


def _pack_span(span: OpenSpan, path: str, start_s: float, end_s: float | None, settings: PackSettings) -> PackedMedia:
    info, name = span.info, Path(path).name
    end_s, flags = _span_end(info, name, start_s, end_s)
    has_video = _is_in_span(info.video, start_s, end_s)
    has_audio = _is_in_span(info.audio, start_s, end_s)
    _check_required(info, name, settings, has_video=has_video, has_audio=has_audio)
    duration_s = end_s - start_s
    if duration_s < MIN_CLIP_S:
        raise RejectedClipError(Reason.TOO_SHORT, f"{name}: a clip of {duration_s:g} s; correct its start and end")
    members: dict[str, bytes] = {}
    video = audio = None
    if has_video:
        assert info.video is not None
        instants_s = settings.sampling.instants(duration_s)
        if len(instants_s) > MAX_FRAMES:
            raise RejectedClipError(
                Reason.TOO_LONG,
                f"{name}: {len(instants_s)} frames in {duration_s:.0f} s, at most {MAX_FRAMES} are stored; cut it "
                "into shorter ones, or take fewer frames a second",
            )
        frames = read_frames(path, start_s + instants_s, size=settings.frame_size, fit=settings.fit, held=span.video)
        _check_decoded(name, "frames", frames.decoded_count, frames.expected_count, SLACK_FRAMES)
        _check_room(name, frames, settings)
        picture = encode_video(
            frames.rgb, instants_s - instants_s[0], frame_time_s=frames.time_s - start_s, settings=settings.video
        )
        members[picture.extension], video = picture.data, picture.layout
        flags += _video_flags(info.video, frames, start_s, end_s, picture.psnr_db)
    if has_audio:
        assert info.audio is not None
        sound = read_audio(
            path,
            start_s,
            end_s,
            rate_hz=settings.audio_rate_hz,
            channels=settings.audio_channels,
            held=span.audio,
        )
        _check_decoded(name, "seconds of audio", sound.decoded_s, sound.expected_s, SLACK_S)
        if not len(sound.pcm):
            raise RejectedClipError(Reason.DECODE_ERROR, f"{name}: no sound could be decoded; fetch the file again")
        _check_rate(name, sound, settings)
        stored = encode_audio(sound.pcm, rate_hz=sound.rate_hz, codec=settings.audio_codec)
        members[stored.extension], audio = stored.data, stored.layout
        flags += _audio_flags(info.audio, sound, start_s, end_s)
    return PackedMedia(start_s, duration_s, video, audio, members, tuple(sorted(flags)))


def _span_end(info: SourceInfo, name: str, start_s: float, end_s: float | None) -> tuple[float, list[str]]:
    """Where the clip ends, and flags about its length."""
    flags = []
    declared_s = info.declared_duration_s
    if (
        info.whole
        and declared_s is not None
        and abs(declared_s - info.duration_s) > max(SHORT_S, 0.1 * info.duration_s)
    ):
        flags.append("length_mismatch")
    covered_s = info.duration_s - start_s
    if end_s is None:
        if covered_s <= 0:
            raise RejectedClipError(
                Reason.TOO_SHORT, f"{name}: holds {info.duration_s:.3f} s, the clip starts at {start_s:.3f} s"
            )
        return info.duration_s, flags
    wanted_s = end_s - start_s
    if covered_s < MIN_COVERED * wanted_s:
        raise RejectedClipError(
            Reason.TOO_SHORT,
            f"{name}: holds {info.duration_s:.3f} s, the clip is {start_s:.3f} to {end_s:.3f} s; fetch the whole file",
        )
    if covered_s < wanted_s - SHORT_S:
        flags.append("short")
    return end_s, flags


def _is_in_span(stream: StreamInfo | None, start_s: float, end_s: float) -> bool:
    if stream is None or not stream.packet_count:
        return False
    # Packets without times are decoded to see.
    return stream.first_s is None or stream.end_s is None or (stream.first_s < end_s and stream.end_s > start_s)


def _check_required(info: SourceInfo, name: str, settings: PackSettings, *, has_video: bool, has_audio: bool) -> None:
    notes = "".join(f" ({note})" for note in info.notes)
    if not has_video and settings.require in ("av", "video"):
        raise RejectedClipError(
            Reason.NO_VIDEO,
            f"{name}: no video in the clip's span{notes}; --require audio or any packs it without",
        )
    if not has_audio and settings.require in ("av", "audio"):
        raise RejectedClipError(
            Reason.NO_AUDIO,
            f"{name}: no audio in the clip's span{notes}; --require video or any packs it without",
        )
    if not has_video and not has_audio:
        raise RejectedClipError(Reason.UNREADABLE, f"{name}: neither video nor audio in the clip's span{notes}")


def _check_decoded(name: str, what: str, decoded: float, expected: float, slack: float) -> None:
    if decoded < min(MIN_DECODED * expected, expected - slack):
        raise RejectedClipError(
            Reason.DECODE_ERROR,
            f"{name}: the decoder returned {decoded:g} of {expected:g} {what}; the file is damaged or this build of "
            "FFmpeg does not know its codec: fetch or transcode it again",
        )


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


def _video_flags(info: StreamInfo, frames: Frames, start_s: float, end_s: float, psnr: float) -> list[str]:
    flags = []
    # The packets know of a late start that ends before the first instant; not all containers give them times.
    late_s = frames.late_start_s if info.first_s is None else info.first_s - start_s
    if late_s > LATE_S:
        flags.append("late_video")
    if info.end_s is not None and info.end_s < end_s - SHORT_S:
        flags.append("short_video")
    if psnr < MIN_PSNR_DB:
        flags.append("low_fidelity")
    if len(frames.rgb) > 1:
        # Every fourth pixel each way tells a still picture as well as all of them.
        pixels = frames.rgb[:, ::4, ::4].astype(np.int16)
        if float(np.abs(np.diff(pixels, axis=0)).mean(axis=(1, 2, 3)).max()) < STILL_LEVELS:
            flags.append("still")
    return flags


def _audio_flags(info: StreamInfo, sound: Audio, start_s: float, end_s: float) -> list[str]:
    flags = []
    if sound.late_start_s > LATE_S:
        flags.append("late_audio")
    if info.end_s is not None and info.end_s < end_s - min(SHORT_S, (end_s - start_s) / 4):
        flags.append("short_audio")
    if sound.peak <= SILENT_PEAK:
        flags.append("silent")
    if sound.clipped_count > CLIPPED_SHARE * sound.pcm.size:
        flags.append("clipped")
    return flags
