"""The sound of a span of a source, as 16-bit PCM whose first sample lies at the span's start.

Samples are placed at the source's own rate: the first frame by its pts, the following ones by counting. Then
the span, with a little of what surrounds it, goes through libswresample, so that the result is what decoding
and resampling the whole source gives.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, gcd

import av
import numpy as np
import numpy.typing as npt
from av.audio.fifo import AudioFifo
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.packet import Packet

from shardkit.errors import UsageError
from shardkit.media.errors import MediaDecodeError
from shardkit.media.probe import HeldStream
from shardkit.media.source import (
    MediaSource,
    container_start_s,
    decode_on_one_thread,
    is_shown,
    open_source,
    packet_duration_s,
    packet_time_s,
    require_audio,
    seek_before,
    source_name,
    tick_s,
)

LAYOUTS = {1: "mono", 2: "stereo"}
"""Channel layouts by number of channels; libswresample mixes to them with its standard matrices."""
JUMP_S = 0.1
"""Where pts and the running count part by more, samples are missing or repeated. Less is rounding: Matroska
keeps milliseconds, and encoders drift."""
SEEK_FROM_S = 3.0
"""Up to here decoding from the beginning costs about what a seek does."""
COARSE_SEEK_FROM_S = 60.0
"""The same for containers whose ticks are longer than a sample, such as Matroska's milliseconds: after a seek
sound is placed to half a tick, counted from the beginning to the sample. Sixty seconds of sound decode in
about as many ms."""
SEEK_LEADS_S = (1.0, 10.0)
"""How far before the span to seek: AAC and MP3 need the frame before, Opus 80 ms, and a seek can land late.
What no lead settles is decoded from the beginning."""
BLOCK_SAMPLES = 16384
"""Samples that go into the resampler, and come out of it, at a time: frame by frame, the calls cost
more than the work."""
MARGIN_S = 0.02
"""What the resampler sees around the span: twice its filter's reach, at any ratio in use."""


@dataclass(frozen=True, slots=True, eq=False)
class Audio:
    """The sound of a span."""

    pcm: npt.NDArray[np.int16]
    """int16 [S, C]; sample 0 lies at the span's start. Silence where the stream starts later or has a gap; it
    ends with the span, or where the stream ends."""
    rate_hz: int
    late_start_s: float
    """How long after the span's start the stream begins; 0 where it had begun."""
    expected_s: float
    """What the packets claim to hold of the span."""
    decoded_s: float
    """What was decoded of the span. FFmpeg can drop most of a stream without an error: much less than
    `expected_s` says so."""

    @property
    def peak(self) -> int:
        """The largest magnitude, 0 to 32,768; 0 is digital silence."""
        return int(np.abs(self.pcm.astype(np.int32)).max(initial=0))

    @property
    def clipped_count(self) -> int:
        """Samples at the ends of the range."""
        return int(np.count_nonzero((self.pcm == 32767) | (self.pcm == -32768)))

    def __repr__(self) -> str:
        count, channels = self.pcm.shape
        return f"Audio({count} x {channels} at {self.rate_hz} Hz, late_start_s={self.late_start_s:.3f})"


