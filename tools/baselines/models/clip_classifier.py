"""Clips to class scores: encoders, and a head that joins what they give."""

from torch import Tensor, nn

from shardkit.loading.batch import Batch


class ClipClassifier(nn.Module):
    """Sound and picture of whole clips to scores; one of the two may be missing.

    Args:
        audio: Sound [B, C, S] to tokens [B, K, Da]; None does not hear.
        visual: Pictures [B, 3, H, W] to tokens [B, R, Dv]; None does not see.
        head: Both rows of tokens (None for what is missing) to [B, classes].
    """

    def __init__(self, audio: nn.Module | None, visual: nn.Module | None, head: nn.Module) -> None:
        super().__init__()
        self.audio, self.visual, self.head = audio, visual, head

    def forward(self, batch: Batch) -> Tensor:
        """A batch to [B, classes]."""
        heard = seen = None
        if self.audio is not None:
            assert batch.audio is not None
            heard = self.audio(batch.audio)
        if self.visual is not None:
            assert batch.video is not None
            seen = self.visual(batch.video.flatten(0, 1)).unflatten(0, batch.video.shape[:2]).flatten(1, 2)
        return self.head(heard, seen)
