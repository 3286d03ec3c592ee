"""What is taken of a clip: instants, windows, frames, crops and events."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from shardkit.errors import UsageError
from shardkit.planning.sampling import (
    FrameSampling,
    choose_frames,
    clip_events,
    fixed_frame_count,
    frames_inside,
    place_crop,
    place_in_room,
    place_window,
)

DURATIONS_S = st.floats(0.01, 1000.0)
SHARES = st.floats(0.0, 1.0)
DRAWS = st.floats(0.0, 1.0, exclude_max=True)
SAMPLINGS = st.one_of(
    st.builds(FrameSampling.count, st.integers(1, 200)),
    st.builds(FrameSampling.fps, st.floats(0.01, 60.0)),
    st.builds(FrameSampling.per_segment, st.integers(1, 10), st.floats(0.1, 20.0)),
)


# --- instants


@given(SAMPLINGS, DURATIONS_S)
def test_instants_increase_strictly_inside_the_span(sampling, duration_s):
    """Every sampling of every clip gives one instant at least, all in [0, duration), each after the last."""
    instants_s = sampling.instants(duration_s)
    assert len(instants_s) >= 1
    assert instants_s.dtype == np.float64
    assert instants_s[0] >= 0
    assert instants_s[-1] < duration_s
    assert (np.diff(instants_s) > 0).all()


def test_a_count_takes_the_centres_of_equal_parts():
    """Four frames of ten seconds are at 1.25, 3.75, 6.25 and 8.75 s."""
    assert FrameSampling.count(4).instants(10.0).tolist() == [1.25, 3.75, 6.25, 8.75]


def test_fps_takes_the_centres_of_its_cells():
    """Two a second of 1.6 s are at 0.25, 0.75 and 1.25 s: the fourth centre is behind the end."""
    assert FrameSampling.fps(2).instants(1.6).tolist() == [0.25, 0.75, 1.25]


@given(st.integers(1, 600), st.floats(0.01, 60.0))
def test_fps_counts_every_whole_cell(cells, frames_per_s):
    """A span of n cells has n frames, for every rate and however the division rounds."""
    assert len(FrameSampling.fps(frames_per_s).instants(cells / frames_per_s)) == cells


def test_fps_rounds_a_cell_in_when_its_centre_is_inside():
    """2.6 s at one frame a second hold the centre at 2.5 s; 2.5 s do not, since the span ends before it."""
    assert FrameSampling.fps(1).instants(2.6).tolist() == [0.5, 1.5, 2.5]
    assert FrameSampling.fps(1).instants(2.5).tolist() == [0.5, 1.5]


def test_fps_leaves_a_centre_at_the_very_end_out_however_the_product_rounds():
    """0.14 s at 25 Hz are 3.5000000000000004 cells in floats: the fourth centre is at 0.14 s, not inside."""
    instants_s = FrameSampling.fps(25).instants(0.14)
    assert len(instants_s) == 3
    assert instants_s[-1] == pytest.approx(0.1)


def test_a_clip_shorter_than_half_a_cell_has_its_middle_frame():
    """0.2 s at one frame a second give one frame, at 0.1 s and not behind the end."""
    assert FrameSampling.fps(1).instants(0.2).tolist() == [0.1]


def test_segments_have_their_frames_each():
    """Two frames in every second of three seconds."""
    assert FrameSampling.per_segment(2).instants(3.0).tolist() == [0.25, 0.75, 1.25, 1.75, 2.25, 2.75]


def test_a_last_segment_cut_short_keeps_its_number_of_frames():
    """A clip of 2.5 s has three segments; the third has its two frames in the half second that is there."""
    assert FrameSampling.per_segment(2).instants(2.5).tolist() == [0.25, 0.75, 1.25, 1.75, 2.125, 2.375]


@given(st.integers(1, 10), st.floats(0.1, 20.0), DURATIONS_S)
def test_every_segment_of_a_clip_holds_the_same_number_of_frames(frames, segment_s, duration_s):
    """Frames k·j to k·(j+1) lie in segment j, for round(duration / segment) segments, one at least."""
    instants_s = FrameSampling.per_segment(frames, segment_s).instants(duration_s)
    segments = max(1, int(np.floor(duration_s / segment_s + 0.5)))
    assert len(instants_s) == frames * segments
    by_segment = instants_s.reshape(segments, frames)
    starts_s = np.arange(segments)[:, None] * segment_s
    assert (by_segment > starts_s - 1e-9).all()
    assert (by_segment < starts_s + segment_s + 1e-9).all()


@given(SAMPLINGS)
def test_a_sampling_survives_json(sampling):
    """to_json and from_json give the same sampling back."""
    assert FrameSampling.from_json(sampling.to_json()) == sampling


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FrameSampling.count(0), "count 0 is not a positive"),
        (lambda: FrameSampling.count(2.5), "count 2.5 is not a whole"),
        (lambda: FrameSampling.count(True), "count True is not a positive"),
        (lambda: FrameSampling.fps(float("nan")), "fps nan"),
        (lambda: FrameSampling.fps(float("inf")), "fps inf"),
        (lambda: FrameSampling.fps(-1.0), "fps -1.0"),
        (lambda: FrameSampling.fps("2"), "fps '2'"),
        (lambda: FrameSampling.per_segment(1, 0.0), "segment_s 0.0"),
        (lambda: FrameSampling.per_segment(0, 1.0), "segment 0 is not a positive"),
        (lambda: FrameSampling("segment", 2), "segment_s None"),
        (lambda: FrameSampling("count", 2, 1.0), "goes with frames a segment"),
        (lambda: FrameSampling("every", 2), "mode 'every'"),
        (lambda: FrameSampling.from_json({"mode": "count"}), "expected mode, value and segment_s"),
        (lambda: FrameSampling.count(1).instants(0.0), "clip of 0.0 s"),
        (lambda: FrameSampling.count(1).instants(float("nan")), "clip of nan s"),
    ],
)
def test_a_sampling_that_cannot_be_is_refused(make, message):
    """Numbers that are none, and settings that do not go together, are UsageErrors that show them."""
    with pytest.raises(UsageError, match=message):
        make()


# --- windows


@given(DURATIONS_S, DURATIONS_S, SHARES)
def test_a_window_has_its_length_and_lies_inside_the_clip(duration_s, window_s, share):
    """[t0, t0 + window) lies in the clip; one that is longer than the clip begins at 0."""
    t0, t1 = place_window(duration_s, window_s, share=share)
    assert t1 == t0 + window_s
    if window_s >= duration_s:
        assert t0 == 0.0
    else:
        assert t0 >= 0.0
        assert t1 <= duration_s * (1 + 1e-12)


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, (0.0, 2.0)), (0.25, (2.0, 4.0)), (0.5, (4.0, 6.0)), (1.0, (8.0, 10.0))]
)
def test_a_window_lies_at_its_share_of_the_room(share, expected):
    """Two of ten seconds begin at the clip's start for share 0, end at its end for share 1, are its middle for half."""
    assert place_window(10.0, 2.0, share=share) == expected


