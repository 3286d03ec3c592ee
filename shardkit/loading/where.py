"""Conditions on the columns of an index, such as `level_1 == 3 and "silent" not in flags`: which clips they choose.

Nothing but the index is read. A condition is a text or a `pyarrow.compute` expression over the same names:

    level_1, level_4, instrument   a level, or a label set's deepest level: the class's id, or its name in quotes
    labels                         a `multi` label set: "Speech" in labels
    note                           a column of the annotation file
    ave_match                      a named division into splits: ave_match == "train"
    duration_s, split, flags, …    what every index has: "silent" in flags

A text is read by Python's own grammar, of which comparisons, `in`, `and`, `or`, `not`, parentheses, names, numbers,
strings, None, True and False are taken and everything else refused; nothing of it is ever run. As in SQL, a clip for
which a value is not known fits neither a comparison nor its opposite, only `== None`.
"""

import ast
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache, reduce
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import acero

from shardkit.errors import UsageError
from shardkit.format.index import COLUMN_PREFIX, LABEL_PREFIX, SPLIT_PREFIX, ClipIndex, rows_with
from shardkit.format.manifest import Manifest
from shardkit.taxonomy import UNKNOWN, LabelSet

Where: TypeAlias = str | pc.Expression

INDEX_PREFIX = "index_"
"""Before the name of a column that every index has, where something else is called so too."""
EXAMPLE = "level_1 == 3"
MOST_SHOWN = 12

_NO_MATTER = ("_offset", "_xxh3")
"""Ends of the names of columns that say nothing about a clip, but where its bytes lie."""

_Constant = str | int | float | bool | None
_Kind = Literal["level", "labels", "column", "split", "index"]
_TITLES: Mapping[_Kind, str] = {
    "level": "labels",
    "labels": "labels (several a clip)",
    "column": "columns of the annotation file",
    "split": "named splits",
    "index": "of every index",
}
_COMPARISONS: Mapping[type[ast.cmpop], tuple[str, Callable[[Any, Any], Any]]] = {
    ast.Eq: ("==", pc.equal),
    ast.NotEq: ("!=", pc.not_equal),
    ast.Lt: ("<", pc.less),
    ast.LtE: ("<=", pc.less_equal),
    ast.Gt: (">", pc.greater),
    ast.GtE: (">=", pc.greater_equal),
}
_MIRRORED = {ast.Lt: ast.Gt, ast.LtE: ast.GtE, ast.Gt: ast.Lt, ast.GtE: ast.LtE}


@dataclass(frozen=True, slots=True)
class _Column:
    """What a name in a condition stands for."""

    title: str
    """The name that nothing else has."""
    kind: _Kind
    values: Callable[[], pa.Array]
    """Its column of the index: of a level the ids, null where the class is not known."""
    classes: tuple[str, ...] | None = None
    """Names of the ids, where it holds ids."""


