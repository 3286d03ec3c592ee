"""Reader of `avo65`: AVO-65 as it was released, and in the schema of its README.

    released   ytid,start_time,name,level_1,lebel_2,level_3,level_4 (the typo is the file's), where ytid is
               the name of a clip that has been cut already (`-70tewjjQKc_000030.mp4`), levels are 0-based
               integers, and `name` names level 4
    README     YouTube ID, Start Time, End Time, Level 1 … Level 4 (Label), where levels are names

A clip is ten seconds long where no end is given.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from shardkit.annotations.also import AlsoFile
from shardkit.annotations.annotation_set import AnnotationSet
from shardkit.annotations.avo65_classes import (
    INFERRED_LEVEL_2,
    INFERRED_LEVEL_3,
    INSTRUMENTS,
    LEVEL_SIZES,
    ROOTS,
)
from shardkit.annotations.cells import (
    RowError,
    as_found,
    check_fault,
    check_span,
    read_id,
    read_seconds,
    read_text,
)
from shardkit.annotations.columns import typed_column
from shardkit.annotations.drafts import Draft, annotation_set, label_rows, texts_at
from shardkit.annotations.labels import LevelCoding, classes_of, coding, is_id, numbers_up_to
from shardkit.annotations.request import AnnotationRequest
from shardkit.annotations.rows import Rows, shown
from shardkit.clip import Reason, Reject, Scalar
from shardkit.errors import DataError, UsageError
from shardkit.taxonomy import Level

NEEDS = (
    "a YouTube id (ytid, youtube_id, video_id), a start (start_time, start) and level_1 … level_4; perhaps "
    "an end (end_time, end) and name"
)

LABEL_SET = "instrument"
LEVELS = ("level_1", "level_2", "level_3", "level_4")
CLIP_LENGTH_S = 10.0

# Spellings after _plain().
_SPELLINGS: Mapping[str, tuple[str, ...]] = {
    "id": ("ytid", "yt_id", "youtube_id", "youtubeid", "video_id", "videoid", "id"),
    "start": ("start_time", "start", "start_s", "start_sec", "start_seconds"),
    "end": ("end_time", "end", "end_s", "end_sec", "end_seconds"),
    "name": ("name",),
    "level_1": ("level_1", "level1"),
    "level_2": ("level_2", "level2", "lebel_2"),
    "level_3": ("level_3", "level3"),
    "level_4": ("level_4", "level4", "level_4_label"),
    "split": ("split",),
}
_FIELD_OF = {spelling: field for field, spellings in _SPELLINGS.items() for spelling in spellings}
_REQUIRED = {"id", "start", *LEVELS}

# `ID`, or the file name of a clip cut at that second: `ID_000030.mp4`.
_YTID = re.compile(r"(?P<id>[A-Za-z0-9_-]{11})(?:_(?P<second>[0-9]{1,9}))?(?P<suffix>\.[A-Za-z0-9]+)?")


def recognises(columns: Collection[str]) -> bool:
    """Whether a header is AVO-65's; one in the names of a table is left to `table`."""
    fields = {_FIELD_OF.get(_plain(name)) for name in columns}
    return fields >= _REQUIRED and not {"id", "start_s"} <= set(columns)


def read(rows: Rows, request: AnnotationRequest, _also: Mapping[str, AlsoFile]) -> AnnotationSet:
    """The annotation set of an AVO-65 file.

    Raises:
        UsageError: A column that is needed is missing.
        DataError: Two columns mean the same, a class stands below two parents or has two names.
    """
    header = _header(rows)
    cells_of = {field: rows.columns[name] for field, name in header.items()}
    numbered = {level: _is_numbered(cells_of[level]) for level in LEVELS}
    used = {name for field, name in header.items() if field != "name" or numbered["level_4"]}
    others = tuple(name for name in rows.columns if name not in used)
    other_values = {name: typed_column(rows.columns[name], typed=rows.typed) for name in others}

    drafts: list[Draft] = []
    rejects: list[Reject] = []
    for place in range(rows.row_count):
        cells = {field: values[place] for field, values in cells_of.items()}
        try:
            check_fault(rows, place)
            columns = {name: values[place] for name, values in other_values.items()}
            drafts.append(_draft(place + 1, cells, numbered=numbered, columns=columns))
        except RowError as error:
            rejects.append(Reject(place + 1, as_found(cells["id"]) or "", error.reason, error.detail))

    names = _instrument_names(rows, drafts, cells_of.get("name")) if numbered["level_4"] else {}
    own_names = {0: ROOTS, len(LEVELS) - 1: INSTRUMENTS}
    if request.names == "inferred":
        own_names |= {1: INFERRED_LEVEL_2, 2: INFERRED_LEVEL_3}
    levels = [
        _level(depth, drafts, names=names, numbered=numbered, path=rows.path, own_names=own_names.get(depth, ()))
        for depth in range(len(LEVELS))
    ]
    instrument = coding(LABEL_SET, "hierarchy", levels, label_rows(drafts, LABEL_SET), path=rows.path)
    return annotation_set("avo65", rows, drafts, rejects, codings=[instrument], columns=others)


