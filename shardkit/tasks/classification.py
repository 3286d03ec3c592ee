"""Classification of whole clips, by any level of any label set."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from shardkit.errors import UsageError
from shardkit.format.manifest import Manifest
from shardkit.tasks.label_choice import label_set_of

if TYPE_CHECKING:
    from shardkit.loading.batch import Batch


@dataclass(frozen=True, slots=True)
class Classification:
    """`batch.target`: int64 [B] class ids (-100 unknown) of a level; float32 [B, C], 0 or 1, of a `multi` label set.

    AVO-65 is classified on any of four levels of instruments, FGAVE by action (ACT-50) or materials (MAT-50).
    """

    label: str | None = None
    """The label set; None where there is only one, or one with this level."""
    level: int | str | None = None
    """Name or number (from 0, or from -1 backwards) of a hierarchy's level; None is the deepest."""
    classes: tuple[str, ...] = ()
    """What the ids mean; known once it is bound to a data set."""

    @property
    def needs_segments(self) -> bool:
        """See BatchTask."""
        return False

    @property
    def needs_events(self) -> bool:
        """See BatchTask."""
        return False

    def bind(self, manifest: Manifest) -> "Classification":
        """See BatchTask.

        Raises:
            UsageError: The label set or level is not there, or it is not said which of several.
        """
        sets = manifest.label_sets
        if self.label is None and isinstance(self.level, str):
            sets = tuple(one for one in sets if self.level in [level.name for level in one.levels])
        chosen = label_set_of(
            manifest, self.label, among=sets, wanted="one" if self.level is None else f"one with level {self.level!r}"
        )
        if chosen.kind == "multi" and self.level is not None:
            raise UsageError(
                f"level={self.level!r}: label set {chosen.name!r} is multi, it has no levels; leave it out"
            )
        level = chosen.taxonomy.level(-1 if self.level is None else self.level)
        return replace(self, label=chosen.name, level=level, classes=chosen.levels[level].classes)

    def __call__(self, batch: "Batch") -> "Batch":
        """See BatchTask."""
        if self.label is None or not isinstance(self.level, int):
            raise UsageError("this task is of no data set yet: bind(manifest) says of which")
        labels = batch.labels[self.label]
        return replace(batch, target=labels.float() if labels.dtype == torch.uint8 else labels[:, self.level])
