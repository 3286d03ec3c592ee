"""ClassificationMetrics: accuracy, mAP and mAUC of clips with one class or several."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat

from shardkit.errors import UsageError
from shardkit.tasks.metrics.clip_metric import (
    ClipMetric,
    ScoreKind,
    class_ids,
    mean,
    ratio,
    require_count,
    require_score_kind,
    require_shape,
)
from shardkit.tasks.metrics.ranking import average_precision, roc_auc
from shardkit.taxonomy import UNKNOWN


class ClassificationMetrics(ClipMetric):
    """Accuracy of the class with the highest score, and how well scores rank the clips of each class.

    With y[i, c] = 1 where clip i has class c, and hit[i] = y[i, argmax of the scores of i] (the first of equals):

        acc             mean of hit over clips with a class: micro top-1 accuracy; with several classes a clip, one of
                        them has to be on top
        mean_class_acc  mean over classes of Σ_i y[i, c]·hit[i] / Σ_i y[i, c]: every class counts alike
        mAP             macro: mean over classes of the average precision of scores[:, c] against y[:, c]
                        (`sklearn.metrics.average_precision_score`)
        mAUC            macro, one-vs-rest: mean over classes of the area under the ROC curve (`roc_auc_score`)
        clips, unknown  clips that count, and clips of unknown class that do not
        without_class   clips that have none of the classes (`multilabel` only): negatives of all; not in `acc`
        classes_without_positives   left out of mean_class_acc, mAP and mAUC
        classes_without_negatives   left out of mAUC: all clips have them

    Average precision and AUC compare the scores of different clips, so a constant that a clip adds to all its logits
    would change them. With one class a clip, logits therefore go through a softmax over the classes, and what is ranked
    is the probability of the class. With several, every class is a decision of its own: scores are ranked as they are,
    which a sigmoid would not change.

    Scores and targets of all clips are kept until `reset`, and gathered from the ranks: 8 bytes a score.

    Args:
        classes: C, the number of classes.
        multilabel: Clips have any number of classes.
        scores: What `update` is given for clips of one class.

    Raises:
        UsageError: `classes` is not above 0, or another kind of scores.

    Example:
        >>> metric = ClassificationMetrics(3)
        >>> logits = torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, 2.0], [0.0, 3.0, 1.0]])
        >>> metric.update(logits, torch.tensor([0, 1, 1]), weight=torch.ones(3))
        >>> values = metric.compute()
        >>> values["acc"], values["mean_class_acc"], values["classes_without_positives"]
        (0.6666666666666666, 0.75, 1.0)
    """

    scores: list[Tensor]
    """float64 [n, C] each, as they were given: float32 would round many a sure probability to 1."""
    targets: list[Tensor]
    """int64 [n] each; bool [n, C] each with `multilabel`."""
    unknown: Tensor

    def __init__(self, classes: int, *, multilabel: bool = False, scores: ScoreKind = "logits") -> None:
        super().__init__()
        require_count("classes", classes)
        require_score_kind(scores)
        self.classes, self.multilabel, self.score_kind = classes, multilabel, scores
        self.add_state("scores", [], dist_reduce_fx="cat")
        self.add_state("targets", [], dist_reduce_fx="cat")
        self._add_sum("unknown")

    def update(self, scores: Tensor, target: Tensor, weight: Tensor | None = None) -> None:
        """Takes a batch in.

        Args:
            scores: Float [B, C].
            target: int64 [B], -100 for unknown; with `multilabel` [B, C] of 0 and 1 of any type, a clip with -100 in it
                being unknown.
            weight: [B]; slots of weight 0 are removed.

        Raises:
            UsageError: Other shapes, a class that there is not, or NaN among the scores.
        """
        require_shape("scores", scores, "B", self.classes)
        require_shape("target", target, len(scores), *([self.classes] if self.multilabel else []))
        scores, target = self._kept(weight, scores, target)
        if self.multilabel:
            known = (target.double() != UNKNOWN).all(dim=1)  # as uint8, -100 would be 156
            if not ((target[known] == 0) | (target[known] == 1)).all():
                raise UsageError("target of several classes: 0, 1 and -100 are needed; mixed targets are for training")
            target = target.bool()
        else:
            target = class_ids("target", target, self.classes)
            known = target != UNKNOWN
        self.scores.append(scores[known].double())
        self.targets.append(target[known])
        self.unknown += (~known).sum()

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """As torchmetrics has it, also for a rank that was given no batch: its part is empty and of the right type."""
        if isinstance(self.scores, list) and not self.scores:
            self.scores.append(torch.zeros(0, self.classes, dtype=torch.float64, device=self.device))
            empty = torch.zeros(0, self.classes, dtype=torch.bool) if self.multilabel else torch.zeros(0).long()
            self.targets.append(empty.to(self.device))
        super().sync(*args, **kwargs)

    def compute(self) -> dict[str, float]:
        """The values by the names above, over all ranks.

        Raises:
            UsageError: No clip of known class was given.
        """
        scores, targets = dim_zero_cat(self.scores), dim_zero_cat(self.targets)
        self._require_some(torch.tensor(len(scores)), "clip of known class")
        if self.multilabel:
            has = targets
        else:
            has = targets.unsqueeze(1) == torch.arange(self.classes, device=targets.device)
            if self.score_kind == "logits":
                scores = scores.softmax(dim=1)
        hit = has.gather(1, scores.argmax(dim=1, keepdim=True)).squeeze(1)
        positives = has.sum(dim=0)
        present = positives.nonzero().flatten().tolist()
        separable = [c for c in present if positives[c] < len(has)]
        return {
            "acc": ratio(hit.sum(), has.any(dim=1).sum()),
            "mean_class_acc": mean([ratio((has[:, c] & hit).sum(), positives[c]) for c in present]),
            "mAP": mean([average_precision(scores[:, c], has[:, c]) for c in present]),
            "mAUC": mean([roc_auc(scores[:, c], has[:, c]) for c in separable]),
            "clips": float(len(has)),
            "unknown": float(self.unknown),
            "without_class": float((~has.any(dim=1)).sum()),
            "classes_without_positives": float(self.classes - len(present)),
            "classes_without_negatives": float(len(present) - len(separable)),
        }
