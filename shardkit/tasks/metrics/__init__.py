"""Metrics of the tasks, on plain tensors; torchmetrics (extra `metrics`) sums them up over batches and ranks.

    metric = AVELMetrics(28)
    for batch in loader:
        metric.update(model(batch), batch.segment_labels, batch.labels["event"][:, 0], batch.weight)
    print(metric.compute())

`update` takes a batch: slots of weight 0 are removed first, whatever stands in them, and unknown targets (-100) are
left out and counted. `compute` returns numbers by name, over all batches and all ranks since the last `reset`; shares
are between 0 and 1, and NaN where there was nothing to divide by. Where nothing at all was given, it is a UsageError.

    ClassificationMetrics   one class a clip, or several: accuracy, mean per-class accuracy, mAP, mAUC
    AVELMetrics             audio-visual event localization: accuracy over segments, beside two lines that need no model
    AVVPMetrics             audio-visual video parsing: F-scores of segments and of events
    CMLMetrics              cross-modality localization: A2V and V2A, beside chance and position prior
    HierarchyMetrics        trees of classes: accuracy of every level, hF, severity of mistakes, path consistency
"""

from shardkit.tasks.metrics.avel import AVELMetrics
from shardkit.tasks.metrics.avvp import AVVPMetrics
from shardkit.tasks.metrics.classification import ClassificationMetrics
from shardkit.tasks.metrics.clip_metric import ClipMetric, ScoreKind
from shardkit.tasks.metrics.cml import CMLMetrics
from shardkit.tasks.metrics.hierarchy import HierarchyMetrics

__all__ = [
    "AVELMetrics",
    "AVVPMetrics",
    "CMLMetrics",
    "ClassificationMetrics",
    "ClipMetric",
    "HierarchyMetrics",
    "ScoreKind",
]
