"""Average precision and area under the ROC curve of one class, as scikit-learn defines them, in float64."""

import torch
from torch import Tensor


def average_precision(scores: Tensor, positive: Tensor) -> float:
    """Sum over thresholds of (recall - recall before) · precision, as `sklearn.metrics.average_precision_score`.

    Args:
        scores: Float [n]; only their order counts. Equal ones are one threshold.
        positive: bool [n], at least one of them true.
    """
    true, false = _counts_at_thresholds(scores, positive)
    gained = true.diff(prepend=true.new_zeros(1)) / true[-1]
    return float((gained * true / (true + false)).sum())


def roc_auc(scores: Tensor, positive: Tensor) -> float:
    """Share of pairs (positive, negative) in the right order, an equal pair counting half; as `roc_auc_score`.

    Args:
        scores: Float [n]; only their order counts.
        positive: bool [n], at least one of them true and one false.
    """
    true, false = (torch.nn.functional.pad(counts, (1, 0)) for counts in _counts_at_thresholds(scores, positive))
    return float(torch.trapezoid(true, false) / (true[-1] * false[-1]))


def _counts_at_thresholds(scores: Tensor, positive: Tensor) -> tuple[Tensor, Tensor]:
    """float64 [thresholds], twice: positives and negatives that score at least as much, from the highest score down."""
    ranked, order = scores.sort(descending=True)
    last_of_equals = torch.cat([ranked[1:] != ranked[:-1], torch.ones(1, dtype=torch.bool, device=scores.device)])
    true = positive[order].double().cumsum(0)
    false = (~positive[order]).double().cumsum(0)
    return true[last_of_equals], false[last_of_equals]
