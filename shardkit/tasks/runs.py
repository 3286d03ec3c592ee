"""Unbroken runs of segments."""

from torch import Tensor
from torch.nn import functional as F


def run_begins(present: Tensor) -> Tensor:
    """The first segment of every unbroken run, bool [..., N] of bool [..., N]."""
    return present & ~F.pad(present, (1, 0))[..., :-1]
