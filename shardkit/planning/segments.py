"""Segments: the grid of equal cells, such as the one-second segments of AVE and AVVP, that events are put on.

A segment of a window carries an event that covers at least half of it. An event of positive length that covers half of
none marks the one that it covers most of (the first of equals), so none is lost; one without length marks none. Whole
segments are exact.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from shardkit.clip import EVENT_MODALITIES
from shardkit.errors import UsageError
from shardkit.planning.sampling import place_in_room, whole_segments
from shardkit.taxonomy import UNKNOWN

__all__ = ["EventColumns", "SegmentGrid", "TargetGrid", "event_runs", "event_targets", "grid_labels"]

Seconds = NDArray[np.float64] | np.float64

# Starts and ends are decimals that floats miss by a little: 0.1 * 3 is more than three tenths.
_ROUNDING = 1e-9


class EventColumns(NamedTuple):
    """Labelled intervals of several clips as columns, clip after clip."""

    start_s: NDArray[np.float64]
    """float64 [E]: seconds from the clip's start."""
    end_s: NDArray[np.float64]
    """float64 [E]."""
    class_id: NDArray[np.int64]
    """int64 [E]."""
    modality: NDArray[np.int64]
    """int64 [E]: place in EVENT_MODALITIES."""
    clip: NDArray[np.int64]
    """int64 [E]: the clip that each belongs to, ascending."""


class TargetGrid(NamedTuple):
    """What is heard and seen in every segment, by class."""

    audio: NDArray[np.bool_]
    """bool [B, N, C]."""
    visual: NDArray[np.bool_]
    """bool [B, N, C]."""

    @property
    def av(self) -> NDArray[np.bool_]:
        """What is heard and seen at once, bool [B, N, C], as AVVP has it (GT_av = GT_a * GT_v)."""
        both: NDArray[np.bool_] = self.audio & self.visual
        return both


