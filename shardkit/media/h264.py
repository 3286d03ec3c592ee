"""Frames to H.264 in an MP4, and back without the container.

Every `keyint`-th packet is a keyframe that carries its own parameter sets, and no frame refers across one; so any run
of packets from a keyframe on can be decoded alone.
"""

from collections.abc import Sequence
from fractions import Fraction

import av
import numpy as np
import numpy.typing as npt
from av.codec.context import CodecContext, Flags
from av.container import OutputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter
from av.video.stream import VideoStream

from shardkit.errors import UsageError
from shardkit.media.errors import MediaDecodeError, MuxError
from shardkit.media.frame_shapes import frame_shape
from shardkit.media.mux import MuxedVideo, mux_coded
from shardkit.media.packets import Coded, padded_packet

# psnr: networks look at the frames, not eyes: no bits for what only seems sharp. fastdecode: without CABAC and
# deblocking, decoding takes two thirds of the time, for 12 % more bytes.
TUNE = "psnr,fastdecode"
# Colour is halved both ways already; a finer quantiser for it gains more than one for all.
CHROMA_QP_OFFSET = -3
PARAMETERS = {
    "annexb": 0,  # lengths before the units, as in MP4: packets are stored as they are coded
    "repeat-headers": 1,
    "scenecut": 0,
    "bframes": 0,
    "open-gop": 0,
    "chroma-qp-offset": CHROMA_QP_OFFSET,
    # The same bytes on every machine, in the same time; with AVX-512, mbtree even reads what lay in the memory before.
    "cpu-independent": 1,
}
SMPTE_170M = 6
"""BT.601's number as primaries, transfer and matrix in a stream: what decoders assume of small pictures anyway."""
FRAME_RATE = 25
"""What the encoder is told: sampled frames lie at any distance, and their bytes must not depend on it."""
SEI = 6
"""Type of the units that hold the encoder's name and settings: 1.2 kB a clip that no decoder needs."""

# libswscale's; PyAV names them from 18 on.
SWS_ACCURATE_RND, SWS_BITEXACT = 0x40000, 0x80000
TO_YUV = int(Interpolation.BILINEAR) | SWS_ACCURATE_RND | SWS_BITEXACT
# The converter that decord takes too: it repeats the halved colour instead of interpolating it. That would be 2 dB
# closer to the source, and decoding would take 2.7 times as long.
TO_RGB = int(Interpolation.BILINEAR) | SWS_BITEXACT

LENGTH_BYTES = 4
LENGTH_PREFIXED = bytes([1, 100, 0, 10, 0xFC | (LENGTH_BYTES - 1), 0xE0, 0])
"""An `avcC` box that says how long the lengths are, and holds no parameter sets: the keyframes do."""


def encode_h264(
    rgb: npt.NDArray[np.uint8], times_s: Sequence[float] | npt.NDArray[np.float64], *, crf: int, keyint: int
) -> MuxedVideo:
    """Encodes frames as the one stream of an MP4; the same frames and times give the same bytes.

    Args:
        rgb: uint8 [T, H, W, 3], H and W even.
        times_s: Container timestamps, [T]: the first 0, strictly increasing.
        crf: x264's constant rate factor, 1 (best) to 51.
        keyint: Every so many frames one is a keyframe, from the first on.

    Raises:
        UsageError: A wrong shape, type, time or factor.
        MuxError: FFmpeg refused.
    """
    count, height, width = frame_shape(rgb)
    if height % 2 or width % 2:
        raise UsageError(f"frames are {width}x{height}: H.264 halves the colour, so both sides are even")
    if not 1 <= crf <= 51:
        raise UsageError(f"crf {crf} is not within 1 to 51")
    if keyint < 1:
        raise UsageError(f"keyint {keyint} is not positive")

    def coded(container: OutputContainer) -> tuple[VideoStream, list[bytes]]:
        try:
            stream = container.add_stream("libx264", rate=FRAME_RATE)
        except ValueError as exc:
            raise MuxError(f"this build of FFmpeg has no libx264 ({exc}); install PyAV's wheel") from exc
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        context = stream.codec_context
        context.time_base = Fraction(1, FRAME_RATE)
        # Another number of threads gives other bytes.
        context.thread_count = 1
        context.flags |= Flags.bitexact | Flags.closed_gop
        context.color_range = ColorRange.MPEG
        context.colorspace = context.color_primaries = context.color_trc = SMPTE_170M
        parameters = PARAMETERS | {"keyint": keyint, "min-keyint": keyint}
        stream.options = {
            "preset": "medium",
            "tune": TUNE,
            "crf": str(crf),
            "x264-params": ":".join(f"{name}={value}" for name, value in parameters.items()),
        }
        reformatter = VideoReformatter()
        packets = []
        for place, picture in enumerate(rgb):
            packets += stream.encode(_to_yuv(reformatter, picture, place))
        packets += stream.encode(None)
        if [packet.is_keyframe for packet in packets] != [place % keyint == 0 for place in range(count)]:
            raise MuxError(f"x264 placed keyframes elsewhere than at every {keyint}th of {count} frames")
        return stream, [_without_sei(bytes(packet)) for packet in packets]

    return mux_coded(times_s, coded, what=f"{count} H.264 frames of {width}x{height}", keyint=keyint)


