"""A small convolutional network over pictures."""

from torch import Tensor, nn

from shardkit.transforms import Normalize


class VisualCNN(nn.Module):
    """Pictures to tokens, one for each of the regions of 16 by 16 pixels that a picture is tiled into.

    Attributes:
        dim: D, length of a token.
    """

    def __init__(self, *, dim: int = 64, channels: int = 24) -> None:
        super().__init__()
        self.dim = dim
        self.normalise = Normalize()
        self.layers = nn.Sequential(
            nn.Conv2d(3, channels, 7, stride=4, padding=3),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, stride=2, padding=1),
            nn.GroupNorm(4, channels),
            nn.ReLU(),
            nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1),
            nn.GroupNorm(4, 2 * channels),
            nn.ReLU(),
            nn.Conv2d(2 * channels, dim, 1),
        )

    def forward(self, pictures: Tensor) -> Tensor:
        """uint8 [B, 3, H, W] to [B, R, D]: R regions, row by row."""
        # Batches lie in memory as [B, H, W, 3]; small kernels are faster on planes.
        return self.layers(self.normalise(pictures).contiguous()).flatten(2).transpose(1, 2)
