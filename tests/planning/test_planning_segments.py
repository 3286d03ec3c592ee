"""Events on the grid of segments, and back."""

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shardkit.clip import EVENT_MODALITIES
from shardkit.errors import UsageError
from shardkit.planning.sampling import FrameSampling
from shardkit.planning.segments import EventColumns, SegmentGrid, event_runs, event_targets, grid_labels

AUDIO, VISUAL, AV = range(3)
N, C = 10, 4


def _columns(*events):
    """Columns of (start_s, end_s, class_id, modality, clip)."""
    values = list(zip(*events, strict=True)) or [()] * 5
    floats, ints = values[:2], values[2:]
    return EventColumns(*(np.array(v, dtype=np.float64) for v in floats), *(np.array(v, dtype=np.int64) for v in ints))


def _targets(events, *, segments=N, clips=3):
    """Of the first seconds of clips of N seconds."""
    return event_targets(SegmentGrid(1.0, segments), events, np.full(clips, float(N)), np.zeros(clips), classes=C)


def _marked(start_s, end_s, *, segment_s=1.0, own=N):
    first, stop = SegmentGrid(segment_s, N).marked(np.array([start_s]), np.array([end_s]), np.array([own]))
    return list(range(int(first[0]), int(stop[0])))


@pytest.mark.parametrize(
    ("start_s", "end_s", "segments"),
    [
        (2.0, 5.0, [2, 3, 4]),
        (2.5, 4.5, [2, 3, 4]),  # half of a segment is enough
        (2.6, 4.4, [3]),
        (3.2, 3.4, [3]),  # half of none: where it lies
        (2.9, 3.3, [3]),  # most of it
        (2.7, 3.3, [2]),  # the first of equals
        (3.0, 3.0, []),
        (0.0, 0.0, []),
        (0.0, 10.0, list(range(10))),
    ],
)
def test_a_segment_carries_an_event_that_covers_half_of_it(start_s, end_s, segments):
    """A shorter event marks the segment that it covers most of, one without length none."""
    assert _marked(start_s, end_s) == segments


def test_an_event_behind_the_last_segment_marks_it():
    """A clip of 9.2 s has nine segments: what is heard in its last tenths is heard in the ninth."""
    assert _marked(9.0, 9.2, own=9) == [8]
    assert _marked(7.8, 9.2, own=9) == [8]


lengths_s = st.sampled_from([0.25, 0.5, 0.96, 1.0, 2.0])
places = st.floats(0, N, allow_nan=False, allow_subnormal=False)


@given(places, places, lengths_s)
def test_there_and_back_moves_an_edge_by_half_a_segment_at_most(one, other, segment_s):
    """Interval to grid to interval: for an event of at least a segment, no edge moves by more than half of one."""
    start, end = sorted((one, other))
    segments = _marked(start * segment_s, end * segment_s, segment_s=segment_s)
    if end - start >= 1:
        assert abs(segments[0] - start) <= 0.5 + 1e-6
        assert abs(segments[-1] + 1 - end) <= 0.5 + 1e-6


@given(places, st.floats(1e-6, N), lengths_s)
def test_no_event_of_positive_length_vanishes(start, length, segment_s):
    """Whatever its place and length, it marks segments that it touches."""
    end = min(start + length, float(N))
    if start >= end:
        return
    segments = _marked(start * segment_s, end * segment_s, segment_s=segment_s)
    assert segments
    assert all(segment < end + 1e-6 and segment + 1 > start - 1e-6 for segment in segments)


@given(st.integers(0, N - 1), st.integers(1, N), lengths_s)
def test_whole_segments_are_exact(first, count, segment_s):
    """Events that begin and end at edges come back as they were, also where floats miss the edge."""
    stop = min(first + count, N)
    assert _marked(first * segment_s, stop * segment_s, segment_s=segment_s) == list(range(first, stop))
    assert _marked(sum([segment_s] * first), sum([segment_s] * stop), segment_s=segment_s) == list(range(first, stop))


whole_events = st.lists(
    st.tuples(
        st.integers(0, N - 1), st.integers(1, N), st.integers(0, C - 1), st.sampled_from([0, 1, 2]), st.integers(0, 2)
    ),
    max_size=12,
)


def _clips(drawn):
    return _columns(*sorted(((a, min(a + n, N), c, m, b) for a, n, c, m, b in drawn), key=lambda event: event[4]))


@given(whole_events)
def test_a_grid_and_its_runs_say_the_same(drawn):
    """Grid to intervals to grid is exact, whichever events overlap."""
    target = _targets(_clips(drawn))
    runs = event_runs(target, segment_s=1.0)
    again = _targets(runs)
    assert np.array_equal(again.audio, target.audio)
    assert np.array_equal(again.visual, target.visual)
    assert (np.diff(runs.clip) >= 0).all()


@given(whole_events)
def test_each_modality_marks_its_own_grid(drawn):
    """Audio and av events are heard, visual and av events seen; a class is both where it is heard and seen at once."""
    target = _targets(_clips(drawn))
    heard, seen = np.zeros((3, N, C), bool), np.zeros((3, N, C), bool)
    for first, count, class_id, modality, clip in drawn:
        cells = (clip, slice(first, first + count), class_id)
        if EVENT_MODALITIES[modality] != "visual":
            heard[cells] = True
        if EVENT_MODALITIES[modality] != "audio":
            seen[cells] = True
    assert np.array_equal(target.audio, heard)
    assert np.array_equal(target.visual, seen)
    assert np.array_equal(target.av, heard & seen)


