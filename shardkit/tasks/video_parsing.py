"""AVVP: audio-visual video parsing (Tian et al. 2020, LLP)."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from shardkit.errors import UsageError
from shardkit.format.manifest import Manifest
from shardkit.tasks.event_localization import Supervision
from shardkit.tasks.label_choice import event_ids, event_label_sets, label_set_of, need_events

if TYPE_CHECKING:
    from shardkit.loading.batch import Batch


@dataclass(frozen=True, slots=True)
class AVVP:
    """The classes that are heard and those that are seen in each segment, several at once, without background.

    `batch.target` is float32 [B, N, 2, C] with `full` supervision: audio and visual targets, 0 or 1, zeros behind the
    clip's end (`batch.segment_count` says where that is). With `weak` it is float32 [B, C]: the classes that are
    somewhere in the clip, heard or seen.
    """

    supervision: Supervision = "full"
    label: str | None = None
    """Of weak supervision: a `multi` label set whose classes are event classes; None where there is one."""
    classes: tuple[str, ...] = ()
    """The event classes; known once it is bound to a data set."""
    of_label: tuple[int, ...] = ()
    """Event class of every class of the label set."""

    @property
    def needs_segments(self) -> bool:
        """See BatchTask."""
        return True

    def bind(self, manifest: Manifest) -> "AVVP":
        """See BatchTask.

        Raises:
            UsageError: There are no events; or, with weak supervision, no such label set.
        """
        need_events(manifest, "avvp")
        bound = replace(self, classes=manifest.event_classes)
        if self.supervision == "full":
            return bound
        chosen = label_set_of(
            manifest,
            self.label,
            among=event_label_sets(manifest, "multi"),
            wanted="a label set of clips (multi) whose classes are event classes",
        )
        return replace(bound, label=chosen.name, of_label=event_ids(manifest, chosen))

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
