"""How peers that run PyTorch's DataLoader gather clips into batches."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import default_collate

from benchmarks.loaders.contestants.contract import Delivered, Work
from benchmarks.loaders.decoding import ClipDecoder

Clip = tuple[NDArray[np.uint8], NDArray[np.float32], int, str]
"""Frames [T, side, side, 3], sound [1, S], class id, key."""

PREFETCH_BATCHES = 4
"""Batches a worker; the DataLoader's own default of 2 leaves workers idle where batches come in clumps."""


@dataclass(frozen=True, slots=True)
class ClipMaker:
    """From a clip's members to what PyTorch collates; can be pickled."""

    decoder: ClipDecoder

    @classmethod
    def of(cls, work: Work) -> "ClipMaker":
        """With the decoder that the case asks for."""
        return cls(ClipDecoder(work.scale, work.decoder))

    def __call__(self, video: bytes, audio: bytes, label: int, key: str) -> Clip:
        """Decodes."""
        return self.decoder.video(video), self.decoder.audio(audio), label, key


def collate(clips: list[Clip]) -> Any:
    """PyTorch's own: in a worker process it stacks straight into shared memory."""
    return default_collate(clips)


def delivered(loader: Iterable) -> Iterable[Delivered]:
    """Names the parts of a loader's batches."""
    for batch in loader:
        video, audio, labels, keys = batch
        yield Delivered(video.permute(0, 1, 4, 2, 3), audio, labels, list(keys))
