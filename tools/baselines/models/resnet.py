"""ResNet (He et al. 2016), through transformers."""

from typing import Any

from torch import Tensor, nn

from shardkit.transforms import Normalize
from tools.baselines.models.huggingface import transformers


class ResNet(nn.Module):
    """Pictures to tokens: the places of the last stage's map, 7 by 7 of a picture of 224 pixels.

    Args:
        weights: Folder or name that `ResNetModel.from_pretrained` takes; None: random weights.
        config: Fields of `ResNetConfig`, such as `depths` and `hidden_sizes`; with `weights` they stay out.

    Attributes:
        dim: D, length of a token.
    """

    def __init__(self, *, weights: str | None = None, **config: Any) -> None:
        super().__init__()
        package = transformers()
        self.normalise = Normalize()
        self.model = (
            package.ResNetModel(package.ResNetConfig(**config))
            if weights is None
            else package.ResNetModel.from_pretrained(weights)
        )
        self.dim = self.model.config.hidden_sizes[-1]

    def forward(self, pictures: Tensor) -> Tensor:
        """uint8 [B, 3, H, W] to [B, R, D]: R places, row by row."""
        features: Tensor = self.model(self.normalise(pictures)).last_hidden_state
        return features.flatten(2).transpose(1, 2)
