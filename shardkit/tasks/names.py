"""Tasks by name."""

from typing import TYPE_CHECKING

from shardkit.errors import UsageError
from shardkit.tasks.classification import Classification
from shardkit.tasks.cross_modality import CML
from shardkit.tasks.event_localization import AVEL
from shardkit.tasks.event_task import Supervision
from shardkit.tasks.video_parsing import AVVP

if TYPE_CHECKING:
    from shardkit.loading.batch_task import BatchTask

TASKS = ("classification", "avel", "avvp", "cml")


def task_of(
    name: str, *, supervision: Supervision = "full", label: str | None = None, level: int | str | None = None
) -> "BatchTask":
    """The task of a name, as `shardkit.loader` takes it.

    Args:
        name: `classification`, `avel`, `avvp` or `cml`.
        supervision: Of avel and avvp: targets a segment (`full`) or a clip (`weak`).
        label: Of classification and weak supervision: the label set.
        level: Of classification: the level of a hierarchy.

    Raises:
        UsageError: Another name, or an option that the task does not have.
    """
    if name not in TASKS:
        raise UsageError(f"task={name!r}: one of {', '.join(map(repr, TASKS))} is needed, or a task itself")
    if supervision != "full" and name in ("classification", "cml"):
        raise UsageError(f"task={name!r} has no weak form: leave supervision out")
    if level is not None and name != "classification":
        raise UsageError(f"level={level!r} is for classification, task={name!r} is about events: leave it out")
    if label is not None and name != "classification" and supervision == "full":
        raise UsageError(
            f"label={label!r}: task={name!r} takes its targets from events, and no label set: leave it out"
        )
    if name == "classification":
        return Classification(label, level)
    if name == "cml":
        return CML()
    return AVEL(supervision, label) if name == "avel" else AVVP(supervision, label)
