"""Frames as they are: RGB pixels in a MOV, whose packets a loader reads straight to where they are wanted."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from av.container import OutputContainer
from av.video.stream import VideoStream

from shardkit.errors import UsageError
from shardkit.media.errors import MediaDecodeError
from shardkit.media.frame_shapes import frame_shape
from shardkit.media.mux import MuxedVideo, mux_coded
from shardkit.media.packets import Coded


def mux_raw(rgb: npt.NDArray[np.uint8], times_s: Sequence[float] | npt.NDArray[np.float64]) -> MuxedVideo:
    """Writes frames as the one stream of a MOV; every packet is a frame's pixels, row by row.

    Args:
        rgb: uint8 [T, H, W, 3], W even: QuickTime pads the rows of odd ones.
        times_s: Container timestamps, [T]: the first 0, strictly increasing.

    Raises:
        UsageError: A wrong shape, type or time.
        MuxError: FFmpeg refused, or did not write the pixels as they are.
    """
    count, height, width = frame_shape(rgb)
    if width % 2:
        raise UsageError(f"frames are {width} wide: QuickTime pads the rows of odd widths; cut a column off")

    def coded(container: OutputContainer) -> tuple[VideoStream, list[bytes]]:
        stream = container.add_stream("rawvideo", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "rgb24"
        return stream, [frame.tobytes() for frame in rgb]

    return mux_coded(times_s, coded, what=f"{count} raw frames of {width}x{height}", format="mov")


def decode_raw(packets: Sequence[Coded], *, out: npt.NDArray[np.uint8]) -> None:
    """Copies the pixels of packets.

    Args:
        packets: One a frame.
        out: uint8 [T, H, W, 3].

    Raises:
        MediaDecodeError: There are not as many packets, or one is of another size.
    """
    if len(packets) != len(out):
        raise MediaDecodeError(f"{len(packets)} raw frames, expected {len(out)}; the index is another data set's")
    for packet, frame in zip(packets, out, strict=True):
        if len(packet) != frame.size:
            raise MediaDecodeError(
                f"raw frame of {len(packet):,} bytes, expected {frame.shape[1]}x{frame.shape[0]}x3 = {frame.size:,}: "
                "it does not belong to this video, or the index is another data set's"
            )
        frame[...] = np.frombuffer(packet, np.uint8).reshape(frame.shape)
