"""Which rows of a feature a window shows: the first dimension is equal parts of the clip."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from shardkit.planning.sampling import row_count, rows_at


@given(st.data(), st.integers(1, 30), st.sampled_from([0.96, 1.0, 0.5, 3.7]))
def test_windows_of_whole_rows_show_exactly_these(data, rows, row_s):
    """A window that begins and ends where rows do shows the rows in it, each once."""
    first = data.draw(st.integers(0, rows - 1))
    count = data.draw(st.integers(1, rows - first))
    found = rows_at(rows, rows * row_s, first * row_s, (first + count) * row_s, count=count)
    assert found.tolist() == list(range(first, first + count))


@given(st.integers(1, 30), st.floats(0.5, 60), st.floats(0, 60), st.floats(0.1, 60), st.integers(1, 30))
def test_rows_ascend_and_behind_the_end_is_none(rows, duration_s, t0, length_s, count):
    """Each part of the window shows the row that its centre lies in; none where that is behind the clip."""
    found = rows_at(rows, duration_s, t0, t0 + length_s, count=count)
    centres_s = t0 + (np.arange(count) + 0.5) * length_s / count
    assert ((found < 0) == (centres_s >= duration_s)).all()
    shown = found >= 0
    assert (np.abs((found[shown] + 0.5) * duration_s / rows - centres_s[shown]) <= duration_s / rows / 2 + 1e-6).all()
    assert (np.diff(found[shown]) >= 0).all()


def test_the_number_of_rows_is_that_of_the_longest_clip():
    """Ten rows of ten seconds are three in a window of three, one in a window of a tenth; 1.024 of them are ten."""
    counts = [row_count(10, window_s, longest_s=10.0) for window_s in (3.0, 0.1, 10.24)]
    assert counts == [3, 1, 10]
