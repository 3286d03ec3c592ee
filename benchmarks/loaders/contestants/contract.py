"""What a contestant is given and what it delivers."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from benchmarks.loaders.cases import Decoder, Stored
from benchmarks.loaders.measurement import Measurement, Timing
from benchmarks.loaders.prepare import BenchFolder
from benchmarks.loaders.scale import Scale


@dataclass(frozen=True, slots=True)
class Setup:
    """What is tuned for each case by itself."""

    workers: int
    mode: str = ""
    """An execution model, where a contestant has several."""


@dataclass(frozen=True, slots=True)
class Work:
    """What to load, and how."""

    folder: BenchFolder
    scale: Scale
    stored: Stored
    decoder: Decoder
    setup: Setup
    seed: int = 0
    epochs: int | None = None
    """None is endless."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """One batch; the last of an epoch may be shorter, or padded with clips that are not real."""

    video: Tensor
    """uint8 [B, T, 3, side, side]."""
    audio: Tensor
    """float32 [B, 1, S]."""
    labels: Tensor
    """Whole numbers [B]."""
    keys: list[str]

    def check(self, scale: Scale) -> None:
        """Raises AssertionError where the shapes are not the ones that all deliver."""
        count = len(self.keys)
        assert tuple(self.video.shape) == (count, scale.frames, 3, scale.side, scale.side), self.video.shape
        assert tuple(self.audio.shape) == (count, 1, scale.audio_samples), self.audio.shape
        assert tuple(self.labels.shape) == (count,), self.labels.shape
        assert str(self.video.dtype) == "torch.uint8", self.video.dtype
        assert str(self.audio.dtype) == "torch.float32", self.audio.dtype


@dataclass(frozen=True, slots=True)
class Contestant:
    """Who delivers batches, or, for the limits, who only decodes."""

    stream: Callable[[Work], Iterator[Delivered]] | None = None
    """Starts workers at the first `next`, ends them when it is closed."""
    measure: Callable[[Work, Timing], Measurement] | None = None
    """For those that have no batches."""
    prepare: Callable[[BenchFolder, Scale, Stored], Path] | None = None
    """Copies the members into what it reads, once."""
    environment: Callable[[BenchFolder], dict[str, str]] | None = None
    """What its process's environment needs besides."""
    modes: tuple[str, ...] = ("",)
    exact_epochs: bool = True
    """Whether an epoch has every clip once."""
    tunes_workers: bool = True

    def setups(self, cores: int) -> list[Setup]:
        """What is tried out: a worker less than cores, as many, and one more, in every mode."""
        if not self.tunes_workers:
            return [Setup(cores)]
        return [Setup(workers, mode) for mode in self.modes for workers in range(max(1, cores - 1), cores + 2)]


def batches(epochs: int | None, loader: Iterable) -> Iterator:
    """What `loader` yields, epoch after epoch."""
    while epochs is None or epochs > 0:
        yield from loader
        if epochs is not None:
            epochs -= 1
