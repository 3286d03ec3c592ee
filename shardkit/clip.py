"""Clip: an annotated span of a source, as an annotation file states it; and the record of one that was turned away."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal

Modality = Literal["audio", "visual", "av"]
EVENT_MODALITIES: tuple[Modality, ...] = ("audio", "visual", "av")
"""The modalities of an event; the index and the batches store a modality as its place in this tuple."""

BACKGROUND = "background"
"""The flag of a clip that is known to have no event."""
UNKNOWN_EVENTS = {"audio": "unknown_audio_events", "visual": "unknown_visual_events"}
"""Modality to the flag of a clip of which nobody has said what is heard, or seen, in it and when: that it has no such
events in the index says nothing."""

Scalar = str | int | float | bool | None


class Reason(str, Enum):
    """Why a clip was rejected: the closed set of reasons in `rejects.jsonl`."""

    BAD_ID = "bad_id"
    """The id is empty, mangled or not one that the data set can have."""
    BAD_ROW = "bad_row"
    """The row cannot be read: a number that is none, an end before its start, a missing field."""
    DUPLICATE = "duplicate"
    """The same span with the same labels stands in an earlier row; or a tar has a key, or a sample's member, twice;
    or a background file is named as media of an annotated clip."""
    NOT_ADJACENT = "not_adjacent"
    """The members of the sample do not lie side by side in their tar."""
    OTHER_KIND = "other_kind"
    """The sample holds a video where others hold pictures, or pictures where they hold a video."""
    MISSING_MEDIA = "missing_media"
    """No media file belongs to the row."""
    MISSING_FEATURE = "missing_feature"
    """A feature has no array for the clip."""
    BAD_FEATURE = "bad_feature"
    """The clip's array of a feature is none of finite numbers, is of another shape, or is beyond float16."""
    NO_EVENT = "no_event"
    """The row names a place in the source and no event, such as a chapter called Preview."""
    UNREADABLE = "unreadable"
    """The media file is empty, is not media or cannot be opened."""
    NO_VIDEO = "no_video"
    """The clip has no picture, and the settings require one."""
    NO_AUDIO = "no_audio"
    """The clip has no sound, and the settings require it."""
    TOO_SHORT = "too_short"
    """The media ends before or early in the span; or the row's span holds no clip."""
    TOO_LONG = "too_long"
    """The clip would have more frames than fit into memory."""
    DECODE_ERROR = "decode_error"
    """The decoder reported an error inside the span, or returned much less than the file holds."""
    TIMEOUT = "timeout"
    """Decoding took longer than the clip timeout."""
    CRASH = "crash"
    """Decoding ended its worker process."""
    INTERNAL_ERROR = "internal_error"
    """shardkit itself failed at the clip, in a way it should not."""


@dataclass(frozen=True, slots=True)
class Event:
    """A labelled interval inside a clip."""

    start_s: float
    """Seconds from the clip's start."""
    end_s: float
    """Seconds from the clip's start; the event covers [start_s, end_s)."""
    class_id: int
    """Place of the class in the data set's event classes."""
    modality: Modality = "av"


@dataclass(frozen=True, slots=True)
class Clip:
    """One row of an annotation file that can become a sample."""

    row: int
    """1-based number of the data row in the annotation file (the header is not counted); 0 for one that is in none."""
    id: str
    """Id of the source, such as a YouTube id."""
    start_s: float | None = None
    """Start of the span in the source, in seconds; None: from the file's beginning."""
    end_s: float | None = None
    """End of the span in the source, in seconds; None: to the file's end."""
    media: str | None = None
    """The media file as the annotation names it, relative to the media folder; None: it is found by the id."""
    labels: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Label set to class ids: one id for `single`, one a level for `hierarchy`, ascending ids for `multi`."""
    events: tuple[Event, ...] = ()
    split: str | None = None
    splits: Mapping[str, str] = field(default_factory=dict)
    """Name of a further division of the data set, such as `ave_match`, to this clip's split in it; a clip that is in
    none of its splits is left out."""
    flags: tuple[str, ...] = ()
    """What is odd about the row, or special, such as BACKGROUND; stands beside the quality flags of its media."""
    columns: Mapping[str, Scalar] = field(default_factory=dict)
    """The annotation file's other columns, kept as they are."""


@dataclass(frozen=True, slots=True)
class Reject:
    """A row that did not become a sample, and why: one line of `rejects.jsonl`."""

    row: int
    """1-based number of the data row in the annotation file; 0 for a background file."""
    id: str
    reason: Reason
    detail: str
    """What was found, and what a person can do about it."""
    media: str | None = None
    """The media file concerned, relative to the media folder where there is one."""