class _Names:
    """The names that a condition on an index may hold."""

    def __init__(self, manifest: Manifest, index: ClipIndex) -> None:
        self.clip_count = len(index)
        self._found: dict[str, dict[str, _Column]] = {}
        for label_set in manifest.label_sets:
            self._add_labels(label_set, index)
        for name, kind in zip(index.batch.schema.names, index.batch.schema.types, strict=True):

            def values(name: str = name) -> pa.Array:
                column = index.batch.column(name)
                is_split = name == "split" or name.startswith(SPLIT_PREFIX)
                # What has no split has an empty one in the index.
                return pc.if_else(pc.equal(column, ""), None, column) if is_split else column

            if name.startswith(COLUMN_PREFIX):
                self._add(_Column(name, "column", values), name.removeprefix(COLUMN_PREFIX))
            elif name.startswith(SPLIT_PREFIX):
                self._add(_Column(name, "split", values), name.removeprefix(SPLIT_PREFIX))
            elif name == "flags" or not (
                pa.types.is_nested(kind) or name.startswith(LABEL_PREFIX) or name.endswith(_NO_MATTER)
            ):
                self._add(_Column(INDEX_PREFIX + name, "index", values), name)

    def _add_labels(self, label_set: LabelSet, index: ClipIndex) -> None:
        for depth, level in enumerate(label_set.levels):
            flat = label_set.depth == 1
            title = LABEL_PREFIX + label_set.name + ("" if flat else f"_{level.name}")
            names = [level.name] if depth < label_set.depth - 1 else [level.name, label_set.name]
            if label_set.kind == "multi":

                def values() -> pa.Array:
                    return index.batch.column(LABEL_PREFIX + label_set.name)

                self._add(_Column(title, "labels", values, level.classes), *names)
                continue

            @cache  # a list after `in` asks once an item, and this is a pass over all clips
            def ids(depth: int = depth) -> pa.Array:
                column = index.labels(label_set)[:, depth]
                return pa.array(column, mask=column < 0)

            self._add(_Column(title, "level", ids, level.classes), *names)

    def _add(self, column: _Column, *names: str) -> None:
        for name in (column.title, *names):
            self._found.setdefault(name, {})[column.title] = column

    def __getitem__(self, name: str) -> _Column:
        """What a name stands for.

        Raises:
            UsageError: Nothing, or several things.
        """
        found = self._found.get(name, {})
        if len(found) > 1:
            raise UsageError(f"{name!r} stands for several things: say which one, {' or '.join(sorted(found))}")
        if not found:
            near = get_close_matches(name, self._found, n=1)
            raise UsageError(f"there is no {name!r}{f', perhaps {near[0]!r}' if near else ''}; there are {self}")
        return next(iter(found.values()))

    def columns(self) -> dict[str, pa.Array]:
        """The column of every name that stands for one thing."""
        single = {name: column for name, found in self._found.items() for column in found.values() if len(found) == 1}
        arrays = {column.title: column.values() for column in single.values()}
        return {name: arrays[column.title] for name, column in single.items()}

    def __str__(self) -> str:
        by_kind: dict[_Kind, list[str]] = {}
        for name, found in self._found.items():
            for column in found.values():
                if name != column.title or len(found) > 1:
                    by_kind.setdefault(column.kind, []).append(name)
        return "; ".join(
            f"{title}: {', '.join(dict.fromkeys(by_kind[kind]))}" for kind, title in _TITLES.items() if kind in by_kind
        )


def check_where(where: object) -> None:
    """Refuses what can be no condition on any index.

    Raises:
        UsageError: It is neither a text nor an expression.
    """
    if not isinstance(where, str | pc.Expression):
        raise UsageError(f"where={where!r}: a text such as {EXAMPLE!r}, or an expression of pyarrow.compute, is needed")


def clips_where(where: Where, manifest: Manifest, index: ClipIndex) -> npt.NDArray[np.bool_]:
    """Which clips of an index fit a condition.

    Args:
        where: The condition.
        manifest: Of the data set.
        index: Its columns.

    Returns:
        bool [N], one a row of the index.

    Raises:
        UsageError: It is no condition, or names what there is not; says where in the text, and what there is.
    """
    check_where(where)
    names = _Names(manifest, index)
    fits = _Reader(where, names).read() if isinstance(where, str) else _evaluated(where, names)
    mask: npt.NDArray[np.bool_] = pc.fill_null(fits, False).to_numpy(zero_copy_only=False)
    return mask


def _evaluated(expression: pc.Expression, names: _Names) -> pa.Array:
    """The expression's value for every clip, in their order."""
    source = acero.Declaration("table_source", acero.TableSourceNodeOptions(pa.table(names.columns())))
    project = acero.Declaration("project", acero.ProjectNodeOptions([expression], ["fits"]), inputs=[source])
    try:
        fits = project.to_table(use_threads=False).column("fits").combine_chunks()
    except (pa.ArrowException, ValueError, TypeError) as exc:
        problem = str(exc).splitlines()[0]
        raise UsageError(
            f"where={expression}: {problem}; there are {names}; labels are ids here, class names go in a text such as "
            "'level_4 == \"Violin\"'"
        ) from exc
    if not pa.types.is_boolean(fits.type):
        raise UsageError(f"where={expression}: its values are {fits.type}, true or false is needed: compare them")
    return fits


