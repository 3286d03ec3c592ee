"""What a media file really holds.

Headers lie: real files declare 143,165 s for one second of video, no duration at all, or the length they had
before they were cut off. So the extents come from the packets, read without decoding; what is declared is
kept for comparison.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

import av
import numpy as np
import numpy.typing as npt
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from shardkit.media.errors import UnreadableMediaError
from shardkit.media.source import (
    MediaSource,
    best_audio,
    best_video,
    container_start_s,
    has_decoder,
    is_shown,
    open_source,
    packet_duration_s,
    packet_time_s,
    seek_before,
    source_name,
    tick_s,
)

AnyStream = TypeVar("AnyStream", VideoStream, AudioStream)

SEEK_FROM_S = 30.0
"""Spans that start earlier are read from the beginning: the packets before them cost less than a wrong
seek."""
PTS_CONTAINERS = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
"""Containers that keep the pts of every packet. Of others FFmpeg makes some up, differently when it reads and when it
decodes."""
INTERLEAVE_S = 10.0
"""How far one stream's packets may lie behind another's in the file."""
SLACK_S = 1.0
"""How far behind the span's end to read: decoders and the resampler look ahead."""
MAX_HELD_BYTES = 64_000_000
"""A span with more packets than this is read again for decoding: at 5 Mbit/s, one of over 100 s."""
PACKET_BYTES = 500
"""What a packet takes beside its data: for speech in packets of 5 ms more than the data."""


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """One stream of a source, as its packets say."""

    first_s: float | None
    """Source time of the first packet that is shown; None where there is none."""
    end_s: float | None
    """Source time at which the last packet ends; None where there is no packet."""
    packet_count: int
    """Packets that are shown: an edit list's discards and cut-off packets are not counted."""


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """What is in a media file; times are source times."""

    declared_duration_s: float | None
    """What the header says; None where it says nothing."""
    video: StreamInfo | None
    audio: StreamInfo | None
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


@dataclass(frozen=True, slots=True, eq=False)
class HeldStream(Generic[AnyStream]):
    """One stream's packets around a span, in memory: opening and reading the file again costs as much as the sound.

    They can be decoded once, while the context of `open_span` lasts.
    """

    stream: AnyStream
    zero_s: float
    """Container time of source time 0."""
    packets: "list[Packet[AnyStream]]"
    from_start: bool
    """Whether they begin with the file's first one."""
    shown_pts: npt.NDArray[np.int64]
    """Pts of the frames of a video, ascending, in the stream's ticks; empty where the packets do not tell."""

    def replay(self, first: int = 0) -> "Iterator[Packet[AnyStream]]":
        """The packets from number `first` on, and the one that empties the decoder, as a container gives them."""
        yield from self.packets[first:]
        end: Packet[AnyStream] = Packet()  # type: ignore[assignment]
        end.stream = self.stream
        if self.stream.time_base is not None:  # frames that come out at the end take theirs from it
            end.time_base = self.stream.time_base
        yield end


@dataclass(frozen=True, slots=True, eq=False)
class OpenSpan:
    """An open source and what its packets around a span tell; a stream that is not held is read again for decoding."""

    info: SourceInfo
    video: HeldStream[VideoStream] | None
    audio: HeldStream[AudioStream] | None


@dataclass(slots=True)
class _Extent:
    """First and last time of one stream's packets, as they pass, and the packets."""

    tick_s: float
    packets: "list[Packet[Any]]" = field(default_factory=list)
    first_s: float | None = None
    end_s: float | None = None
    packet_count: int = 0
    read_to_s: float = 0.0
    """Source time before which all packets have been read. By dts: with B-frames, a later packet can have an earlier
    pts, at two frames a second seconds earlier."""

    def add(self, packet: "Packet[Any]", start_s: float) -> None:
        if packet.dts is not None:
            self.read_to_s = max(self.read_to_s, packet.dts * self.tick_s - start_s)
        if not is_shown(packet):
            return
        self.packet_count += 1
        time_s = packet_time_s(packet, self.tick_s, start_s)
        if time_s is None:
            return
        # Priming before time 0 is decoded but never shown.
        shown_s = max(0.0, time_s)
        end_s = max(shown_s, time_s + packet_duration_s(packet, self.tick_s))
        self.first_s = shown_s if self.first_s is None else min(self.first_s, shown_s)
        self.end_s = end_s if self.end_s is None else max(self.end_s, end_s)

    def info(self) -> StreamInfo:
        return StreamInfo(self.first_s, self.end_s, self.packet_count)


def probe(source: MediaSource, *, start_s: float | None = None, end_s: float | None = None) -> SourceInfo:
    """Reads what a media file holds, from its packets and without decoding.

    Args:
        source: A local file, or one in memory.
        start_s: Start of the span that is wanted, in source time. With it the packets far before the span are
            not read.
        end_s: End of that span; with it the packets far behind the span are not read.

    Raises:
        UnreadableMediaError: The file cannot be opened, or has neither picture nor sound.
    """
    with open_span(source, start_s=start_s, end_s=end_s) as span:
        return span.info


