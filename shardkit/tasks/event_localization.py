"""AVEL: audio-visual event localization (Tian et al. 2018, AVE)."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from torch import Tensor

from shardkit.errors import UsageError
from shardkit.tasks.event_task import EventTask
from shardkit.tasks.label_choice import as_event_ids

if TYPE_CHECKING:
    from shardkit.loading.batch import Batch


@dataclass(frozen=True, slots=True)
class AVEL(EventTask):
    """The class of the event that is both heard and seen in each segment, or background (class C, the last one).

    `batch.target` is int64 [B, N], `batch.segment_labels`, with `full` supervision. With `weak` it is the clip's class,
    int64 [B]: of a `single` label set, in terms of the event classes; C for clips that are known to have no event (flag
    `background`, which training with weak supervision needs); -100 where it is unknown. A clip whose event is 0-0, as
    one of AVE's, keeps its class. Scores a segment become scores a clip by `MaxPool` (AVE), `MeanPool` (PSP) or
    `AttentionPool`; evaluation is per segment, with `batch.segment_labels`.
    """

    name = "avel"
    label_kind = "single"

    def __call__(self, batch: "Batch") -> "Batch":
        """See BatchTask."""
        return replace(batch, target=batch.segment_labels if self.supervision == "full" else self.clip_class(batch))

    def clip_class(self, batch: "Batch") -> Tensor:
        """int64 [B]: class of the clip's event; C for background, -100 unknown.

        Raises:
            UsageError: The task is not of weak supervision, or not bound: no label set says it.
        """
        if self.supervision == "full" or self.label is None or not self.of_label:
            raise UsageError(
                "which label set has the class of a clip is known to a task of weak supervision, once bound"
            )
        ids = as_event_ids(batch.labels[self.label][:, -1], self.of_label)
        return ids.masked_fill(batch.background, len(self.classes))
