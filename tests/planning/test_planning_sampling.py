"""What is taken of a clip: instants, windows, frames, crops and events."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from shardkit.errors import UsageError
from shardkit.planning.hashing import Domain, hash_int, uniform
from shardkit.planning.sampling import (
    FrameSampling,
    choose_frames,
    clip_events,
    draw_crop,
    draw_window,
    fixed_frame_count,
)

DURATIONS_S = st.floats(0.01, 1000.0)
POSITIONS = st.integers(0, 2**40)
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


@given(DURATIONS_S, DURATIONS_S, POSITIONS, st.booleans())
def test_a_window_has_its_length_and_lies_inside_the_clip(duration_s, window_s, position, random):
    """[t0, t0 + window) lies in the clip; one that is longer than the clip begins at 0."""
    t0, t1 = draw_window(duration_s, window_s, seed=1, epoch=2, position=position, random=random)
    assert t1 == t0 + window_s
    if window_s >= duration_s:
        assert t0 == 0.0
    else:
        assert t0 >= 0.0
        assert t1 <= duration_s * (1 + 1e-12)


def test_a_window_that_is_not_random_is_centred():
    """Two of ten seconds are 4 to 6, whatever seed, epoch and position."""
    windows = {draw_window(10.0, 2.0, seed=s, epoch=s, position=s, random=False) for s in range(5)}
    assert windows == {(4.0, 6.0)}


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1), POSITIONS)
def test_a_random_window_is_the_uniform_draw_of_its_position(seed, epoch, position):
    """It starts where the `uniform` of (seed, epoch, WINDOW) at the position says."""
    t0, _ = draw_window(11.0, 1.0, seed=seed, epoch=epoch, position=position, random=True)
    assert t0 == uniform(seed, epoch, Domain.WINDOW, counter=position) * 10.0


def test_random_windows_cover_the_clip_evenly():
    """Over 5,000 positions the tenths of the room get a tenth each, within five standard deviations."""
    starts_s = [draw_window(11.0, 1.0, seed=0, epoch=0, position=p, random=True)[0] for p in range(5000)]
    tenths = np.histogram(starts_s, bins=10, range=(0.0, 10.0))[0]
    assert int(tenths.sum()) == 5000
    assert np.abs(tenths - 500).max() < 5 * np.sqrt(5000 * 0.1 * 0.9)


# --- frames of a window


@st.composite
def frames_and_window(draw):
    """Instants that increase, a window over or beside them, and a number of frames."""
    gaps_s = draw(st.lists(st.floats(0.01, 2.0), min_size=1, max_size=30))
    instants_s = np.cumsum(gaps_s)
    t0 = draw(st.floats(-1.0, 60.0))
    return instants_s, t0, t0 + draw(st.floats(0.01, 60.0)), draw(st.integers(1, 40))


@given(frames_and_window())
def test_chosen_frames_lie_in_the_window(drawn):
    """As many frames as asked for or there are, all in [t0, t1), in order; then the last one repeats."""
    instants_s, t0, t1, count = drawn
    inside = np.flatnonzero((instants_s >= t0) & (instants_s < t1))
    assume(len(inside))
    places, frame_count = choose_frames(instants_s, t0, t1, count=count)
    assert places.dtype == np.int64
    assert len(places) == count
    assert frame_count == min(count, len(inside))
    assert (np.diff(places[:frame_count]) > 0).all()
    assert set(places.tolist()) <= set(inside.tolist())
    assert (places[frame_count:] == inside[-1]).all()


@given(st.integers(1, 60), st.integers(1, 60))
def test_frames_are_thinned_to_the_centres_of_equal_parts(stored, count):
    """Of m frames inside, number i of the chosen ones is floor((i + 0.5) · m / count)."""
    assume(count <= stored)
    places, _ = choose_frames(np.arange(5, 5 + stored, dtype=np.float64), 5.0, 99.0, count=count)
    assert places.tolist() == [((2 * i + 1) * stored) // (2 * count) for i in range(count)]


def test_the_window_holds_its_start_but_not_its_end():
    """A frame at t0 is inside, one at t1 is not."""
    places, frame_count = choose_frames(np.array([0.0, 1.0, 2.0, 3.0]), 1.0, 3.0, count=2)
    assert (places.tolist(), frame_count) == ([1, 2], 2)


@pytest.mark.parametrize(
    ("t0", "t1", "expected"),
    [(1.2, 1.4, 0), (7.0, 9.0, 2), (0.1, 0.5, 0)],
    ids=["between frames", "after the last", "before the first"],
)
def test_a_window_without_frames_shows_the_frame_before_it(t0, t1, expected):
    """Where no frame lies inside, the last one before the end stands in, else the first; one counts."""
    places, frame_count = choose_frames(np.array([1.0, 2.0, 3.0]), t0, t1, count=3)
    assert (places.tolist(), frame_count) == ([expected] * 3, 1)


@pytest.mark.parametrize(("stored", "count"), [(0, 1), (3, 0)])
def test_no_frames_to_choose_are_refused(stored, count):
    """A clip without frames, or a choice of none, is a UsageError."""
    with pytest.raises(UsageError, match=f"choose {count} frames of {stored}"):
        choose_frames(np.arange(stored, dtype=np.float64), 0.0, 9.0, count=count)


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


@given(st.lists(st.tuples(st.integers(1, 50), st.floats(0.5, 20.0)), min_size=1, max_size=10), st.floats(0.1, 30))
def test_a_window_finds_about_as_many_frames_as_the_fixed_count(clips, window_s):
    """No window holds over one frame more than the fixed count, and the fullest clip can fill it."""
    counts = np.array([count for count, _ in clips])
    durations_s = np.array([duration_s for _, duration_s in clips])
    fixed = fixed_frame_count(counts, durations_s, window_s=window_s)
    most = 0
    for place, (count, duration_s) in enumerate(clips):
        instants_s = FrameSampling.count(count).instants(duration_s)
        t0, t1 = draw_window(duration_s, window_s, seed=0, epoch=0, position=place, random=True)
        most = max(most, int(((instants_s >= t0) & (instants_s < t1)).sum()))
    assert most <= fixed + 1
    assert fixed <= counts.max()


# --- crops


@given(st.integers(1, 3000), st.integers(1, 3000), st.data(), POSITIONS, st.booleans())
def test_a_crop_lies_inside_the_frame(height, width, data, position, random):
    """Top and left leave room for the crop, for every size up to the frame's."""
    size_h = data.draw(st.integers(1, height))
    size_w = data.draw(st.integers(1, width))
    top, left = draw_crop(height, width, size_h, size_w, seed=1, epoch=2, position=position, random=random)
    assert 0 <= top <= height - size_h
    assert 0 <= left <= width - size_w


