"""What is taken of a clip: the instants that are packed; the window, frames, crop and events that are loaded.

Seconds count from the clip's start. Where something lies is a share of the room that it has; `views` draws the shares.
What runs once a clip in a loader's worker costs some microseconds; the settings it is given were checked where
they were made.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from shardkit.errors import UsageError

__all__ = [
    "FrameChoice",
    "FrameSampling",
    "SamplingMode",
    "choose_frames",
    "clip_events",
    "fixed_frame_count",
    "frames_inside",
    "place_crop",
    "place_in_room",
    "place_window",
    "whole_segments",
]

SamplingMode = Literal["count", "fps", "segment"]
FrameChoice = Literal["uniform", "random", "contiguous"]

# Spans and rates are decimals that floats miss by a little: 0.14 s at 25 Hz is 3.5000000000000004 cells.
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class FrameSampling:
    """Which instants of a clip become frames: the centres of equal cells.

    Make one with `count`, `fps` or `per_segment`. All instants lie inside the span; there is at least one.
    """

    mode: SamplingMode
    value: float
    """Frames in the span (`count`), frames a second (`fps`) or frames a segment (`segment`)."""
    segment_s: float | None = None
    """Length of a segment; `segment` only."""

    def __post_init__(self) -> None:
        if self.mode not in get_args(SamplingMode):
            raise UsageError(f"frame sampling: mode {self.mode!r} is not count, fps or segment")
        if not _is_positive(self.value):
            raise UsageError(f"frame sampling: {self.mode} {self.value!r} is not a positive number")
        if self.mode != "fps" and type(self.value) is not int:
            raise UsageError(f"frame sampling: {self.mode} {self.value!r} is not a whole number of frames")
        if self.mode == "segment" and not _is_positive(self.segment_s):
            raise UsageError(f"frame sampling: segment_s {self.segment_s!r} is not a positive number of seconds")
        if self.mode != "segment" and self.segment_s is not None:
            raise UsageError(
                f"frame sampling: segment_s {self.segment_s!r} goes with frames a segment, not {self.mode}"
            )

    @classmethod
    def count(cls, frame_count: int) -> "FrameSampling":
        """`frame_count` frames, at the centres of equal parts of the span."""
        return cls("count", frame_count)

    @classmethod
    def fps(cls, frames_per_s: float) -> "FrameSampling":
        """One frame every 1 / `frames_per_s` seconds, from half of that on."""
        return cls("fps", _as_float(frames_per_s))

    @classmethod
    def per_segment(cls, frame_count: int, segment_s: float = 1.0) -> "FrameSampling":
        """`frame_count` frames in every `segment_s` seconds, such as the one-second segments of AVE."""
        return cls("segment", frame_count, _as_float(segment_s))

    def instants(self, duration_s: float) -> NDArray[np.float64]:
        """The instants of a clip of `duration_s`.

        Returns:
            float64 [T], seconds from the clip's start, strictly increasing, all in [0, duration_s).

        Raises:
            UsageError: `duration_s` is not a positive number.
        """
        if not _is_positive(duration_s):
            raise UsageError(f"frame sampling: a clip of {duration_s!r} s has no instants; reject it first")
        if self.mode == "count":
            return _centres(duration_s, int(self.value))
        if self.mode == "fps":
            # As many cells as have their centre inside the span; a span shorter than half a cell is one cell.
            cells = math.ceil(duration_s * self.value - 0.5 - _ROUNDING)
            return _centres(cells / self.value, cells) if cells > 0 else _centres(duration_s, 1)
        assert self.segment_s is not None
        return self._segment_instants(duration_s, self.segment_s)

    def _segment_instants(self, duration_s: float, segment_s: float) -> NDArray[np.float64]:
        """Every segment has its frames; the last one has them in what the span holds of it.

        So a clip of ten segments that ends early (9.7 s) keeps ten times the frames of one, all inside it.
        """
        segments = int(whole_segments(np.float64(duration_s), segment_s))
        frames = int(self.value)
        starts_s = np.arange(segments, dtype=np.float64) * segment_s
        lengths_s = np.minimum(segment_s, duration_s - starts_s)
        cells = (np.arange(frames, dtype=np.float64) + 0.5) / frames
        return (starts_s[:, None] + lengths_s[:, None] * cells).reshape(-1)

    def to_json(self) -> dict[str, Any]:
        """The sampling as the manifest holds it."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "FrameSampling":
        """The inverse of `to_json`.

        Raises:
            UsageError: `data` is not a frame sampling.
        """
        if set(data) != {"mode", "value", "segment_s"}:
            raise UsageError(f"frame sampling: keys {sorted(map(str, data))}, expected mode, value and segment_s")
        return cls(data["mode"], data["value"], data["segment_s"])


