"""geometry: display size, orientation, scaling and cropping as arithmetic."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardkit.errors import UsageError
from shardkit.media.geometry import UPRIGHT, Orientation, orient, orientation_from_matrix, plan_frames

ONE = 1 << 16
PICTURE = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)


def matrix(a, b, c, d):
    """A display matrix without translation."""
    return [a * ONE, b * ONE, 0, c * ONE, d * ONE, 0, 0, 0, 1 << 30]


@pytest.mark.parametrize(
    ("numbers", "upright"),
    [
        ((1, 0, 0, 1), lambda p: p),
        ((0, 1, -1, 0), lambda p: np.rot90(p, -1)),
        ((-1, 0, 0, -1), lambda p: np.rot90(p, 2)),
        ((0, -1, 1, 0), lambda p: np.rot90(p, 1)),
        ((-1, 0, 0, 1), lambda p: p[:, ::-1]),
        ((1, 0, 0, -1), lambda p: p[::-1]),
        ((0, 1, 1, 0), lambda p: p.transpose(1, 0, 2)),
        ((0, -1, -1, 0), lambda p: np.rot90(p, 2).transpose(1, 0, 2)),
        ((0, 0, 0, 0), lambda p: p),
    ],
)
def test_matrix_maps_pixels_where_it_says(numbers, upright):
    """The eight display matrices of quarter turns and reflections, and one of zeros, as ffmpeg shows them."""
    orientation = orientation_from_matrix(matrix(*numbers))
    assert np.array_equal(orient(PICTURE, orientation), upright(PICTURE))


def test_matrix_between_quarter_turns_is_left_alone():
    """A turn by 30 degrees shows the picture as it is stored."""
    c, s = round(0.866 * ONE), round(0.5 * ONE)
    assert orientation_from_matrix([c, s, 0, -s, c, 0, 0, 0, 1 << 30]) == UPRIGHT


def test_wide_pixels_widen_the_picture():
    """Pixel aspect 16:11 makes 352 x 288 into a picture of 4:3 and more."""
    plan = plan_frames(352, 288, pixel_aspect=Fraction(16, 11), orientation=UPRIGHT, size=None, fit="short")
    assert (plan.width, plan.height) == (512, 288)


def test_square_pixels_keep_an_odd_size():
    """Without a size and with square pixels nothing is rounded."""
    plan = plan_frames(161, 121, pixel_aspect=Fraction(1), orientation=UPRIGHT, size=None, fit="short")
    assert (plan.width, plan.height) == (161, 121)


def test_quarter_turn_swaps_the_sides():
    """A stored landscape picture that is turned has its short side across."""
    turned = Orientation(transpose=True)
    plan = plan_frames(1280, 720, pixel_aspect=Fraction(1), orientation=turned, size=256, fit="short")
    assert (plan.width, plan.height, plan.scaled_width, plan.scaled_height) == (256, 456, 456, 256)


@given(
    width=st.integers(1, 4000),
    height=st.integers(1, 4000),
    aspect=st.fractions(Fraction(1, 3), Fraction(3)),
    turned=st.booleans(),
    size=st.integers(1, 600),
    fit=st.sampled_from(["short", "square"]),
)
def test_plans_give_the_size_asked_for(*, width, height, aspect, turned, size, fit):
    """Whatever the source: the short side is `size`, the long side even or equal, a crop lies inside."""
    turn = Orientation(transpose=turned)
    plan = plan_frames(width, height, pixel_aspect=aspect, orientation=turn, size=size, fit=fit)
    assert min(plan.width, plan.height) == size
    long = max(plan.width, plan.height)
    assert long == size if fit == "square" else (long % 2 == 0 or long == size)
    upright = (plan.scaled_height, plan.scaled_width) if turned else (plan.scaled_width, plan.scaled_height)
    assert 0 <= plan.crop_left <= upright[0] - plan.width
    assert 0 <= plan.crop_top <= upright[1] - plan.height


@pytest.mark.parametrize(("size", "fit"), [(0, "short"), (-3, "square"), (None, "square"), (64, "wide")])
def test_impossible_sizes_are_the_callers_fault(size, fit):
    """A size that is not positive, a square of no size and an unknown fit raise UsageError."""
    with pytest.raises(UsageError):
        plan_frames(10, 10, pixel_aspect=Fraction(1), orientation=UPRIGHT, size=size, fit=fit)
