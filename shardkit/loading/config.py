"""LoaderConfig: the options of a loader, checked once."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch

from shardkit.errors import UsageError
from shardkit.loading.batch import Batch

MODALITIES = ("video", "audio")


@dataclass(frozen=True, slots=True)
class LoaderConfig:
    """See `shardkit.loader`, whose keywords these are."""

    batch_size: int
    split: str | None = None
    modalities: tuple[str, ...] = MODALITIES
    frames: int | None = None
    size: int | tuple[int, int] | None = None
    crop: Literal["center", "random"] | None = "center"
    window_s: float | None = None
    columns: tuple[str, ...] = ()
    shuffle: bool = True
    seed: int = 0
    epochs: int | None = None
    drop_last: bool = False
    decoder: Literal["auto", "decord"] = "auto"
    workers: int | None = None
    worker_type: Literal["process", "thread"] = "process"
    transform: Callable[[Batch], Any] | None = None
    on_error: Literal["raise", "skip"] = "raise"
    max_skipped: float = 0.01
    verify: bool = True
    device: torch.device | str | None = None
    timeout_s: float = 60.0

    def __post_init__(self) -> None:
        for name in ("batch_size", "frames", "epochs", "workers"):
            value = getattr(self, name)
            if name == "batch_size" or value is not None:
                _check_count(name, value)
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or not 0 <= self.seed < 1 << 64:
            raise UsageError(f"seed={self.seed!r}: a whole number from 0 to 2**64 - 1 is needed")
        for side in self.frame_size or ():
            _check_count("size", side)
        _check_choice("crop", self.crop, ("center", "random", None))
        _check_choice("decoder", self.decoder, ("auto", "decord"))
        _check_choice("worker_type", self.worker_type, ("process", "thread"))
        _check_choice("on_error", self.on_error, ("raise", "skip"))
        if not self.modalities or set(self.modalities) - set(MODALITIES):
            raise UsageError(f"modalities={self.modalities!r}: some of {MODALITIES} are needed")
        for name in ("window_s", "timeout_s"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise UsageError(f"{name}={value!r}: a number of seconds above 0 is needed")
        if not 0 <= self.max_skipped <= 1:
            raise UsageError(f"max_skipped={self.max_skipped!r}: a share from 0 to 1 is needed")
        if self.worker_type == "thread" and self.decoder == "decord" and not self.verify:
            raise UsageError(
                "decoder='decord' with verify=False in threads: decord can end the whole process on damaged bytes; "
                "use worker_type='process' or verify=True",
            )

    @property
    def frame_size(self) -> tuple[int, int] | None:
        """(height, width) of the frames asked for."""
        if self.size is None:
            return None
        if isinstance(self.size, tuple | list):
            if len(self.size) != 2:
                raise UsageError(f"size={self.size!r}: one number, or (height, width), is needed")
            return (self.size[0], self.size[1])
        return (self.size, self.size)


def _check_count(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UsageError(f"{name}={value!r}: a whole number of at least 1 is needed")


def _check_choice(name: str, value: Any, choices: tuple[Any, ...]) -> None:
    if value not in choices:
        raise UsageError(f"{name}={value!r}: one of {', '.join(map(repr, choices))} is needed")
