"""What a media file really holds.

Headers lie: real files declare 143,165 s for one second of video, no duration at all, or the length they had
before they were cut off. So the extents come from the packets, read without decoding; what is declared is
kept for comparison.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from shardkit.media.errors import UnreadableMediaError
from shardkit.media.geometry import display_size
from shardkit.media.source import (
    PathLike,
    best_audio,
    best_video,
    container_start_s,
    has_decoder,
    is_shown,
    open_source,
    packet_duration_s,
    packet_time_s,
    seek_before,
    tick_s,
)

SEEK_FROM_S = 30.0
"""Spans that start earlier are read from the beginning: the packets before them cost less than a wrong
seek."""
PTS_CONTAINERS = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
"""Containers that keep the pts of every packet. Of others FFmpeg makes some up, differently when it reads and when it
decodes."""
INTERLEAVE_S = 10.0
"""How far one stream's packets may lie behind another's in the file."""


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """One stream of a source, as its packets say."""

    index: int
    codec: str
    first_s: float | None
    """Source time of the first packet that is shown; None where there is none."""
    end_s: float | None
    """Source time at which the last packet ends; None where there is no packet."""
    packet_count: int
    """Packets that are shown: an edit list's discards and cut-off packets are not counted."""
    declared_duration_s: float | None
    """What the header says; None where it says nothing."""


@dataclass(frozen=True, slots=True)
class VideoInfo(StreamInfo):
    """The video stream of a source."""

    width: int
    """Width of the coded pictures, in pixels."""
    height: int
    display_width: int
    """Width after pixel aspect. Rotation is not applied: it comes with the decoded frames."""
    display_height: int
    frame_rate_hz: float | None
    """Average frame rate as declared; None where the header says nothing."""
    shown_pts: npt.NDArray[np.int64]
    """Pts of the frames of the packets that were read, ascending, in the stream's ticks; empty where they do not
    tell."""


@dataclass(frozen=True, slots=True)
class AudioInfo(StreamInfo):
    """The audio stream of a source."""

    rate_hz: int
    channels: int


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """What is in a media file; times are source times."""

    container: str
    """FFmpeg's name of the container format."""
    container_start_s: float
    """Container time of source time 0."""
    declared_duration_s: float | None
    video: VideoInfo | None
    audio: AudioInfo | None
    whole: bool
    """Whether all packets were read. If not, the extents are those of the packets around the span: `first_s`
    is where reading began, and `end_s` is the stream's end only where it lies before the span's end."""
    notes: tuple[str, ...] = ()
    """What a person should know, such as a stream that has no decoder."""

    @property
    def duration_s(self) -> float:
        """The longest extent of the streams that are used; 0 where there is no packet."""
        ends = (s.end_s for s in (self.video, self.audio) if s is not None and s.end_s is not None)
        return max(ends, default=0.0)


@dataclass(slots=True)
class _Extent:
    """First and last time of one stream's packets, as they pass."""

    tick_s: float
    pts: list[int] = field(default_factory=list)
    first_s: float | None = None
    end_s: float | None = None
    packet_count: int = 0

    def add(self, packet: "Packet[Any]", start_s: float) -> None:
        if not is_shown(packet):
            return
        self.packet_count += 1
        if packet.pts is not None:
            self.pts.append(packet.pts)
        time_s = packet_time_s(packet, self.tick_s, start_s)
        if time_s is None:
            return
        # Priming before time 0 is decoded but never shown.
        shown_s = max(0.0, time_s)
        end_s = max(shown_s, time_s + packet_duration_s(packet, self.tick_s))
        self.first_s = shown_s if self.first_s is None else min(self.first_s, shown_s)
        self.end_s = end_s if self.end_s is None else max(self.end_s, end_s)


