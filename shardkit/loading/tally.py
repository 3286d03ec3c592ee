"""Tally: what a worker has done, and how long each stage took it."""

from dataclasses import astuple, dataclass, fields

import numpy as np
import numpy.typing as npt


@dataclass(slots=True)
class Tally:
    """Sums since the worker started; nanoseconds are of the clock on the wall."""

    clips: int = 0
    read_bytes: int = 0
    read_ns: int = 0
    check_ns: int = 0
    decode_ns: int = 0
    audio_ns: int = 0
    busy_ns: int = 0
    """From taking a run of clips to reporting it: the stages above, and what lies between them."""

    def write(self, out: npt.NDArray[np.int64]) -> None:
        """Writes the sums to shared memory: int64 [TALLY_ITEMS]."""
        out[:] = astuple(self)

    @classmethod
    def read(cls, items: npt.NDArray[np.int64]) -> "Tally":
        """The inverse of `write`."""
        return cls(*items.tolist())

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(*(mine + its for mine, its in zip(astuple(self), astuple(other), strict=True)))

    def __sub__(self, other: "Tally") -> "Tally":
        return Tally(*(mine - its for mine, its in zip(astuple(self), astuple(other), strict=True)))


TALLY_ITEMS = len(fields(Tally))
