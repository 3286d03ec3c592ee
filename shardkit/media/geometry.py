"""From stored pictures to shown ones: pixel aspect, display matrix, scaling and cropping, as arithmetic.

A frame is scaled first, in the orientation in which it is stored, then turned, then cropped: turning the
small picture is cheap, and FFmpeg's scaler cannot turn.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
import numpy.typing as npt

from shardkit.errors import UsageError

Fit = Literal["short", "square"]
FITS: tuple[Fit, ...] = ("short", "square")


@dataclass(frozen=True, slots=True)
class Orientation:
    """How a stored picture becomes upright: transpose it, then mirror it."""

    transpose: bool = False
    """Swap rows and columns, first."""
    mirror_x: bool = False
    """Swap left and right."""
    mirror_y: bool = False
    """Swap top and bottom."""


UPRIGHT = Orientation()


@dataclass(frozen=True, slots=True)
class FramePlan:
    """What is done to every frame of a stream."""

    scaled_width: int
    """Size to scale the stored picture to, in stored orientation."""
    scaled_height: int
    orientation: Orientation
    crop_top: int
    """First row to keep of the upright picture."""
    crop_left: int
    width: int
    """Size of the result."""
    height: int

    def finish(self, scaled: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """The upright, cropped view [height, width, 3] of a scaled picture [H, W, 3]."""
        upright = orient(scaled, self.orientation)
        return upright[self.crop_top : self.crop_top + self.height, self.crop_left : self.crop_left + self.width]


def orientation_from_matrix(matrix: Sequence[int] | npt.NDArray[np.int32]) -> Orientation:
    """Reads a 3 by 3 display matrix (16.16 fixed point, row by row) as FFmpeg's autorotate does.

    The angle decides between the four quarter turns, the signs of the matrix tell reflections. An angle
    between quarter turns leaves the picture as it is stored: turning it would need a frame to turn it in.
    """
    a, b, c, d = (float(matrix[place]) for place in (0, 1, 3, 4))
    if math.hypot(a, c) == 0 or math.hypot(b, d) == 0:
        return UPRIGHT
    # av_display_rotation_get: atan2 of the columns' unit vectors; fftools rounds and wraps it.
    angle = round(math.degrees(math.atan2(b / math.hypot(b, d), a / math.hypot(a, c)))) % 360
    if abs(angle - 90) < 1:
        # transpose=cclock_flip is the plain transpose, transpose=clock a quarter turn to the right.
        return Orientation(transpose=True) if c > 0 else Orientation(transpose=True, mirror_x=True)
    if abs(angle - 180) < 1:
        return Orientation(mirror_x=a < 0, mirror_y=d < 0)
    if abs(angle - 270) < 1:
        # transpose=clock_flip mirrors at the other diagonal, transpose=cclock is a quarter turn to the left.
        return Orientation(transpose=True, mirror_x=c < 0, mirror_y=True)
    return Orientation(mirror_y=d < 0) if angle == 0 else UPRIGHT


def orient(picture: npt.NDArray[np.uint8], orientation: Orientation) -> npt.NDArray[np.uint8]:
    """The upright view of a picture [H, W, 3]; no pixel is copied."""
    if orientation.transpose:
        picture = picture.transpose(1, 0, 2)
    if orientation.mirror_x:
        picture = picture[:, ::-1]
    if orientation.mirror_y:
        picture = picture[::-1]
    return picture


def display_size(width: int, height: int, pixel_aspect: Fraction) -> tuple[int, int]:
    """Size at which stored pictures are shown; the width is made even where pixels are not square."""
    if pixel_aspect <= 0 or pixel_aspect == 1:
        return width, height
    return round_even(width * pixel_aspect), height


def plan_frames(
    width: int,
    height: int,
    *,
    pixel_aspect: Fraction,
    orientation: Orientation,
    size: int | None,
    fit: Fit,
) -> FramePlan:
    """Works out how stored pictures of `width` x `height` become what was asked for.

    Args:
        width: Width of the stored picture.
        height: Height of the stored picture.
        pixel_aspect: Width of a stored pixel divided by its height; 0 where unknown.
        orientation: How the stored picture becomes upright.
        size: Length of the short side; None keeps the display size. Small pictures are enlarged.
        fit: `short` keeps the aspect (the long side is rounded to even), `square` keeps the centre, size x
            size.

    Raises:
        UsageError: `size` is not positive, or `fit` is unknown, or asks for a square of no size.
    """
    check_fit(size, fit)
    if size is None:
        scaled_width, scaled_height = display_size(width, height, pixel_aspect)
    else:
        # The unrounded display width: rounding twice could miss the aspect by a column.
        shown_width = width * (pixel_aspect if pixel_aspect > 0 else Fraction(1))
        if shown_width <= height:
            scaled_width, scaled_height = size, max(size, round_even(size * height / shown_width))
        else:
            scaled_width, scaled_height = max(size, round_even(size * shown_width / height)), size

    upright = (scaled_height, scaled_width) if orientation.transpose else (scaled_width, scaled_height)
    out_width, out_height = (size, size) if size is not None and fit == "square" else upright
    return FramePlan(
        scaled_width=scaled_width,
        scaled_height=scaled_height,
        orientation=orientation,
        crop_top=(upright[1] - out_height) // 2,
        crop_left=(upright[0] - out_width) // 2,
        width=out_width,
        height=out_height,
    )


def check_fit(size: int | None, fit: Fit) -> None:
    """Raises UsageError for a size or a fit that no frame can have."""
    if fit not in FITS:
        raise UsageError(f"fit {fit!r} is not one of {', '.join(FITS)}")
    if size is not None and size <= 0:
        raise UsageError(f"size {size} is not positive")
    if size is None and fit == "square":
        raise UsageError("fit 'square' needs a size")


def round_even(length: Fraction | float) -> int:
    """The even number nearest to a length, at least 2."""
    return max(2, 2 * round(length / 2))
