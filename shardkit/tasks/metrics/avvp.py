"""AVVPMetrics: F-scores of audio-visual video parsing, over segments and over events."""

import torch
from torch import Tensor

from shardkit.errors import UsageError
from shardkit.tasks.metrics.clip_metric import ClipMetric, ratio, require_count, require_shape, segment_counts
from shardkit.tasks.runs import run_begins

THRESHOLD = 0.5
"""Of probabilities, and of the overlap of two events: main_avvp.py and eval_metrics.py of the reference."""


class AVVPMetrics(ClipMetric):
    """F-scores of what is heard (A), seen (V) and both at once (AV), in segments and as whole events.

    The metric of LLP (Tian, Li and Xu 2020, "Unified Multisensory Perception: Weakly-Supervised Audio-Visual Video
    Parsing"), equal to `utils/eval_metrics.py` and `main_avvp.py` of github.com/YapengTian/AVVP-ECCV20, with shares in
    place of percentages and for any number of segments and classes:

    - A class is predicted in a segment where the segment's probability and the clip's are both at least 0.5. AV is
      where A and V are, in prediction and truth.
    - Segments: TP, FP and FN of a class are segments of the clip. Events: they are events, an unbroken run of segments
      being one, and a predicted and a true one match where their overlap is at least half of their union.
    - F = 2·TP / (2·TP + FP + FN) of every class that the clip's prediction or truth has; their mean is the clip's
      score, and 1 where there is none. The metric is the mean over clips.

        segment_A, segment_V, segment_AV, event_A, event_V, event_AV
        segment_Type@AV, event_Type@AV      mean of the A, V and AV scores
        segment_Event@AV, event_Event@AV    the same with TP, FP and FN of A and V added up before F is taken
        clips                               clips that count: those with a known segment
        unknown                             segments of unknown target: neither predicted nor true

    Args:
        classes: C, the number of classes; LLP has 25.

    Raises:
        UsageError: `classes` is not above 0.
    """

    segment_scores: Tensor
    """float64 [4]: sums over clips of A, V, AV and Event@AV."""
    event_scores: Tensor
    """float64 [4]: the same of events."""
    clips: Tensor
    unknown: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        require_count("classes", classes)
        self.classes = classes
        self._add_sum("segment_scores", 4, dtype=torch.float64)
        self._add_sum("event_scores", 4, dtype=torch.float64)
        self._add_sum("clips")
        self._add_sum("unknown")

    def update(
        self,
        segment_scores: Tensor,
        clip_scores: Tensor,
        segment_targets: Tensor,
        weight: Tensor | None = None,
        segment_count: Tensor | None = None,
    ) -> None:
        """Takes a batch in.

        Args:
            segment_scores: Probabilities [B, N, 2, C], of audio and of visual events.
            clip_scores: Probabilities [B, C] of the whole clip.
            segment_targets: [B, N, 2, C]: 1 where an event of the class is heard (0) or seen (1), else 0; a segment
                with -100 is unknown in all classes and both modalities.
            weight: [B]; slots of weight 0 are removed.
            segment_count: int64 [B] (`batch.segment_count`): segments behind a clip's end are unknown. None: all clips
                have N.

        Raises:
            UsageError: Other shapes, or scores that are no probabilities.
        """
        require_shape("segment_scores", segment_scores, "B", "N", 2, self.classes)
        require_shape("clip_scores", clip_scores, len(segment_scores), self.classes)
        require_shape("segment_targets", segment_targets, *segment_scores.shape)
        own = segment_counts(segment_count, *segment_scores.shape[:2])
        scores, clip_scores, targets, own = self._kept(weight, segment_scores, clip_scores, segment_targets, own)
        for name, given in (("segment_scores", scores), ("clip_scores", clip_scores)):
            if bool(((given < 0) | (given > 1)).any()):
                raise UsageError(f"{name}: probabilities from 0 to 1 are needed, such as the sigmoid of logits")
        in_clip = torch.arange(scores.shape[1], device=scores.device) < own.unsqueeze(1)
        is_known = in_clip & (targets >= 0).flatten(2).all(dim=2)
        self.unknown += (~is_known).sum()
        # A clip of which nothing is known would have no mistake, and so a score of 1.
        some = is_known.any(dim=1)
        scores, clip_scores, targets, known = (
            scores[some],
            clip_scores[some],
            targets[some],
            is_known[some, :, None, None],
        )
        predicted = (scores >= THRESHOLD) & (clip_scores >= THRESHOLD)[:, None, None] & known
        both = (_with_both(predicted), _with_both((targets > 0) & known))
        self.segment_scores += _scores(*_segment_counts(*both)).sum(dim=0)
        self.event_scores += _scores(*_event_counts(*both)).sum(dim=0)
        self.clips += len(scores)

    def compute(self) -> dict[str, float]:
        """The values by the names above, over all ranks.

        Raises:
            UsageError: No clip was given.
        """
        self._require_some(self.clips, "clip")
        values: dict[str, float] = {}
        for kind, sums in (("segment", self.segment_scores), ("event", self.event_scores)):
            audio, visual, both, together = (ratio(total, self.clips) for total in sums)
            values |= {
                f"{kind}_A": audio,
                f"{kind}_V": visual,
                f"{kind}_AV": both,
                f"{kind}_Type@AV": (audio + visual + both) / 3,
                f"{kind}_Event@AV": together,
            }
        return values | {"clips": float(self.clips), "unknown": float(self.unknown)}


