"""Coded frames into a small MP4 or MOV that every video library reads, packet by packet as they are."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import av
import numpy as np
import numpy.typing as npt
from av.container import Flags, OutputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from shardkit.errors import UsageError
from shardkit.media.errors import MuxError

TICKS_PER_SECOND = 90_000
"""MPEG's usual clock: 11 µs a tick, and 13 hours fit into 32 bits."""
TICK = Fraction(1, TICKS_PER_SECOND)
LONE_FRAME_S = 1.0
"""Duration of the frame of a one-frame video, which no neighbour tells."""


Coder = Callable[[OutputContainer], tuple[VideoStream, Sequence[bytes]]]
"""Adds a stream to a container, and gives it with its packets."""


@dataclass(frozen=True, slots=True, eq=False)
class MuxedVideo:
    """A video file in memory, and where its packets lie in it."""

    data: bytes
    packet_offset: npt.NDArray[np.int64]
    """int64 [T]: place of the first byte of every packet in `data`."""
    packet_bytes: npt.NDArray[np.int64]
    """int64 [T]: length of every packet."""

    def packets(self) -> list[memoryview]:
        """The packets, views of `data`."""
        view = memoryview(self.data)
        places = zip(self.packet_offset.tolist(), self.packet_bytes.tolist(), strict=True)
        return [view[offset : offset + length] for offset, length in places]


def mux_mjpeg(
    packets: Sequence[bytes],
    times_s: Sequence[float] | npt.NDArray[np.float64],
    *,
    width: int,
    height: int,
) -> MuxedVideo:
    """Writes JPEG packets as the one stream of an MP4; the same packets and times give the same bytes.

    Args:
        packets: One JPEG a frame.
        times_s: Container timestamps: the first 0, strictly increasing. Equal ones make FFmpeg refuse the
            file, and decord return neighbours.
        width: Width of the pictures.
        height: Height of the pictures.

    Raises:
        UsageError: No packets, or as many packets as times is not the case, or the times are not as they must
            be.
        MuxError: FFmpeg refused, or did not write the packets as they are.
    """

    def coded(container: OutputContainer) -> tuple[VideoStream, Sequence[bytes]]:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuvj420p"
        return stream, packets

    if not packets:
        raise UsageError("no packets: a video has one frame or more")
    return mux_coded(times_s, coded, what=f"{len(packets)} JPEG packets of {width}x{height}")


def mux_coded(
    times_s: Sequence[float] | npt.NDArray[np.float64],
    coded: Coder,
    *,
    what: str,
    format: Literal["mp4", "mov"] = "mp4",
    keyint: int = 1,
) -> MuxedVideo:
    """Writes a video of one stream; the same packets and times give the same bytes.

    Args:
        times_s: Container timestamps, one a packet: the first 0, strictly increasing.
        coded: Makes the packets. Its encoder lives in the container's stream, as FFmpeg wants it.
        what: What is muxed, for messages.
        format: The container's.
        keyint: Every so many packets one is a keyframe, from the first on.

    Raises:
        UsageError: The times are not as they must be.
        MuxError: FFmpeg refused, or did not write the packets as they are.
    """
    ticks = _ticks(times_s)
    buffer = io.BytesIO()
    try:
        packets = _write(buffer, format, coded, ticks, keyint)
    except av.FFmpegError as exc:
        raise MuxError(f"{what} cannot be muxed: {exc.strerror}") from exc
    data = buffer.getvalue()
    lengths = np.array([len(packet) for packet in packets], np.int64)
    # One stream: its packets stand side by side, in order.
    offsets = _payload_start(data) + np.concatenate(([0], np.cumsum(lengths[:-1])))
    view = memoryview(data)
    for place, (packet, offset) in enumerate(zip(packets, offsets.tolist(), strict=True)):
        if view[offset : offset + len(packet)] != packet:
            raise MuxError(f"{what}: packet {place} does not stand at byte {offset:,} of the video as it was given")
    return MuxedVideo(data=data, packet_offset=offsets, packet_bytes=lengths)


def _ticks(times_s: Sequence[float] | npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    times = np.asarray(times_s, dtype=np.float64)
    if times.ndim != 1 or not len(times):
        raise UsageError(f"times of shape {list(times.shape)}: one time a frame is needed")
    if not np.isfinite(times).all() or times[0] != 0:
        raise UsageError(f"container timestamps start at 0 and are finite; the first is {times[0]}")
    ticks = np.rint(times * TICKS_PER_SECOND).astype(np.int64)
    if (np.diff(ticks) <= 0).any():
        place = int(np.argmax(np.diff(ticks) <= 0)) + 1
        raise UsageError(
            f"container timestamp {place} ({times[place]} s) is not after the one before "
            f"({times[place - 1]} s) by a tick of 1/{TICKS_PER_SECOND} s or more",
        )
    return ticks


def _write(
    buffer: io.BytesIO,
    format: Literal["mp4", "mov"],
    coded: Coder,
    ticks: npt.NDArray[np.int64],
    keyint: int,
) -> Sequence[bytes]:
    last_duration = int(ticks[-1] - ticks[-2]) if len(ticks) > 1 else round(LONE_FRAME_S * TICKS_PER_SECOND)
    durations = [*np.diff(ticks).tolist(), last_duration]
    with av.open(buffer, "w", format=format) as container:
        # Without it the muxer writes its version and the time of day.
        container.flags |= Flags.bitexact.value
        stream, packets = coded(container)
        if len(packets) != len(ticks):
            raise UsageError(f"{len(packets)} packets and {len(ticks)} times: one time a packet is needed")
        stream.time_base = TICK
        if not stream.codec_context.is_open:
            stream.codec_context.time_base = TICK
        for place, (data, tick, duration) in enumerate(zip(packets, ticks.tolist(), durations, strict=True)):
            packet: Packet[VideoStream] = Packet(data)  # type: ignore[assignment]
            packet.stream = stream
            packet.time_base = TICK
            packet.pts = packet.dts = tick
            packet.duration = duration
            packet.is_keyframe = place % keyint == 0
            container.mux_one(packet)
    return packets


def _payload_start(data: bytes) -> int:
    """Place of the first byte inside the file's `mdat` box."""
    place = 0
    while place + 8 <= len(data):
        size, kind = int.from_bytes(data[place : place + 4], "big"), data[place + 4 : place + 8]
        header = 8
        if size == 1:  # a 64-bit size follows
            size, header = int.from_bytes(data[place + 8 : place + 16], "big"), 16
        if kind == b"mdat":
            return place + header
        if size < header:
            break
        place += size
    raise MuxError("the muxed video has no mdat box")
