"""Where a product in half precision would be wrong: autocast is switched off, and filters keep their digits."""

import contextlib
from collections.abc import Callable

import torch
from torch import Tensor, nn


class ExactModule(nn.Module):
    """A module whose buffers move with it, and keep their type when it is cast.

    Filters rounded to bfloat16 give energies that are wrong by a factor, without any other sign of it.
    """

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "ExactModule":  # noqa: FBT001, FBT002
        exact = dict(self.named_buffers(recurse=False))
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, buffer in exact.items():
            setattr(self, name, buffer.to(getattr(self, name).device))
        return self


def full_precision(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """A block in which products are computed in the type of their factors, also under autocast."""
    try:
        return torch.autocast(device.type, enabled=False)
    except RuntimeError:  # a device that has no autocast
        return contextlib.nullcontext()
