"""Label sets and taxonomies: what the class ids of a data set mean, flat or as a tree of levels."""

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
class Taxonomy:
    """A tree of classes, level by level from the root downwards; a class is its level and its id there.

    Levels count from 0, the root's children. A parent that no clip has told is UNKNOWN, and so are those above it.
    """

    levels: tuple[Level, ...]
    parents: tuple[tuple[int, ...], ...] = ()
    """parents[k][c] is the id at level k of class c of level k + 1."""

    def __post_init__(self) -> None:
        if len(self.parents) != self.depth - 1:
            raise UsageError(
                f"a taxonomy of {self.depth} levels with {len(self.parents)} parent maps, one less is needed"
            )
        for (upper, lower), parents in zip(pairwise(self.levels), self.parents, strict=True):
            if len(parents) != len(lower.classes):
                raise UsageError(f"level {lower.name!r}: {len(parents)} parents of {len(lower.classes)} classes")
            if strays := [id for id in parents if id != UNKNOWN and not 0 <= id < len(upper.classes)]:
                raise UsageError(
                    f"level {lower.name!r}: parent {strays[0]}, where {upper.name!r} has ids 0 to "
                    f"{len(upper.classes) - 1}; {UNKNOWN} is one that is not known"
                )

    @property
    def depth(self) -> int:
        """Number of levels."""
        return len(self.levels)

    @property
    def level_sizes(self) -> tuple[int, ...]:
        """Number of classes of every level."""
        return tuple(len(level.classes) for level in self.levels)

    def level(self, which: int | str) -> int:
        """The number of a level that is given by its name, or by its number; -1 is the deepest.

        Raises:
            UsageError: There is none.
        """
        names = [level.name for level in self.levels]
        if isinstance(which, str) and which in names:
            return names.index(which)
        if isinstance(which, int) and -self.depth <= which < self.depth:
            return which % self.depth
        raise UsageError(f"no level {which!r}: there are {', '.join(names)} (0 to {self.depth - 1})")

    def parent(self, level: int, id: int) -> int:
        """The id one level up; UNKNOWN for a class of the top level."""
        return self.parents[level - 1][id] if level and id != UNKNOWN else UNKNOWN

    def path(self, level: int, id: int) -> tuple[int, ...]:
        """The ids from the top level down to a class, its own last."""
        path = [id]
        for above in range(level, 0, -1):
            path.append(self.parent(above, path[-1]))
        return tuple(reversed(path))

    def ancestors(self, level: int, id: int) -> tuple[int, ...]:
        """The ids from the top level down to a class's parent."""
        return self.path(level, id)[:-1]

    def children(self, level: int, id: int) -> tuple[int, ...]:
        """The ids, one level down, of the classes below a class, ascending; of UNKNOWN those without a known parent."""
        if level + 1 >= self.depth:
            return ()
        return tuple(child for child, parent in enumerate(self.parents[level]) if parent == id)

    def siblings(self, level: int, id: int) -> tuple[int, ...]:
        """The other classes below the same parent, none where that is not known; the other ones of the top level."""
        if level == 0:
            return tuple(other for other in range(len(self.levels[0].classes)) if other != id)
        parent = self.parent(level, id)
        return tuple(other for other in self.children(level - 1, parent) if other != id and parent != UNKNOWN)

    def ancestors_at(self, level: int) -> tuple[int, ...]:
        """The ancestor at a level of every leaf; at the deepest level the leaf itself."""
        leaves = range(self.level_sizes[-1])
        return tuple(self.path(self.depth - 1, leaf)[level] for leaf in leaves)


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
    def taxonomy(self) -> Taxonomy:
        """The tree of its classes; of one level for a flat label set."""
        return Taxonomy(self.levels, self.parents)

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


def find_level(label_sets: Iterable[LabelSet], name: str) -> tuple[LabelSet, int]:
    """The label set and the depth that a name stands for: a level's, or a label set's, which is its deepest level.

    Raises:
        UsageError: It stands for none, or for several.
    """
    found: dict[tuple[str, int], LabelSet] = {}
    known: list[str] = []
    for label_set in label_sets:
        for depth, level in enumerate(label_set.levels):
            names = (level.name, label_set.name) if depth == label_set.depth - 1 else (level.name,)
            known += (label_set.name, level.name)
            if name in names:
                found[label_set.name, depth] = label_set
    if len(found) != 1:
        what = "several label sets have such a level" if found else "no such label set or level"
        raise UsageError(f"{name!r}: {what}; there are {', '.join(dict.fromkeys(known)) or 'no labels'}")
    ((_, depth), label_set) = next(iter(found.items()))
    return label_set, depth


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
