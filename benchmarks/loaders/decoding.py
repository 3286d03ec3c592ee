"""What peers decode with: as little work as each decoder needs, so that what differs is the loader."""

import io
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import decord
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from benchmarks.loaders.cases import Decoder
from benchmarks.loaders.scale import Scale

WAV_HEADER_BYTES = 44
_scratch = threading.local()


@dataclass(frozen=True, slots=True)
class ClipDecoder:
    """From a clip's members to arrays of the batch's shape."""

    scale: Scale
    decoder: Decoder

    def video(self, member: bytes) -> NDArray[np.uint8]:
        """uint8 [T, side, side, 3] of a video member."""
        if self.decoder == "decord":
            # A view: what gathers the batch copies the crop anyway.
            return centre(decord_frames(member), self.scale.side)
        out = np.empty((self.scale.frames, self.scale.side, self.scale.side, 3), dtype=np.uint8)
        turbo_frames(jpeg_packets(member), out)
        return out

    def video_into(self, member: bytes, out: NDArray[np.uint8]) -> None:
        """The same, written to `out`."""
        if self.decoder == "decord":
            out[...] = centre(decord_frames(member), self.scale.side)
        else:
            turbo_frames(jpeg_packets(member), out)

    def audio(self, member: bytes) -> NDArray[np.float32]:
        """float32 [1, S] in [-1, 1] of a WAV member."""
        pcm = np.frombuffer(member, dtype="<i2", offset=WAV_HEADER_BYTES)
        return np.multiply(pcm, np.float32(1 / 32768), dtype=np.float32)[None]

    def audio_into(self, member: bytes, out: NDArray[np.float32]) -> None:
        """The same, written to `out`."""
        pcm = np.frombuffer(member, dtype="<i2", offset=WAV_HEADER_BYTES)
        np.multiply(pcm, np.float32(1 / 32768), out=out[0], dtype=np.float32)


def centre(frames: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """The middle [..., side, side, 3] of frames [..., H, W, 3]; a view."""
    top, left = (frames.shape[-3] - side) // 2, (frames.shape[-2] - side) // 2
    return frames[..., top : top + side, left : left + side, :]


def decord_frames(member: bytes) -> NDArray[np.uint8]:
    """uint8 [T, H, W, 3]: all frames of a video file in memory."""
    reader = decord.VideoReader(io.BytesIO(member), ctx=decord.cpu(0), num_threads=1)
    return reader.get_batch(range(len(reader))).asnumpy()


def jpeg_packets(member: bytes) -> list[memoryview]:
    """The JPEG pictures that lie behind one another in a video file.

    A search for the ends is a fifth of what a demuxer costs. An end marker with a start marker behind it cannot stand
    inside a picture, where every 0xFF of data is followed by a zero.
    """
    view = memoryview(member)
    starts = [member.index(b"\xff\xd8\xff")]
    while (seam := member.find(b"\xff\xd9\xff\xd8\xff", starts[-1])) >= 0:
        starts.append(seam + 2)
    ends = [*starts[1:], member.rindex(b"\xff\xd9") + 2]
    return [view[start:end] for start, end in zip(starts, ends, strict=True)]


def turbo_frames(packets: Sequence[bytes | memoryview], out: NDArray[np.uint8]) -> None:
    """Decodes JPEG packets into `out`, uint8 [T, side, side, 3]; larger pictures are cropped to their middle."""
    height, width, _, _ = simplejpeg.decode_jpeg_header(packets[0])
    side = out.shape[1]
    if (height, width) == (side, side):
        for packet, picture in zip(packets, out, strict=True):
            simplejpeg.decode_jpeg(packet, colorspace="RGB", buffer=picture)
        return
    # One picture that stays in the cache, for each thread.
    if getattr(_scratch, "shape", None) != (height, width):
        _scratch.shape = (height, width)
        _scratch.picture = np.empty((height, width, 3), dtype=np.uint8)
        _scratch.crop = centre(_scratch.picture, side)
    for packet, picture in zip(packets, out, strict=True):
        simplejpeg.decode_jpeg(packet, colorspace="RGB", buffer=_scratch.picture)
        picture[...] = _scratch.crop


def spread(count: int, frames: int) -> list[int]:
    """Places of `frames` out of `count` frames: the middles of equal parts."""
    return [(2 * part + 1) * count // (2 * frames) for part in range(frames)]
