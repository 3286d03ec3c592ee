"""Cross-modality localization by distance: AVDLN (Tian et al. 2018, section 4.4)."""

from torch import Tensor, nn

from shardkit.loading.batch import Batch
from tools.baselines.models.segment_encoder import SegmentEncoder


class AVDLN(nn.Module):
    """Sound and picture of each segment, brought into one space in which what belongs together is close.

    A two-layer network a modality, as in the authors' `cmm_train.py` (128, leaky ReLU of slope 0.3, 64).

    Args:
        encoder: Batches to sound [B, N, Da] and pictures [B, N, R, Dv], which are averaged over their places.
        audio_dim: Da.
        visual_dim: Dv.
        hidden: Width between the two layers.
        dim: D, of the common space.
    """

    def __init__(
        self, encoder: SegmentEncoder, audio_dim: int, visual_dim: int, *, hidden: int = 128, dim: int = 64
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.hears = nn.Sequential(nn.Linear(audio_dim, hidden), nn.LeakyReLU(0.3), nn.Linear(hidden, dim))
        self.sees = nn.Sequential(nn.Linear(visual_dim, hidden), nn.LeakyReLU(0.3), nn.Linear(hidden, dim))

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """A batch to sound [B, N, D] and pictures [B, N, D]."""
        heard, seen = self.encoder(batch)
        return self.hears(heard), self.sees(seen.mean(dim=2))
