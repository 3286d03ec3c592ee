"""Reader of `avvp`: LLP, the data set of audio-visual video parsing (Tian et al., ECCV 2020).

    train, val, test    weak: filename, event_labels      the classes of a clip, with commas between them
    audio, visual       eval: filename, onset, offset, event_labels      one event a row, in seconds of the clip

`filename` is ID_START_END: the YouTube id (which may hold underscores) and the seconds of the source. The annotation
file is any of these, the others are named by their roles, and rows are numbered on through the files: those of the
annotation file first, then those of train, val, test, audio and visual. Events join the clips of the weak files.
Without a weak file the rows of the eval files make the clips themselves: the first good row of each clip is its own.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import accumulate
from pathlib import PurePosixPath
from typing import Any

from shardkit.annotations.also import AlsoFile
from shardkit.annotations.annotation_set import AnnotationSet
from shardkit.annotations.avvp_classes import CLASSES
from shardkit.annotations.cells import RowError, as_found, check_fault, read_id, read_seconds, read_text
from shardkit.annotations.drafts import Draft, annotation_set, label_rows
from shardkit.annotations.events import NamedEvent
from shardkit.annotations.flags import BAD_EVENT
from shardkit.annotations.labels import LevelCoding, coding
from shardkit.annotations.request import AnnotationRequest
from shardkit.annotations.rows import Rows, shown
from shardkit.clip import UNKNOWN_EVENTS, Modality, Reason, Reject
from shardkit.errors import UsageError

NEEDS = "filename and event_labels, and onset and offset in the files of audio or visual events"

WEAK_ROLES = ("train", "val", "test")
EVAL_ROLES: tuple[Modality, ...] = ("audio", "visual")
ROLES = (*WEAK_ROLES, *EVAL_ROLES)

LABEL_SET = "events"
LONGEST_CLIP_S = 10.0
"""Length of LLP's clips, with which a longer one is a slip of the pen."""

_WEAK, _EVENTS = ("filename", "event_labels"), ("filename", "onset", "offset", "event_labels")
_FILE_NAME = re.compile(r"(?P<id>.+)_(?P<start>[0-9]{1,9})_(?P<end>[0-9]{1,9})")
_VIDEO_ID = re.compile(r"[A-Za-z0-9_-]{11}")

_Span = tuple[str, float, float]
"""Id, start and end of a clip in its source."""


def recognises(columns: Collection[str]) -> bool:
    """Whether a header is of one of LLP's files."""
    return set(columns) in (set(_WEAK), set(_EVENTS))


@dataclass(frozen=True)
class _File:
    """One of the files, and the number of the row before its first."""

    role: str
    rows: Rows
    before: int
    is_main: bool

    def row(self, place: int) -> int:
        return self.before + place + 1

    def cells(self) -> Iterator[tuple[int, Mapping[str, Any]]]:
        for place in range(self.rows.row_count):
            yield place, {name: values[place] for name, values in self.rows.columns.items()}

    def reject(self, place: int, cells: Mapping[str, Any], error: RowError) -> Reject:
        where = "" if self.is_main else f"{PurePosixPath(self.rows.path).name}, row {place + 1}: "
        return Reject(self.row(place), as_found(cells["filename"]) or "", error.reason, f"{where}{error.detail}")


@dataclass
class _Events:
    """What the eval files say of a clip."""

    row: int
    """Of its first event."""
    events: list[NamedEvent] = field(default_factory=list)
    is_flagged: bool = False