def _with_both(present: Tensor) -> Tensor:
    """Audio and visual, bool [B, N, 2, C], to bool [B, 3, C, N]: audio, visual, and both at once; segments last."""
    audio, visual = present.unbind(dim=2)
    return torch.stack([audio, visual, audio & visual], dim=1).transpose(2, 3)


def _segment_counts(predicted: Tensor, true: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """TP, FP and FN, int64 [B, 3, C], of bool [B, 3, C, N]."""
    return (predicted & true).sum(dim=3), (predicted & ~true).sum(dim=3), (~predicted & true).sum(dim=3)


def _event_counts(predicted: Tensor, true: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """TP, FP and FN, int64 [B, 3, C], of the runs in bool [B, 3, C, N].

    The reference counts TP and FP over predicted events and FN over true ones, each with any match. That is the same as
    one to one: of two runs with a gap between them, only one can overlap a third by half of their union.
    """
    predicted_runs, true_runs = _runs(predicted), _runs(true)
    overlap = predicted_runs @ true_runs.transpose(-1, -2)
    union = predicted_runs.sum(dim=-1).unsqueeze(-1) + true_runs.sum(dim=-1).unsqueeze(-2) - overlap
    matches = (overlap > 0) & (overlap >= THRESHOLD * union)
    true_positives = matches.any(dim=-1).sum(dim=-1)
    false_positives = predicted_runs.any(dim=-1).sum(dim=-1) - true_positives
    false_negatives = true_runs.any(dim=-1).sum(dim=-1) - matches.any(dim=-2).sum(dim=-1)
    return true_positives, false_positives, false_negatives


def _runs(present: Tensor) -> Tensor:
    """float32 [..., R, N]: one row for each unbroken run of bool [..., N], with 1 where it is; zeros for no run."""
    number = run_begins(present).cumsum(dim=-1).unsqueeze(-2)
    most = (present.shape[-1] + 1) // 2
    return ((number == torch.arange(1, most + 1, device=present.device).unsqueeze(-1)) & present.unsqueeze(-2)).float()


def _scores(true_positives: Tensor, false_positives: Tensor, false_negatives: Tensor) -> Tensor:
    """float64 [B, 4]: A, V, AV and Event@AV of each clip, from counts [B, 3, C]."""
    counts = torch.stack([true_positives, false_positives, false_negatives]).double()
    counts = torch.cat([counts, counts[:, :, :2].sum(dim=2, keepdim=True)], dim=2)
    doubled = 2 * counts[0]
    occurring = counts.sum(dim=0) > 0
    per_class = torch.where(occurring, doubled / (doubled + counts[1] + counts[2]), 0.0)
    number = occurring.sum(dim=2)
    return torch.where(number > 0, per_class.sum(dim=2) / number, 1.0)
