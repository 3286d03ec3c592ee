"""DeviceCopier: batches to a CUDA device, on a stream of its own, while the training step runs.

The ring is pinned as it stands, so copies run without the CPU and without staging. A pinned tensor never leaves the
loader: its memory could be filled anew while a copy that the user has started still reads it. So a batch over the ring
is kept until the device says that its copy is done, and its buffer goes back to the ring then.
"""

from collections import deque
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from shardkit.errors import WorkerError
from shardkit.loading.batch import Batch
from shardkit.loading.sound import PCM_SCALE


@dataclass(frozen=True, slots=True)
class Copy:
    """A batch on its way to the device."""

    batch: Batch
    """On the device; to be used once `event` is done."""
    event: Any
    """torch.cuda.Event: when it is there."""


class Copier(Protocol):
    """Takes batches over a ring to a device, one step ahead of the loop."""

    def start(self, batch: Batch) -> Copy:
        """Starts to copy a batch over the ring; its buffer is kept until that is done."""

    def finish(self, copy: Copy) -> Batch:
        """The batch, for use on the current stream, which waits for the copy; the CPU does not."""

    def close(self) -> None:
        """Waits for the copies that are under way, and gives the ring's memory free."""


class DeviceCopier:
    """Copies batches over a ring to one CUDA device; used by one thread."""

    def __init__(self, device: torch.device, ring: npt.NDArray[np.uint8]) -> None:
        """Pins the memory of the ring.

        Args:
            device: A CUDA device.
            ring: uint8, all of its memory.

        Raises:
            WorkerError: CUDA will not pin it.
        """
        # With its number: what "cuda" means may change later.
        self._device = device if device.index is not None else torch.device("cuda", torch.cuda.current_device())
        self._stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        self._pinned = ring.ctypes.data
        self._under_way: deque[tuple[torch.cuda.Event, Batch]] = deque()
        # On the device's own context: otherwise every rank would make one on the first GPU as well.
        with torch.cuda.device(self._device):
            code = torch.cuda.cudart().cudaHostRegister(  # type: ignore[no-untyped-call]
                ring.ctypes.data, ring.nbytes, 0
            )
        if int(code) != 0:
            with suppress(RuntimeError):
                torch.zeros(1, device=self._device)  # CUDA keeps the error for the next kernel to find
            raise WorkerError(
                f"{ring.nbytes:,} bytes of batches cannot be pinned for {device} (CUDA error {int(code)}); lower "
                "batch_size, or copy by yourself: leave out device, and call batch.to(device)",
            )

    def start(self, batch: Batch) -> Copy:
        """See Copier."""
        self._release()
        with torch.cuda.stream(self._stream):
            moved = as_float(batch.to(self._device, non_blocking=True))
            event = self._stream.record_event()
        self._under_way.append((event, batch))
        return Copy(moved, event)

    def finish(self, copy: Copy) -> Batch:
        """See Copier."""
        current = torch.cuda.current_stream(self._device)
        current.wait_event(copy.event)
        for tensor in copy.batch.tensors():
            # The memory was taken on the side stream, and must not go back to it while this one works with it.
            tensor.record_stream(current)
        self._release()
        return copy.batch

    def _release(self) -> None:
        while self._under_way and self._under_way[0][0].query():  # type: ignore[no-untyped-call]
            self._under_way.popleft()

    def close(self) -> None:
        """See Copier."""
        try:
            while self._under_way:
                self._under_way.popleft()[0].synchronize()
        finally:
            if self._pinned:
                torch.cuda.cudart().cudaHostUnregister(self._pinned)  # type: ignore[no-untyped-call]
                self._pinned = 0


def as_float(batch: Batch) -> Batch:
    """The batch with int16 samples made float32 in [-1, 1], wherever they lie."""
    if batch.audio is None or batch.audio.dtype != torch.int16:
        return batch
    return replace(batch, audio=batch.audio.to(torch.float32).mul_(float(PCM_SCALE)))


def device_copier(device: torch.device | str | None, ring: npt.NDArray[np.uint8]) -> Copier | None:
    """A copier for a CUDA device; None for others, whose copies PyTorch does at once."""
    return DeviceCopier(torch.device(device), ring) if device is not None and is_cuda(device) else None


def is_cuda(device: torch.device | str | None) -> bool:
    """Whether batches are copied by a DeviceCopier, samples as int16: half the bytes on the bus, floats made there."""
    return device is not None and torch.device(device).type == "cuda"