def place_window(duration_s: float, window_s: float, *, share: float) -> tuple[float, float]:
    """The window [t0, t1) of `window_s` seconds that is used of a clip.

    Args:
        duration_s: Length of the clip.
        window_s: Length of the window; one longer than the clip begins at 0 and ends behind the clip.
        share: Where it lies in the room that it has, from 0 (at the clip's start) to 1 (at its end).
    """
    start_s = share * max(0.0, duration_s - window_s)
    return start_s, start_s + window_s


def frames_inside(instants_s: NDArray[np.float64], t0: float, t1: float) -> tuple[int, int]:
    """The stored frames whose instants lie in [t0, t1).

    Where none does, the frame shown at that time stands for them: the last one before t1, or the first.

    Args:
        instants_s: float64 [T], increasing, at least one.
        t0: Start of the window.
        t1: End of the window.

    Returns:
        The first of them, and the one after the last.
    """
    first, end = np.searchsorted(instants_s, (t0, t1)).tolist()
    if first < end:
        return first, end
    shown = max(end - 1, 0)
    return shown, shown + 1


def whole_segments(span_s: NDArray[np.float64] | np.float64, segment_s: float) -> NDArray[np.int64]:
    """Segments of spans, at least one: half a segment and more is one.

    Frames are packed and batches cut by this one rule, to the last bit: 5.1 - 3.6 s, a little less than one and a half,
    are one segment for both, or the second would have no frame to show.
    """
    return np.maximum(np.floor(span_s / segment_s + 0.5), 1).astype(np.int64)


def choose_frames(
    first: int, end: int, *, count: int, choice: FrameChoice = "uniform", share: float = 0.5, drawn: bool = False
) -> tuple[list[int], int]:
    """The `count` frames to use of the stored ones from `first` to before `end`.

    If there are fewer, all of them, and the last one is repeated.

    Args:
        first: First stored frame of the window.
        end: The one after its last; at least first + 1.
        count: Frames to choose, at least one.
        choice: `uniform` and `random` take one frame of each of `count` equal parts, at the place `share` in every
            part (0.5 is its centre); `contiguous` takes neighbours.
        share: From 0 to 1.
        drawn: For `contiguous`: `share` was drawn from [0, 1), and every place is to be equally likely; otherwise 0
            is the first place and 1 the last.

    Returns:
        [count] frames, ascending, and how many of them are real, not repeated.

    Raises:
        UsageError: There is no frame to choose, or `count` is not positive.
    """
    inside = end - first
    if count < 1 or inside < 1:
        raise UsageError(f"cannot choose {count} frames of {inside}: both must be at least 1")
    if inside <= count:
        return [*range(first, end), *[end - 1] * (count - inside)], inside
    if choice == "contiguous":
        start = first + place_in_room(inside - count, share, drawn=drawn)
        return list(range(start, start + count)), count
    # Rounding may carry the last one over its part's end.
    return [min(first + int((place + share) * inside / count), end - 1) for place in range(count)], count


def fixed_frame_count(
    stored_counts: NDArray[np.integer[Any]], durations_s: NDArray[np.floating[Any]], *, window_s: float | None
) -> int:
    """Frames a clip in every batch where no number is named: as many as the fullest clip has in its window.

    Args:
        stored_counts: int [N], frames stored of each clip.
        durations_s: float [N], length of each clip.
        window_s: Length of the window; None is the whole clip.

    Returns:
        At least 1.
    """
    if window_s is None:
        return max(1, int(np.max(stored_counts, initial=0)))
    # A window longer than the clip finds no more frames than are stored.
    used_s = np.minimum(durations_s, window_s)
    shares = np.divide(used_s, durations_s, out=np.ones(len(used_s)), where=durations_s > 0)
    return max(1, math.ceil(float(np.max(stored_counts * shares, initial=0.0)) - _ROUNDING))


