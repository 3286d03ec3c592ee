"""From class names in cells to class ids: which classes a column has, and the label set they make."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from shardkit.errors import DataError
from shardkit.taxonomy import UNKNOWN, LabelKind, LabelSet, Level, parents_of

LabelText = tuple[str | None, ...]
"""What a row says in one label set: one text a level, or any number for `multi`; None is unknown."""

MOST_CLASSES = 1_000_000
"""Ids from here on are refused: ids are places in the list of classes, which is as long as the highest."""

_UNKNOWN_TEXT = str(UNKNOWN)
_ID = re.compile(r"0|[1-9][0-9]*")


@dataclass(frozen=True)
class LevelCoding:
    """One level, and the id that each text in its column stands for."""

    level: Level
    ids: Mapping[str, int]

    @classmethod
    def of_classes(cls, name: str, classes: Sequence[str]) -> "LevelCoding":
        """A level whose cells hold class names."""
        return cls(Level(name, tuple(classes)), {text: place for place, text in enumerate(classes)})


@dataclass(frozen=True)
class LabelCoding:
    """A label set, and how the cells of its columns become ids."""

    label_set: LabelSet
    levels: tuple[LevelCoding, ...]

    def ids(self, texts: LabelText) -> tuple[int, ...]:
        """The ids of a row: one a level; ascending and distinct for `multi`."""
        if self.label_set.kind == "multi":
            ids = self.levels[0].ids
            return tuple(sorted({ids[text] for text in texts if text is not None and text in ids}))
        return _level_ids(texts, self.levels)


@dataclass(frozen=True)
class ParentConflict:
    """A class that rows put below several others."""

    level: str
    name: str
    """Of the class, in its level."""
    above: str
    """Name of the level above."""
    rows: Mapping[str, tuple[int, ...]]
    """Class of the level above to the rows that put the class below it; the first in the file comes first."""


class TwoParentsError(DataError):
    """Classes of a hierarchy stand below several others; all of them, with all their rows, are `conflicts`."""

    def __init__(self, message: str, conflicts: Sequence[ParentConflict] = ()) -> None:
        super().__init__(message)
        self.conflicts = tuple(conflicts)


def is_id(text: str) -> bool:
    """Whether the text is an integer id, written as an integer is: no sign, no leading zero."""
    return _ID.fullmatch(text) is not None


def classes_of(texts: Collection[str], *, where: str) -> tuple[str, ...]:
    """The classes of a column: sorted names; or, where every text is an integer id, 0 to the highest.

    -100 among integer ids says that the class is not known, as it does in the batches.

    Raises:
        DataError: An id is too high to be a place in a list of classes.
    """
    ids = set(texts) - {_UNKNOWN_TEXT}
    if not all(map(is_id, ids)):
        return tuple(sorted(texts))
    return numbers_up_to(ids, where=where)


def numbers_up_to(ids: Collection[str], *, where: str, at_least: int = 0) -> tuple[str, ...]:
    """The numbers from 0 to the highest id as text, `at_least` that many.

    Raises:
        DataError: An id is too high to be a place in a list of classes.
    """
    # Length first: the highest may have more digits than Python converts.
    highest = max(ids, key=lambda text: (len(text), text), default="-1")
    if len(highest) > len(str(MOST_CLASSES)) or int(highest) >= MOST_CLASSES:
        raise DataError(
            f"{where} holds the integer id {highest:.40}; ids are places in the list of classes and stay "
            f"below {MOST_CLASSES:,}: number the classes from 0, or give their names",
        )
    return tuple(map(str, range(max(int(highest) + 1, at_least))))


def coding(
    name: str,
    kind: LabelKind,
    levels: Sequence[LevelCoding],
    rows: Mapping[int, LabelText],
    *,
    path: str,
) -> LabelCoding:
    """The label set that the levels make.

    Args:
        name: Name of the label set.
        kind: How the label set labels a clip.
        levels: From the root downwards.
        rows: Row number to what the row says; a hierarchy's parents are read off it.
        path: The annotation file, for errors.

    Raises:
        DataError: A class stands below two parents.
    """
    parents: tuple[tuple[int, ...], ...] = ()
    if kind == "hierarchy":
        paths = {row: _level_ids(texts, levels) for row, texts in rows.items()}
        _check_one_parent(paths, levels, path=path)
        parents = parents_of(paths.values(), [len(level.level.classes) for level in levels])
    label_set = LabelSet(name, kind, tuple(level.level for level in levels), parents)
    return LabelCoding(label_set, tuple(levels))


def _level_ids(texts: LabelText, levels: Sequence[LevelCoding]) -> tuple[int, ...]:
    return tuple(
        UNKNOWN if text is None else level.ids.get(text, UNKNOWN) for text, level in zip(texts, levels, strict=True)
    )


def _check_one_parent(
    paths: Mapping[int, tuple[int, ...]],
    levels: Sequence[LevelCoding],
    *,
    path: str,
) -> None:
    """Passes rows that agree about the parent of every class; else says which do not, in the file's own names."""
    first_parent: dict[tuple[int, int], int] = {}
    contradicted: set[tuple[int, int]] = set()
    for ids in paths.values():
        for depth, upper, lower in _links(ids):
            if first_parent.setdefault((depth, lower), upper) != upper:
                contradicted.add((depth, lower))
    if not contradicted:
        return
    rows_of: dict[tuple[int, int], dict[int, list[int]]] = {}
    for row, ids in paths.items():
        for depth, upper, lower in _links(ids):
            if (depth, lower) in contradicted:
                rows_of.setdefault((depth, lower), {}).setdefault(upper, []).append(row)
    conflicts = [
        ParentConflict(
            level=levels[depth].level.name,
            name=levels[depth].level.classes[lower],
            above=levels[depth - 1].level.name,
            rows={levels[depth - 1].level.classes[upper]: tuple(rows) for upper, rows in by_parent.items()},
        )
        for (depth, lower), by_parent in rows_of.items()
    ]
    # The second parent is where the contradiction begins; of several, the first in the file.
    first = min(conflicts, key=lambda conflict: sorted(rows[0] for rows in conflict.rows.values())[1])
    (one, (row, *_)), (other, (later, *_)), *_ = first.rows.items()
    raise TwoParentsError(
        f"{path}: {first.level} {first.name!r} stands below {first.above} {one!r} in row {row} and below {other!r} in "
        f"row {later}; a class has one parent: correct one of the rows, or give the two classes names of their own",
        conflicts,
    )


def _links(ids: tuple[int, ...]) -> Iterator[tuple[int, int, int]]:
    """Depth, parent and class of every class of a row whose parent it names."""
    for depth in range(1, len(ids)):
        if UNKNOWN not in ids[depth - 1 : depth + 1]:
            yield depth, ids[depth - 1], ids[depth]
