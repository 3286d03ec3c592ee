"""The classes of a hierarchy as a tree, each with its clips; and the classes of one level as AudioSet lists them."""

import csv
import io
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shardkit.format.index import ClipIndex
from shardkit.taxonomy import UNKNOWN, LabelSet, Level

CLASS_LABELS_HEADER = ("index", "mid", "display_name")
_MACHINE_ID = re.compile(r"/[a-z]+/[^\s,]+")
"""A class named as AudioSet's ontology does it, such as `/m/09x0r` or `/t/dd00003`."""


@dataclass(frozen=True, slots=True)
class ClassNode:
    """A class, and those below it."""

    level: str
    id: int
    name: str
    clips: int
    """Labelled with it; at an upper level also those whose leaf is not known."""
    children: tuple["ClassNode", ...] = ()


def class_tree(label_set: LabelSet, index: ClipIndex, rows: npt.NDArray[np.int64]) -> tuple[ClassNode, ...]:
    """The classes of a hierarchy's top level, with all below them, by id.

    Args:
        label_set: A hierarchy.
        index: Of the data set.
        rows: int64 [N]: the clips to count.

    Returns:
        The top level's classes; then those of lower levels whose parent no clip has told.
    """
    tree = label_set.taxonomy
    ids = index.labels(label_set)[rows]
    clips = [
        np.bincount(column[column >= 0], minlength=size) for column, size in zip(ids.T, tree.level_sizes, strict=True)
    ]

    below: defaultdict[tuple[int, int], list[ClassNode]] = defaultdict(list)
    """Level and id to the nodes below it; of UNKNOWN those of the next level whose parent is not known."""
    for depth, level in reversed(list(enumerate(tree.levels))):
        for id, name in enumerate(level.classes):
            node = ClassNode(level.name, id, name, int(clips[depth][id]), tuple(below[depth, id]))
            below[depth - 1, tree.parent(depth, id)].append(node)
    return tuple(node for depth in range(tree.depth) for node in below[depth - 1, UNKNOWN])


def class_labels_csv(level: Level) -> str:
    """The classes of a level as AudioSet's `class_labels_indices.csv`: index, mid, display_name.

    That is how AST, PSLA and others are told the classes. A class that is no machine id of AudioSet's ontology itself
    gets one of its level and id, such as `/m/level_4_12`: labels of several classes are joined by commas there, so that
    a name may not do.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CLASS_LABELS_HEADER)
    writer.writerows((id, mid, name) for id, (mid, name) in enumerate(zip(_mids(level), level.classes, strict=True)))
    return text.getvalue()


def _mids(level: Level) -> Iterable[str]:
    stem = re.sub(r"[^A-Za-z0-9]+", "_", level.name)
    return (name if _MACHINE_ID.fullmatch(name) else f"/m/{stem}_{id}" for id, name in enumerate(level.classes))
