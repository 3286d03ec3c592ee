"""Clips a second over worker processes, as a picture. matplotlib is an extra: `pip install 'shardkit[plot]'`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from shardkit.errors import UsageError
from shardkit.storage.files import storage_errors

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH_IN, HEIGHT_IN, DOTS_PER_INCH = 7.0, 4.5, 144
HEADROOM = 1.08
"""Of both axes beyond the last point."""


def check_plot(path: Path) -> None:
    """Finds out, before minutes of measuring, whether a picture can be drawn to `path`.

    Raises:
        UsageError: matplotlib is not installed, or does not write such files.
    """
    if path.suffix.removeprefix(".").lower() not in _figure().canvas.get_supported_filetypes():
        raise UsageError(f"--plot {path}: the name's ending says the format: .png, .svg or .pdf is needed")


def draw_throughput(
    path: Path,
    points: Sequence[tuple[int, float]],
    *,
    title: str,
    subtitle: str,
    usable_cores: float,
) -> None:
    """Draws measured and ideal rates.

    Args:
        path: Where the picture goes.
        points: (workers, clips/s) of each measurement.
        title: What was loaded.
        subtitle: How.
        usable_cores: Where more workers cannot help any more.

    Raises:
        StorageError: It cannot be written.
    """
    from matplotlib.ticker import MaxNLocator

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
    for workers, rate in ordered:
        # Below, where neither line runs; a border of the background's colour keeps it off the others.
        box = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}
        axes.annotate(
            f"{rate:,.0f}", (workers, rate), (0, -8), textcoords="offset points", ha="center", va="top", bbox=box
        )
    if usable_cores < most:
        axes.axvline(usable_cores, color="tab:red", linestyle=":", label=f"usable cores: {usable_cores:g}")
    axes.set_xlim(0, most * HEADROOM)
    axes.set_ylim(0, max(first_rate / fewest * most, *(rate for _, rate in ordered)) * HEADROOM)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("workers")
    axes.set_ylabel("throughput (clips/s)")
    axes.grid(visible=True, color="0.92")
    axes.set_axisbelow(True)
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    figure.suptitle(title)
    axes.set_title(subtitle, fontsize="small", color="0.35")
    with storage_errors(path):
        figure.savefig(path)


def _figure() -> "Figure":
    try:
        # Not pyplot: it looks for a window system, and keeps figures alive.
        from matplotlib.figure import Figure
    except ImportError as exc:
        raise UsageError(f"--plot needs matplotlib ({exc}): pip install 'shardkit[plot]'") from exc
    return Figure(figsize=(WIDTH_IN, HEIGHT_IN), dpi=DOTS_PER_INCH, layout="constrained")