class _Reader:
    """Reads one text."""

    def __init__(self, text: str, names: _Names) -> None:
        self._text = text.strip()
        self._names = names

    def read(self) -> pa.Array:
        """The truth of every clip: true, false or null."""
        if not self._text:
            raise UsageError(f"where={self._text!r}: a condition is needed, such as {EXAMPLE!r}")
        try:
            return self._condition(ast.parse(self._text, mode="eval").body)
        except UsageError:
            raise
        except SyntaxError as exc:
            lines_before = self._text.split("\n")[: (exc.lineno or 1) - 1]
            place = sum(len(line) + 1 for line in lines_before) + max(1, exc.offset or 1) - 1
            raise self._error(f"{exc.msg}; a condition looks like {EXAMPLE!r}", place, "") from exc
        except (ValueError, MemoryError, RecursionError) as exc:
            raise self._error("it is nested too deep, or holds what is no text", 0, "") from exc

    def _error(self, problem: str, place: int, found: str) -> UsageError:
        at = f"{found!r}, at" if found else "at"
        return UsageError(f"where={self._text!r}: {at} character {place + 1}: {problem}")

    def _wrong(self, node: ast.expr, problem: str) -> UsageError:
        lines = self._text.encode().split(b"\n")
        before = b"\n".join([*lines[: node.lineno - 1], lines[node.lineno - 1][: node.col_offset]])
        found = ast.get_source_segment(self._text, node) or ""
        return self._error(problem, len(before.decode()), found)

    def _condition(self, node: ast.expr) -> pa.Array:
        match node:
            case ast.BoolOp(op=op, values=values):
                combine = pc.and_kleene if isinstance(op, ast.And) else pc.or_kleene
                return reduce(combine, map(self._condition, values))
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return pc.invert(self._condition(operand))
            case ast.Compare(left=left, ops=ops, comparators=comparators):
                sides = [left, *comparators]
                return reduce(pc.and_kleene, map(self._comparison, sides, ops, sides[1:]))
            case ast.Name():
                values = self._column(node).values()
                if pa.types.is_boolean(values.type):
                    return values
        raise self._wrong(node, f"a condition is needed, such as {EXAMPLE!r}, joined by and, or, not")

    def _column(self, node: ast.Name) -> _Column:
        try:
            return self._names[node.id]
        except UsageError as exc:
            raise self._wrong(node, str(exc)) from exc

    def _comparison(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> pa.Array:
        match op:
            case ast.In():
                return self._membership(left, right)
            case ast.NotIn():
                return pc.invert(self._membership(left, right))
            case ast.Is() | ast.IsNot():
                raise self._wrong(right, "`is` is not known here: write == or !=")
        match left, right:
            case ast.Name(), ast.Name():
                return self._two_columns(left, type(op), right)
            case ast.Name(), _:
                return self._one_column(left, type(op), right)
            case _, ast.Name():
                return self._one_column(right, _MIRRORED.get(type(op), type(op)), left)
        raise self._wrong(left, "a name is needed on one side of a comparison")

    def _membership(self, left: ast.expr, right: ast.expr) -> pa.Array:
        if isinstance(right, ast.List | ast.Tuple):
            if not isinstance(left, ast.Name):
                raise self._wrong(left, 'a name is needed before `in` and a list, such as split in ("train", "val")')
            never = pa.array(np.zeros(self._names.clip_count, dtype=np.bool_))
            return reduce(pc.or_kleene, (self._one_column(left, ast.Eq, item) for item in right.elts), never)
        column = self._column(right) if isinstance(right, ast.Name) else None
        if column is None or not pa.types.is_nested(column.values().type):
            raise self._wrong(
                right, "a list such as (1, 2), a label set with several labels a clip, or flags is needed after `in`"
            )
        value = self._constant(left)
        items = column.values()
        if column.classes is not None:
            held = pc.is_in(items.values, pa.array(self._ids(left, column, value), items.values.type))
        elif isinstance(value, str):
            held = pc.equal(items.values, value)
        else:
            raise self._wrong(left, f"{column.title.removeprefix(INDEX_PREFIX)} holds text: write it in quotes")
        return pa.array(rows_with(items, held))

    def _two_columns(self, left: ast.Name, op: type[ast.cmpop], right: ast.Name) -> pa.Array:
        sides = [self._column(left), self._column(right)]
        for node, column in zip((left, right), sides, strict=True):
            if column.classes is not None or pa.types.is_nested(column.values().type):
                raise self._wrong(node, "labels and flags are compared with a value, not with another column")
        values = [column.values() for column in sides]
        if self._sort(values[0].type) != self._sort(values[1].type):
            raise self._wrong(right, f"{left.id} holds {self._sort(values[0].type)}, this {self._sort(values[1].type)}")
        return _COMPARISONS[op][1](*values)

    def _one_column(self, name: ast.Name, op: type[ast.cmpop], constant: ast.expr) -> pa.Array:
        column, value, (sign, compare) = self._column(name), self._constant(constant), _COMPARISONS[op]
        values = column.values()
        is_equality = op in (ast.Eq, ast.NotEq)
        if column.classes is not None and value == UNKNOWN:
            value = None
        if value is None:
            if not is_equality:
                raise self._wrong(constant, f"nothing is {sign} None: write == or !=")
            known = (
                pc.greater(pc.list_value_length(values), 0) if pa.types.is_nested(values.type) else pc.is_valid(values)
            )
            known = pc.fill_null(known, False)
            return known if op is ast.NotEq else pc.invert(known)
        if pa.types.is_nested(values.type):
            raise self._wrong(name, f"it holds several values a clip: write {value!r} in {name.id}")
        if column.classes is not None and is_equality:
            same = pc.is_in(values, pa.array(self._ids(constant, column, value), values.type))
            same = pc.if_else(pc.is_valid(values), same, pa.scalar(None, pa.bool_()))
            return same if op is ast.Eq else pc.invert(same)
        if column.classes is not None and isinstance(value, str):
            raise self._wrong(constant, "class names have no order: write an id, or == or !=")
        self._check_sort(name, values.type, constant, value)
        if isinstance(value, bool) and not is_equality:
            raise self._wrong(constant, f"nothing is {sign} True or False: write == or !=")
        try:
            return compare(values, pa.scalar(value))
        except (pa.ArrowException, OverflowError) as exc:
            raise self._wrong(constant, f"{name.id} cannot be compared with it") from exc

    def _ids(self, node: ast.expr, column: _Column, value: _Constant) -> list[int]:
        """The ids that a class's name, or an id, stands for."""
        classes = column.classes or ()
        if isinstance(value, str):
            ids = [id for id, name in enumerate(classes) if name == value]
            if not ids:
                near = get_close_matches(value, classes, n=3)
                listed = ", ".join(map(repr, near or classes[:MOST_SHOWN]))
                more = f" … {len(classes) - MOST_SHOWN} more" if not near and len(classes) > MOST_SHOWN else ""
                raise self._wrong(node, f"no class of this name; {'near are' if near else 'there are'} {listed}{more}")
            return ids
        if isinstance(value, bool) or not isinstance(value, int):
            raise self._wrong(node, "a class is needed: its name in quotes, or its id")
        if not 0 <= value < len(classes):
            raise self._wrong(
                node, f"no class of this id; ids are 0 to {len(classes) - 1}, and None where it is not known"
            )
        return [value]

    def _check_sort(self, name: ast.Name, kind: pa.DataType, constant: ast.expr, value: _Constant) -> None:
        given = "true or false" if isinstance(value, bool) else "text" if isinstance(value, str) else "numbers"
        if (holds := self._sort(kind)) != given:
            quotes = ": write it in quotes" if holds == "text" else ""
            raise self._wrong(constant, f"{name.id} holds {holds}{quotes}")

    @staticmethod
    def _sort(kind: pa.DataType) -> str:
        if pa.types.is_boolean(kind):
            return "true or false"
        return "text" if pa.types.is_large_string(kind) else "numbers"

    def _constant(self, node: ast.expr) -> _Constant:
        match node:
            case ast.Constant(value=str() | int() | float() | bool() | None as value):
                return value
            case ast.UnaryOp(op=ast.USub() | ast.UAdd() as sign, operand=ast.Constant(value=int() | float() as value)):
                if not isinstance(value, bool):
                    return operator.neg(value) if isinstance(sign, ast.USub) else value
        raise self._wrong(node, "a number, a text in quotes, None, True or False is needed")
