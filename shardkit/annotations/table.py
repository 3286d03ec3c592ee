"""Reader of `table`: one row a clip, in columns with shardkit's own names.

    id, media          at least one; the id defaults to the media file's stem
    start_s, end_s     the span in the source, in seconds
    label              one class: label set `label`
    labels             any number of classes, a list or `a|b`: label set `labels`
    level_1 … level_n  one class a level, from the root downwards: label set `level`
    events             a list of {start_s, end_s, class, modality}, or the same as JSON text
    split              name of the split

All other columns are kept. Where all values of a label column are integers, they are ids and stay as they
are; else they are class names, and names are numbered in sorted order.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from shardkit.annotations.also import AlsoFile
from shardkit.annotations.annotation_set import AnnotationSet
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
from shardkit.annotations.events import read_events
from shardkit.annotations.labels import LabelCoding, LabelText, LevelCoding, classes_of, coding
from shardkit.annotations.request import AnnotationRequest
from shardkit.annotations.rows import Rows, shown
from shardkit.clip import Reason, Reject, Scalar
from shardkit.errors import UsageError
from shardkit.taxonomy import LabelKind

NEEDS = (
    "id or media, and any of start_s, end_s, label, labels, level_1 … level_n, events, split "
    "(other names are mapped with --column id=NAME)"
)

_FIELDS = ("id", "media", "start_s", "end_s", "label", "labels", "events", "split")
_LEVEL = re.compile(r"level_[1-9][0-9]*")


def recognises(columns: Collection[str]) -> bool:
    """Whether a header names a clip's id or media file as a table does."""
    return "id" in columns or "media" in columns


def read(rows: Rows, request: AnnotationRequest, _also: Mapping[str, AlsoFile]) -> AnnotationSet:
    """The annotation set of a table.

    Raises:
        UsageError: A renamed column is unknown or missing, id and media are both missing, or a level is.
        DataError: A class stands below two parents, or an integer id is too high.
    """
    column = request.column
    fields = _fields(rows, column)
    level_names = _level_names(rows, fields)
    # A column that one of our names has been given to is not another column; nor is one that it hides.
    others = tuple(name for name in rows.columns if not _is_field(name) and name not in column.values())
    other_values = {name: typed_column(rows.columns[name], typed=rows.typed) for name in others}

    drafts: list[Draft] = []
    rejects: list[Reject] = []
    for place in range(rows.row_count):
        cells = {name: values[place] for name, values in fields.items()}
        try:
            check_fault(rows, place)
            drafts.append(
                _draft(
                    place + 1,
                    cells,
                    level_names=level_names,
                    columns={name: values[place] for name, values in other_values.items()},
                ),
            )
        except RowError as error:
            id, media = as_found(cells.get("id")), as_found(cells.get("media"))
            rejects.append(Reject(place + 1, id or media or "", error.reason, error.detail, media))
    return annotation_set(
        "table",
        rows,
        drafts,
        rejects,
        codings=_codings(drafts, fields, level_names, rows.path),
        columns=others,
    )


def _is_field(name: str) -> bool:
    return name in _FIELDS or _LEVEL.fullmatch(name) is not None


def _fields(rows: Rows, column: Mapping[str, str]) -> dict[str, list[Any]]:
    """Our column name to its values, for the columns of ours that the file has."""
    for ours, theirs in column.items():
        if not _is_field(ours):
            raise UsageError(
                f"--column {ours}={theirs}: there is no column {ours!r} to map to; there are "
                f"{', '.join(_FIELDS)} and level_1 … level_n; {rows.path} has {shown(rows.columns)}",
            )
        if theirs not in rows.columns:
            raise UsageError(
                f"--column {ours}={theirs}: {rows.path} has no column {theirs!r}; it has {shown(rows.columns)}",
            )
    fields = {name: values for name, values in rows.columns.items() if _is_field(name)}
    fields |= {ours: rows.columns[theirs] for ours, theirs in column.items()}
    if "labels" not in fields and any(isinstance(value, list) for value in fields.get("label", ())):
        fields["labels"] = fields.pop("label")  # lists of classes, under the other name
    if not recognises(fields):
        raise UsageError(f"{rows.path}: a table needs {NEEDS}; the file has {shown(rows.columns)}")
    return fields


def _level_names(rows: Rows, fields: Collection[str]) -> tuple[str, ...]:
    found = {name for name in fields if _LEVEL.fullmatch(name)}
    names = tuple(f"level_{depth}" for depth in range(1, len(found) + 1))
    if found != set(names):
        raise UsageError(
            f"{rows.path}: levels are numbered from level_1 without a gap; found {', '.join(sorted(found))}; "
            "rename the columns or map them with --column level_1=NAME",
        )
    return names


def _draft(
    row: int,
    cells: Mapping[str, Any],
    *,
    level_names: Sequence[str],
    columns: Mapping[str, Scalar],
) -> Draft:
    media = read_id(cells.get("media"), column="media")
    id = read_id(cells.get("id"), column="id") or (media and PurePosixPath(media).stem)
    if not id:
        raise RowError(Reason.BAD_ID, "the row has neither an id nor a media file; give it one of the two")
    start_s = read_seconds(cells.get("start_s"), column="start_s")
    end_s = read_seconds(cells.get("end_s"), column="end_s")
    check_span(start_s, end_s)
    return Draft(
        row=row,
        id=id,
        start_s=start_s,
        end_s=end_s,
        media=media,
        labels=_label_texts(cells, level_names),
        events=read_events(cells.get("events"), length_s=None if end_s is None else end_s - (start_s or 0.0)),
        split=read_text(cells.get("split"), column="split"),
        columns=columns,
    )


def _label_texts(cells: Mapping[str, Any], level_names: Sequence[str]) -> dict[str, LabelText]:
    """Label set to what the row says."""
    texts: dict[str, LabelText] = {}
    if "label" in cells:
        texts["label"] = (read_text(cells["label"], column="label"),)
    if "labels" in cells:
        value = cells["labels"]
        parts = value.split("|") if isinstance(value, str) else value if isinstance(value, list) else [value]
        texts["labels"] = tuple(text for part in parts if (text := read_text(part, column="labels")) is not None)
    if level_names:
        texts["level"] = tuple(read_text(cells[name], column=name) for name in level_names)
    return texts


def _codings(
    drafts: Sequence[Draft],
    fields: Collection[str],
    level_names: Sequence[str],
    path: str,
) -> list[LabelCoding]:
    """The label sets of the columns that the file has."""
    codings: list[LabelCoding] = []
    flat: tuple[tuple[str, LabelKind], ...] = (("label", "single"), ("labels", "multi"))
    for name, kind in flat:
        if name in fields:
            classes = classes_of(texts_at(drafts, name), where=f"{path}: column {name!r}")
            level = LevelCoding.of_classes(name, classes)
            codings.append(coding(name, kind, [level], label_rows(drafts, name), path=path))
    if level_names:
        levels = [
            LevelCoding.of_classes(
                name,
                classes_of(texts_at(drafts, "level", depth), where=f"{path}: column {name!r}"),
            )
            for depth, name in enumerate(level_names)
        ]
        codings.append(coding("level", "hierarchy", levels, label_rows(drafts, "level"), path=path))
    return codings
