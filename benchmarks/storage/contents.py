"""Contents: whether an epoch had every clip once, and what was in it to the last byte."""

from collections import Counter
from collections.abc import Iterable

import xxhash

from shardkit.loading.batch import Batch

INCOMPLETE = "incomplete"


class Contents:
    """Adds up the clips of an epoch, in whichever order they come."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._missing = Counter(keys)
        self._sum = 0

    def add(self, batch: Batch) -> None:
        """The real clips of a batch."""
        assert batch.video is not None
        assert batch.audio is not None
        # As it lies in memory: [B, T, H, W, 3].
        frames, samples = batch.video.permute(0, 1, 3, 4, 2).numpy(), batch.audio.numpy()
        for key, weight, pictures, sound in zip(batch.keys, batch.weight.tolist(), frames, samples, strict=True):
            if not weight:
                continue
            self._missing[key] -= 1
            clip = xxhash.xxh3_64(key.encode())
            clip.update(pictures)
            clip.update(sound)
            self._sum += clip.intdigest()

    def digest(self) -> str:
        """Of all of them; INCOMPLETE where one is missing, or came twice."""
        return INCOMPLETE if any(self._missing.values()) else f"{self._sum % (1 << 64):016x}"
