"""The head of a model that hears or sees, and does not both."""

from torch import Tensor, nn


class Single(nn.Module):
    """The mean of the tokens that there are, to class scores."""

    def __init__(self, audio_dim: int | None, visual_dim: int | None, classes: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        dim = audio_dim or visual_dim
        assert dim is not None
        self.score = nn.Sequential(nn.LayerNorm(dim), nn.Dropout(dropout), nn.Linear(dim, classes))

    def forward(self, audio: Tensor | None, visual: Tensor | None) -> Tensor:
        """[B, K, D] of one of the two to [B, classes]."""
        tokens = visual if audio is None else audio
        assert tokens is not None
        return self.score(tokens.mean(dim=1))
