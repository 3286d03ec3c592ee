"""One case of every metric: how it is made, and 24 clips for it, some of them padding with rubbish in it."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from shardkit.tasks.metrics import (
    AVELMetrics,
    AVVPMetrics,
    ClassificationMetrics,
    ClipMetric,
    CMLMetrics,
    HierarchyMetrics,
)
from shardkit.taxonomy import Level, Taxonomy

CLIPS = 24
CLASSES = 4
SEGMENTS = 6
TREE = Taxonomy(
    (Level("top", ("a", "b")), Level("middle", ("c", "d", "e")), Level("leaf", ("f", "g", "h", "i"))),
    ((0, 0, 1), (0, 0, 1, 2)),
)


@dataclass(frozen=True)
class Case:
    """Arguments of `update` by name, [CLIPS, ...] each, the weights among them."""

    make: Callable[[], ClipMetric]
    inputs: dict[str, Tensor]

    def feed(self, metric: ClipMetric, begin: int = 0, end: int = CLIPS) -> None:
        """Gives a metric the clips from `begin` to `end` as one batch."""
        metric.update(**{name: value[begin:end] for name, value in self.inputs.items()})


def cases() -> dict[str, Case]:
    """The cases by name, always the same."""
    generator = torch.Generator().manual_seed(7)

    def noise(*shape):
        return torch.randn(CLIPS, *shape, generator=generator)

    def ids(classes, *shape, unknown=0.2):
        drawn = torch.randint(classes, (CLIPS, *shape), generator=generator)
        return torch.where(torch.rand(drawn.shape, generator=generator) < unknown, -100, drawn)

    def bits(*shape):
        return (noise(*shape) > 0.3).float()

    weight = torch.ones(CLIPS)
    weight[[0, 7, 8, 23]] = 0

    def case(make, **inputs):
        for value in inputs.values():
            value[weight == 0] = float("nan") if value.is_floating_point() else (value.dtype == torch.bool) or 999
        return Case(make, inputs | {"weight": weight})

    length = torch.randint(SEGMENTS + 1, (CLIPS, 1), generator=generator)
    start = (torch.rand(CLIPS, 1, generator=generator) * (SEGMENTS + 1 - length)).long()
    place = torch.arange(SEGMENTS)
    leaves = ids(CLASSES)
    paths = torch.tensor([TREE.path(2, leaf) if leaf >= 0 else (-100,) * 3 for leaf in leaves.tolist()])
    return {
        "classification": case(lambda: ClassificationMetrics(CLASSES), scores=noise(CLASSES), target=ids(CLASSES)),
        "multilabel": case(
            lambda: ClassificationMetrics(CLASSES, multilabel=True), scores=noise(CLASSES), target=bits(CLASSES)
        ),
        "avel": case(
            lambda: AVELMetrics(CLASSES),
            scores=noise(SEGMENTS, CLASSES + 1),
            segment_labels=ids(CLASSES + 1, SEGMENTS),
            clip_class=ids(CLASSES + 1),
        ),
        "avvp": case(
            lambda: AVVPMetrics(CLASSES),
            segment_scores=noise(SEGMENTS, 2, CLASSES).sigmoid(),
            clip_scores=noise(CLASSES).sigmoid(),
            segment_targets=bits(SEGMENTS, 2, CLASSES),
        ),
        "cml": case(
            lambda: CMLMetrics(SEGMENTS, prior=torch.ones(SEGMENTS + 1, SEGMENTS, dtype=torch.int64)),
            start_a2v=start.squeeze(1).clone(),
            start_v2a=torch.zeros(CLIPS, dtype=torch.int64),
            event=(place >= start) & (place < start + length),
        ),
        "hierarchy": case(lambda: HierarchyMetrics(TREE), leaf_scores=noise(CLASSES), target=paths),
    }
