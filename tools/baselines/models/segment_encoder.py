"""What is heard and seen in each segment of a clip."""

from torch import Tensor, nn

from shardkit.loading.batch import Batch
from tools.baselines.models.features import Features


class SegmentEncoder(nn.Module):
    """A vector of sound and vectors of places in the picture for each segment.

    Args:
        audio: Sound [B, C, S] to tokens [B, K, Da], or Features.
        visual: Pictures [B, 3, H, W] to tokens [B, R, Dv], or Features.
        context_s: Length of the sound that is heard for each segment, around its middle; None: the segment's.
    """

    def __init__(self, audio: nn.Module, visual: nn.Module, *, context_s: float | None = None) -> None:
        super().__init__()
        self.audio, self.visual, self.context_s = audio, visual, context_s

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """A batch to sound [B, N, Da] and pictures [B, N, R, Dv]; a segment's frames are averaged."""
        hears, sees = not isinstance(self.audio, Features), not isinstance(self.visual, Features)
        view = batch.segments_view(context_s=self.context_s) if hears or sees else None
        if isinstance(self.audio, Features):
            heard = self.audio(batch.features[self.audio.name]).mean(dim=2)
        else:
            assert view is not None
            assert view.audio is not None
            heard = self.audio(view.audio.flatten(0, 1)).mean(dim=1).unflatten(0, view.audio.shape[:2])
        if isinstance(self.visual, Features):
            seen = self.visual(batch.features[self.visual.name])
        else:
            assert view is not None
            assert view.video is not None
            seen = self.visual(view.video.flatten(0, 2)).unflatten(0, view.video.shape[:3]).mean(dim=2)
        return heard, seen