# --- frames of a window


@st.composite
def instants_and_window(draw):
    """Instants that increase, and a window over or beside them."""
    gaps_s = draw(st.lists(st.floats(0.01, 2.0), min_size=1, max_size=30))
    t0 = draw(st.floats(-1.0, 60.0))
    return np.cumsum(gaps_s), t0, t0 + draw(st.floats(0.01, 60.0))


@given(instants_and_window())
def test_frames_inside_are_those_whose_instants_are(drawn):
    """The run of stored frames is exactly the instants in [t0, t1)."""
    instants_s, t0, t1 = drawn
    inside = np.flatnonzero((instants_s >= t0) & (instants_s < t1))
    assume(len(inside))
    assert frames_inside(instants_s, t0, t1) == (inside[0], inside[-1] + 1)


def test_the_window_holds_its_start_but_not_its_end():
    """A frame at t0 is inside, one at t1 is not."""
    assert frames_inside(np.array([0.0, 1.0, 2.0, 3.0]), 1.0, 3.0) == (1, 3)


@pytest.mark.parametrize(
    ("t0", "t1", "expected"),
    [(1.2, 1.4, 0), (7.0, 9.0, 2), (0.1, 0.5, 0)],
    ids=["between frames", "after the last", "before the first"],
)
def test_a_window_without_frames_shows_the_frame_before_it(t0, t1, expected):
    """Where no frame lies inside, the last one before the end stands in, else the first."""
    assert frames_inside(np.array([1.0, 2.0, 3.0]), t0, t1) == (expected, expected + 1)


