"""Reader of `chapters`: a source's list of timestamps, such as FGAVE is made of: the comment below a video.

    start         when the chapter begins, as 01:30, 1:02:30 or seconds; it ends where the next one of the source begins
    text          what is heard: materials, with + between them, and perhaps the action at the end (`Wood Scratching`)
    id            the source; without it the file's stem is the id of all chapters
    duration_s    length of the source, where its last chapter ends; or --duration, for a file of one source

The user gives the vocabularies, text files with a class a line (`also`: `actions` and `materials`); case makes no
difference. A chapter is cut into clips of ten seconds from its start on; a rest that is shorter is left out: of the
comment in FGAVE's introduction 35 of 1,955 s, its last chapter apart.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from shardkit.annotations.also import AlsoFile
from shardkit.annotations.annotation_set import AnnotationSet
from shardkit.annotations.cells import RowError, as_found, check_fault, read_id, read_seconds, read_text
from shardkit.annotations.drafts import Draft, annotation_set, label_rows
from shardkit.annotations.events import NamedEvent
from shardkit.annotations.flags import UNKNOWN_MATERIAL
from shardkit.annotations.labels import LevelCoding, coding
from shardkit.annotations.request import AnnotationRequest
from shardkit.annotations.rows import Rows, shown
from shardkit.clip import UNKNOWN_EVENTS, Reason, Reject
from shardkit.errors import DataError, UsageError

NEEDS = "start and text, and perhaps id and duration_s"

ROLES = ("actions", "materials")
ACTION, MATERIAL = "action", "material"
CLIP_LENGTH_S = 10.0

_REQUIRED, _OPTIONAL = {"start", "text"}, {"id", "duration_s"}
_CLOCK = re.compile(r"(?:([0-9]{1,4}):)?([0-9]{1,4}):([0-9]{2}(?:\.[0-9]+)?)")
_ROUNDING_S = 1e-6


def recognises(columns: Collection[str]) -> bool:
    """Whether a header has a list of chapters' columns and no others."""
    return _REQUIRED <= set(columns) <= _REQUIRED | _OPTIONAL


@dataclass(frozen=True)
class _Vocabulary:
    """The classes of a label set, as the user lists them."""

    classes: tuple[str, ...]
    by_text: Mapping[str, str]
    """A class as texts are compared, to the class."""

    @classmethod
    def of(cls, file: AlsoFile) -> "_Vocabulary":
        by_text: dict[str, str] = {}
        for number, line in file.lines():
            earlier = by_text.setdefault(_plain(line), line)
            if earlier is not line:
                raise DataError(f"{file.name}: line {number}: {line!r} stands in an earlier line too; remove one")
        if not by_text:
            raise DataError(f"{file.name}: no class; expected one a line")
        return cls(tuple(by_text.values()), by_text)


@dataclass(frozen=True)
class _Chapter:
    """A row, and what is known of its place in its source."""

    row: int
    id: str
    start_s: float | None
    """None where it could not be read; the chapter before it then has no end."""
    text: Any
    following: "_Chapter | None" = None


@dataclass(frozen=True)
class _Said:
    """What a chapter's text says, in the vocabularies' words."""

    text: str
    action: str | None
    materials: tuple[str, ...]
    is_whole: bool
    """Whether all materials that it names are known."""