def read_audio(
    source: MediaSource,
    start_s: float,
    end_s: float,
    *,
    rate_hz: int | None = None,
    channels: int = 1,
    held: HeldStream[AudioStream] | None = None,
) -> Audio:
    """Decodes the sound of a span.

    Args:
        source: A local file, or one in memory.
        start_s: Start of the span, in source time.
        end_s: End of the span, in source time.
        rate_hz: Sample rate of the result; None keeps the source's.
        channels: 1 mixes to mono, 2 to stereo.
        held: The file's audio packets around the span, from `open_span`: they are not read again. Where they begin
            with the file's first one, what is resampled is, to the bit, what decoding the whole file gives.

    Raises:
        UsageError: An empty span, a rate that is not positive, or another number of channels.
        UnreadableMediaError: The file cannot be opened.
        NoStreamError: The file has no audio that can be decoded.
        MediaDecodeError: The decoder reported an error inside the span, or the audio's format changes inside
            it.
    """
    if not 0 <= start_s < end_s < float("inf"):
        raise UsageError(f"span {start_s} to {end_s} s is empty, negative or endless")
    if rate_hz is not None and rate_hz <= 0:
        raise UsageError(f"rate_hz {rate_hz} is not positive")
    if channels not in LAYOUTS:
        raise UsageError(f"{channels} channels; 1 (mono) and 2 (stereo) are possible")

    def reading_of(stream: AudioStream) -> _Reading:
        decode_on_one_thread(stream)
        source_hz = stream.codec_context.sample_rate
        span = _Span.of(start_s, end_s, source_hz=source_hz, rate_hz=rate_hz or source_hz)
        return _Reading(source_name(source), stream, span, LAYOUTS[channels])

    if held is not None:
        reading = reading_of(held.stream)
        if (held.from_start or reading.may_seek()) and reading.run(
            held.replay(), held.zero_s, from_start=held.from_start
        ):
            return reading.result()
    for lead_s in (*SEEK_LEADS_S, None):
        with open_source(source) as container:
            stream = require_audio(container, source)
            reading = reading_of(stream)
            zero_s = container_start_s(container)
            seek_s = reading.seek_target_s(lead_s)
            if seek_s is not None and not seek_before(container, stream, seek_s + zero_s):
                continue
            if reading.run(container.demux(stream), zero_s, from_start=seek_s is None):
                return reading.result()
    raise AssertionError("decoding from the beginning settles the span or raises")


@dataclass(frozen=True, slots=True)
class _Span:
    """A span in samples of the source, counted from source time 0."""

    start_s: float
    end_s: float
    source_hz: int
    rate_hz: int
    first: int
    """The span's first sample."""
    end: int
    """The first sample behind the span."""
    history_first: int
    """Where the resampler starts so that its filter has history at `first`. A whole number of resampling
    periods before it, so that an output sample lies exactly on `first`."""
    feed_end: int
    """Where the resampler stops, so that its filter sees past `end`."""

    @classmethod
    def of(cls, start_s: float, end_s: float, *, source_hz: int, rate_hz: int) -> "_Span":
        first = round(start_s * source_hz)
        end = first + round((end_s - start_s) * source_hz)
        if rate_hz == source_hz:
            return cls(start_s, end_s, source_hz, rate_hz, first, end, history_first=first, feed_end=end)
        period = source_hz // gcd(source_hz, rate_hz)
        margin = ceil(MARGIN_S * source_hz)
        history = ceil(margin / period) * period
        return cls(start_s, end_s, source_hz, rate_hz, first, end, first - history, end + margin)

    @property
    def output_count(self) -> int:
        """Samples of the result where the stream covers the span."""
        return round((self.end_s - self.start_s) * self.rate_hz)

    @property
    def history_output_count(self) -> int:
        """Samples that the resampler puts out for the history."""
        return (self.first - self.history_first) * self.rate_hz // self.source_hz


