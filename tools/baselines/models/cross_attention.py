"""Fusion by cross-attention: each modality asks the other."""

import torch
from torch import Tensor, nn


class CrossAttention(nn.Module):
    """Layers in which each modality's tokens attend to the other's (as in LXMERT, Tan and Bansal 2019); then means.

    Args:
        audio_dim: Da.
        visual_dim: Dv.
        classes: Of the scores.
        dim: Both are brought to.
        heads: Of the attention.
        layers: How often each asks the other.
        dropout: In the attention and before the scores.
    """

    def __init__(
        self,
        audio_dim: int,
        visual_dim: int,
        classes: int,
        *,
        dim: int = 64,
        heads: int = 4,
        layers: int = 1,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.audio_in, self.visual_in = nn.Linear(audio_dim, dim), nn.Linear(visual_dim, dim)
        self.audio_asks = nn.ModuleList(_Ask(dim, heads, dropout) for _ in range(layers))
        self.visual_asks = nn.ModuleList(_Ask(dim, heads, dropout) for _ in range(layers))
        self.score = nn.Sequential(nn.LayerNorm(2 * dim), nn.Dropout(dropout), nn.Linear(2 * dim, classes))

    def forward(self, audio: Tensor, visual: Tensor) -> Tensor:
        """[B, Ka, Da] and [B, Kv, Dv] to [B, classes]."""
        audio, visual = self.audio_in(audio), self.visual_in(visual)
        for audio_asks, visual_asks in zip(self.audio_asks, self.visual_asks, strict=True):
            audio, visual = audio_asks(audio, visual), visual_asks(visual, audio)
        return self.score(torch.cat([audio.mean(dim=1), visual.mean(dim=1)], dim=-1))


class _Ask(nn.Module):
    """Attention to other tokens, then a layer of one's own; both are added to what was there."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.own_norm, self.other_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention = nn.MultiheadAttention(dim, heads, dropout=dropout, batch_first=True)
        self.own = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

    def forward(self, tokens: Tensor, others: Tensor) -> Tensor:
        """[B, K, D] and [B, L, D] to [B, K, D]."""
        others = self.other_norm(others)
        found, _ = self.attention(self.own_norm(tokens), others, others, need_weights=False)
        tokens = tokens + found
        return tokens + self.own(tokens)
