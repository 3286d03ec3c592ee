"""PCM to FLAC, and back without the container: any whole seconds of a file, to the bit."""

import io
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate, pairwise

import av
import numpy as np
import numpy.typing as npt
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from av.codec.context import CodecContext, Flags
from av.container import Flags as ContainerFlags

from shardkit.errors import UsageError
from shardkit.media.errors import MediaDecodeError, MuxError
from shardkit.media.packets import Coded, padded_packet

LAYOUTS = {1: "mono", 2: "stereo"}
COMPRESSION_LEVEL = "5"
BITS = 16
BLOCK_LIMITS = (16, 65535)
"""Samples of the shortest frame that the format has, the last one apart, and of the longest."""


@dataclass(frozen=True, slots=True, eq=False)
class CodedSound:
    """A FLAC file in memory, and where its seconds lie in it."""

    data: bytes
    data_offset: int
    """Place of the first frame in `data`."""
    second_bytes: tuple[int, ...]
    """Length of every second's frames, side by side from `data_offset` to the end; the last may be of less sound."""

    def seconds(self) -> list[memoryview]:
        """The frames of every second, views of `data`."""
        view = memoryview(self.data)
        ends = [self.data_offset, *(self.data_offset + end for end in accumulate(self.second_bytes))]
        return [view[start:end] for start, end in pairwise(ends)]


def encode_flac(pcm: npt.NDArray[np.int16], *, rate_hz: int, block_samples: int) -> CodedSound:
    """Encodes samples; the same samples give the same bytes.

    Args:
        pcm: int16 [S, C], mono or stereo.
        rate_hz: Sample rate.
        block_samples: Length of a frame, a divisor of the rate: seconds begin with a frame.

    Raises:
        UsageError: A wrong shape, type or length of frames.
        MuxError: FFmpeg refused, or did not cut the sound as it was told.
    """
    if pcm.dtype != np.int16 or pcm.ndim != 2 or pcm.shape[1] not in LAYOUTS or not len(pcm):
        raise UsageError(f"samples are int16 [S, 1 or 2], not {pcm.dtype} {list(pcm.shape)}")
    samples, channels = pcm.shape
    if not BLOCK_LIMITS[0] <= block_samples <= BLOCK_LIMITS[1] or rate_hz % block_samples:
        raise UsageError(f"frames of {block_samples} samples do not make up a second of {rate_hz}")
    buffer = io.BytesIO()
    try:
        # FFmpeg would leave 8 kB for tags to come.
        with av.open(buffer, "w", format="flac", options={"metadata_header_padding": "0"}) as container:
            container.flags |= ContainerFlags.bitexact.value
            stream = container.add_stream("flac", rate=rate_hz, layout=LAYOUTS[channels])
            stream.codec_context.flags |= Flags.bitexact
            stream.options = {"compression_level": COMPRESSION_LEVEL, "frame_size": str(block_samples)}
            frame = AudioFrame.from_ndarray(
                np.ascontiguousarray(pcm).reshape(1, -1), format="s16", layout=LAYOUTS[channels]
            )
            frame.sample_rate, frame.time_base, frame.pts = rate_hz, Fraction(1, rate_hz), 0
            packets = [*stream.encode(frame), *stream.encode(None)]
            # The last one is empty: it brings what the header says of the whole.
            sizes = [packet.size for packet in packets if packet.size]
            container.mux(packets)
    except av.FFmpegError as exc:
        raise MuxError(
            f"{samples} x {channels} samples at {rate_hz} Hz cannot be coded as FLAC: {exc.strerror}"
        ) from exc
    data = buffer.getvalue()
    offset = len(data) - sum(sizes)
    if len(sizes) != -(-samples // block_samples):
        raise MuxError(f"FLAC of {samples} samples in {len(sizes)} frames, expected frames of {block_samples}")
    frames_a_second = rate_hz // block_samples
    seconds = range(0, len(sizes), frames_a_second)
    return CodedSound(data, offset, tuple(sum(sizes[first : first + frames_a_second]) for first in seconds))


class FlacDecoder:
    """Decodes runs of FLAC frames, one call after the other; belongs to one thread."""

    def __init__(self, *, verify: bool = True) -> None:
        """Makes a decoder.

        Args:
            verify: Check the frames' own checksums: a third of the time. Without, damage can pass for sound; whoever
                has compared a digest needs none.
        """
        self._verify = verify
        self._context: AudioCodecContext | None = None
        self._channels = 0

    def decode(self, data: Coded, *, channels: int, samples: int) -> npt.NDArray[np.int16]:
        """Decodes frames side by side.

        Args:
            data: Whole frames, such as those of neighbouring seconds.
            channels: Of the sound.
            samples: Of each channel, that the frames hold together.

        Returns:
            int16 [S, C], to the bit what was encoded.

        Raises:
            MediaDecodeError: The frames cannot be decoded, or hold other sound than was said.
        """
        context = self._context if channels == self._channels else None
        if context is None:
            context = _open(channels, verify=self._verify)
        # After an error nothing of damaged frames must stay.
        self._context, self._channels = None, channels
        try:
            frames = context.decode(padded_packet(data))
        except av.FFmpegError as exc:
            raise MediaDecodeError(f"FLAC of {len(data):,} bytes cannot be decoded: {exc.strerror}") from exc
        # PyAV says nothing of an error behind the first frame: it gives the frames before it.
        found = sum(frame.samples for frame in frames)
        if found != samples:
            raise MediaDecodeError(
                f"FLAC of {len(data):,} bytes gives {found} samples, expected {samples}: it is damaged"
            )
        pcm = np.empty((samples, channels), np.int16)
        place = 0
        for frame in frames:
            kind = (frame.layout.nb_channels, frame.format.name)
            if kind != (channels, "s16"):
                raise MediaDecodeError(f"FLAC frame of {kind[0]} channels of {kind[1]}, expected {channels} of s16")
            block = np.frombuffer(memoryview(frame.planes[0]), np.int16, count=frame.samples * channels)
            pcm[place : place + frame.samples] = block.reshape(-1, channels)
            place += frame.samples
        self._context = context
        return pcm


def _open(channels: int, *, verify: bool) -> AudioCodecContext:
    context = CodecContext.create("flac", "r")
    context.thread_count = 1
    context.thread_type = "NONE"
    context.extradata = _stream_info(channels)
    # By default a wrong checksum is logged, and no error.
    context.options = {"err_detect": "crccheck+explode" if verify else "explode"}
    return context


def _stream_info(channels: int) -> bytes:
    """The STREAMINFO block of any file of so many channels: the frames tell the rest themselves."""
    any_rate_hz, unknown_samples = 44100, 0
    lengths = b"".join(samples.to_bytes(2, "big") for samples in BLOCK_LIMITS) + bytes(6)
    kind = any_rate_hz << 44 | (channels - 1) << 41 | (BITS - 1) << 36 | unknown_samples
    return lengths + kind.to_bytes(8, "big") + bytes(16)
