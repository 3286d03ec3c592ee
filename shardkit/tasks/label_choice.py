"""Which of a data set's label sets a task is about."""

from collections.abc import Sequence

from torch import Tensor

from shardkit.errors import UsageError
from shardkit.format.manifest import Manifest
from shardkit.taxonomy import LabelSet


def label_set_of(manifest: Manifest, name: str | None, *, among: Sequence[LabelSet], wanted: str) -> LabelSet:
    """The label set of this name; without one, the only one of those that will do.

    Args:
        manifest: Of the data set.
        name: As the user gave it, or None.
        among: The label sets that will do.
        wanted: What they are, for messages.

    Raises:
        UsageError: There is none, or several will do; names them.
    """
    if name is None and len(among) == 1:
        return among[0]
    for label_set in among:
        if label_set.name == name:
            return label_set
    kinds = ", ".join(f"{label_set.name!r} ({label_set.kind})" for label_set in manifest.label_sets) or "none"
    fitting = ", ".join(repr(label_set.name) for label_set in among) or "none of them"
    given = "no label set was named" if name is None else f"label={name!r}"
    raise UsageError(f"{given}, and {wanted} is needed: name one with label=; there are {kinds}; {fitting} will do")


def event_label_sets(manifest: Manifest, kind: str) -> list[LabelSet]:
    """The label sets of one kind whose classes are classes of events."""
    events = set(manifest.event_classes)
    return [label_set for label_set in manifest.label_sets if label_set.kind == kind and events >= _classes(label_set)]


def event_ids(manifest: Manifest, label_set: LabelSet) -> tuple[int, ...]:
    """The event class of every class of a label set: the one of the same name."""
    places = {name: place for place, name in enumerate(manifest.event_classes)}
    return tuple(places[name] for name in label_set.leaf.classes)


def need_events(manifest: Manifest, task: str) -> None:
    """Raises UsageError where a data set knows no events."""
    if not manifest.event_classes:
        raise UsageError(
            f"task={task!r} is about events, and data set {manifest.name!r} has none: pack, or relabel, with an "
            "annotation file that has them"
        )


def as_event_ids(ids: Tensor, of_class: Sequence[int]) -> Tensor:
    """int64 ids of a label set's classes → of the event classes; unknown (below 0) stays as it is."""
    known = ids >= 0
    return ids.where(~known, ids.new_tensor(of_class)[ids.clamp(min=0)])


def _classes(label_set: LabelSet) -> set[str]:
    return set(label_set.leaf.classes)
