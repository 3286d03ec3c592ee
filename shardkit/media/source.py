"""A media file opened for reading: its streams as FFmpeg would choose them, and one time axis for all.

Source time is what annotations count in: seconds from the container's start. A file whose first timestamp is
10 s starts at 0; a stream that starts later than its container keeps that delay.
"""

import io
import os
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.stream import VideoStream

from shardkit.media.errors import NoStreamError, UnreadableMediaError


@dataclass(frozen=True, slots=True, eq=False)
class MediaBytes:
    """A media file in memory."""

    name: str
    """For messages."""
    data: bytes | memoryview

    def __repr__(self) -> str:
        return f"MediaBytes({self.name!r}, {len(self.data):,} bytes)"


MediaSource = str | os.PathLike[str] | MediaBytes
"""A local media file, or one in memory."""


def source_name(source: MediaSource) -> str:
    """What a source is called in messages."""
    return source.name if isinstance(source, MediaBytes) else Path(source).name


def open_source(source: MediaSource) -> InputContainer:
    """Opens media; the caller closes it.

    Raises:
        UnreadableMediaError: The file is missing, empty, or not media that FFmpeg can open.
    """
    name = source_name(source)
    try:
        # Without the prefix a name such as `a:b.mp4` would be taken for a protocol. Tags need not be UTF-8, and nobody
        # reads them.
        file = io.BytesIO(source.data) if isinstance(source, MediaBytes) else f"file:{os.fspath(source)}"
        return av.open(file, "r", metadata_errors="replace")
    except (av.FFmpegError, OSError) as exc:
        reason = getattr(exc, "strerror", None) or str(exc)
        raise UnreadableMediaError(
            f"{name}: cannot be opened as media ({reason}); the file is missing, empty, cut short "
            "or not media: fetch it again or leave it out",
        ) from exc


def container_start_s(container: InputContainer) -> float:
    """The container time at which source time is 0."""
    # A negative start is the priming of an encoder, which players do not show.
    return max(0, container.start_time or 0) / 1e6


def best_video(container: InputContainer) -> VideoStream | None:
    """The video stream that FFmpeg would choose; None where there is none that can be decoded."""
    stream = container.streams.best("video")
    if not isinstance(stream, VideoStream) or _is_cover(stream):
        # FFmpeg's choice may fall on a cover picture where that is the only "video".
        candidates = (s for s in container.streams.video if has_decoder(s) and not _is_cover(s))
        return next(candidates, None)
    return stream if has_decoder(stream) else None


def best_audio(container: InputContainer) -> AudioStream | None:
    """The audio stream that FFmpeg would choose; None where there is none that can be decoded."""
    stream = container.streams.best("audio")
    return stream if isinstance(stream, AudioStream) and has_decoder(stream) else None


def require_video(container: InputContainer, source: MediaSource) -> VideoStream:
    """`best_video`, or NoStreamError."""
    stream = best_video(container)
    if stream is None:
        raise NoStreamError(f"{source_name(source)}: no video stream that can be decoded", kind="video")
    return stream


def require_audio(container: InputContainer, source: MediaSource) -> AudioStream:
    """`best_audio`, or NoStreamError."""
    stream = best_audio(container)
    if stream is None:
        raise NoStreamError(f"{source_name(source)}: no audio stream that can be decoded", kind="audio")
    return stream


def has_decoder(stream: VideoStream | AudioStream) -> bool:
    """Whether this build of FFmpeg has a decoder for the stream."""
    # PyAV leaves the context out where FFmpeg knows no decoder; its annotations do not say so.
    return stream.codec_context is not None


def decode_on_one_thread(stream: VideoStream | AudioStream) -> None:
    """Makes the stream's decoder single-threaded, before its first packet."""
    # The pack workers are the parallelism, and what is decoded must not depend on the machine's number of
    # cores.
    stream.codec_context.thread_count = 1
    stream.codec_context.thread_type = "NONE"


def seek_before(container: InputContainer, stream: VideoStream | AudioStream, container_s: float) -> bool:
    """Seeks to the keyframe before a container time; False where the container cannot. It may land elsewhere."""
    if stream.time_base is None:
        return False
    try:
        container.seek(int(Fraction(container_s) / stream.time_base), backward=True, stream=stream)
    except av.FFmpegError:
        return False
    return True


def tick_s(stream: VideoStream | AudioStream) -> float:
    """Length of a tick of the stream's timestamps.

    Packets carry it too, as a Fraction, but arithmetic with those cost more than all reading of packets.
    """
    return float(stream.time_base or 0)


def packet_time_s(packet: "Packet[Any]", tick_s: float, start_s: float) -> float | None:
    """Source time of a packet: its pts, or its dts where the container keeps no pts."""
    ticks = packet.pts if packet.pts is not None else packet.dts
    return None if ticks is None else ticks * tick_s - start_s


def packet_duration_s(packet: "Packet[Any]", tick_s: float) -> float:
    """Duration of a packet; 0 where the container does not say."""
    return (packet.duration or 0) * tick_s


def is_shown(packet: "Packet[Any]") -> bool:
    """Whether a packet carries something to show: no edit list's discard, no end marker, not cut off."""
    return packet.size > 0 and not packet.is_discard and not packet.is_corrupt


def _is_cover(stream: VideoStream) -> bool:
    return bool(stream.disposition & Disposition.attached_pic)