CHOICES = st.sampled_from(["uniform", "random", "contiguous"])
RUNS = st.tuples(st.integers(0, 50), st.integers(1, 60)).map(lambda run: (run[0], run[0] + run[1]))


@given(RUNS, st.integers(1, 40), CHOICES, DRAWS, st.booleans())
def test_chosen_frames_lie_in_the_window(run, count, choice, share, drawn):
    """As many frames as asked for or there are, all in [first, end), each once, in order; then the last one repeats."""
    first, end = run
    frames, real = choose_frames(first, end, count=count, choice=choice, share=share, drawn=drawn)
    assert len(frames) == count
    assert real == min(count, end - first)
    assert (np.diff(frames[:real]) > 0).all()
    assert set(frames[:real]) <= set(range(first, end))
    assert set(frames[real:]) <= {end - 1}


@given(st.integers(1, 60), st.integers(1, 60))
def test_frames_are_thinned_to_the_centres_of_equal_parts(stored, count):
    """Of m frames inside, number i of the chosen ones is floor((i + 0.5) · m / count)."""
    assume(count <= stored)
    frames, _ = choose_frames(5, 5 + stored, count=count)
    assert frames == [5 + ((2 * i + 1) * stored) // (2 * count) for i in range(count)]


@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 999).map(lambda share: share / 1000))
def test_random_frames_lie_in_one_of_equal_parts_each(stored, count, share):
    """Number i of the chosen ones lies in part i of `count` equal parts, at the same share of every part."""
    assume(count < stored)
    frames, _ = choose_frames(7, 7 + stored, count=count, choice="random", share=share)
    part = stored / count
    offsets = np.array(frames) - 7 - part * np.arange(count)
    assert (offsets > -1).all()
    assert (offsets < part).all()
    assert np.abs(offsets - share * part).max() < 1 + 1e-9


def test_random_frames_of_parts_of_two_are_the_even_or_the_odd_ones():
    """Eight of sixteen are the even or the odd frames, by the share's half."""
    assert choose_frames(0, 16, count=8, choice="random", share=0.2) == ([0, 2, 4, 6, 8, 10, 12, 14], 8)
    assert choose_frames(0, 16, count=8, choice="random", share=0.7) == ([1, 3, 5, 7, 9, 11, 13, 15], 8)


def test_a_share_of_one_takes_the_last_frame_and_not_the_one_behind():
    """Even the share 1, which no draw gives, stays inside the window."""
    assert choose_frames(3, 19, count=2, choice="random", share=1.0)[0] == [11, 18]
    assert choose_frames(3, 19, count=2, choice="contiguous", share=1.0)[0] == [17, 18]
    assert choose_frames(3, 19, count=2, choice="contiguous", share=1.0, drawn=True)[0] == [17, 18]


@pytest.mark.parametrize(
    ("share", "first"), [(0.0, 3), (0.5, 7), (1.0, 11)], ids=["first place", "middle", "last place"]
)
def test_contiguous_frames_are_neighbours(share, first):
    """Eight of sixteen stand side by side, from the first place at share 0 to the last one at share 1."""
    frames, real = choose_frames(3, 19, count=8, choice="contiguous", share=share)
    assert (frames, real) == (list(range(first, first + 8)), 8)