def read(rows: Rows, request: AnnotationRequest, also: Mapping[str, AlsoFile]) -> AnnotationSet:
    """The annotation set of a list of chapters.

    Raises:
        UsageError: A column or a vocabulary is missing, or one duration is given for several sources.
        DataError: A vocabulary is empty, is not text or has a class twice, or a source has two durations.
    """
    if missing := sorted(_REQUIRED - set(rows.columns)):
        raise UsageError(
            f"{rows.path}: no column {', '.join(missing)}; chapters need {NEEDS}; the file has {shown(rows.columns)}"
        )
    if missing := [role for role in ROLES if role not in also]:
        raise UsageError(
            f"{rows.path}: which {' and '.join(missing)} there are, only a list can tell; give a text file with one a "
            f"line, as in --also {missing[0]}={missing[0]}.txt"
        )
    actions, materials = (_Vocabulary.of(also[role]) for role in ROLES)
    rejects: list[Reject] = []
    chapters = _chapters(rows, rejects)
    _check_order(chapters, rejects)
    durations_s = _durations(rows, chapters, request.duration_s, rejects)
    rejected = {reject.row for reject in rejects}
    drafts: list[Draft] = []
    for chapter in chapters:
        if chapter.row in rejected:
            continue
        try:
            drafts += _drafts(chapter, _said(chapter.text, actions, materials), durations_s.get(chapter.id))
        except RowError as error:
            rejects.append(Reject(chapter.row, chapter.id, error.reason, error.detail))
    action = LevelCoding.of_classes(ACTION, actions.classes)
    material = LevelCoding.of_classes(MATERIAL, materials.classes)
    return annotation_set(
        "chapters",
        rows,
        drafts,
        rejects,
        codings=[
            coding(ACTION, "single", [action], label_rows(drafts, ACTION), path=rows.path),
            coding(MATERIAL, "multi", [material], label_rows(drafts, MATERIAL), path=rows.path),
        ],
        columns=("text",),
        event_classes=actions.classes,
    )


def _chapters(rows: Rows, rejects: list[Reject]) -> list[_Chapter]:
    """A chapter a row, which knows the next of its source."""
    stem = PurePosixPath(rows.path).stem
    following: dict[str, _Chapter] = {}
    chapters: list[_Chapter] = []
    for place in reversed(range(rows.row_count)):
        cells = {name: values[place] for name, values in rows.columns.items()}
        row, id = place + 1, as_found(cells.get("id")) or ""
        start_s = None
        try:
            check_fault(rows, place)
            id = (read_id(cells["id"], column="id") or "") if "id" in cells else stem
            if not id:
                raise RowError(Reason.BAD_ID, "the id is empty; give the source's")  # noqa: TRY301
            start_s = _seconds(cells["start"])
        except RowError as error:
            rejects.append(Reject(row, id, error.reason, error.detail))
        if "id" not in cells:
            id = stem
        chapter = _Chapter(row, id, start_s, cells["text"], following.get(id))
        following[id] = chapter
        chapters.append(chapter)
    return chapters[::-1]


def _check_order(chapters: Sequence[_Chapter], rejects: list[Reject]) -> None:
    """Rejects chapters that do not begin after all before them: those would overlap them."""
    latest: dict[str, _Chapter] = {}
    for chapter in chapters:
        if not chapter.id or chapter.start_s is None:
            continue
        earlier = latest.setdefault(chapter.id, chapter)
        if chapter.start_s > (earlier.start_s or 0.0):
            latest[chapter.id] = chapter
        elif earlier is not chapter:
            detail = (
                f"the chapter begins at {chapter.start_s:g} s, and row {earlier.row}, which stands before it, at "
                f"{earlier.start_s:g} s; chapters follow each other: correct one of the two"
            )
            rejects.append(Reject(chapter.row, chapter.id, Reason.BAD_ROW, detail))


def _seconds(value: Any) -> float:
    """The seconds that a timestamp stands for."""
    text = read_text(value, column="start") or ""
    if found := _CLOCK.fullmatch(text):
        hours, minutes, seconds = found.groups(default="0")
        return 3600 * int(hours) + 60 * int(minutes) + float(seconds)
    with suppress(RowError):  # told below, with what a time may look like
        seconds_s = read_seconds(value, column="start")
        if seconds_s is not None:
            return seconds_s
    raise RowError(Reason.BAD_ROW, f"start is {text!r}, expected a time such as 01:30, 1:02:30 or 90; correct it")