@dataclass(frozen=True, slots=True)
class SegmentGrid:
    """`count` segments of `segment_s` seconds, from the start of a window on."""

    segment_s: float
    count: int
    """N."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.segment_s) and self.segment_s > 0) or self.count < 1:
            raise UsageError(f"{self.count} segments of {self.segment_s!r} s: at least one, of some length, is needed")

    @classmethod
    def over(cls, span_s: float, segment_s: float) -> "SegmentGrid":
        """The grid over a span: what is left behind the last whole segment is one where it is at least half of it."""
        return cls(segment_s, int(whole_segments(np.float64(span_s), segment_s)))

    @property
    def span_s(self) -> float:
        """Length of all segments."""
        return self.count * self.segment_s

    def place(self, duration_s: float, *, share: float, drawn: bool) -> tuple[float, float]:
        """The window [t0, t1) of all segments that is used of a clip: it begins at one of the clip's segments.

        Args:
            duration_s: Length of the clip. One with fewer segments is used from 0 on, and ends before its window.
            share: Where the window lies in the room that it has, from 0 to 1.
            drawn: As in `choose_frames`.
        """
        room = max(0, int(whole_segments(np.float64(duration_s), self.segment_s)) - self.count)
        first = place_in_room(room, share, drawn=drawn)
        return first * self.segment_s, (first + self.count) * self.segment_s

    def real(self, durations_s: Seconds, starts_s: Seconds) -> NDArray[np.int64]:
        """How many of a window's segments lie in the clip.

        Args:
            durations_s: float64 [B], lengths of the clips.
            starts_s: float64 [B], starts of their windows, each at one of the clip's segments.

        Returns:
            int64 [B], from 1 to N.
        """
        left: NDArray[np.int64] = whole_segments(durations_s, self.segment_s) - self.number(starts_s)
        return np.minimum(left, self.count)

    def number(self, starts_s: Seconds) -> NDArray[np.int64]:
        """The segments of their clips, int64 [B], that begin at float64 [B]."""
        numbers: NDArray[np.int64] = np.rint(starts_s / self.segment_s).astype(np.int64)
        return numbers

    def frame_bounds(self, instants_s: NDArray[np.float64], start_s: float, segments: int) -> list[int]:
        """Which stored frames lie in the segments of a window: those of segment k are bounds[k] to bounds[k + 1] - 1.

        Args:
            instants_s: float64 [T], increasing: the instants that the frames stand for.
            start_s: Start of the window.
            segments: How many of its segments are asked for.

        Returns:
            [segments + 1] places.
        """
        edges_s = start_s + self.segment_s * np.arange(segments + 1, dtype=np.float64)
        bounds: list[int] = np.searchsorted(instants_s, edges_s - _ROUNDING).tolist()
        return bounds

    def frame_counts(
        self, instants_s: NDArray[np.float64], counts: NDArray[np.int64], durations_s: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The fewest and the most stored frames that any segment of each whole clip has; see `frame_bounds`.

        Args:
            instants_s: float64 [sum of counts], those of one clip after another's.
            counts: int64 [B], frames of each clip.
            durations_s: float64 [B], lengths of the clips.

        Returns:
            int64 [B], twice.
        """
        own = whole_segments(durations_s, self.segment_s)
        first = np.cumsum(own) - own
        segment = np.floor((instants_s + _ROUNDING) / self.segment_s).astype(np.int64)
        inside = (segment >= 0) & (segment < np.repeat(own, counts))
        found = np.bincount((segment + np.repeat(first, counts))[inside], minlength=int(own.sum()))
        return np.minimum.reduceat(found, first), np.maximum.reduceat(found, first)

    def marked(
        self, start_s: NDArray[np.float64], end_s: NDArray[np.float64], own: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The segments of a clip that events mark; see the rule above.

        Args:
            start_s: float64 [E], seconds from the clip's start.
            end_s: float64 [E], not before `start_s`.
            own: int64 [E], segments of the event's clip: an event behind the last marks it.

        Returns:
            int64 [E], the first one, and the one after the last; equal for an event without length.
        """
        start, end = start_s / self.segment_s, end_s / self.segment_s
        first = np.ceil(start - 0.5 - _ROUNDING).astype(np.int64)
        stop = np.floor(end + 0.5 + _ROUNDING).astype(np.int64)
        # Half of none: it is shorter than a segment, and lies in one, or on both sides of an edge.
        edge = np.floor(start + _ROUNDING).astype(np.int64) + 1
        most = edge - 1 + ((end - edge) > (edge - start) + _ROUNDING)
        covers_none = stop <= first
        first = np.minimum(np.where(covers_none, most, first), own - 1)
        stop = np.minimum(np.where(covers_none, most + 1, stop), own)
        return first, np.where(end_s > start_s, np.maximum(stop, first + 1), first)


def event_targets(
    grid: SegmentGrid,
    events: EventColumns,
    durations_s: NDArray[np.float64],
    starts_s: NDArray[np.float64],
    *,
    classes: int,
) -> TargetGrid:
    """Events, put on the grids of windows: a window shows part of the grid of its clip, whatever it cuts apart.

    Args:
        grid: N segments of every window.
        events: Of B clips.
        durations_s: float64 [B], lengths of the clips.
        starts_s: float64 [B], starts of the windows: multiples of `segment_s`.
        classes: C, the number of event classes.

    Returns:
        What is heard (events `audio` and `av`) and what is seen (`visual` and `av`), bool [B, N, C] each.
    """
    own = whole_segments(durations_s, grid.segment_s)
    before = grid.number(starts_s)[events.clip]
    first, stop = grid.marked(events.start_s, events.end_s, own[events.clip])
    first, stop = np.clip(first - before, 0, grid.count), np.clip(stop - before, 0, grid.count)
    lengths = stop - first
    each = np.repeat(np.arange(len(lengths)), lengths)
    segment = np.arange(len(each)) - (np.cumsum(lengths) - lengths - first)[each]
    shape = (len(durations_s), grid.count, classes)
    target = TargetGrid(np.zeros(shape, dtype=np.bool_), np.zeros(shape, dtype=np.bool_))
    for marks, absent in ((target.audio, "visual"), (target.visual, "audio")):
        there = events.modality[each] != EVENT_MODALITIES.index(absent)
        event = each[there]
        marks[events.clip[event], segment[there], events.class_id[event]] = True
    return target


def grid_labels(both: NDArray[np.bool_], real: NDArray[np.int64]) -> NDArray[np.int64]:
    """One class a segment: what is heard and seen at once.

    Args:
        both: bool [B, N, C], `TargetGrid.av`.
        real: int64 [B], segments that lie in the clip.

    Returns:
        int64 [B, N]: the lowest class, C for background, -100 behind the clip's end.
    """
    # One column more is the background, which every segment has: argmax finds the first that is set.
    columns = np.concatenate((both, np.ones((*both.shape[:2], 1), dtype=np.bool_)), axis=2)
    behind = np.arange(both.shape[1]) >= real[:, None]
    return np.where(behind, UNKNOWN, columns.argmax(axis=2))


def event_runs(target: TargetGrid, *, segment_s: float) -> EventColumns:
    """The grid as intervals again: neighbouring segments of a class are one event, from edge to edge.

    What is heard and seen at once is one event of `av`, what is only heard or only seen one of `audio` or `visual`.

    Returns:
        By clip, then by modality, class and start.
    """
    both = target.av
    parts: dict[str, NDArray[np.bool_]] = {"audio": target.audio & ~both, "visual": target.visual & ~both, "av": both}
    # [modality, B, C, N], with an edge on both sides.
    marks = np.stack([parts[name].transpose(0, 2, 1) for name in EVENT_MODALITIES]).astype(np.int8)
    steps = np.diff(np.pad(marks, [(0, 0)] * 3 + [(1, 1)]), axis=3)
    modality, clip, class_id, first = np.nonzero(steps == 1)
    stop = np.nonzero(steps == -1)[3]
    order = np.argsort(clip, kind="stable")
    start_s, end_s = first.astype(np.float64) * segment_s, stop.astype(np.float64) * segment_s
    return EventColumns(start_s[order], end_s[order], class_id[order], modality[order], clip[order])
