"""Sounds to compare features on."""

import math

import torch


def signal(rate_hz, *, seconds=1.3):
    """Float32 [6, 1, S]: silence, noise, faint noise, a tone, a chirp, a constant offset with a click."""
    generator = torch.Generator().manual_seed(7)
    time_s = torch.arange(round(seconds * rate_hz)) / rate_hz
    noise = torch.randn(len(time_s), generator=generator).clamp(-3, 3) / 4
    click = torch.full_like(time_s, 0.2)
    click[len(click) // 3] = 0.9
    return torch.stack(
        [
            torch.zeros_like(time_s),
            noise,
            noise / 1000,
            0.5 * torch.sin(2 * math.pi * 440 * time_s),
            0.5 * torch.sin(2 * math.pi * (100 + 1500 * time_s) * time_s),
            click,
        ]
    ).unsqueeze(1)