def _to_yuv(reformatter: VideoReformatter, picture: npt.NDArray[np.uint8], place: int) -> VideoFrame:
    frame = reformatter.reformat(
        VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24"),
        format="yuv420p",
        dst_colorspace=Colorspace.ITU601,
        dst_color_range=ColorRange.MPEG,
        interpolation=TO_YUV,
        threads=1,
    )
    frame.pts, frame.time_base = place, Fraction(1, FRAME_RATE)
    return frame


def _without_sei(packet: bytes) -> bytes:
    kept, place = [], 0
    while place < len(packet):
        end = place + LENGTH_BYTES + int.from_bytes(packet[place : place + LENGTH_BYTES], "big")
        if packet[place + LENGTH_BYTES] & 31 != SEI:
            kept.append(packet[place:end])
        place = end
    return b"".join(kept)


class H264Decoder:
    """Decodes runs of packets, one call after the other; belongs to one thread.

    Frames come out one by one as their packets go in, since none refers to a later one.
    """

    def __init__(self) -> None:
        self._context: VideoCodecContext | None = None
        # One for all frames: its tables cost more than a picture.
        self._reformatter = VideoReformatter()

    def decode(self, packets: Sequence[Coded], wanted: Sequence[bool], *, out: npt.NDArray[np.uint8]) -> None:
        """Decodes the wanted frames.

        Args:
            packets: Frames side by side from a keyframe on; another run may follow, from its keyframe on.
            wanted: Of each packet, whether its frame is wanted, or only needed by later ones.
            out: uint8 [T, H, W, 3]: the wanted frames, in their order.

        Raises:
            UsageError: `out` has no room for as many frames.
            MediaDecodeError: A packet cannot be decoded, gives no frame, or one of another size. `out` may have been
                written to.
        """
        count = sum(wanted)
        if out.dtype != np.uint8 or out.ndim != 4 or out.shape[3] != 3 or len(out) != count:
            raise UsageError(f"out is {out.dtype} {list(out.shape)}, expected uint8 [{count}, H, W, 3]")
        if len(packets) != len(wanted):
            raise UsageError(f"{len(packets)} packets, but {len(wanted)} say whether they are wanted")
        context = self._context or _open()
        # After an error nothing of a damaged clip must stay, not even its parameter sets.
        self._context = None
        context.flush_buffers()
        places = iter(out)
        for place, (packet, is_wanted) in enumerate(zip(packets, wanted, strict=True)):
            try:
                frames = context.decode(padded_packet(packet))
                if len(frames) != 1:
                    raise MediaDecodeError(
                        f"H.264 packet {place} of {len(packets)} gave {len(frames)} frames, expected 1: it is damaged, "
                        "or the first one is no keyframe"
                    )
                if is_wanted:
                    self._convert(frames[0], next(places))
            except av.FFmpegError as exc:
                raise MediaDecodeError(
                    f"H.264 packet {place} of {len(packets)} ({len(packet):,} bytes) cannot be decoded: {exc.strerror}"
                ) from exc
        self._context = context

    def _convert(self, frame: VideoFrame, out: npt.NDArray[np.uint8]) -> None:
        height, width = out.shape[:2]
        if (frame.height, frame.width) != (height, width):
            raise MediaDecodeError(
                f"H.264 frame is {frame.width}x{frame.height}, expected {width}x{height}: "
                "it does not belong to this video, or the index is another data set's"
            )
        plane = self._reformatter.reformat(frame, format="rgb24", interpolation=TO_RGB, threads=1).planes[0]
        rows = np.frombuffer(memoryview(plane), np.uint8, count=height * plane.line_size).reshape(
            height, plane.line_size
        )
        out[...] = rows[:, : 3 * width].reshape(height, width, 3)


def _open() -> VideoCodecContext:
    context = CodecContext.create("h264", "r")
    # Workers are the parallelism; frame threads would also hold frames back.
    context.thread_count = 1
    context.thread_type = "NONE"
    context.extradata = LENGTH_PREFIXED
    # Otherwise what is lost is painted over, without a word.
    context.options = {"err_detect": "bitstream+buffer+explode"}
    return context
