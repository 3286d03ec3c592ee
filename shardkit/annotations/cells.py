"""Cells: one value of a row, read as text, as seconds or as an id; what cannot be read raises RowError."""

import math
import re
from typing import Any

from shardkit.annotations.rows import Rows, shortened
from shardkit.clip import Reason

LONGEST_S = 1e9
"""Times from here on are refused: three decades of seconds are a unit mixed up."""

_DECIMAL = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
# What a spreadsheet leaves of an id: the error value of a cell that it took for a formula (`-70tew…`), the
# hatch of a cell that was too narrow, or a number in scientific notation.
_MANGLED = re.compile(
    r"#(?:NAME\?|REF!|VALUE!|DIV/0!|NUM!|NULL!|SPILL!|CALC!|FIELD!|N/A|GETTING_DATA)|#+|[0-9](?:\.[0-9]+)?E\+[0-9]+",
)


class RowError(Exception):
    """A row cannot become a clip; it becomes a Reject and never leaves this package."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def read_text(value: Any, *, column: str) -> str | None:
    """The cell as text without blanks around it; None where it is empty.

    Raises:
        RowError: The value is a list or an object.
    """
    if isinstance(value, str):
        return value.strip() or None
    if isinstance(value, list | dict):
        raise RowError(Reason.BAD_ROW, f"{column} is {shortened(value)}, expected one value")
    if value is None or value != value:  # noqa: PLR0124 - NaN is how data frames say that nothing is there
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # data frames turn integer columns with gaps into floats
    return str(value)


def read_seconds(value: Any, *, column: str) -> float | None:
    """The cell as seconds; None where it is empty.

    Raises:
        RowError: It is not a finite number from 0 up to LONGEST_S.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, str):
        seconds = float(value) if _DECIMAL.fullmatch(value.strip()) else math.nan
    elif isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value) if abs(value) <= LONGEST_S else math.inf
    else:
        seconds = math.nan
    if not 0 <= seconds < LONGEST_S:
        raise RowError(
            Reason.BAD_ROW,
            f"{column} is {shortened(value)}, expected seconds, 0 or more; correct it in the file",
        )
    return seconds + 0.0  # -0.0 becomes 0.0


def read_id(value: Any, *, column: str) -> str | None:
    """The cell as an id; None where it is empty.

    Raises:
        RowError: A spreadsheet has mangled it.
    """
    text = read_text(value, column=column)
    if text is not None and _MANGLED.fullmatch(text):
        raise RowError(
            Reason.BAD_ID,
            f"{column} is {text!r}, what a spreadsheet makes of an id that it takes for a formula or a number; the id "
            "is lost in this file: look it up at the source of this row, and import the column as text",
        )
    return text


def check_span(start_s: float | None, end_s: float | None) -> None:
    """Passes a span that ends after it starts.

    Raises:
        RowError: It does not.
    """
    if end_s is not None and end_s <= (start_s or 0.0):
        raise RowError(
            Reason.BAD_ROW,
            f"the span ends at {end_s:g} s and starts at {start_s or 0:g} s; correct it in the file",
        )


def check_fault(rows: Rows, place: int) -> None:
    """Passes a row whose cells could be told apart.

    Raises:
        RowError: They could not.
    """
    if place in rows.faults:
        raise RowError(Reason.BAD_ROW, rows.faults[place])


def as_found(value: Any) -> str | None:
    """The cell as a rejected row names it: whatever it holds, as text; None where it is empty."""
    return None if value is None else str(value)
