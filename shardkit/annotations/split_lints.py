"""What the splits of clips should not be like: sources in several of them, classes that some of them lack.

Of columns, so that annotation files and the indexes of data sets, of millions of clips, are looked at alike.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]

MOST_NAMED = 6
"""Rows, or classes, that a message names one by one; `Finding.rows` has all."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a person should look at."""

    kind: str
    """What sort of thing, such as `leak`: clips of one source stand in several splits; `missing_class`: a split has no
    clip of a class that others have; `two_parents`: rows put a class below several others."""
    message: str
    rows: tuple[int, ...]
    """Of the annotation file, ascending, from 1 on; for `missing_class` those of the class in the other splits; none
    where it is not about rows."""


@dataclass(frozen=True, slots=True)
class Coded:
    """A text for every clip."""

    places: Integers
    """int64 [N]: each clip's place in `texts`."""
    texts: Sequence[str]
    """The distinct texts."""

    @classmethod
    def of(cls, texts: Iterable[str]) -> "Coded":
        """One text a clip; distinct ones in the order in which they first appear."""
        place_of: dict[str, int] = {}
        places = np.fromiter((place_of.setdefault(text, len(place_of)) for text in texts), dtype=np.int64)
        return cls(places, tuple(place_of))

    @property
    def is_named(self) -> npt.NDArray[np.bool_]:
        """Whether a clip's text is not empty: bool [N]."""
        return np.array([bool(text) for text in self.texts], dtype=np.bool_)[self.places]


def leaks(scheme: str, splits: Coded, sources: Coded, rows: Integers) -> Iterator[Finding]:
    """The sources whose clips stand in several splits; a clip that is in none leaks nowhere.

    Args:
        scheme: Name of the division into splits.
        splits: Of every clip, its split; empty for none.
        sources: Of every clip, what it is cut from.
        rows: int64 [N]: of every clip, its row of the annotation file.
    """
    inside = splits.is_named
    pairs = np.unique(sources.places[inside] * len(splits.texts) + splits.places[inside])
    held, counts = np.unique(pairs // len(splits.texts), return_counts=True)
    clips = np.flatnonzero(inside & np.isin(sources.places, held[counts > 1]))
    clips = clips[np.argsort(sources.places[clips], kind="stable")]
    for own in np.split(clips, np.flatnonzero(np.diff(sources.places[clips])) + 1) if len(clips) else ():
        split_of = splits.places[own]
        by_split = " and in ".join(
            f"{splits.texts[split]!r} ({rows_text(rows[own[split_of == split]])})"
            for split in dict.fromkeys(split_of.tolist())
        )
        yield Finding(
            "leak", f"{scheme}: source {sources.texts[sources.places[own[0]]]!r} is in {by_split}", distinct(rows[own])
        )


def missing_classes(
    scheme: str, splits: Coded, name: str, classes: Sequence[str], clips: Integers, ids: Integers, rows: Integers
) -> Iterator[Finding]:
    """The classes that some split has and another has not.

    Args:
        scheme: Name of the division into splits.
        splits: Of every clip, its split; empty for none.
        name: Of the label set.
        classes: Its classes by id.
        clips: int64 [M]: the clip of every known label.
        ids: int64 [M]: the label.
        rows: int64 [N]: of every clip, its row of the annotation file.
    """
    shape = (len(splits.texts), len(classes))
    counts = np.bincount(splits.places[clips] * len(classes) + ids, minlength=shape[0] * shape[1]).reshape(shape)
    named = [place for place, split in enumerate(splits.texts) if split]
    by_id, inside = clips[np.argsort(ids, kind="stable")], splits.is_named
    ends = np.bincount(ids, minlength=len(classes)).cumsum()
    for split in named:
        for id in np.flatnonzero((counts[split] == 0) & (counts[named].sum(axis=0) > 0)).tolist():
            others = [place for place in named if counts[place, id]]
            own = by_id[ends[id] - counts[:, id].sum() : ends[id]]
            own = own[inside[own]]
            holders = " and ".join(repr(splits.texts[place]) for place in others)
            has = f"{holders} {'has' if len(others) == 1 else 'have'}"
            yield Finding(
                "missing_class",
                f"{scheme}: split {splits.texts[split]!r} has no clip of {name} {classes[id]!r}; {has}: "
                f"{rows_text(rows[own])}",
                distinct(rows[own]),
            )


def distinct(rows: Integers) -> tuple[int, ...]:
    """Row numbers, each once, ascending; clips of no row, such as background, have 0."""
    return tuple(np.unique(rows[rows > 0]).tolist())


def rows_text(rows: Integers | Sequence[int]) -> str:
    """Row numbers, each once, for people."""
    numbers = distinct(np.asarray(rows, dtype=np.int64))
    if not numbers:
        return "of no row"
    return f"{'row' if len(numbers) == 1 else 'rows'} {listed(numbers)}"


def listed(items: Sequence[object]) -> str:
    """The first few of many."""
    more = f" and {len(items) - MOST_NAMED:,} more" if len(items) > MOST_NAMED else ""
    return ", ".join(map(str, items[:MOST_NAMED])) + more