def _durations(
    rows: Rows, chapters: Sequence[_Chapter], given_s: float | None, rejects: list[Reject]
) -> dict[str, float]:
    """Source to its length, where that is told."""
    rejected = {reject.row for reject in rejects}
    ids = {chapter.id for chapter in chapters if chapter.id}
    if given_s is not None and len(ids) > 1:
        raise UsageError(
            f"{rows.path}: --duration is one source's, and the file has {len(ids)}; give a column duration_s instead"
        )
    durations_s = dict.fromkeys(ids, given_s) if given_s is not None else {}
    for chapter, value in zip(chapters, rows.columns.get("duration_s", ()), strict=False):
        if chapter.row in rejected:
            continue
        try:
            duration_s = read_seconds(value, column="duration_s")
        except RowError as error:
            rejects.append(Reject(chapter.row, chapter.id, error.reason, error.detail))
            continue
        known_s = durations_s.get(chapter.id)
        if duration_s is not None and known_s not in (None, duration_s):
            raise DataError(
                f"{rows.path}: source {chapter.id!r} has the durations {known_s:g} s and, in row {chapter.row}, "
                f"{duration_s:g} s; correct one of them"
            )
        if duration_s is not None:
            durations_s[chapter.id] = duration_s
    return durations_s


def _said(value: Any, actions: _Vocabulary, materials: _Vocabulary) -> _Said:
    """What a chapter's text says.

    Raises:
        RowError: Nothing that the vocabularies know.
    """
    text = read_text(value, column="text")
    if text is None:
        raise RowError(Reason.BAD_ROW, "text is empty, expected materials and perhaps an action")
    *parts, last = re.split(r"\s*\+\s*", text)
    action = None
    if _plain(last) not in materials.by_text:
        last, action = _without_action(last, actions)
    named = [part for part in (*parts, last) if part]
    known = [materials.by_text[_plain(part)] for part in named if _plain(part) in materials.by_text]
    if action is None and not known:
        raise RowError(
            Reason.NO_EVENT,
            f"{text!r} ends with no action and names no material of the vocabularies; add it to one of them if it is "
            "an event",
        )
    return _Said(text, action, tuple(known), is_whole=len(known) == len(named))


def _without_action(text: str, actions: _Vocabulary) -> tuple[str, str | None]:
    """A text without the action at its end, the longest that fits; and that action."""
    words = text.split()
    for first in range(len(words)):
        if action := actions.by_text.get(_plain(" ".join(words[first:]))):
            return " ".join(words[:first]), action
    return text, None


def _plain(text: str) -> str:
    """A text as texts are compared."""
    return " ".join(text.casefold().split())


def _drafts(chapter: _Chapter, said: _Said, duration_s: float | None) -> list[Draft]:
    """The clips of a chapter."""
    start_s, end_s = chapter.start_s or 0.0, _end(chapter, duration_s)
    count = int((end_s - start_s + _ROUNDING_S) // CLIP_LENGTH_S)
    if not count:
        raise RowError(
            Reason.TOO_SHORT,
            f"the chapter lasts from {start_s:g} to {end_s:g} s, and a clip {CLIP_LENGTH_S:g} s; leave it out",
        )
    event = () if said.action is None else (NamedEvent(0.0, CLIP_LENGTH_S, said.action, "av"),)
    flags = () if said.is_whole else (UNKNOWN_MATERIAL,)
    if said.action is None:
        flags = (*flags, *UNKNOWN_EVENTS.values())  # something is done all the time, and it is not said what
    starts_s = [start_s + number * CLIP_LENGTH_S for number in range(count)]
    return [
        Draft(
            row=chapter.row,
            id=chapter.id,
            start_s=clip_s,
            end_s=clip_s + CLIP_LENGTH_S,
            labels={ACTION: (said.action,), MATERIAL: said.materials},
            events=event,
            flags=flags,
            columns={"text": said.text},
        )
        for clip_s in starts_s
    ]


def _end(chapter: _Chapter, duration_s: float | None) -> float:
    """Where a chapter ends."""
    following = chapter.following
    if following is None:
        if duration_s is None:
            raise RowError(
                Reason.BAD_ROW,
                "the last chapter ends with its source, and how long that is the file does not say; give --duration, "
                "or a column duration_s",
            )
        end_s, where = duration_s, "the source ends"
    elif following.start_s is None:
        raise RowError(
            Reason.BAD_ROW,
            f"the chapter ends where row {following.row} begins, whose start cannot be read; correct that row",
        )
    else:
        end_s, where = following.start_s, f"row {following.row} begins"
    if end_s <= (chapter.start_s or 0.0):
        raise RowError(
            Reason.BAD_ROW,
            f"the chapter begins at {chapter.start_s:g} s, and {where} at {end_s:g} s; correct one of the two",
        )
    return end_s
