"""The other columns of an annotation file, each brought to one type so that the index can hold it."""

import json
import math
import re
from collections.abc import Sequence
from typing import Any

from shardkit.clip import Scalar

# Integers as integers are written: `007` is a name, and more digits than these fit no column.
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,18}")
_DECIMAL = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
_INT64 = range(-(2**63), 2**63)


def typed_column(values: Sequence[Any], *, typed: bool) -> list[Scalar]:
    """The values of a column, all of one type or None.

    Args:
        values: One value a row.
        typed: Whether the values carry their types; False: they are text whose type is inferred.

    Returns:
        Booleans, integers (64 bits), floats or text: the first of these that every value of the column is.
    """
    if not typed:
        return _inferred(values)
    scalars = [_scalar(value) for value in values]
    kinds = {type(value) for value in scalars if value is not None}
    if kinds <= {bool} or kinds <= {float} or kinds <= {str}:
        return scalars
    if kinds <= {int, float} and all(value in _INT64 for value in scalars if isinstance(value, int)):
        return scalars if kinds == {int} else [None if value is None else float(value) for value in scalars]
    return [None if value is None else str(value) for value in scalars]


def _inferred(texts: Sequence[str | None]) -> list[Scalar]:
    present = [text for text in texts if text is not None]
    if all(_INTEGER.fullmatch(text) and int(text) in _INT64 for text in present):
        return [None if text is None else int(text) for text in texts]
    # A leading zero marks a code (`007`), not a number; `0.5` and `1e-3` are numbers.
    if all(_DECIMAL.fullmatch(text) and not _is_code(text) and math.isfinite(float(text)) for text in present):
        return [None if text is None else float(text) for text in texts]
    return list(texts)


def _is_code(text: str) -> bool:
    digits = text.lstrip("-")
    return digits.startswith("0") and digits[1:2].isdigit()


def _scalar(value: Any) -> Scalar:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return None if math.isnan(value) else value
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)  # dates and decimals, as Parquet has them
