"""Fusion by concatenation."""

import torch
from torch import Tensor, nn


class Concatenation(nn.Module):
    """The means of both modalities' tokens, side by side, through a hidden layer."""

    def __init__(
        self, audio_dim: int, visual_dim: int, classes: int, *, hidden: int = 128, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.score = nn.Sequential(
            nn.LayerNorm(audio_dim + visual_dim),
            nn.Linear(audio_dim + visual_dim, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, classes),
        )

    def forward(self, audio: Tensor, visual: Tensor) -> Tensor:
        """[B, Ka, Da] and [B, Kv, Dv] to [B, classes]."""
        return self.score(torch.cat([audio.mean(dim=1), visual.mean(dim=1)], dim=-1))
