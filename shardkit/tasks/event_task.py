"""EventTask: what the tasks about events that have a weak form share."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal, get_args

from shardkit.errors import UsageError
from shardkit.format.manifest import Manifest
from shardkit.tasks.label_choice import event_ids, event_label_sets, label_set_of, need_events

if TYPE_CHECKING:
    from typing_extensions import Self

Supervision = Literal["full", "weak"]


@dataclass(frozen=True, slots=True)
class EventTask:
    """Targets a segment with `full` supervision, out of the events; a clip with `weak`, out of a label set."""

    supervision: Supervision = "full"
    label: str | None = None
    """Of weak supervision: a label set whose classes are event classes; None where there is one that will do."""
    classes: tuple[str, ...] = ()
    """The event classes, without background; known once it is bound to a data set."""
    of_label: tuple[int, ...] = ()
    """Event class of every class of the label set."""

    name: ClassVar[str]
    label_kind: ClassVar[str]
    """Kind of the label set."""

    def __post_init__(self) -> None:
        if self.supervision not in get_args(Supervision):
            raise UsageError(f"supervision={self.supervision!r}: 'full' or 'weak' is needed")

    @property
    def needs_segments(self) -> bool:
        """See BatchTask."""
        return True

    @property
    def needs_events(self) -> bool:
        """See BatchTask."""
        return self.supervision == "full"

    def bind(self, manifest: Manifest) -> "Self":
        """See BatchTask.

        Raises:
            UsageError: There are no events; or, with weak supervision, no such label set.
        """
        need_events(manifest, self.name)
        bound = replace(self, classes=manifest.event_classes)
        if self.supervision == "full":
            return bound
        chosen = label_set_of(
            manifest,
            self.label,
            among=event_label_sets(manifest, self.label_kind),
            wanted=f"a label set of clips ({self.label_kind}) whose classes are event classes",
        )
        return replace(bound, label=chosen.name, of_label=event_ids(manifest, chosen))
