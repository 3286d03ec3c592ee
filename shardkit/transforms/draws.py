"""Random draws: always on the CPU, so that a seed means the same on every device."""

import torch
from torch import Tensor

from shardkit.errors import UsageError


def uniform(*shape: int, device: torch.device, generator: torch.Generator | None) -> Tensor:
    """float64 in [0, 1), drawn on the CPU and moved without waiting for the device.

    Args:
        shape: Of the result.
        device: Where the result goes.
        generator: Of the CPU; None: torch's default one, which `torch.manual_seed` seeds.

    Raises:
        UsageError: A generator of another device.
    """
    if generator is not None and generator.device.type != "cpu":
        raise UsageError(f"a generator of {generator.device}: one of the CPU is needed, such as torch.Generator()")
    drawn = torch.rand(shape, dtype=torch.float64, generator=generator)
    return drawn.to(device, non_blocking=True)


def check_share(name: str, value: float) -> None:
    """Raises UsageError unless `value` is from 0 to 1."""
    if not 0 <= value <= 1:
        raise UsageError(f"{name}={value!r}: a number from 0 to 1 is needed")