def test_a_crop_that_is_not_random_is_centred():
    """224 of 256 x 341 begins at row 16, column 58."""
    assert draw_crop(256, 341, 224, 224, seed=9, epoch=9, position=9, random=False) == (16, 58)


def test_random_crops_reach_every_place_and_edges_alike():
    """Over 4,000 positions each of 3 x 5 places comes as often, within five deviations."""
    crops = [draw_crop(12, 14, 10, 10, seed=0, epoch=0, position=p, random=True) for p in range(4000)]
    seen = np.zeros((3, 5))
    for top, left in crops:
        seen[top, left] += 1
    assert np.abs(seen - 4000 / 15).max() < 5 * np.sqrt(4000 / 15 * 14 / 15)


def test_crop_and_window_of_a_clip_are_drawn_apart():
    """Over 2,000 positions top, left and window do not correlate, within five deviations."""
    windows = [draw_window(2.0, 1.0, seed=0, epoch=0, position=p, random=True)[0] for p in range(2000)]
    crops = [draw_crop(2000, 2000, 1, 1, seed=0, epoch=0, position=p, random=True) for p in range(2000)]
    tops, lefts = zip(*crops, strict=True)
    correlations = np.corrcoef(np.array([windows, tops, lefts]))
    assert np.abs(correlations[~np.eye(3, dtype=bool)]).max() < 5 / np.sqrt(2000)