def read(rows: Rows, _request: AnnotationRequest, also: Mapping[str, AlsoFile]) -> AnnotationSet:
    """The annotation set of LLP's files.

    Raises:
        UsageError: A file's name does not say what it is, a file is not of its role, or a role is given twice.
    """
    files = _files(rows, also)
    drafts: list[Draft] = []
    rejects: list[Reject] = []
    for file in files:
        if file.role in WEAK_ROLES:
            _read_weak(file, drafts, rejects)
    has_weak = any(file.role in WEAK_ROLES for file in files)
    spans = {(draft.id, draft.start_s or 0.0, draft.end_s or 0.0) for draft in drafts}
    found: dict[_Span, _Events] = {}
    joined: list[int] = []
    for file in files:
        if file.role in EVAL_ROLES:
            _read_events(file, found, joined, rejects, among=spans if has_weak else None)
    if has_weak:
        drafts = [_with_events(draft, found, _unknown(files, draft)) for draft in drafts]
    else:
        drafts = [_draft_of_events(span, said, _unknown(files)) for span, said in found.items() if said.events]
        own = {draft.row for draft in drafts}
        joined = [row for row in joined if row not in own]
    drafts.sort(key=lambda draft: draft.row)
    level = LevelCoding.of_classes(LABEL_SET, CLASSES)
    return annotation_set(
        "avvp",
        rows,
        drafts,
        rejects,
        codings=[coding(LABEL_SET, "multi", [level], label_rows(drafts, LABEL_SET), path=rows.path)],
        columns=(),
        event_classes=CLASSES,
        joined_rows=joined,
        also_rows={file.role: file.rows.row_count for file in files if not file.is_main},
    )


def _files(rows: Rows, also: Mapping[str, AlsoFile]) -> list[_File]:
    """The files in the order in which their rows are numbered."""
    role = _role(rows)
    if role in also:
        raise UsageError(
            f"{rows.path}: by its name this is the file of {role}, and {also[role].name} is given as such too; leave "
            "one of them out"
        )
    named = [(role, rows), *((role, also[role].rows()) for role in ROLES if role in also)]
    before = accumulate((each.row_count for _, each in named), initial=0)
    files = [_File(role, each, start, each is rows) for (role, each), start in zip(named, before, strict=False)]
    for file in files:
        needed = _WEAK if file.role in WEAK_ROLES else _EVENTS
        if set(file.rows.columns) != set(needed):
            raise UsageError(
                f"{file.rows.path}: a file of {file.role} has {', '.join(needed)}; this one has "
                f"{shown(file.rows.columns)}"
            )
    return files


def _role(rows: Rows) -> str:
    """What the annotation file is, by its columns and its name."""
    if not recognises(rows.columns):
        raise UsageError(f"{rows.path}: avvp needs {NEEDS}; the file has {shown(rows.columns)}")
    roles: tuple[str, ...] = EVAL_ROLES if "onset" in rows.columns else WEAK_ROLES
    name = PurePosixPath(rows.path).name.lower()
    said = [role for role in roles if re.search(f"(?<![a-z]){role}", name)]  # `eval` says nothing of `val`
    if len(said) != 1:
        raise UsageError(
            f"{rows.path}: which of {', '.join(roles)} the file is of is read off its name, and that says "
            f"{' and '.join(said) or 'none'}; rename it, as in AVVP_{roles[-1]}.csv"
        )
    return said[0]


def _read_weak(file: _File, drafts: list[Draft], rejects: list[Reject]) -> None:
    for place, cells in file.cells():
        try:
            check_fault(file.rows, place)
            id, start_s, end_s = _span(cells["filename"])
            labels = _weak_labels(cells["event_labels"])
        except RowError as error:
            rejects.append(file.reject(place, cells, error))
            continue
        row = file.row(place)
        drafts.append(Draft(row=row, id=id, start_s=start_s, end_s=end_s, labels={LABEL_SET: labels}, split=file.role))


def _read_events(
    file: _File,
    found: dict[_Span, _Events],
    joined: list[int],
    rejects: list[Reject],
    *,
    among: Collection[_Span] | None,
) -> None:
    """Adds the events of an eval file to their clips; `among`: the clips that there are, None for any."""
    modality: Modality = "audio" if file.role == "audio" else "visual"
    first_row: dict[tuple[_Span, NamedEvent], int] = {}
    for place, cells in file.cells():
        row = file.row(place)
        try:
            check_fault(file.rows, place)
            span = _span(cells["filename"])
            if among is not None and span not in among:
                raise RowError(  # noqa: TRY301 - one place turns faults into rejects
                    Reason.BAD_ROW,
                    "no weak file that was given names this clip; give the file that does with --also, as in --also "
                    "test=AVVP_test_pd.csv, or correct the name",
                )
            said = found.setdefault(span, _Events(row))
            try:
                event = _event(cells, modality, length_s=span[2] - span[1])
            except RowError:
                said.is_flagged = True
                raise
            earlier = first_row.setdefault((span, event), row)
            if earlier != row:
                raise RowError(  # noqa: TRY301
                    Reason.DUPLICATE,
                    f"the same event as in row {earlier - file.before}, which is kept; delete one of them",
                )
        except RowError as error:
            rejects.append(file.reject(place, cells, error))
            continue
        if not said.events:
            said.row = row
        said.events.append(event)
        joined.append(row)


