"""Audio-visual event localization: AVE's baseline (Tian et al. 2018, "Audio-Visual Event Localization …")."""

import torch
from torch import Tensor, nn

from shardkit.loading.batch import Batch
from tools.baselines.models.segment_encoder import SegmentEncoder


class AVE(nn.Module):
    """Audio-guided visual attention, a bidirectional LSTM a modality, and late fusion by concatenation.

    The paper's sections 4.2 and 4.3, without its dual residual network (DMRN). With VGGish and VGG-19 features and the
    sizes that stand here it is the authors' `att_Net`.

    Args:
        encoder: Batches to sound [B, N, Da] and pictures [B, N, R, Dv].
        audio_dim: Da.
        visual_dim: Dv.
        classes: Of events; background is one more.
        hidden: Of each LSTM, in each direction.
        attention: Width of the attention's common space.
        scores: Width of the layer before the scores.
        context: False leaves the LSTMs out: each segment is judged by itself.
        dropout: Before the scores; the authors have none.
    """

    def __init__(
        self,
        encoder: SegmentEncoder,
        audio_dim: int,
        visual_dim: int,
        classes: int,
        *,
        hidden: int = 128,
        attention: int = 512,
        scores: int = 64,
        context: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.attend = AudioGuidedAttention(audio_dim, visual_dim, attention)
        self.hears = nn.LSTM(audio_dim, hidden, batch_first=True, bidirectional=True) if context else None
        self.sees = nn.LSTM(visual_dim, hidden, batch_first=True, bidirectional=True) if context else None
        width = 4 * hidden if context else audio_dim + visual_dim
        self.score = nn.Sequential(
            nn.ReLU(), nn.Linear(width, scores), nn.ReLU(), nn.Dropout(dropout), nn.Linear(scores, classes + 1)
        )

    def forward(self, batch: Batch) -> Tensor:
        """A batch to scores [B, N, classes + 1], background last."""
        heard, seen = self.encoder(batch)
        seen = self.attend(heard, seen)
        if self.hears is not None and self.sees is not None:
            (heard, _), (seen, _) = self.hears(heard), self.sees(seen)
        return self.score(torch.cat([heard, seen], dim=-1))


class AudioGuidedAttention(nn.Module):
    """Where in the picture to look, given what is heard: a weighted mean over its places.

    As `affine_v`, `affine_g` and `affine_h` of the authors' code, whose inner width (49) is the number of VGG-19's
    places by accident, and here is `inner`.
    """

    def __init__(self, audio_dim: int, visual_dim: int, width: int, *, inner: int = 49) -> None:
        super().__init__()
        self.audio = nn.Sequential(nn.Linear(audio_dim, width), nn.ReLU(), nn.Linear(width, inner, bias=False))
        self.visual = nn.Sequential(nn.Linear(visual_dim, width), nn.ReLU(), nn.Linear(width, inner, bias=False))
        self.weigh = nn.Linear(inner, 1, bias=False)

    def forward(self, heard: Tensor, seen: Tensor) -> Tensor:
        """[B, N, Da] and [B, N, R, Dv] to [B, N, Dv]."""
        inner = torch.tanh(self.visual(seen) + self.audio(heard).unsqueeze(2))
        weights = self.weigh(inner).squeeze(-1).softmax(dim=-1)
        return (weights.unsqueeze(-1) * seen).sum(dim=2)
