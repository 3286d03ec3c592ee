"""AVVP: audio-visual video parsing (Tian et al. 2020, LLP)."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from shardkit.errors import UsageError
from shardkit.tasks.event_task import EventTask

if TYPE_CHECKING:
    from shardkit.loading.batch import Batch


@dataclass(frozen=True, slots=True)
class AVVP(EventTask):
    """The classes that are heard and those that are seen in each segment, several at once, without background.

    `batch.target` is float32 [B, N, 2, C] with `full` supervision: audio and visual targets, 0 or 1, zeros behind the
    clip's end (`batch.segment_count` says where that is), -100 in a modality of which the clip's events are not known.
    With `weak` it is float32 [B, C]: the classes that are somewhere in the clip, heard or seen, of a `multi` label set.
    """

    name = "avvp"
    label_kind = "multi"

    def __call__(self, batch: "Batch") -> "Batch":
        """See BatchTask."""
        if self.supervision == "full":
            targets = batch.segment_targets
            return replace(batch, target=torch.stack((targets["audio"], targets["visual"]), dim=2))
        if self.label is None:
            raise UsageError("this task is of no data set yet: bind(manifest) says of which")
        present = batch.labels[self.label].float()
        target = present.new_zeros(len(present), len(self.classes))
        target[:, list(self.of_label)] = present
        return replace(batch, target=target)
