"""Region: a piece of memory that worker processes share by descriptor, or worker threads by reference."""

import mmap
import os

import numpy as np
import numpy.typing as npt

from shardkit.errors import UsageError


class Region:
    """Zeroed memory of a fixed size; the mapping lives as long as an array over it."""

    def __init__(self, descriptor: int | None, size_bytes: int) -> None:
        self.descriptor = descriptor
        """The memfd that other processes can map; None for memory of this process alone."""
        self.size_bytes = size_bytes
        self._map = mmap.mmap(-1 if descriptor is None else descriptor, size_bytes)
        self.array: npt.NDArray[np.uint8] = np.frombuffer(self._map, dtype=np.uint8)
        """uint8 [size_bytes], the whole region."""

    @classmethod
    def create(cls, size_bytes: int, *, shared: bool, name: str) -> "Region":
        """A new region; with `shared`, one that worker processes can map.

        Raises:
            UsageError: Shared memory by descriptor does not exist here.
        """
        if not shared:
            return cls(None, size_bytes)
        if not hasattr(os, "memfd_create"):
            raise UsageError("worker processes need Linux's memfd_create; use worker_type='thread'")
        # No /dev/shm: no limit of its own, no name to go stale when this process is killed.
        descriptor = os.memfd_create(f"shardkit-{name}", os.MFD_CLOEXEC)
        try:
            os.ftruncate(descriptor, size_bytes)
            return cls(descriptor, size_bytes)
        except (OSError, OverflowError) as exc:
            os.close(descriptor)
            raise UsageError(
                f"{size_bytes:,} bytes for batches cannot be had ({exc}); lower batch_size, frames, size or window_s"
            ) from exc

    def close(self) -> None:
        """Closes the descriptor; the memory goes when the last array over it does."""
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None
