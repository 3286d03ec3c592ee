"""Patches of spectrograms and pictures as tokens: what vision transformers begin with (Dosovitskiy et al. 2021)."""

import torch
from torch import Tensor, nn

from shardkit.transforms import Normalize, frontend


class AudioPatches(nn.Module):
    """Sound to a token for each patch of MBT's spectrogram (128 mels, 10 ms), with learned places.

    Args:
        frames: Of the spectrogram: 800 are MBT's eight seconds.
        dim: D, length of a token.
        patch: Side of a patch.
    """

    def __init__(self, *, frames: int = 800, dim: int = 768, patch: int = 16) -> None:
        super().__init__()
        self.dim = dim
        self.frames = frames
        self.front = frontend("mbt", sample_rate_hz=16000)
        self.project = nn.Conv2d(1, dim, patch, stride=patch)
        self.place = nn.Parameter(torch.randn((frames // patch) * (128 // patch), dim) * 0.02)

    def forward(self, audio: Tensor) -> Tensor:
        """[B, C, S] at 16 kHz, at least as long as the frames, to [B, K, D]."""
        spectrum = self.front(audio)[..., : self.frames, :].unsqueeze(1)
        return self.project(spectrum).flatten(2).transpose(1, 2) + self.place


class VisualPatches(nn.Module):
    """Pictures to a token for each patch, with learned places.

    Args:
        size: Height and width of the pictures.
        dim: D, length of a token.
        patch: Side of a patch.
    """

    def __init__(self, *, size: int = 224, dim: int = 768, patch: int = 16) -> None:
        super().__init__()
        self.dim = dim
        self.normalise = Normalize()
        self.project = nn.Conv2d(3, dim, patch, stride=patch)
        self.place = nn.Parameter(torch.randn((size // patch) ** 2, dim) * 0.02)

    def forward(self, pictures: Tensor) -> Tensor:
        """uint8 [B, 3, H, W] to [B, R, D]."""
        return self.project(self.normalise(pictures)).flatten(2).transpose(1, 2) + self.place