def row_count(rows: int, window_s: float, *, longest_s: float) -> int:
    """Rows of a feature in every window, where the `rows` of an array are equal parts of its clip.

    Args:
        rows: Of each array.
        window_s: Length of the window.
        longest_s: Length of the longest clip; shorter ones have as many rows, which are shorter.
    """
    return max(1, round(rows * window_s / longest_s))


def rows_at(rows: int, duration_s: float, t0: float, t1: float, *, count: int) -> NDArray[np.int64]:
    """The rows of an array that are shown in the window [t0, t1): in each of `count` equal parts the one at its centre.

    Where a part of the window is as long as a row, and the window begins where a row does, these are the rows in it.

    Args:
        rows: Of the array, equal parts of the clip.
        duration_s: Length of the clip.
        t0: Start of the window.
        t1: End of the window.
        count: Rows to show.

    Returns:
        int64 [count], ascending; -1 for parts whose centre lies behind the clip's end.
    """
    centres_s = t0 + _centres(t1 - t0, count)
    found = np.minimum((centres_s / duration_s * rows).astype(np.int64), rows - 1)
    return np.where(centres_s < duration_s, found, -1)


def place_crop(
    height: int, width: int, size_h: int, size_w: int, *, shares: tuple[float, float], drawn: bool
) -> tuple[int, int]:
    """Top and left of the crop of `size_h` x `size_w` pixels that is cut from every frame of a view.

    Args:
        height: Of the stored frame, in pixels.
        width: Of the stored frame, in pixels.
        size_h: Height of the crop.
        size_w: Width of the crop.
        shares: Where it lies in the room that it has, down and across, from 0 to 1.
        drawn: As in `choose_frames`.

    Raises:
        UsageError: The crop is larger than the frame.
    """
    room_h, room_w = height - size_h, width - size_w
    if room_h < 0 or room_w < 0:
        raise UsageError(
            f"a crop of {size_h} x {size_w} pixels does not fit into frames of {height} x {width} "
            "(height x width): ask for a smaller size, or pack larger frames",
        )
    return place_in_room(room_h, shares[0], drawn=drawn), place_in_room(room_w, shares[1], drawn=drawn)


def place_in_room(room: int, share: float, *, drawn: bool) -> int:
    """A whole number from 0 to `room`: each equally likely if `share` was drawn, else the `share` of the way."""
    return min(room, int(share * (room + 1))) if drawn else int(share * room)


def clip_events(
    start_s: NDArray[np.float64], end_s: NDArray[np.float64], t0: NDArray[np.float64], t1: NDArray[np.float64]
) -> tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[np.float64]]:
    """The events that are heard or seen in their windows [t0, t1), in the window's own time.

    An event that only touches the window's edge is out; one without length is in where its instant is.

    Args:
        start_s: float64 [E], seconds from the clip's start.
        end_s: float64 [E], not before `start_s`.
        t0: float64 [E], start of each event's window.
        t1: float64 [E], end of the window.

    Returns:
        bool [E], which events are kept; float64 [kept], their starts and ends, cut to the window, from t0 on.
    """
    kept = (start_s < t1) & ((end_s > t0) | ((start_s == end_s) & (start_s == t0)))
    t0, t1 = t0[kept], t1[kept]
    return kept, np.maximum(start_s[kept], t0) - t0, np.minimum(end_s[kept], t1) - t0


def _centres(span_s: float, cells: int) -> NDArray[np.float64]:
    """The centres of `cells` equal parts of a span."""
    return (np.arange(cells, dtype=np.float64) + 0.5) * (span_s / cells)


def _as_float(value: float) -> float:
    """4 and 4.0 are one setting, and are written alike; what is no number is left to be refused."""
    return float(value) if type(value) is int else value


def _is_positive(value: float | None) -> bool:
    return type(value) in (int, float) and value is not None and math.isfinite(value) and value > 0
