"""Events: the cell that lists the labelled intervals of a clip."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shardkit.annotations.cells import RowError, read_seconds, read_text
from shardkit.annotations.rows import shortened
from shardkit.clip import EVENT_MODALITIES, Modality, Reason

# Spans are differences of decimal fractions: 40.3 - 30.3 is less than 10.
_ROUNDING_S = 1e-6
_NEGATIVE = re.compile(r"-[0-9]+")


@dataclass(frozen=True, slots=True)
class NamedEvent:
    """An event whose class has a name and no id yet."""

    start_s: float
    end_s: float
    class_name: str
    modality: Modality


def read_events(value: Any, *, length_s: float | None) -> tuple[NamedEvent, ...]:
    """The events of a clip: a list of objects, or the same as JSON text; none where the cell is empty.

    Args:
        value: The cell. Every object has `start_s`, `end_s`, `class` or `label`, and perhaps `modality`.
        length_s: Length of the clip; None where it is not known.

    Raises:
        RowError: The cell or one of its events cannot be read, or an event does not lie within the clip.
    """
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as exc:
            raise RowError(Reason.BAD_ROW, f"events is not JSON ({exc}): {shortened(value)}") from exc
    if value is None or value != value:  # noqa: PLR0124 - NaN: a gap in a data frame
        return ()
    if not isinstance(value, list):
        raise RowError(Reason.BAD_ROW, f"events is {shortened(value)}, expected a list of objects")
    return tuple(_read_event(event, number, length_s) for number, event in enumerate(value, start=1))


def _read_event(event: Any, number: int, length_s: float | None) -> NamedEvent:
    if not isinstance(event, Mapping):
        found = shortened(event)
        raise RowError(Reason.BAD_ROW, f"event {number} is {found}, expected an object with start_s, end_s, class")
    # Sorted: the order of the fields, which is the file's whim, makes no difference in the message either.
    where = f"event {number} ({shortened(dict(sorted(event.items())))})"
    start_s = read_seconds(event.get("start_s"), column=f"{where}: start_s")
    end_s = read_seconds(event.get("end_s"), column=f"{where}: end_s")
    name = read_text(event.get("class"), column=f"{where}: class")
    if name is None:
        name = read_text(event.get("label"), column=f"{where}: label")
    if start_s is None or end_s is None or name is None:
        raise RowError(Reason.BAD_ROW, f"{where} needs start_s, end_s and class")
    if _NEGATIVE.fullmatch(name):
        # A label may be unknown, -100; an event without a class says nothing.
        raise RowError(Reason.BAD_ROW, f"{where}: class {name:.40} is negative, ids begin at 0; leave the event out")
    if end_s <= start_s:
        raise RowError(Reason.BAD_ROW, f"{where} ends at {end_s:g} s, not after its start at {start_s:g} s")
    if length_s is not None and end_s > length_s + _ROUNDING_S:
        raise RowError(
            Reason.BAD_ROW,
            f"{where} ends at {end_s:g} s in a clip of {length_s:g} s; events count from the clip's start",
        )
    modality = event.get("modality")
    if modality is None:
        modality = "av"
    if modality not in EVENT_MODALITIES:
        raise RowError(Reason.BAD_ROW, f"{where}: modality {modality!r} is none of {', '.join(EVENT_MODALITIES)}")
    return NamedEvent(start_s, end_s, name, modality)
