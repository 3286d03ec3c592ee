"""From rows that could be read to the AnnotationSet: class names become ids, repeated rows are rejected."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from shardkit.annotations.annotation_set import AnnotationSet
from shardkit.annotations.events import NamedEvent
from shardkit.annotations.labels import LabelCoding, LabelText, classes_of
from shardkit.annotations.rows import Rows
from shardkit.clip import Clip, Event, Reason, Reject, Scalar


@dataclass(frozen=True, slots=True)
class Draft:
    """A row that can become a clip once its classes have ids."""

    row: int
    id: str
    start_s: float | None = None
    end_s: float | None = None
    media: str | None = None
    labels: Mapping[str, LabelText] = field(default_factory=dict)
    """Label set to what the row says."""
    events: tuple[NamedEvent, ...] = ()
    split: str | None = None
    flags: tuple[str, ...] = ()
    columns: Mapping[str, Scalar] = field(default_factory=dict)


def texts_at(drafts: Iterable[Draft], label_set: str, level: int | None = None) -> set[str]:
    """The distinct texts of a label set: of one level, or of all."""
    texts: set[str] = set()
    for draft in drafts:
        said = draft.labels[label_set]
        texts.update(text for text in (said if level is None else (said[level],)) if text is not None)
    return texts


def label_rows(drafts: Iterable[Draft], label_set: str) -> dict[int, LabelText]:
    """Row number to what the row says in a label set."""
    return {draft.row: draft.labels[label_set] for draft in drafts}


def annotation_set(
    format: str,
    rows: Rows,
    drafts: Sequence[Draft],
    rejects: Iterable[Reject],
    *,
    codings: Sequence[LabelCoding],
    columns: Sequence[str],
    event_classes: Sequence[str] | None = None,
    joined_rows: Iterable[int] = (),
    also_rows: Mapping[str, int] | None = None,
) -> AnnotationSet:
    """The clips of the drafts, without those that repeat an earlier row.

    Args:
        format: Name of the format.
        rows: The annotation file.
        drafts: Rows that can become clips, in row order.
        rejects: All the other rows.
        codings: The label sets; every draft says something in each.
        columns: Names of the other columns that the drafts carry.
        event_classes: The event classes by id; None: those of the drafts' events.
        joined_rows: Rows whose event stands in the draft of another row.
        also_rows: Role of a further file to the number of its rows.
    """
    if event_classes is None:
        event_classes = classes_of(
            {event.class_name for draft in drafts for event in draft.events},
            where=f"{rows.path}: column 'events'",
        )
    event_ids = {name: place for place, name in enumerate(event_classes)}
    clips: list[Clip] = []
    turned_away = list(rejects)
    first_row: dict[tuple[object, ...], int] = {}
    for draft in drafts:
        labels = {coding.label_set.name: coding.ids(draft.labels[coding.label_set.name]) for coding in codings}
        events = tuple(
            Event(event.start_s, event.end_s, event_ids[event.class_name], event.modality) for event in draft.events
        )
        said = (draft.id, draft.start_s, draft.end_s, draft.media, *labels.values(), events, draft.split)
        earlier = first_row.setdefault(said, draft.row)
        if earlier != draft.row:
            detail = f"the same span with the same labels as row {earlier}, which is kept; delete one of them"
            turned_away.append(Reject(draft.row, draft.id, Reason.DUPLICATE, detail, draft.media))
            continue
        clips.append(
            Clip(
                row=draft.row,
                id=draft.id,
                start_s=draft.start_s,
                end_s=draft.end_s,
                media=draft.media,
                labels=labels,
                events=events,
                split=draft.split,
                flags=draft.flags,
                columns=draft.columns,
            ),
        )
    return AnnotationSet(
        format=format,
        row_count=rows.row_count + sum((also_rows or {}).values()),
        clips=tuple(clips),
        rejects=tuple(sorted(turned_away, key=lambda reject: reject.row)),
        label_sets=tuple(coding.label_set for coding in codings),
        event_classes=tuple(event_classes),
        columns=tuple(columns),
        joined_rows=tuple(sorted(joined_rows)),
        also_rows=dict(also_rows or {}),
    )