class _Reading:
    """One pass over a stream, from where it was sought to until the span is covered."""

    def __init__(self, name: str, stream: AudioStream, span: _Span, layout: str) -> None:
        self._name = name
        self._stream = stream
        self._span = span
        self._resampled = _Resampled(span.rate_hz, layout)
        self._fed_to: int | None = None
        self._drop_count = 0
        self._begins: int | None = None
        self._decoded_count = 0
        self._tick_s = tick_s(stream)
        self._has_lost = False
        self._expected_s = 0.0
        self._claimed_to_s = float("-inf")

    def may_seek(self) -> bool:
        """Whether sound is placed right after a seek, and a seek is worth its time."""
        is_coarse = self._stream.time_base is None or self._stream.time_base * self._span.source_hz > 1
        return self._span.start_s >= (COARSE_SEEK_FROM_S if is_coarse else SEEK_FROM_S)

    def seek_target_s(self, lead_s: float | None) -> float | None:
        """Source time to seek to; None where decoding from the beginning is better."""
        if lead_s is None or not self.may_seek():
            return None
        target_s = self._span.history_first / self._span.source_hz - lead_s
        return target_s if target_s > 0 else None

    def run(self, packets: "Iterator[Packet[AudioStream]]", zero_s: float, *, from_start: bool) -> bool:
        """Feeds the span to the resampler.

        Args:
            packets: The stream's, in order, with the one at the end that empties the decoder.
            zero_s: Container time of source time 0.
            from_start: Whether they begin with the file's first one.

        Returns:
            False where a seek landed inside the span and an earlier start is needed.

        Raises:
            MediaDecodeError: The decoder reported an error inside the span, or the audio's format changes
                inside it.
        """
        position: int | None = None
        try:
            for frame in self._decode(packets, zero_s):
                position = self._place(frame, position, zero_s, from_start=from_start)
                if position is None:
                    continue
                if self._begins is None:
                    if not from_start and position > self._span.history_first:
                        return False
                    self._begin(position)
                self._feed(frame, position)
                position += frame.samples
                if self._fed_to is not None and self._fed_to >= self._span.feed_end:
                    break
            self._resampled.finish()
        except (av.FFmpegError, ValueError) as exc:
            raise MediaDecodeError(f"{self._name}: the audio cannot be resampled: {exc}; leave the clip out") from exc
        return from_start or self._begins is not None

    def result(self) -> Audio:
        """What was read, once `run` returned True."""
        pcm = self._resampled.pcm()[self._drop_count :][: self._span.output_count]
        late = 0 if self._begins is None else max(0, self._begins - self._span.first)
        return Audio(
            pcm=np.ascontiguousarray(pcm),
            rate_hz=self._span.rate_hz,
            late_start_s=late / self._span.source_hz,
            expected_s=self._expected_s,
            decoded_s=self._decoded_count / self._span.source_hz,
        )

    def _decode(self, packets: "Iterator[Packet[AudioStream]]", zero_s: float) -> Iterator[AudioFrame]:
        start_s, end_s = self._span.start_s, self._span.end_s
        time_s = duration_s = 0.0
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.FFmpegError as exc:
                raise MediaDecodeError(
                    f"{self._name}: reading stopped at {time_s:.3f} s of a span up to {end_s:.3f} s "
                    f"({exc.strerror}); fetch the file again or leave the clip out",
                ) from exc
            stated_s = packet_time_s(packet, self._tick_s, zero_s)
            if stated_s is not None and packet.size > 0:
                time_s, duration_s = stated_s, packet_duration_s(packet, self._tick_s)
                if is_shown(packet):
                    self._claim(time_s, time_s + duration_s)
            try:
                frames = packet.decode()
            except av.FFmpegError as exc:
                if time_s < end_s and time_s + duration_s > start_s:
                    raise MediaDecodeError(
                        f"{self._name}: the audio decoder failed at {time_s:.3f} s ({exc.strerror}); "
                        "fetch the file again or leave the clip out",
                    ) from exc
                # Before the span: priming, or what a seek cut in half. Counting on would miss it.
                self._has_lost = True
                continue
            yield from frames

    def _claim(self, first_s: float, end_s: float) -> None:
        """Adds to `expected_s` what a packet claims to hold of the span, beyond the packets before it."""
        # Matroska rounds durations to ms: a small gap between packets is none.
        if first_s - self._claimed_to_s < JUMP_S:
            first_s = self._claimed_to_s
        self._expected_s += max(0.0, min(end_s, self._span.end_s) - max(first_s, self._span.start_s))
        self._claimed_to_s = max(self._claimed_to_s, end_s)

    def _place(self, frame: AudioFrame, running: int | None, zero_s: float, *, from_start: bool) -> int | None:
        """Place of a frame's first sample; None where a seek left it open."""
        if frame.sample_rate != self._span.source_hz:
            raise ValueError(f"the rate changes from {self._span.source_hz} to {frame.sample_rate} Hz")
        if frame.pts is None:
            return 0 if running is None and from_start else running
        stated = round((frame.pts * self._tick_s - zero_s) * self._span.source_hz)
        if running is None or self._has_lost or abs(stated - running) > JUMP_S * self._span.source_hz:
            self._has_lost = False
            return stated
        return running

    def _begin(self, position: int) -> None:
        self._begins = position
        # A stream that begins with or inside the span has no history; the filter then starts as it does for a
        # whole file.
        if position < self._span.first:
            self._fed_to = self._span.history_first
            self._drop_count = self._span.history_output_count
        else:
            self._fed_to = self._span.first

    def _feed(self, frame: AudioFrame, position: int) -> None:
        """Feeds what is new in a frame, behind silence for what is missing before it."""
        assert self._fed_to is not None
        first, end = max(position, self._fed_to), min(position + frame.samples, self._span.feed_end)
        gap = min(first, self._span.feed_end) - self._fed_to
        if gap > 0:
            self._resampled.feed_silence(frame, gap)
            self._fed_to += gap
        if first < end:
            self._resampled.feed(frame, first - position, end - position)
            self._decoded_count += max(0, min(end, self._span.end) - max(first, self._span.first))
            self._fed_to = end


