"""ClipRules: which frames of a clip are taken and how large, and which sound."""

from dataclasses import dataclass
from typing import Any, Literal

from shardkit.errors import UsageError
from shardkit.planning.sampling import FrameSampling

Fit = Literal["short", "square"]
Require = Literal["av", "audio", "video", "any"]

LOWEST_RATE_HZ, HIGHEST_RATE_HZ = 1000, 384_000
MAX_FRAMES = 4096
"""Frames of a clip: 1 GB at the usual size, and a clip is one sample."""
SIZE_LIMITS = (16, 4096)
LONGEST_TIMEOUT_S = 86_400.0


@dataclass(frozen=True, slots=True)
class ClipRules:
    """What decides the frames and samples of a clip."""

    sampling: FrameSampling
    size: int = 256
    """Short side of the frames, in pixels."""
    fit: Fit = "short"
    audio_rate_hz: int | None = 16000
    """None keeps each source's own."""
    audio_channels: int = 1
    require: Require = "av"

    def __post_init__(self) -> None:
        if self.sampling.value > MAX_FRAMES:
            raise UsageError(f"{self.sampling.value:g} frames: at most {MAX_FRAMES} a clip, second or segment")
        check_range("size", self.size, *SIZE_LIMITS)
        check_choice("fit", self.fit, ("short", "square"))
        if self.audio_rate_hz is not None:
            check_range("audio_rate", self.audio_rate_hz, LOWEST_RATE_HZ, HIGHEST_RATE_HZ)
        check_range("audio_channels", self.audio_channels, 1, 2)
        check_choice("require", self.require, ("av", "audio", "video", "any"))


def check_range(name: str, value: Any, lowest: int, highest: int) -> None:
    """Passes a whole number within limits.

    Raises:
        UsageError: It is none.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
        raise UsageError(f"{name}={value!r}: a whole number from {lowest} to {highest} is needed")


def check_run(*, workers: int | None, clip_timeout_s: float, max_rejects: float, resume: bool, overwrite: bool) -> None:
    """Passes what says how a run that decodes clips goes about it.

    Raises:
        UsageError: One of them is out of range, or two exclude each other.
    """
    if not 0 <= max_rejects <= 1:
        raise UsageError(f"max_rejects={max_rejects!r}: a share from 0 to 1 is needed")
    if workers is not None and workers < 1:
        raise UsageError(f"workers={workers!r}: at least 1 is needed")
    if not 0 < clip_timeout_s <= LONGEST_TIMEOUT_S:
        raise UsageError(f"clip_timeout={clip_timeout_s!r}: seconds above 0, up to a day, are needed")
    if resume and overwrite:
        raise UsageError("resume goes on with what is there, overwrite removes it: give one of them")


def check_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    """Passes one of the choices.

    Raises:
        UsageError: It is none.
    """
    if value not in choices:
        raise UsageError(f"{name}={value!r}: one of {', '.join(choices)} is needed")
