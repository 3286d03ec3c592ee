"""Label sets: what the class ids of a data set mean, flat or as a tree of levels."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from shardkit.errors import DataError, UsageError

UNKNOWN = -100
"""The id of a class that is not known; what PyTorch's losses ignore by default."""

LabelKind = Literal["single", "hierarchy", "multi"]


@dataclass(frozen=True, slots=True)
class Level:
    """The classes at one depth of a label set; a class id is a place in `classes`."""

    name: str
    classes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LabelSet:
    """One named way in which clips are labelled."""

    name: str
    kind: LabelKind
    levels: tuple[Level, ...]
    """One level for `single` and `multi`; from the root downwards for `hierarchy`."""
    parents: tuple[tuple[int, ...], ...] = ()
    """For `hierarchy`: parents[k][c] is the id at level k of class c of level k + 1; UNKNOWN where no clip says it."""

    def __post_init__(self) -> None:
        if self.kind not in ("single", "hierarchy", "multi"):
            raise UsageError(f"label set {self.name!r}: kind {self.kind!r} is not single, hierarchy or multi")
        if not self.levels or (self.kind != "hierarchy" and len(self.levels) != 1):
            raise UsageError(f"label set {self.name!r}: {self.kind} with {len(self.levels)} levels")
        if self.kind == "hierarchy" and len(self.parents) != len(self.levels) - 1:
            raise UsageError(f"label set {self.name!r}: {len(self.levels)} levels, {len(self.parents)} parent maps")

    @property
    def depth(self) -> int:
        """Number of levels."""
        return len(self.levels)

    @property
    def leaf(self) -> Level:
        """The deepest level; the only one of a flat label set."""
        return self.levels[-1]

    def to_json(self) -> dict[str, Any]:
        """The label set as the manifest holds it."""
        return {
            "name": self.name,
            "kind": self.kind,
            "levels": [{"name": level.name, "classes": list(level.classes)} for level in self.levels],
            "parents": [list(parents) for parents in self.parents],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "LabelSet":
        """The inverse of `to_json`."""
        return cls(
            name=data["name"],
            kind=data["kind"],
            levels=tuple(Level(level["name"], tuple(level["classes"])) for level in data["levels"]),
            parents=tuple(tuple(parents) for parents in data["parents"]),
        )


def parents_of(paths: Iterable[Sequence[int]], level_sizes: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """Parent maps of a hierarchy, read off the id paths of its clips.

    Args:
        paths: One id a level, from the root downwards; UNKNOWN says nothing about a parent.
        level_sizes: Number of classes of every level.

    Raises:
        DataError: A class stands below two parents.
    """
    parents = [[UNKNOWN] * size for size in level_sizes[1:]]
    for path in paths:
        for depth, (upper, lower) in enumerate(pairwise(path)):
            if UNKNOWN in (upper, lower):
                continue
            known = parents[depth][lower]
            if known not in (UNKNOWN, upper):
                raise DataError(
                    f"class {lower} of level {depth + 2} stands below class {known} and below class {upper} of "
                    f"level {depth + 1}: a class has one parent; mend the annotation file",
                )
            parents[depth][lower] = upper
    return tuple(tuple(level) for level in parents)