@pytest.mark.parametrize("other", [{"seed": 2}, {"epoch": 3}, {"position": 4}])
def test_each_of_seed_epoch_and_position_changes_the_draws(other):
    """Window and crop change with any one of them, and are the same for the same three."""
    base = {"seed": 1, "epoch": 1, "position": 1}
    changed = {**base, **other}
    for draw in (
        lambda names: draw_window(10.0, 1.0, **names, random=True),
        lambda names: draw_crop(2000, 2000, 2, 2, **names, random=True),
    ):
        assert draw(base) == draw(dict(base))
        assert draw(base) != draw(changed)


def test_the_draws_of_version_1_are_what_they_were():
    """Window and crop of one position are fixed values: runs repeat across releases."""
    window = hash_int(1, 2, Domain.WINDOW, counter=3)
    assert window == 12909428566573640308
    assert draw_crop(256, 341, 224, 224, seed=1, epoch=2, position=3, random=True) == (22, 112)


def test_a_crop_larger_than_the_frame_is_refused():
    """The error names both sizes and the remedy."""
    with pytest.raises(UsageError, match=r"224 x 224 pixels does not fit into frames of 200 x 300.*smaller size"):
        draw_crop(200, 300, 224, 224, seed=0, epoch=0, position=0, random=True)


# --- events


def test_events_are_cut_to_the_window_and_shifted_into_its_time():
    """Of events before, across, inside, across and after [2, 5) the middle three stay, from 0 to 3 s."""
    kept, start_s, end_s = clip_events(
        np.array([0.0, 1.0, 2.5, 4.0, 6.0]), np.array([1.0, 3.0, 3.5, 7.0, 8.0]), 2.0, 5.0
    )
    assert kept.tolist() == [False, True, True, True, False]
    assert start_s.tolist() == [0.0, 0.5, 2.0]
    assert end_s.tolist() == [1.0, 1.5, 3.0]


def test_an_event_that_only_touches_the_window_is_out():
    """An event that ends at t0, or begins at t1, shares no time with the window."""
    kept, _, _ = clip_events(np.array([0.0, 5.0]), np.array([2.0, 6.0]), 2.0, 5.0)
    assert kept.tolist() == [False, False]


def test_an_event_without_length_is_kept_where_its_instant_is_inside():
    """Of instants at t0, inside and at t1 the first two lie in [t0, t1)."""
    instants_s = np.array([1.9, 2.0, 3.0, 5.0])
    kept, start_s, end_s = clip_events(instants_s, instants_s, 2.0, 5.0)
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
    start_s = np.array([start for start, _ in events])
    end_s = np.array([start + length for start, length in events])
    kept, new_start_s, new_end_s = clip_events(start_s, end_s, t0, t1)
    assert kept.dtype == np.bool_
    for start, end, is_kept in zip(start_s, end_s, kept, strict=True):
        assert is_kept == (min(end, t1) > max(start, t0) or (start == end and t0 <= start < t1))
    assert len(new_start_s) == len(new_end_s) == int(kept.sum())
    assert (new_start_s >= 0).all()
    assert (new_start_s <= new_end_s).all()
    assert (new_end_s <= window_s + 1e-9).all()


def test_a_clip_without_events_has_none_in_any_window():
    """Empty columns stay empty."""
    kept, start_s, end_s = clip_events(np.zeros(0), np.zeros(0), 0.0, 1.0)
    assert len(kept) == len(start_s) == len(end_s) == 0