class _Resampled:
    """libswresample, fed with parts of frames in large blocks; what comes out is gathered."""

    def __init__(self, rate_hz: int, layout: str) -> None:
        self._resampler = AudioResampler(format="s16", layout=layout, rate=rate_hz, frame_size=BLOCK_SAMPLES)
        self._channels = {name: count for count, name in LAYOUTS.items()}[layout]
        self._format: tuple[str, str, int] | None = None
        self._waiting = AudioFifo()
        self._parts: list[npt.NDArray[np.int16]] = []

    def feed(self, frame: AudioFrame, first: int, end: int) -> None:
        """Feeds samples [first, end) of a frame."""
        self._check(frame)
        if first > 0 or end < frame.samples:
            width = _width(frame)
            self._add(_frame_like(frame, frame.to_ndarray()[:, first * width : end * width]))
        else:
            self._add(frame)

    def feed_silence(self, like: AudioFrame, count: int) -> None:
        """Feeds `count` samples of silence in the format of a frame."""
        self._check(like)
        width = _width(like)
        planes = like.layout.nb_channels // width
        dtype = like.to_ndarray().dtype
        # Unsigned samples rest in the middle of their range.
        rest = 128 if dtype == np.uint8 else 0
        while count > 0:  # a block at a time: a gap can be long
            part = min(count, BLOCK_SAMPLES)
            self._add(_frame_like(like, np.full((planes, part * width), rest, dtype)))
            count -= part

    def _check(self, frame: AudioFrame) -> None:
        # The FIFO does not look at the channels: it would read planes that a frame does not have.
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        if self._format is None:
            self._format = kind
        elif kind != self._format:
            raise ValueError(f"the format changes to {kind}")

    def _add(self, frame: AudioFrame) -> None:
        # Without a pts: placing is done, and timestamps must not move anything again.
        frame.pts = None
        self._waiting.write(frame)
        if self._waiting.samples >= BLOCK_SAMPLES:
            self._push()

    def _push(self) -> None:
        block = self._waiting.read()
        if block is not None:
            block.pts = None
            self._gather(self._resampler.resample(block))

    def finish(self) -> None:
        """Drains the filter."""
        self._push()
        if self._format is not None:
            self._gather(self._resampler.resample(None))

    def pcm(self) -> npt.NDArray[np.int16]:
        """Everything that came out; int16 [S, C]."""
        return np.concatenate(self._parts) if self._parts else np.empty((0, self._channels), np.int16)

    def _gather(self, frames: list[AudioFrame]) -> None:
        self._parts.extend(
            np.asarray(frame.to_ndarray(), dtype=np.int16).reshape(-1, self._channels) for frame in frames
        )


def _width(frame: AudioFrame) -> int:
    """Values of a sample in one row of the frame's array: its channels where they are interleaved."""
    return 1 if frame.format.is_planar else frame.layout.nb_channels


def _frame_like(like: AudioFrame, samples: npt.NDArray[np.generic]) -> AudioFrame:
    frame = AudioFrame.from_ndarray(np.ascontiguousarray(samples), format=like.format.name, layout=like.layout.name)
    frame.sample_rate = like.sample_rate
    frame.time_base = like.time_base
    return frame
