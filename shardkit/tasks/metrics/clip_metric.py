"""ClipMetric: what all metrics share - which slots count, what a target may be, and states that ranks add up."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from shardkit.errors import UsageError
from shardkit.taxonomy import UNKNOWN

try:
    from torchmetrics import Metric
    from torchmetrics.utilities.exceptions import TorchMetricsUserError
except ModuleNotFoundError as exc:
    if exc.name != "torchmetrics":
        raise
    raise UsageError("torchmetrics is not installed; install it with: pip install 'shardkit[metrics]'") from exc

ScoreKind = Literal["logits", "probabilities"]
"""What a model's scores are: logits become probabilities by a softmax over the classes."""


class ClipMetric(Metric):
    """A torchmetrics metric over the clips of batches, whose values are floats by name.

    Tensors of a batch are brought to the metric's device (`metric.to(device)`). With torch.distributed, `compute` is a
    step that all ranks take together: each gets the values over all of them.
    """

    full_state_update = False

    def forward(self, *args: Any, **kwargs: Any) -> None:
        """Takes a batch in, as `update` does. One batch has no values of its own: it may be all padding."""
        self.update(*args, **kwargs)

    @contextmanager
    def sync_context(
        self,
        dist_sync_fn: Callable[..., Any] | None = None,
        process_group: Any | None = None,
        should_sync: bool = True,  # noqa: FBT001, FBT002 - torchmetrics' signature
        should_unsync: bool = True,  # noqa: FBT001, FBT002
        distributed_available: Callable[..., Any] | None = None,
    ) -> Iterator[None]:
        """As torchmetrics has it; but a rank gets its own states back also where `compute` raises."""
        try:
            with super().sync_context(dist_sync_fn, process_group, should_sync, should_unsync, distributed_available):
                yield
        except BaseException:
            with suppress(TorchMetricsUserError):  # it was not synced
                self.unsync()
            raise

    def _add_sum(self, name: str, *shape: int, dtype: torch.dtype = torch.int64) -> None:
        """Declares a state that starts at 0 and is added up over batches and ranks."""
        self.add_state(name, torch.zeros(shape, dtype=dtype), dist_reduce_fx="sum")

    def _kept(self, weight: Tensor | None, *tensors: Tensor) -> tuple[Tensor, ...]:
        """The slots of tensors [B, ...] whose weight is above 0, on the metric's device; all of them without weights.

        Raises:
            UsageError: Weights of another shape, or NaN in a slot that is kept.
        """
        kept = tuple(tensor.detach().to(self.device) for tensor in tensors)
        if weight is not None:
            require_shape("weight", weight, len(kept[0]))
            real = weight.to(self.device) > 0
            kept = tuple(tensor[real] for tensor in kept)
        if any(tensor.isnan().any() for tensor in kept):
            raise UsageError(
                f"{type(self).__name__}.update(): NaN in a clip of weight above 0: it ranks above and below nothing; "
                "did the training diverge?"
            )
        return kept

    def _require_some(self, count: Tensor, what: str) -> None:
        if not int(count):
            raise UsageError(
                f"{type(self).__name__}.compute(): there is no {what} yet; call update() first, with batches in which "
                "some have a weight above 0"
            )


def require_shape(name: str, tensor: Tensor, *shape: int | str) -> None:
    """Checks a tensor's shape; a name in place of a size stands for any size.

    Raises:
        UsageError: It has another one.
    """
    fits = tensor.dim() == len(shape) and all(
        isinstance(size, str) or size == actual for size, actual in zip(shape, tensor.shape, strict=True)
    )
    if not fits:
        raise UsageError(f"{name} of shape {list(tensor.shape)}: [{', '.join(map(str, shape))}] is needed")


def class_ids(name: str, ids: Tensor, classes: int) -> Tensor:
    """Class ids from 0 to `classes` - 1, or -100, as int64.

    Raises:
        UsageError: Another one is among them, or they are no whole numbers.
    """
    if ids.is_floating_point() or ids.dtype == torch.bool:
        raise UsageError(f"{name} of {ids.dtype}: class ids are whole numbers (int64)")
    ids = ids.long()
    wrong = ids[((ids < 0) & (ids != UNKNOWN)) | (ids >= classes)]
    if len(wrong):
        raise UsageError(
            f"{name} has class id {int(wrong[0])}: ids from 0 to {classes - 1}, and {UNKNOWN} for an unknown one, are "
            "needed; was the metric made for another label set?"
        )
    return ids


def segment_counts(counts: Tensor | None, clips: int, segments: int) -> Tensor:
    """How many of the segments each clip has, int64 [clips]; all of them without counts.

    Raises:
        UsageError: Counts of another shape.
    """
    if counts is None:
        return torch.full((clips,), segments)
    require_shape("segment_count", counts, clips)
    return counts


def require_score_kind(scores: str) -> None:
    """Checks what the caller says about a model's scores.

    Raises:
        UsageError: It is neither of the two.
    """
    if scores not in get_args(ScoreKind):
        raise UsageError(f"scores={scores!r}: 'logits' or 'probabilities' is needed")


def require_count(name: str, count: int) -> None:
    """Checks a number of classes or segments.

    Raises:
        UsageError: It is not a whole number above 0.
    """
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise UsageError(f"{name}={count!r}: a whole number above 0 is needed")


def ratio(part: Tensor | float, whole: Tensor | float) -> float:
    """Quotient of the two; NaN where the whole is 0."""
    return float(part) / float(whole) if float(whole) else float("nan")


def mean(values: Sequence[float]) -> float:
    """Their mean; NaN of none."""
    return ratio(sum(values), len(values))