def test_separate_audio_and_visual_events_meet_as_av():
    """AVVP annotates what is heard and what is seen apart: where both name a class at once, it is an av event."""
    events = _columns((0, 4, 1, AUDIO, 0), (2, 6, 1, VISUAL, 0), (3, 4, 2, AV, 0))
    target = _targets(events, clips=1)
    assert grid_labels(target.av, np.array([N]))[0].tolist() == [C, C, 1, 1, C, C, C, C, C, C]


def test_labels_say_the_lowest_class_background_and_what_is_behind_the_clip():
    """Of several classes the lowest; C where none is heard and seen; -100 behind the clip's end."""
    target = _targets(_columns((0, 2, 3, AV, 0), (1, 3, 1, AV, 0)), segments=5, clips=1)
    assert grid_labels(target.av, np.array([4])).tolist() == [[3, 1, 1, C, -100]]


@given(st.floats(0.2, 30), st.integers(1, 12), st.sampled_from([0.5, 1.0, 2.0]), st.floats(0, 1, exclude_max=True))
def test_windows_begin_at_segments_of_the_clip(duration_s, count, segment_s, share):
    """And end with one of them, where the clip has as many."""
    grid = SegmentGrid(segment_s, count)
    start_s, end_s = grid.place(duration_s, share=share, drawn=True)
    own = max(1, math.floor(duration_s / segment_s + 0.5))
    first = round(start_s / segment_s)
    assert start_s == first * segment_s
    assert end_s == (first + count) * segment_s
    assert 0 <= first <= max(0, own - count)
    real = grid.real(np.array([duration_s]), np.array([start_s]))
    assert real.tolist() == [min(count, own - first)]


tenths = st.integers(0, 300).map(lambda tenth: tenth / 10)


@example(3.6, 5.1, 2, 1.0, 0.0)
@given(tenths, tenths, st.integers(1, 5), st.sampled_from([0.5, 0.96, 1.0]), st.floats(0, 1, exclude_max=True))
def test_frames_packed_by_segments_lie_in_them(one, other, frames, segment_s, share):
    """Each segment of a window has its frames, also where a clip's length misses half a segment: 5.1 - 3.6 s, say."""
    start_s, end_s = sorted((one, other))
    duration_s = end_s - start_s
    if not duration_s:
        return
    instants_s = FrameSampling.per_segment(frames, segment_s).instants(duration_s)
    whole = SegmentGrid.over(duration_s, segment_s)
    assert np.diff(whole.frame_bounds(instants_s, 0.0, whole.count)).tolist() == [frames] * whole.count
    window = SegmentGrid(segment_s, 4)
    first_s, _ = window.place(duration_s, share=share, drawn=True)
    real = int(window.real(np.float64(duration_s), np.float64(first_s)))
    assert np.diff(window.frame_bounds(instants_s, first_s, real)).tolist() == [frames] * real


@given(st.lists(st.tuples(st.floats(0.3, 12), st.lists(st.floats(-0.5, 13), max_size=30)), min_size=1), lengths_s)
def test_frames_of_many_clips_are_counted_at_once(clips, segment_s):
    """The fewest and the most frames of a clip's segments are those that the bounds of its frames say."""
    grid = SegmentGrid(segment_s, N)
    expected = []
    for duration_s, times_s in clips:
        own = SegmentGrid.over(duration_s, segment_s).count
        frames = np.diff(grid.frame_bounds(np.sort(times_s), 0.0, own))
        expected.append((frames.min(), frames.max()))
    instants_s = np.concatenate([np.sort(times_s) for _, times_s in clips])
    counts = np.array([len(times_s) for _, times_s in clips])
    found = grid.frame_counts(instants_s, counts, np.array([duration_s for duration_s, _ in clips]))
    assert list(zip(*found, strict=True)) == expected


def test_without_event_classes_all_is_background():
    """A grid of no columns: class 0 of none is background."""
    assert grid_labels(np.zeros((1, 3, 0), bool), np.array([2])).tolist() == [[0, 0, -100]]


any_events = st.lists(
    st.tuples(places, places, st.integers(0, C - 1), st.sampled_from([0, 1, 2]), st.integers(0, 2)), max_size=8
)


@given(any_events, st.integers(0, N - 1), st.integers(1, N), lengths_s)
def test_windows_shift_labels_exactly(drawn, first, count, segment_s):
    """A window shows part of its clip's grid, also where it cuts an event apart in the middle of a segment."""
    events = _columns(
        *sorted(
            ((min(a, b) * segment_s, max(a, b) * segment_s, c, m, clip) for a, b, c, m, clip in drawn),
            key=lambda event: event[4],
        )
    )
    durations_s = np.full(3, N * segment_s)
    whole = event_targets(SegmentGrid(segment_s, N), events, durations_s, np.zeros(3), classes=C)
    grid = SegmentGrid(segment_s, min(count, N - first))
    part = event_targets(grid, events, durations_s, np.full(3, first * segment_s), classes=C)
    shown = slice(first, first + grid.count)
    assert np.array_equal(part.audio, whole.audio[:, shown])
    assert np.array_equal(part.visual, whole.visual[:, shown])


def test_every_place_of_a_window_is_drawn():
    """Ten segments have seven places for four, each at an equal share of the draws."""
    starts_s = [SegmentGrid(1.0, 4).place(10.0, share=(k + 0.5) / 70, drawn=True)[0] for k in range(70)]
    assert [starts_s.count(float(first)) for first in range(7)] == [10] * 7


@pytest.mark.parametrize(("segment_s", "count"), [(0.0, 3), (math.inf, 3), (1.0, 0)])
def test_a_grid_has_segments_of_some_length(segment_s, count):
    """Anything else is refused."""
    with pytest.raises(UsageError, match="segments of"):
        SegmentGrid(segment_s, count)
