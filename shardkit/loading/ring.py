"""Ring: the batch buffers, and the leases that keep a buffer while tensors over it live.

A fresh buffer of 38 MB costs 52 ms of page faults, a recycled one 1 ms.
"""

import warnings
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from shardkit.errors import UsageError
from shardkit.loading.memory import read_available_bytes
from shardkit.loading.plan import BatchLayout
from shardkit.loading.region import Region

AHEAD_BUFFERS = 4
"""Buffers that workers fill ahead: two batches in work and two ready smooth out uneven clips and steps."""
LEASED_BUFFERS = 2
"""Buffers that a training loop usually holds: the batch it is on, and the last one until its name is bound anew."""


class _Lease:
    """Owner of an array's memory, in NumPy's words: arrays over it keep it alive, and after its end the buffer is free.

    The ring asks whether it lives and is not called when it dies: a Ctrl-C that arrives while a finalizer runs is lost.
    """

    def __init__(self, array: npt.NDArray[np.uint8]) -> None:
        self._array = array
        self.__array_interface__ = array.__array_interface__


class Ring:
    """A fixed number of batch buffers in one region."""

    def __init__(
        self, layout: BatchLayout, *, shared: bool, available_bytes: Callable[[], int | None] = read_available_bytes
    ) -> None:
        """Makes the memory.

        Raises:
            UsageError: There is less of it. The system would say so much later, by killing the trainer or a worker that
                touches one page too many.
        """
        self.layout = layout
        self.buffers = AHEAD_BUFFERS + LEASED_BUFFERS
        size_bytes = max(1, layout.size_bytes * self.buffers)
        there_bytes = available_bytes()
        if there_bytes is not None and size_bytes > there_bytes:
            raise UsageError(
                f"{self.buffers} buffers for batches of {layout.batch_size:,} clips take {size_bytes:,} bytes of "
                f"memory, {there_bytes:,} are available; lower batch_size, frames, size, window_s or views",
            )
        self.region = Region.create(size_bytes, shared=shared, name="ring")
        self._free: deque[int] = deque(range(self.buffers))
        self._leases: dict[int, weakref.ref[_Lease]] = {}
        self._views = [layout.views(self._bytes(buffer)) for buffer in range(self.buffers)]
        self._warned = False

    def take(self) -> int | None:
        """A free buffer, or None."""
        self._end_leases()
        return self._free.popleft() if self._free else None

    def give_back(self, buffer: int) -> None:
        """Makes a buffer free again that was taken and not leased."""
        self._free.append(buffer)

    def leased(self) -> int:
        """Buffers that live tensors keep."""
        self._end_leases()
        return len(self._leases)

    def _end_leases(self) -> None:
        for buffer in [buffer for buffer, lease in self._leases.items() if lease() is None]:
            del self._leases[buffer]
            self._free.append(buffer)

    def views(self, buffer: int) -> dict[str, npt.NDArray[Any]]:
        """Arrays over a buffer for the loader's own use: they do not lease it."""
        return self._views[buffer]

    def lease(self, buffer: int) -> dict[str, npt.NDArray[Any]]:
        """Arrays over a buffer that keep it until the last one dies; over a copy where the consumer holds too many."""
        leased = self.leased()
        if leased >= self.buffers - LEASED_BUFFERS:
            copy = self._bytes(buffer).copy()
            self.give_back(buffer)
            if not self._warned:
                self._warned = True
                warnings.warn(
                    f"{leased} batches are held at once; further ones are copied into fresh memory, which "
                    "is slower: let go of batches, or clone what you keep",
                    ResourceWarning,
                    stacklevel=6,  # the loop over the loader
                )
            return self.layout.views(copy)
        lease = _Lease(self._bytes(buffer))
        self._leases[buffer] = weakref.ref(lease)
        return self.layout.views(np.asarray(lease))

    def _bytes(self, buffer: int) -> npt.NDArray[np.uint8]:
        start = buffer * self.layout.size_bytes
        return self.region.array[start : start + self.layout.size_bytes]
