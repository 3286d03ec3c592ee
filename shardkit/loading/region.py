"""Region: a piece of memory that worker processes share by descriptor, or worker threads by reference."""

import errno
import mmap
import os

import numpy as np
import numpy.typing as npt

from shardkit.errors import UsageError
from shardkit.interpreters import above_standard


class Region:
    """Zeroed memory of a fixed size; the mapping lives as long as an array over it."""

    def __init__(self, descriptor: int | None, size_bytes: int) -> None:
        self.descriptor = descriptor
        """The memfd that other processes can map; None for memory of this process alone."""
        self.size_bytes = size_bytes
        if descriptor is None:
            # Private: a fork has the bytes as they were, where shared ones would change under its tensors.
            self._map = mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        else:
            self._map = mmap.mmap(descriptor, size_bytes)
        self.array: npt.NDArray[np.uint8] = np.frombuffer(self._map, dtype=np.uint8)
        """uint8 [size_bytes], the whole region."""

    @classmethod
    def create(cls, size_bytes: int, *, shared: bool, name: str) -> "Region":
        """A new region; with `shared`, one that worker processes can map.

        Raises:
            UsageError: Shared memory by descriptor does not exist here, or there is not as much memory.
            OSError: Too many open files.
        """
        if shared and not hasattr(os, "memfd_create"):
            raise UsageError("worker processes need Linux's memfd_create; use worker_type='thread'")
        # No /dev/shm: no limit of its own, no name to go stale when this process is killed.
        descriptor = above_standard(os.memfd_create(f"shardkit-{name}", os.MFD_CLOEXEC)) if shared else None
        try:
            if descriptor is not None:
                os.ftruncate(descriptor, size_bytes)
            return cls(descriptor, size_bytes)
        except (OSError, OverflowError) as exc:
            if descriptor is not None:
                os.close(descriptor)
            if isinstance(exc, OSError) and exc.errno in (errno.EMFILE, errno.ENFILE):
                raise
            raise UsageError(
                f"{size_bytes:,} bytes for batches cannot be had ({exc}); lower batch_size, frames, size or window_s"
            ) from exc

    def close(self) -> None:
        """Closes the descriptor; the memory goes when the last array over it does."""
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None