def probe(path: PathLike, *, start_s: float | None = None, end_s: float | None = None) -> SourceInfo:
    """Reads what a media file holds, from its packets and without decoding.

    Args:
        path: A local file.
        start_s: Start of the span that is wanted, in source time. With it the packets far before the span are
            not read.
        end_s: End of that span; with it the packets far behind the span are not read.

    Raises:
        UnreadableMediaError: The file cannot be opened, or has neither picture nor sound.
    """
    with open_source(path) as container:
        video, audio = best_video(container), best_audio(container)
        notes = list(_notes(container, video, audio))
        if not container.streams.video and not container.streams.audio:
            raise UnreadableMediaError(f"{Path(path).name}: holds neither video nor audio; leave it out")
        streams = [stream for stream in (video, audio) if stream is not None]
        zero_s = container_start_s(container)

        skipped = False
        if streams and start_s is not None and start_s > SEEK_FROM_S:
            skipped = seek_before(container, streams[0], start_s - INTERLEAVE_S + zero_s)
        extents, complete = _read_extents(container, streams, zero_s, end_s, notes)
        if skipped and any(x.first_s is None or x.first_s > (start_s or 0.0) for x in extents.values()):
            # The seek landed behind the span's start, or behind a stream's end: only the whole file can tell.
            return probe(path, end_s=end_s)

        return SourceInfo(
            container=container.format.name,
            container_start_s=zero_s,
            declared_duration_s=None if container.duration is None else container.duration / 1e6,
            video=None if video is None else _video_info(container, video, extents[video.index]),
            audio=None if audio is None else _audio_info(audio, extents[audio.index]),
            whole=complete and not skipped,
            notes=tuple(notes),
        )


def _read_extents(
    container: InputContainer,
    streams: list[VideoStream | AudioStream],
    zero_s: float,
    end_s: float | None,
    notes: list[str],
) -> tuple[dict[int, _Extent], bool]:
    """Extents by stream index, and whether the file's end was reached."""
    extents = {stream.index: _Extent(tick_s(stream)) for stream in streams}
    if not streams:
        return extents, True
    try:
        for packet in container.demux(*streams):
            extents[packet.stream.index].add(packet, zero_s)
            if end_s is not None and _is_past(extents.values(), end_s):
                return extents, False
    except av.FFmpegError as exc:
        notes.append(f"reading stopped with an error ({exc.strerror}); what lies behind it is not counted")
    return extents, True


def _is_past(extents: Iterable[_Extent], end_s: float) -> bool:
    """Whether every stream lies past `end_s`, or one so far past it that the others must have ended."""
    ends = [extent.end_s if extent.end_s is not None else 0.0 for extent in extents]
    # A second of slack: with B-frames the packets are not in the order of their pts.
    return min(ends) >= end_s + 1.0 or max(ends) >= end_s + INTERLEAVE_S


def _notes(container: InputContainer, video: VideoStream | None, audio: AudioStream | None) -> Iterable[str]:
    for kind, chosen, streams in (
        ("video", video, container.streams.video),
        ("audio", audio, container.streams.audio),
    ):
        if chosen is not None:
            if len(streams) > 1:
                yield f"{len(streams)} {kind} streams; stream {chosen.index} is used"
            continue
        for stream in streams:
            if has_decoder(stream):
                yield f"{kind} stream {stream.index} is a still picture, such as a cover"
            else:
                yield f"{kind} stream {stream.index} has no codec, or none that this FFmpeg decodes"


def _declared_s(stream: VideoStream | AudioStream) -> float | None:
    if stream.duration is None or stream.time_base is None:
        return None
    return float(stream.duration * stream.time_base)


def _video_info(container: InputContainer, stream: VideoStream, extent: _Extent) -> VideoInfo:
    context = stream.codec_context
    # Where one packet has none, the others do not tell which frame is shown when.
    tells_pts = container.format.name in PTS_CONTAINERS and len(extent.pts) == extent.packet_count
    aspect = stream.sample_aspect_ratio or Fraction(1)
    width, height = display_size(context.width, context.height, aspect)
    return VideoInfo(
        index=stream.index,
        codec=context.name,
        first_s=extent.first_s,
        end_s=extent.end_s,
        packet_count=extent.packet_count,
        declared_duration_s=_declared_s(stream),
        width=context.width,
        height=context.height,
        display_width=width,
        display_height=height,
        frame_rate_hz=float(stream.average_rate) if stream.average_rate else None,
        shown_pts=np.unique(np.array(extent.pts if tells_pts else [], dtype=np.int64)),
    )


def _audio_info(stream: AudioStream, extent: _Extent) -> AudioInfo:
    context = stream.codec_context
    return AudioInfo(
        index=stream.index,
        codec=context.name,
        first_s=extent.first_s,
        end_s=extent.end_s,
        packet_count=extent.packet_count,
        declared_duration_s=_declared_s(stream),
        rate_hz=context.sample_rate,
        channels=context.layout.nb_channels,
    )