def _plain(name: str) -> str:
    """`Level 4 (Label)` as `level_4_label`."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def _header(rows: Rows) -> dict[str, str]:
    """Field to the file's name for its column."""
    header: dict[str, str] = {}
    for name in rows.columns:
        field = _FIELD_OF.get(_plain(name))
        if field in header:
            raise DataError(
                f"{rows.path}: columns {header[field]!r} and {name!r} both mean {field}; remove one of them"
            )
        if field:
            header[field] = name
    if missing := sorted(_REQUIRED - header.keys()):
        raise UsageError(
            f"{rows.path}: no column for {', '.join(missing)}; avo65 needs {NEEDS}; the file has {shown(rows.columns)}",
        )
    return header


def _is_numbered(values: Sequence[Any]) -> bool:
    """Whether a level holds ids; a few cells that are none are the fault of their rows."""
    scalars = [value for value in values if not isinstance(value, list | dict)]
    present = [text for value in scalars if (text := read_text(value, column="level")) is not None]
    return 2 * sum(map(is_id, present)) > len(present)


def _draft(
    row: int,
    cells: Mapping[str, Any],
    *,
    numbered: Mapping[str, bool],
    columns: Mapping[str, Scalar],
) -> Draft:
    text = read_id(cells["id"], column="the YouTube id")
    found = text and _YTID.fullmatch(text)
    if not text or not found:
        raise RowError(
            Reason.BAD_ID,
            f"{text!r} is no YouTube id (11 letters, digits, - and _), nor the file name of a clip such as "
            "'-70tewjjQKc_000030.mp4'; take the id from the original source of this row"
            if text
            else "the YouTube id is empty; take it from the original source of this row",
        )
    start_s = read_seconds(cells["start"], column="start")
    end_s = read_seconds(cells.get("end"), column="end")
    if start_s is None:
        raise RowError(Reason.BAD_ROW, "the start is empty, expected seconds")
    if found["second"] and int(found["second"]) != int(start_s):
        raise RowError(
            Reason.BAD_ROW,
            f"{text} was cut at {int(found['second'])} s and the row starts at {start_s:g} s; correct one of the two",
        )
    if end_s is None:
        end_s = start_s + CLIP_LENGTH_S
    check_span(start_s, end_s)
    levels = tuple(read_text(cells[level], column=level) for level in LEVELS)
    for level, said in zip(LEVELS, levels, strict=True):
        if numbered[level] and said is not None and not is_id(said):
            raise RowError(Reason.BAD_ROW, f"{level} is {said!r}, expected a class id as in the other rows")
    return Draft(
        row=row,
        id=found["id"],
        start_s=start_s,
        end_s=end_s,
        media=text if found["suffix"] else None,
        labels={LABEL_SET: levels},
        split=read_text(cells.get("split"), column="split"),
        columns=columns,
    )


def _instrument_names(rows: Rows, drafts: Sequence[Draft], name_cells: Sequence[Any] | None) -> dict[str, str]:
    """Level-4 id to the name that the column `name` gives it."""
    names: dict[str, str] = {}
    first_row: dict[str, int] = {}
    for draft in drafts:
        leaf = draft.labels[LABEL_SET][-1]
        name = None if name_cells is None else as_found(name_cells[draft.row - 1])
        if leaf is None or name is None:
            continue
        earlier = names.setdefault(leaf, name)
        row = first_row.setdefault(leaf, draft.row)
        if earlier != name:
            raise DataError(
                f"{rows.path}: level_4 {leaf} is named {earlier!r} in row {row} and {name!r} in "
                f"row {draft.row}; correct one of the two",
            )
    return names


def _level(
    depth: int,
    drafts: Sequence[Draft],
    *,
    names: Mapping[str, str],
    numbered: Mapping[str, bool],
    path: str,
    own_names: tuple[str, ...],
) -> LevelCoding:
    """The classes of a level, as AVO-65 numbers them; a part of the data set has the ids of the whole."""
    name = LEVELS[depth]
    texts = texts_at(drafts, LABEL_SET, depth)
    where = f"{path}: {name}"
    if not numbered[name]:
        return LevelCoding.of_classes(name, own_names if texts <= set(own_names) else classes_of(texts, where=where))
    ids = numbers_up_to(texts, where=where, at_least=LEVEL_SIZES[depth])
    classes = _class_names(depth, ids, names, own_names)
    return LevelCoding(Level(name, classes), {id: place for place, id in enumerate(ids)})


def _class_names(
    depth: int, ids: tuple[str, ...], names: Mapping[str, str], own_names: tuple[str, ...]
) -> tuple[str, ...]:
    """Class names of a numbered level: AVO-65's and the file's; the number itself where there is none."""
    own = dict(zip(ids, own_names, strict=False)) if len(ids) == len(own_names) else {}
    if depth == len(LEVELS) - 1:
        own = own | dict(names) if names.items() <= own.items() else dict(names)
    return tuple(own.get(id, id) for id in ids)