def _span(value: Any) -> _Span:
    """Id, start and end of the clip that a `filename` names."""
    text = read_id(value, column="filename") or ""
    found = _FILE_NAME.fullmatch(text)
    if not found or not _VIDEO_ID.fullmatch(found["id"]):
        raise RowError(
            Reason.BAD_ID,
            f"filename is {text!r}, expected ID_START_END with a YouTube id (11 letters, digits, - and _), as in "
            "4YdbENYcIyE_23_33; the id is cut off in this file: look it up at the source of this row",
        )
    start_s, end_s = float(found["start"]), float(found["end"])
    if not 0 < end_s - start_s <= LONGEST_CLIP_S:
        raise RowError(
            Reason.BAD_ROW,
            f"filename {text!r} names the span {start_s:g} to {end_s:g} s, and a clip has {LONGEST_CLIP_S:g} s at "
            "most; correct it in the file",
        )
    return found["id"], start_s, end_s


def _weak_labels(value: Any) -> tuple[str, ...]:
    text = read_text(value, column="event_labels") or ""
    labels = tuple(label.strip() for label in text.split(",") if label.strip())
    if not labels:
        raise RowError(Reason.BAD_ROW, "event_labels is empty, expected classes with commas between them")
    for label in labels:
        _check_class(label)
    return labels


def _event(cells: Mapping[str, Any], modality: Modality, *, length_s: float) -> NamedEvent:
    start_s, end_s = (read_seconds(cells[name], column=name) for name in ("onset", "offset"))
    label = read_text(cells["event_labels"], column="event_labels")
    if start_s is None or end_s is None or label is None:
        raise RowError(Reason.BAD_ROW, "onset, offset or event_labels is empty")
    _check_class(label)
    if not start_s < end_s <= length_s:
        raise RowError(
            Reason.BAD_ROW,
            f"the event is {start_s:g} to {end_s:g} s, expected an end after its start in a clip of {length_s:g} s; "
            "correct it in the file",
        )
    return NamedEvent(start_s, end_s, label, modality)


def _check_class(label: str) -> None:
    if label not in CLASSES:
        raise RowError(Reason.BAD_ROW, f"{label!r} is none of LLP's {len(CLASSES)} classes ({', '.join(CLASSES)})")


def _unknown(files: Collection[_File], draft: Draft | None = None) -> tuple[str, ...]:
    """Flags for the modalities whose events no file gives; of a training clip all: they have weak labels only."""
    given = {file.role for file in files if draft is None or draft.split != "train"}
    return tuple(flag for modality, flag in UNKNOWN_EVENTS.items() if modality not in given)


def _with_events(draft: Draft, found: Mapping[_Span, _Events], unknown: tuple[str, ...]) -> Draft:
    said = found.get((draft.id, draft.start_s or 0.0, draft.end_s or 0.0))
    if said is None:
        return replace(draft, flags=unknown)
    modalities = {event.modality for event in said.events}
    flags = tuple(flag for flag in unknown if not any(UNKNOWN_EVENTS.get(each) == flag for each in modalities))
    return replace(draft, events=tuple(said.events), flags=(*flags, *((BAD_EVENT,) if said.is_flagged else ())))


def _draft_of_events(span: _Span, said: _Events, unknown: tuple[str, ...]) -> Draft:
    id, start_s, end_s = span
    return Draft(
        row=said.row,
        id=id,
        start_s=start_s,
        end_s=end_s,
        labels={LABEL_SET: tuple(dict.fromkeys(event.class_name for event in said.events))},
        events=tuple(said.events),
        flags=(*unknown, *((BAD_EVENT,) if said.is_flagged else ())),
    )