@pytest.mark.parametrize(("first", "end", "count"), [(4, 4, 1), (0, 3, 0)])
def test_no_frames_to_choose_are_refused(first, end, count):
    """A clip without frames, or a choice of none, is a UsageError."""
    with pytest.raises(UsageError, match=f"choose {count} frames of {end - first}"):
        choose_frames(first, end, count=count)


# --- the number of frames in a batch


@pytest.mark.parametrize(
    ("stored", "durations_s", "window_s", "expected"),
    [
        ([16, 10], [10.0, 5.0], None, 16),
        ([16, 10], [10.0, 5.0], 2.0, 4),
        ([10, 20], [10.0, 10.0], 2.05, 5),
        ([16], [10.0], 2.5, 4),
        # 7.000000000000001 in floats
        ([10], [3.0], 2.1, 7),
        ([30], [3.0], 0.1, 1),
        ([16], [10.0], 0.001, 1),
        ([16], [5.0], 10.0, 16),
        ([8], [0.0], 2.0, 8),
        ([0, 0], [1.0, 1.0], None, 1),
        ([], [], None, 1),
        ([], [], 2.0, 1),
    ],
)
def test_the_fixed_frame_count_is_that_of_the_fullest_clip(stored, durations_s, window_s, expected):
    """The largest stored count, or share of it that the window covers, rounded up; 1 at least."""
    counts = np.array(stored, dtype=np.int32)
    assert fixed_frame_count(counts, np.array(durations_s), window_s=window_s) == expected


@given(
    st.lists(st.tuples(st.integers(1, 50), st.floats(0.5, 20.0)), min_size=1, max_size=10), st.floats(0.1, 30), SHARES
)
def test_a_window_finds_about_as_many_frames_as_the_fixed_count(clips, window_s, share):
    """No window holds over one frame more than the fixed count, and the fullest clip can fill it."""
    counts = np.array([count for count, _ in clips])
    durations_s = np.array([duration_s for _, duration_s in clips])
    fixed = fixed_frame_count(counts, durations_s, window_s=window_s)
    most = 0
    for count, duration_s in clips:
        instants_s = FrameSampling.count(count).instants(duration_s)
        t0, t1 = place_window(duration_s, window_s, share=share)
        most = max(most, int(((instants_s >= t0) & (instants_s < t1)).sum()))
    assert most <= fixed + 1
    assert fixed <= counts.max()


# --- crops


@given(st.integers(1, 3000), st.integers(1, 3000), st.data(), st.tuples(SHARES, SHARES), st.booleans())
def test_a_crop_lies_inside_the_frame(height, width, data, shares, drawn):
    """Top and left leave room for the crop, for every size up to the frame's."""
    size_h = data.draw(st.integers(1, height))
    size_w = data.draw(st.integers(1, width))
    top, left = place_crop(height, width, size_h, size_w, shares=shares, drawn=drawn)
    assert 0 <= top <= height - size_h
    assert 0 <= left <= width - size_w


@pytest.mark.parametrize(
    ("shares", "expected"), [((0.5, 0.5), (16, 58)), ((0.0, 1.0), (0, 117)), ((1.0, 0.0), (32, 0))]
)
def test_a_crop_lies_at_its_shares_of_the_room(shares, expected):
    """224 of 256 x 341: the first share goes down, the second across; 0 and 1 touch the edges, a half is the centre."""
    assert place_crop(256, 341, 224, 224, shares=shares, drawn=False) == expected


def test_a_drawn_place_reaches_each_number_alike_and_a_fixed_one_the_ends():
    """Shares drawn from [0, 1) divide a room of 3 into four equal parts; fixed ones reach 3 at share 1 only."""
    shares = np.linspace(0.0, 1.0, 400, endpoint=False)
    drawn = [place_in_room(3, share, drawn=True) for share in shares]
    assert np.bincount(drawn).tolist() == [100, 100, 100, 100]
    assert [place_in_room(3, share, drawn=False) for share in (0.0, 0.5, 0.999, 1.0)] == [0, 1, 2, 3]


