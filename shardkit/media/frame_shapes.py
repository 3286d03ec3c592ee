"""What encoders of videos take: RGB frames in one array."""

import numpy as np
import numpy.typing as npt

from shardkit.errors import UsageError


def frame_shape(rgb: npt.NDArray[np.uint8]) -> tuple[int, int, int]:
    """(T, H, W) of frames.

    Args:
        rgb: uint8 [T, H, W, 3].

    Raises:
        UsageError: They have another shape or type, or there are none.
    """
    if rgb.dtype != np.uint8 or rgb.ndim != 4 or rgb.shape[3] != 3 or rgb.size == 0:
        raise UsageError(f"frames are uint8 [T, H, W, 3], not {rgb.dtype} {list(rgb.shape)}")
    return rgb.shape[0], rgb.shape[1], rgb.shape[2]
