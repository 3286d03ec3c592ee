"""Clips a second over worker processes, as a picture. matplotlib is an extra: `pip install 'shardkit[plot]'`."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from shardkit.errors import UsageError
from shardkit.storage.files import is_stream, write_named

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH_IN, HEIGHT_IN, DOTS_PER_INCH = 7.0, 4.5, 144
HEADROOM = 1.08
"""Of both axes beyond the last point."""
IDEAL_SHARE = 1.6
"""How far above the best measurement the ideal line is followed: beyond, it would press the others to the ground."""
LABEL_PLACES = (("top", -8), ("bottom", 8))
"""Where a point's label may stand, the best place first: the edge that faces the point, and how far above it."""
LABEL_GAP_PX, MARKER_RADIUS_PX = 3.0, 7.0
STREAM_FORMAT = "png"
"""Of pipes and devices, whose names need no ending."""


def check_plot(path: Path) -> None:
    """Finds out, before minutes of measuring, whether a picture can be drawn to `path`.

    Raises:
        UsageError: matplotlib is not installed, or does not write such files.
    """
    if _format(path) not in _figure().canvas.get_supported_filetypes():
        raise UsageError(f"--plot {path}: the name's ending says the format: .png, .svg or .pdf is needed")


def write_plot(path: Path, figure: "Figure") -> None:
    """Writes a picture in the format that the name's ending says.

    Raises:
        StorageError: It cannot be written.
    """
    picture = io.BytesIO()
    figure.savefig(picture, format=_format(path))
    write_named(path, picture.getvalue())


def draw_throughput(
    points: Sequence[tuple[int, float]],
    *,
    title: str,
    subtitle: str,
    usable_cores: float,
) -> "Figure":
    """A picture of measured and ideal rates.

    Args:
        points: (workers, clips/s) of each measurement.
        title: What was loaded.
        subtitle: How.
        usable_cores: Where more workers cannot help any more.
    """
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    ordered = sorted(points)
    (fewest, first_rate), most = ordered[0], ordered[-1][0]
    figure = _figure()
    axes = figure.add_subplot()
    axes.plot(
        [0, most],
        [0, first_rate / fewest * most],
        linestyle="--",
        color="0.6",
        label=f"ideal: {first_rate / fewest:,.0f} clips/s a worker",
    )
    axes.plot(*zip(*ordered, strict=True), marker="o", color="tab:blue", label="measured")
    if usable_cores < most:
        axes.axvline(usable_cores, color="tab:red", linestyle=":", label=f"usable cores: {usable_cores:g}")
    axes.set_xlim(0, most * HEADROOM)
    best = max(rate for _, rate in ordered)
    axes.set_ylim(0, max(best, min(first_rate / fewest * most, best * IDEAL_SHARE)) * HEADROOM)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    axes.set_xlabel("workers")
    axes.set_ylabel("throughput (clips/s)")
    axes.grid(visible=True, color="0.92")
    axes.set_axisbelow(True)
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    figure.suptitle(title)
    axes.set_title(subtitle, fontsize="small", color="0.35")
    figure.draw_without_rendering()  # settles where the axes are
    _label(axes, ordered)
    return figure


def _label(axes: "Axes", points: Sequence[tuple[int, float]]) -> None:
    """Writes each point's rate beside it where it fits: inside the frame, off the other labels and the points.

    Where points stand too close for that, some go without: the table has every figure.
    """
    from matplotlib.transforms import Bbox

    inside = axes.get_window_extent()
    points_px = axes.transData.transform(points)
    taken = [Bbox.from_extents(x, y, x, y).padded(MARKER_RADIUS_PX) for x, y in points_px]
    for workers, rate in points:
        for edge, distance in LABEL_PLACES:
            label = axes.annotate(
                f"{rate:,.0f}",
                (workers, rate),
                (0, distance),
                textcoords="offset points",
                ha="center",
                va=edge,
                # A border of the background's colour keeps it off the lines.
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.0},
            )
            label.set_in_layout(False)  # the axes stay where they are
            box = label.get_window_extent().padded(LABEL_GAP_PX)
            if Bbox.union([inside, box]).bounds == inside.bounds and not box.count_overlaps(taken):
                taken.append(box)
                break
            label.remove()


def _format(path: Path) -> str:
    """What a picture's name says it is."""
    ending = path.suffix.removeprefix(".").lower()
    return ending or (STREAM_FORMAT if is_stream(path) else "")


def _figure() -> "Figure":
    try:
        # Not pyplot: it looks for a window system, and keeps figures alive.
        from matplotlib.figure import Figure
    except ImportError as exc:
        raise UsageError(f"--plot needs matplotlib ({exc}): pip install 'shardkit[plot]'") from exc
    return Figure(figsize=(WIDTH_IN, HEIGHT_IN), dpi=DOTS_PER_INCH, layout="constrained")