def test_a_crop_larger_than_the_frame_is_refused():
    """The error names both sizes and the remedy."""
    with pytest.raises(UsageError, match=r"224 x 224 pixels does not fit into frames of 200 x 300.*smaller size"):
        place_crop(200, 300, 224, 224, shares=(0.5, 0.5), drawn=False)


# --- events


def _clip_events(start_s, end_s, t0, t1):
    """Of events that all have one window."""
    return clip_events(np.array(start_s), np.array(end_s), np.full(len(start_s), t0), np.full(len(start_s), t1))


def test_events_have_windows_of_their_own():
    """One and the same event [1, 3) of three clips or views: cut by each one's window, out of the third."""
    kept, start_s, end_s = clip_events(
        np.array([1.0, 1.0, 1.0]), np.array([3.0, 3.0, 3.0]), np.array([0.0, 2.0, 3.0]), np.array([2.0, 4.0, 5.0])
    )
    assert kept.tolist() == [True, True, False]
    assert start_s.tolist() == [1.0, 0.0]
    assert end_s.tolist() == [2.0, 1.0]


def test_events_are_cut_to_the_window_and_shifted_into_its_time():
    """Of events before, across, inside, across and after [2, 5) the middle three stay, from 0 to 3 s."""
    kept, start_s, end_s = _clip_events([0.0, 1.0, 2.5, 4.0, 6.0], [1.0, 3.0, 3.5, 7.0, 8.0], 2.0, 5.0)
    assert kept.tolist() == [False, True, True, True, False]
    assert start_s.tolist() == [0.0, 0.5, 2.0]
    assert end_s.tolist() == [1.0, 1.5, 3.0]


def test_an_event_that_only_touches_the_window_is_out():
    """An event that ends at t0, or begins at t1, shares no time with the window."""
    kept, _, _ = _clip_events([0.0, 5.0], [2.0, 6.0], 2.0, 5.0)
    assert kept.tolist() == [False, False]


def test_an_event_without_length_is_kept_where_its_instant_is_inside():
    """Of instants at t0, inside and at t1 the first two lie in [t0, t1)."""
    instants_s = [1.9, 2.0, 3.0, 5.0]
    kept, start_s, end_s = _clip_events(instants_s, instants_s, 2.0, 5.0)
    assert kept.tolist() == [False, True, True, False]
    assert start_s.tolist() == end_s.tolist() == [0.0, 1.0]


@given(
    st.lists(st.tuples(st.floats(0.0, 20.0), st.floats(0.0, 5.0)), max_size=20),
    st.floats(0.0, 15.0),
    st.floats(0.1, 10.0),
)
def test_kept_events_lie_in_the_window_and_none_with_shared_time_is_lost(events, t0, window_s):
    """An event is kept exactly when it shares time with the window, and then lies in [0, window]."""
    t1 = t0 + window_s
    start_s = [start for start, _ in events]
    end_s = [start + length for start, length in events]
    kept, new_start_s, new_end_s = _clip_events(start_s, end_s, t0, t1)
    assert kept.dtype == np.bool_
    for start, end, is_kept in zip(start_s, end_s, kept, strict=True):
        assert is_kept == (min(end, t1) > max(start, t0) or (start == end and t0 <= start < t1))
    assert len(new_start_s) == len(new_end_s) == int(kept.sum())
    assert (new_start_s >= 0).all()
    assert (new_start_s <= new_end_s).all()
    assert (new_end_s <= window_s + 1e-9).all()


def test_a_clip_without_events_has_none_in_any_window():
    """Empty columns stay empty."""
    kept, start_s, end_s = _clip_events([], [], 0.0, 1.0)
    assert len(kept) == len(start_s) == len(end_s) == 0