@contextmanager
def open_span(
    source: MediaSource,
    *,
    start_s: float | None = None,
    end_s: float | None = None,
    only: Literal["video", "audio"] | None = None,
) -> Iterator[OpenSpan]:
    """`probe`, with the packets that it read: they can be decoded until the context ends.

    With `only`, the other kind of stream counts as missing: its packets are a third of the work.

    Raises:
        UnreadableMediaError: The file cannot be opened, or has neither picture nor sound.
    """
    if start_s is not None and start_s > SEEK_FROM_S:
        with open_source(source) as container:
            span = _read_span(container, source, start_s, end_s, only)
            if span is not None:
                yield span
                return
    # The whole file tells where the span is near its start, or a seek landed elsewhere.
    with open_source(source) as container:
        span = _read_span(container, source, None, end_s, only)
        assert span is not None
        yield span


def _read_span(
    container: InputContainer,
    source: MediaSource,
    start_s: float | None,
    end_s: float | None,
    only: Literal["video", "audio"] | None,
) -> OpenSpan | None:
    """Reads from before `start_s`, or from the beginning; None where a seek landed behind that or a stream's end."""
    video = None if only == "audio" else best_video(container)
    audio = None if only == "video" else best_audio(container)
    notes = list(_notes(container, video, audio)) if only is None else []
    if not container.streams.video and not container.streams.audio:
        raise UnreadableMediaError(f"{source_name(source)}: holds neither video nor audio; leave it out")
    streams = [stream for stream in (video, audio) if stream is not None]
    zero_s = container_start_s(container)
    skipped = False
    if streams and start_s is not None:
        skipped = seek_before(container, streams[0], start_s - INTERLEAVE_S + zero_s)
    packets = _Packets(container, streams, zero_s, float("inf") if end_s is None else end_s)
    packets.read(notes)
    extents = packets.extents
    if skipped and any(x.first_s is None or x.first_s > (start_s or 0.0) for x in extents.values()):
        return None
    info = SourceInfo(
        declared_duration_s=None if container.duration is None else container.duration / 1e6,
        video=None if video is None else extents[video.index].info(),
        audio=None if audio is None else extents[audio.index].info(),
        whole=packets.ended and not skipped,
        notes=tuple(notes),
    )
    return OpenSpan(
        info,
        None if video is None else packets.held(video, from_start=not skipped),
        None if audio is None else packets.held(audio, from_start=not skipped),
    )


class _Packets:
    """The packets of some streams, read up to the end of a span: to the file's end where that is infinite."""

    def __init__(
        self, container: InputContainer, streams: list[VideoStream | AudioStream], zero_s: float, end_s: float
    ) -> None:
        self._container = container
        self._streams = streams
        self._zero_s = zero_s
        self._end_s = end_s
        self._held_bytes = 0
        self._failed = False
        self.extents = {stream.index: _Extent(tick_s(stream)) for stream in streams}
        self.ended = True
        """Whether the file's end was reached."""

    def read(self, notes: list[str]) -> None:
        """Reads to the file's end, or to where every stream is past the span; errors become a note."""
        if not self._streams:
            return
        try:
            for packet in self._container.demux(*self._streams):
                extent = self.extents[packet.stream.index]
                extent.add(packet, self._zero_s)
                self._hold(packet, extent)
                if self._is_past():
                    self.ended = False
                    return
        except av.FFmpegError as exc:
            self._failed = True
            notes.append(f"reading stopped with an error ({exc.strerror}); what lies behind it is not counted")

    def _hold(self, packet: "Packet[Any]", extent: _Extent) -> None:
        if self._held_bytes > MAX_HELD_BYTES or not packet.size:
            return
        self._held_bytes += packet.size + PACKET_BYTES
        extent.packets.append(packet)
        if self._held_bytes > MAX_HELD_BYTES:
            for each in self.extents.values():
                each.packets.clear()

    def _is_past(self) -> bool:
        """Whether every stream lies past the span, or one so far past it that the others must have ended."""
        read_to_s = [extent.read_to_s for extent in self.extents.values()]
        return min(read_to_s) >= self._end_s + SLACK_S or max(read_to_s) >= self._end_s + INTERLEAVE_S

    def held(self, stream: AnyStream, *, from_start: bool) -> HeldStream[AnyStream] | None:
        """A stream's packets; None where they are too many, or not all of the span's."""
        extent = self.extents[stream.index]
        is_past = extent.read_to_s >= self._end_s + SLACK_S
        if self._failed or self._held_bytes > MAX_HELD_BYTES or not (self.ended or is_past):
            return None
        return HeldStream(stream, self._zero_s, extent.packets, from_start, self._shown_pts(stream, extent))

    def _shown_pts(self, stream: VideoStream | AudioStream, extent: _Extent) -> npt.NDArray[np.int64]:
        pts = [packet.pts for packet in extent.packets if is_shown(packet)]
        # Where one packet has none, the others do not tell which frame is shown when.
        tells = isinstance(stream, VideoStream) and self._container.format.name in PTS_CONTAINERS and None not in pts
        return np.unique(np.array(pts if tells else [], dtype=np.int64))


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
