"""Counter-based randomness: every draw is a hash of the numbers that name it.

There is no generator whose state could drift: the i-th number of a stream depends on the stream's parts and
on i alone, so any process can compute any draw, in any order, on any NumPy version. The hash is SplitMix64
(Steele, Lea, Flood 2014; constants of Vigna's public reference code).

A single number is drawn in plain Python (`hash_int`), an array of them in NumPy (`counter_hash`); both agree.
"""

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

__all__ = ["MASK_64", "Domain", "counter_hash", "hash_int", "splitmix64", "uniform", "uniform_pair"]

MASK_64 = (1 << 64) - 1
_GAMMA = 0x9E3779B97F4A7C15
_MIX_1 = 0xBF58476D1CE4E5B9
_MIX_2 = 0x94D049BB133111EB


class Domain(IntEnum):
    """What a draw is for; part of its hash, so that no two uses share a stream.

    The numbers are part of the order version: a new use gets a new number.
    """

    SHARDS = 1
    CLIPS = 2
    WINDOW = 3
    CROP = 4
    PACKING = 5
    FRAMES = 6
    FLIP = 7
    DRAW = 8
    SEGMENTS = 9


def splitmix64(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The first output of SplitMix64 seeded with each `x`: a bijection of 64-bit numbers.

    The generator's k-th further output is the first one at x + k·0x9E3779B97F4A7C15.
    """
    # Unsigned arrays wrap silently, but NumPy warns where an array of no dimensions turns into a scalar.
    with np.errstate(over="ignore"):
        z = x + np.uint64(_GAMMA)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(_MIX_1)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(_MIX_2)
        mixed: NDArray[np.uint64] = z ^ (z >> np.uint64(31))
    return mixed


def counter_hash(*parts: int, counters: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """64 random bits for each counter in the stream that `parts` names.

    Different counters of one stream never collide: the hash is a bijection of the counter.

    Args:
        parts: What names the stream, such as (seed, epoch, domain, window); taken modulo 2**64.
        counters: uint64, any shape.
    """
    with np.errstate(over="ignore"):
        points = counters * np.uint64(_GAMMA) + np.uint64(_stream_key(parts))
    return splitmix64(points)


def hash_int(*parts: int, counter: int = 0) -> int:
    """The number of `counter_hash` for one counter, in about two microseconds instead of twenty."""
    return _mix(_stream_key(parts) + counter * _GAMMA)


def uniform(*parts: int, counter: int = 0) -> float:
    """A number in [0, 1): the top 53 bits of `hash_int`."""
    return (hash_int(*parts, counter=counter) >> 11) * 2.0**-53


def uniform_pair(*parts: int, counter: int = 0) -> tuple[float, float]:
    """Two numbers in [0, 1): the upper and the lower 32 bits of `hash_int`."""
    drawn = hash_int(*parts, counter=counter)
    return (drawn >> 32) * 2.0**-32, (drawn & 0xFFFFFFFF) * 2.0**-32


def _stream_key(parts: tuple[int, ...]) -> int:
    """Where a stream starts. The number of parts goes in first: (1,) and (1, 0) are different streams."""
    key = len(parts)
    for part in parts:
        key = _mix(key ^ (part & MASK_64))
    return key


def _mix(x: int) -> int:
    """`splitmix64` of one Python integer."""
    z = (x + _GAMMA) & MASK_64
    z = ((z ^ (z >> 30)) * _MIX_1) & MASK_64
    z = ((z ^ (z >> 27)) * _MIX_2) & MASK_64
    return z ^ (z >> 31)
