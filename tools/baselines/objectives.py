"""What a task trains for, and what it is measured by.

Metrics are imported where they are made: torchmetrics takes longer than PyTorch to import, and training needs none.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from shardkit.loading.batch import Batch
from shardkit.tasks import localize
from shardkit.taxonomy import UNKNOWN

if TYPE_CHECKING:
    from torchmetrics import Metric

    from shardkit.tasks.metrics import AVELMetrics, ClassificationMetrics, CMLMetrics


class Objective(Protocol):
    """Losses of a task's outputs, and its metric."""

    def losses(self, output: Any, batch: Batch) -> Tensor:
        """Float [B]: each clip's loss, 0 where nothing of it is known."""

    def metric(self, batch: Batch) -> "Metric":
        """A new one, for batches like this."""

    def update(self, metric: Any, output: Any, batch: Batch) -> None:
        """Shows the metric a batch."""

    def score(self, values: Mapping[str, float]) -> float:
        """What checkpoints are chosen by: more is better."""


class Classification:
    """Cross entropy over classes; of several classes a clip, binary cross entropy of each."""

    def __init__(self, classes: int, *, multilabel: bool) -> None:
        self.classes, self.multilabel = classes, multilabel

    def losses(self, output: Tensor, batch: Batch) -> Tensor:
        """`output` [B, classes]."""
        if self.multilabel:
            return F.binary_cross_entropy_with_logits(output.float(), batch.target, reduction="none").mean(dim=1)
        return F.cross_entropy(output.float(), batch.target, ignore_index=UNKNOWN, reduction="none")

    def metric(self, batch: Batch) -> "ClassificationMetrics":  # noqa: ARG002 - all batches are alike
        """Accuracy, mAP, mAUC."""
        from shardkit.tasks.metrics import ClassificationMetrics  # noqa: PLC0415

        return ClassificationMetrics(self.classes, multilabel=self.multilabel)

    def update(self, metric: "ClassificationMetrics", output: Tensor, batch: Batch) -> None:
        """See Objective."""
        metric.update(output.float(), batch.target, batch.weight)

    def score(self, values: Mapping[str, float]) -> float:
        """Accuracy; of several classes a clip mAP."""
        return values["mAP" if self.multilabel else "acc"]


class Localization:
    """AVEL: cross entropy over the classes and background, of each segment, or of the whole clip.

    Args:
        classes: Of events.
        weak: Whether clips are all that is known in training; the metric is of segments all the same.
        clip_class: A batch to the class of each clip, int64 [B], for the line of an oracle that knows it.
    """

    def __init__(self, classes: int, *, weak: bool, clip_class: Callable[[Batch], Tensor]) -> None:
        self.classes, self.weak, self.clip_class = classes, weak, clip_class

    def losses(self, output: Any, batch: Batch) -> Tensor:
        """`output` [B, N, classes + 1]; with `weak` a pair of it and [B, classes + 1]."""
        if self.weak:
            return F.cross_entropy(output[1].float(), batch.target, ignore_index=UNKNOWN, reduction="none")
        scores = output.float().transpose(1, 2)
        losses = F.cross_entropy(scores, batch.target, ignore_index=UNKNOWN, reduction="none")
        return losses.sum(dim=1) / (batch.target != UNKNOWN).sum(dim=1).clamp(min=1)

    def metric(self, batch: Batch) -> "AVELMetrics":  # noqa: ARG002 - all batches are alike
        """Accuracy over segments."""
        from shardkit.tasks.metrics import AVELMetrics  # noqa: PLC0415

        return AVELMetrics(self.classes)

    def update(self, metric: "AVELMetrics", output: Any, batch: Batch) -> None:
        """See Objective."""
        scores = output[0] if self.weak else output
        metric.update(scores.float(), batch.segment_labels, self.clip_class(batch), batch.weight)

    def score(self, values: Mapping[str, float]) -> float:
        """Accuracy over segments."""
        return values["acc"]


class CrossModality:
    """CML: sound and picture of an event's segment are to be close, those of a background segment of the clip are not.

    The contrastive loss of Hadsell, Chopra and LeCun (2006) on euclidean distances, as AVE's `cmm_train.py` has it:
    d² where they belong together, max(0, margin - d)² where they do not.
    """

    def __init__(self, *, margin: float) -> None:
        self.margin = margin
        self.training: CMLMetrics | None = None
        """Knows where events of training clips start."""

    def see_training(self, batch: Batch) -> None:
        """Counts where the events of training clips start: what always says the commonest place reaches so much."""
        if self.training is None:
            self.training = self.metric(batch)
        self.training.update_prior(batch.target, batch.weight, batch.segment_count)

    def losses(self, output: tuple[Tensor, Tensor], batch: Batch) -> Tensor:
        """`output` [B, N, D], twice."""
        heard, seen = output
        distances = _lengths(heard.float() - seen.float())
        apart = (self.margin - distances).clamp(min=0)
        losses = torch.where(batch.target, distances.square(), apart.square())
        known = torch.arange(losses.shape[1], device=losses.device) < batch.segment_count.unsqueeze(1)
        return (losses * known).sum(dim=1) / known.sum(dim=1).clamp(min=1)

    def metric(self, batch: Batch) -> "CMLMetrics":
        """A2V and V2A, and what chance and the commonest place reach."""
        from shardkit.tasks.metrics import CMLMetrics  # noqa: PLC0415

        prior = None if self.training is None else self.training.train_starts
        return CMLMetrics(batch.target.shape[1], prior=prior)

    def update(self, metric: "CMLMetrics", output: tuple[Tensor, Tensor], batch: Batch) -> None:
        """See Objective."""
        heard, seen = (vectors.float() for vectors in output)
        distances = _lengths(heard.unsqueeze(2) - seen.unsqueeze(1))  # [B, audio segment, visual segment]
        found = localize(distances, batch.target, segment_count=batch.segment_count)
        metric.update(found.start_a2v, found.start_v2a, batch.target, batch.weight, batch.segment_count)

    def score(self, values: Mapping[str, float]) -> float:
        """Mean of A2V and V2A."""
        return (values["a2v"] + values["v2a"]) / 2


def _lengths(vectors: Tensor) -> Tensor:
    # The gradient of a root is endless at 0.
    return vectors.square().sum(dim=-1).clamp(min=1e-7).sqrt()
