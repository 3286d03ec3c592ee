"""Fusion through bottlenecks: MBT (Nagrani et al. 2021, "Attention Bottlenecks for Multimodal Fusion")."""

import torch
from torch import Tensor, nn


class Bottleneck(nn.Module):
    """A transformer for each modality; from the fusion layer on, both share a few tokens and nothing else.

    Each modality's layer sees its own tokens and the bottlenecks, and gives its own new bottlenecks; the next layer
    gets their mean (the paper's equation 9). Scores are the mean of what one linear layer makes of both class tokens.

    Args:
        audio_dim: Da.
        visual_dim: Dv.
        classes: Of the scores.
        dim: Both are brought to.
        heads: Of the attention.
        layers: Of each modality's transformer.
        fusion_layer: The first layer with bottlenecks, counted from 0; the paper's best is 8 of 12.
        bottlenecks: The paper's best is 4.
        dropout: In the layers.
    """

    def __init__(
        self,
        audio_dim: int,
        visual_dim: int,
        classes: int,
        *,
        dim: int = 64,
        heads: int = 4,
        layers: int = 2,
        fusion_layer: int = 1,
        bottlenecks: int = 4,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.fusion_layer = fusion_layer
        self.project = nn.ModuleList(nn.Linear(width, dim) for width in (audio_dim, visual_dim))
        self.class_token = nn.ParameterList(nn.Parameter(torch.zeros(1, 1, dim)) for _ in range(2))
        self.bottlenecks = nn.Parameter(0.02 * torch.randn(1, bottlenecks, dim))
        self.transformers = nn.ModuleList(
            nn.ModuleList(
                nn.TransformerEncoderLayer(
                    dim, heads, 4 * dim, dropout, activation="gelu", batch_first=True, norm_first=True
                )
                for _ in range(layers)
            )
            for _ in range(2)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(2))
        self.score = nn.Linear(dim, classes)

    def forward(self, audio: Tensor, visual: Tensor) -> Tensor:
        """[B, Ka, Da] and [B, Kv, Dv] to [B, classes]."""
        clips = len(audio)
        streams = [
            torch.cat([token.expand(clips, -1, -1), project(tokens)], dim=1)
            for token, project, tokens in zip(self.class_token, self.project, (audio, visual), strict=True)
        ]
        shared = self.bottlenecks.expand(clips, -1, -1)
        for depth, layers in enumerate(zip(*self.transformers, strict=True)):
            if depth < self.fusion_layer:
                streams = [layer(stream) for layer, stream in zip(layers, streams, strict=True)]
                continue
            own = [
                layer(torch.cat([stream, shared], dim=1)).split([stream.shape[1], shared.shape[1]], dim=1)
                for layer, stream in zip(layers, streams, strict=True)
            ]
            streams = [stream for stream, _ in own]
            shared = torch.stack([bottlenecks for _, bottlenecks in own]).mean(dim=0)
        found = [norm(stream[:, 0]) for norm, stream in zip(self.norms, streams, strict=True)]
        return self.score(torch.stack(found)).mean(dim=0)
