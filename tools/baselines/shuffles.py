"""What shuffles do to a matcher that makes no mistake.

The clips say in sound and picture which second it is (`synthetic`, `spelled`), and an event of one second is to be
found by it. Where both modalities are shuffled alike, what is heard at a place is still seen there; where each is
shuffled by itself, it is seen at the same place by chance only. What counts is therefore the place of the query: a
model that says "this sound belongs to that picture" says so of two places in time. Beside it stands the other reading:
each modality's event has moved (`segment_targets`), and a matcher that never fails finds it wherever it is.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

import shardkit
from shardkit.loading.batch import Batch
from shardkit.tasks import SegmentShuffle, localize
from shardkit.tasks.metrics import CMLMetrics
from tools.baselines.synthetic_media import GREY, GREY_STEP, RATE_HZ, pitch_hz

KINDS = ("none", "both_same", "both_independent")


def shuffled_scores(data: Path, *, seeds: Sequence[int]) -> dict[str, dict[str, list[float]]]:
    """Kind of shuffle to metric to its value for each seed of the shuffle.

    `a2v` (audio query, visual position) and `v2a` are by the query's own place, `a2v_moved` and `v2a_moved` by where
    the event has gone.

    Args:
        data: Folder of the shards of `spelled`.
        seeds: Of the shuffles.
    """
    scores: dict[str, dict[str, list[float]]] = {}
    for kind in KINDS:
        runs = [_scores(data, None if kind == "none" else SegmentShuffle(kind, seed=seed)) for seed in seeds]
        scores[kind] = {name: [run[name] for run in runs] for name in runs[0]}
    return scores


def _scores(data: Path, shuffle: SegmentShuffle | None) -> dict[str, float]:
    metrics = {name: CMLMetrics() for name in ("own", "a2v", "v2a")}
    transform: Callable[[Batch], Batch] | None = None
    if shuffle is not None:
        # The target of before: where the event was, and where the query is taken from.
        transform = lambda batch: replace(shuffle(batch), target=batch.target)  # noqa: E731
    with shardkit.loader(
        data, split="test", task="cml", batch_size=16, shuffle=False, workers=1, transform=transform
    ) as loader:
        for batch in loader:
            distances = (heard_seconds(batch).unsqueeze(2) - seen_seconds(batch).unsqueeze(1)).abs()
            found = localize(distances, batch.target)
            metrics["own"].update(found.start_a2v, found.start_v2a, batch.target, batch.weight)
            heard, seen = (batch.segment_targets[name].any(dim=2) for name in ("audio", "visual"))
            found = localize(distances, heard, seen)
            metrics["a2v"].update(found.start_a2v, found.query_a2v, seen, batch.weight)
            metrics["v2a"].update(found.query_v2a, found.start_v2a, heard, batch.weight)
    own = metrics["own"].compute()
    moved = {f"{name}_moved": metrics[name].compute()[name] for name in ("a2v", "v2a")}
    return {"a2v": own["a2v"], "v2a": own["v2a"], "random": own["random"], **moved}


def heard_seconds(batch: Batch) -> Tensor:
    """int64 [B, N]: the second that each segment's tone says."""
    sound = batch.segments_view().audio
    assert sound is not None
    spectrum = torch.fft.rfft(sound.mean(dim=2)).abs()
    frequency_hz = spectrum.argmax(dim=-1) * (RATE_HZ / sound.shape[-1])
    known_hz = torch.tensor([pitch_hz(second) for second in range(sound.shape[1])])
    return (frequency_hz.unsqueeze(-1) - known_hz).abs().argmin(dim=-1)


def seen_seconds(batch: Batch) -> Tensor:
    """int64 [B, N]: the second that each segment's grey says."""
    pictures = batch.segments_view().video
    assert pictures is not None
    grey = pictures.float().mean(dim=(2, 3, 4, 5))
    return ((grey - GREY) / GREY_STEP).round().long()
