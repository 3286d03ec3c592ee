"""Features that were packed with the clips, in the place of an encoder."""

from torch import Tensor, nn


class Features(nn.Module):
    """Nothing is learned: what the batch has under a name, such as VGGish's [B, N, 128] or VGG-19's [B, N, 7, 7, 512].

    Args:
        name: In `batch.features`.
        dim: D, the last dimension.
    """

    def __init__(self, *, name: str, dim: int) -> None:
        super().__init__()
        self.name, self.dim = name, dim

    def forward(self, features: Tensor) -> Tensor:
        """[B, N, …, D] to [B, N, R, D]: R places, one where a segment has a vector."""
        return features.flatten(2, -2) if features.dim() > 3 else features.unsqueeze(2)
