"""Reader of `ave`: the annotations of AVE (Tian et al., Audio-Visual Event Localization, ECCV 2018).

    Church bell&RUhOCu3LNXM&good&0&10

    Category, VideoID, Quality   the class of the event, the YouTube id, and what its annotators thought of it
    StartTime, EndTime           the event, in seconds of the clip; 0 and 0 where it has none

A video has been cut to ten seconds, so a clip is the whole of `VideoID.mp4`. Classes are numbered in the order in which
they first appear. An id that repeats with another class is another clip of the same video.
"""

import re
from collections.abc import Collection, Mapping
from typing import Any

from shardkit.annotations.also import AlsoFile
from shardkit.annotations.annotation_set import AnnotationSet
from shardkit.annotations.cells import RowError, as_found, check_fault, read_id, read_seconds, read_text
from shardkit.annotations.columns import typed_column
from shardkit.annotations.drafts import Draft, annotation_set, label_rows
from shardkit.annotations.events import NamedEvent
from shardkit.annotations.flags import NO_EVENT
from shardkit.annotations.labels import LevelCoding, coding
from shardkit.annotations.request import AnnotationRequest
from shardkit.annotations.rows import AVE_COLUMNS, Rows, shown
from shardkit.clip import Reason, Reject
from shardkit.errors import UsageError

NEEDS = "Category, VideoID, Quality, StartTime, EndTime, as lines Category&VideoID&Quality&StartTime&EndTime"

LABEL_SET = "event"
CLIP_LENGTH_S = 10.0

_CATEGORY, _ID, _QUALITY, _START, _END = AVE_COLUMNS
_VIDEO_ID = re.compile(r"[A-Za-z0-9_-]{11}")


def recognises(columns: Collection[str]) -> bool:
    """Whether a header is AVE's."""
    return set(columns) == set(AVE_COLUMNS)


def read(rows: Rows, _request: AnnotationRequest, _also: Mapping[str, AlsoFile]) -> AnnotationSet:
    """The annotation set of an AVE file.

    Raises:
        UsageError: A column is missing.
    """
    if missing := sorted(set(AVE_COLUMNS) - set(rows.columns)):
        raise UsageError(
            f"{rows.path}: no column {', '.join(missing)}; ave needs {NEEDS}; the file has {shown(rows.columns)}"
        )
    quality = typed_column(rows.columns[_QUALITY], typed=rows.typed)
    drafts: list[Draft] = []
    rejects: list[Reject] = []
    for place in range(rows.row_count):
        cells = {name: rows.columns[name][place] for name in AVE_COLUMNS}
        try:
            check_fault(rows, place)
            drafts.append(_draft(place + 1, cells, quality=quality[place]))
        except RowError as error:
            rejects.append(Reject(place + 1, as_found(cells[_ID]) or "", error.reason, error.detail))
    classes = tuple(dict.fromkeys(text for draft in drafts for text in draft.labels[LABEL_SET] if text is not None))
    event = coding(
        LABEL_SET, "single", [LevelCoding.of_classes(LABEL_SET, classes)], label_rows(drafts, LABEL_SET), path=rows.path
    )
    return annotation_set("ave", rows, drafts, rejects, codings=[event], columns=(_QUALITY,), event_classes=classes)


def _draft(row: int, cells: Mapping[str, Any], *, quality: Any) -> Draft:
    id = read_id(cells[_ID], column=_ID)
    if id is None or not _VIDEO_ID.fullmatch(id):
        raise RowError(
            Reason.BAD_ID,
            f"{_ID} is {id!r}, no YouTube id (11 letters, digits, - and _); take it from the original file",
        )
    category = read_text(cells[_CATEGORY], column=_CATEGORY)
    if category is None:
        raise RowError(Reason.BAD_ROW, f"{_CATEGORY} is empty, expected a class")
    start_s, end_s = (read_seconds(cells[name], column=name) for name in (_START, _END))
    if start_s is None or end_s is None:
        raise RowError(Reason.BAD_ROW, f"{_START if start_s is None else _END} is empty, expected seconds of the clip")
    has_event = (start_s, end_s) != (0.0, 0.0)
    if has_event and not start_s < end_s <= CLIP_LENGTH_S:
        raise RowError(
            Reason.BAD_ROW,
            f"the event is {start_s:g} to {end_s:g} s, expected a part of a clip of {CLIP_LENGTH_S:g} s, or 0 to 0 "
            "for none; correct it in the file",
        )
    return Draft(
        row=row,
        id=id,
        start_s=0.0,
        end_s=CLIP_LENGTH_S,
        labels={LABEL_SET: (category,)},
        events=(NamedEvent(start_s, end_s, category, "av"),) if has_event else (),
        flags=() if has_event else (NO_EVENT,),
        columns={_QUALITY: quality},
    )
