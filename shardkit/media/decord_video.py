"""Frames of a small packed video, decoded by decord.

decord's AudioReader is not used anywhere: it needs a file, resamples by itself and crashes on files without
sound.
"""

import io
from collections.abc import Sequence

import decord
import numpy as np
import numpy.typing as npt

from shardkit.errors import UsageError
from shardkit.media.errors import MediaDecodeError


def decode_video(data: bytes | memoryview, indices: Sequence[int], *, out: npt.NDArray[np.uint8]) -> None:
    """Decodes frames of a video file in memory.

    Check the bytes first: decord can crash on corrupted ones.

    Args:
        data: The video file.
        indices: Places of the frames in the video, [T].
        out: uint8 [T, H, W, 3], filled in the order of `indices`.

    Raises:
        UsageError: `out` has no room for as many frames.
        MediaDecodeError: The video cannot be opened or decoded, has no such frame, or is of another size.
    """
    if out.dtype != np.uint8 or out.ndim != 4 or out.shape[3] != 3 or len(out) != len(indices):
        raise UsageError(f"out is {out.dtype} {list(out.shape)}, expected uint8 [{len(indices)}, H, W, 3]")
    if len(indices) == 0:
        return
    try:
        reader = decord.VideoReader(io.BytesIO(data), ctx=decord.cpu(0), num_threads=1)
        count = len(reader)
    except (decord.DECORDError, RuntimeError) as exc:
        raise MediaDecodeError(f"video of {len(data):,} bytes cannot be opened by decord: {_first_line(exc)}") from exc
    if min(indices) < 0 or max(indices) >= count:
        raise MediaDecodeError(f"frames {min(indices)} to {max(indices)} were asked for, the video has {count}")
    try:
        frames = reader.get_batch(list(indices)).asnumpy()
    except (decord.DECORDError, RuntimeError) as exc:
        # Its own check of sizes fails at widths of 48, 96 and 144 pixels, for instance.
        raise MediaDecodeError(
            f"video of {len(data):,} bytes cannot be decoded: {_first_line(exc)}; decord does not read frames of every "
            "width, decoder='auto' does",
        ) from exc
    if frames.shape != out.shape:
        raise MediaDecodeError(
            f"video is {frames.shape[2]}x{frames.shape[1]}, expected {out.shape[2]}x{out.shape[1]}: "
            "the index is another data set's",
        )
    out[...] = frames


def _first_line(exc: Exception) -> str:
    """Cuts off the C++ stack that decord appends to its messages."""
    return str(exc).strip().split("\n", 1)[0]
