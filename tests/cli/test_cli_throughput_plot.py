"""The picture of throughput over workers: what is written on it can be read."""

import itertools

import pytest

from shardkit.cli.throughput_plot import draw_throughput

FLAT = {1: 312.0, 2: 560.0, 3: 570.0, 4: 575.0, 8: 560.0, 16: 500.0}
STEEP = {1: 312.0, 2: 560.0, 4: 575.0}
ALONE = {3: 900.0}
DENSE = {workers: 10_240.0 + 20 * workers for workers in range(1, 65)}


def drawn(rates):
    """Axes of the picture, laid out as they are written."""
    figure = draw_throughput(list(rates.items()), title="shards: 5 clips", subtitle="video", usable_cores=2.0)
    figure.draw_without_rendering()
    (axes,) = figure.axes
    return axes


@pytest.mark.parametrize("rates", [STEEP, FLAT, ALONE, DENSE], ids=["steep", "flat", "alone", "dense"])
def test_labels_lie_inside_the_frame_and_apart(rates):
    """No label touches an axis, the frame, another label or a point that is not its own."""
    axes = drawn(rates)
    frame = axes.get_window_extent()
    boxes = [label.get_window_extent() for label in axes.texts]
    assert boxes
    for box in boxes:
        assert frame.x0 < box.x0 < box.x1 < frame.x1
        assert frame.y0 < box.y0 < box.y1 < frame.y1
        assert not any(box.contains(x, y) for x, y in axes.transData.transform(list(rates.items())))
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))


@pytest.mark.parametrize("rates", [STEEP, FLAT, ALONE], ids=["steep", "flat", "alone"])
def test_every_rate_is_written_where_there_is_room(rates):
    """Numbers of workers as people give them: each point has its label."""
    assert [label.get_text() for label in drawn(rates).texts] == [f"{rate:,.0f}" for rate in rates.values()]


def test_measured_rates_fill_the_picture():
    """The ideal line leaves at the top where sixteen workers do the work of two; it does not press the rest down."""
    assert drawn(FLAT).get_ylim()[1] < 2 * max(FLAT.values())


@pytest.mark.parametrize("rates", [STEEP, FLAT, ALONE, DENSE], ids=["steep", "flat", "alone", "dense"])
def test_workers_are_counted_in_whole_numbers(rates):
    """No tick says 1.5 workers."""
    assert all(tick == int(tick) for tick in drawn(rates).get_xticks())
