"""Where a product in half precision would be wrong, autocast is switched off."""

import contextlib

import torch


def full_precision(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """A block in which products are computed in the type of their factors, also under autocast."""
    try:
        return torch.autocast(device.type, enabled=False)
    except RuntimeError:  # a device that has no autocast
        return contextlib.nullcontext()
