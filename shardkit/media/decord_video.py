"""Frames of a small packed video, decoded by decord.

decord's AudioReader is not used anywhere: it needs a file, resamples by itself and crashes on files without
sound.
"""

import io
import itertools
from collections.abc import Sequence
from typing import Any

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
        indices: Places of the frames in the video, [T], each after the one before.
        out: uint8 [T, H, W, 3], filled in the order of `indices`.

    Raises:
        UsageError: `out` has no room for as many frames, or the places do not ascend.
        MediaDecodeError: The video cannot be opened or decoded, has no such frame, or is of another size.
    """
    if out.dtype != np.uint8 or out.ndim != 4 or out.shape[3] != 3 or len(out) != len(indices):
        raise UsageError(f"out is {out.dtype} {list(out.shape)}, expected uint8 [{len(indices)}, H, W, 3]")
    if any(after <= before for before, after in itertools.pairwise(indices)):
        raise UsageError(f"frames {list(indices)} do not ascend")
    if len(indices) == 0:
        return
    try:
        reader = decord.VideoReader(io.BytesIO(data), ctx=decord.cpu(0), num_threads=1)
        count = len(reader)
    except (decord.DECORDError, RuntimeError) as exc:
        raise MediaDecodeError(f"video of {len(data):,} bytes cannot be opened by decord: {_first_line(exc)}") from exc
    if indices[0] < 0 or indices[-1] >= count:
        raise MediaDecodeError(f"frames {indices[0]} to {indices[-1]} were asked for, the video has {count}")
    following = 0
    try:
        # One after the other, each copied while it is in the cache: an eighth less than get_batch and its copy, and a
        # quarter less where frames are left out.
        for place, index in zip(out, indices, strict=True):
            if index > following:
                reader.skip_frames(index - following)
            frame = np.from_dlpack(_Exported(reader.next()))
            height, width = place.shape[:2]
            if frame.shape[:2] != (height, width):
                raise MediaDecodeError(
                    f"video is {frame.shape[1]}x{frame.shape[0]}, expected {width}x{height}: "
                    "the index is another data set's",
                )
            # FFmpeg pads rows to the CPU's vectors. Where a padded row is a multiple of the width (48, 96 and 144
            # pixels with AVX-512), decord takes the padding for further channels of the frame.
            place[...] = frame.reshape(height, -1)[:, : 3 * width].reshape(place.shape)
            following = index + 1
    except StopIteration as exc:
        raise MediaDecodeError(f"video of {len(data):,} bytes ends before frame {following} of {count}") from exc
    except (decord.DECORDError, RuntimeError) as exc:
        raise MediaDecodeError(f"video of {len(data):,} bytes cannot be decoded by decord: {_first_line(exc)}") from exc


class _Exported:
    """A decord array in the words of the array API, so that NumPy looks at its memory; decord's own way copies it."""

    def __init__(self, array: Any) -> None:
        self._array = array

    def __dlpack__(self, **_: Any) -> Any:
        return self._array.to_dlpack()

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0  # memory of the CPU


def _first_line(exc: Exception) -> str:
    """Cuts off the C++ stack that decord appends to its messages."""
    return str(exc).strip().split("\n", 1)[0]
