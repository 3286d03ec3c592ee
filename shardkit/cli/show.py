"""What the commands print for people."""

from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from shardkit.cli.sizes import shown_size

if TYPE_CHECKING:
    from shardkit.packing.outcome import PackProgress, PackReport
    from shardkit.report.info import DatasetInfo

MOST_CLASSES = 20
LINE_EVERY_S = 10.0
"""Where standard error is no terminal, a line this often takes the bar's place."""


class PackDisplay:
    """The progress of packing, on standard error."""

    def __init__(self, *, quiet: bool) -> None:
        self._console = Console(stderr=True, quiet=quiet)
        self._bar = Progress(
            TextColumn("packing"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]:.1f} clips/s"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[rejected]} rejects"),
            console=self._console,
            transient=True,
        )
        self._task: TaskID | None = None
        self._next_line_s = LINE_EVERY_S

    def update(self, progress: "PackProgress") -> None:
        """Shows how far the run is."""
        rate = progress.fresh / progress.elapsed_s if progress.elapsed_s else 0.0
        if not self._console.is_terminal:
            if progress.elapsed_s >= self._next_line_s:
                self._next_line_s = progress.elapsed_s + LINE_EVERY_S
                self._console.print(
                    f"{progress.done} of {progress.total} clips, {rate:.1f} clips/s, {progress.rejected} rejects"
                )
            return
        if self._task is None:
            self._bar.start()
            self._task = self._bar.add_task("packing", total=progress.total, rate=0.0, rejected=0)
        self._bar.update(self._task, completed=progress.done, rate=rate, rejected=progress.rejected)

    def __enter__(self) -> "PackDisplay":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:  # stopping a bar that was never shown prints an empty line
            self._bar.stop()
        if kind is KeyboardInterrupt:
            self._console.print("interrupted; the same command with --resume goes on")


def show_pack_report(report: "PackReport") -> None:
    """Prints what was packed and what was rejected."""
    console = Console(soft_wrap=True, markup=False, highlight=False)
    done = f"in {report.elapsed_s:.1f} s, {report.clips_per_s:.1f} clips/s"
    console.print(
        f"packed {report.packed:,} of {report.rows:,} clips into {report.out} "
        f"({report.shards} shards, {shown_size(report.size_bytes)}, {report.media_s / 3600:.2f} h of media) "
        f"{done if report.fresh else 'by an earlier run; nothing was left to do'}",
    )
    _print_counts(console, "rejected", report.rejected)
    if report.rejected:
        console.print(f"  each with its reason in {report.out}/rejects.jsonl")
    _print_counts(console, "flagged", report.flags)


def show_info(info: "DatasetInfo") -> None:
    """Prints what is in a data set."""
    console = Console(soft_wrap=True, markup=False, highlight=False)
    console.print(info.path, style="bold", end="")
    console.print(f"  {info.name}, digest {info.digest}")
    console.print(
        f"{info.clips:,} clips, {info.hours:.2f} h, {info.shards} shards, {shown_size(info.size_bytes)}; "
        f"{info.with_video:,} with video, {info.with_audio:,} with audio, {info.events:,} events",
    )
    _print_counts(console, "splits", {name or "(none)": count for name, count in info.splits.items()})
    settings = ", ".join(f"{name} {_setting(value)}" for name, value in info.settings.items())
    console.print(f"settings: {settings}")
    for set_name, levels in info.classes.items():
        for level, classes in levels.items():
            console.print(_class_table(f"{set_name}: {level}", classes))
    if info.event_classes:
        console.print(_class_table("events", info.event_classes))
    _print_counts(console, "flags", info.flags)
    _print_counts(console, "rejects", info.rejects)


def _print_counts(console: Console, title: str, counts: Mapping[str, int]) -> None:
    if counts:
        items = ", ".join(f"{name} {count:,}" for name, count in counts.items())
        console.print(f"{title}: {items}")


def _setting(value: object) -> object:
    if isinstance(value, dict):
        return (
            "("
            + " ".join(
                f"{name}={item:g}" if isinstance(item, float) else f"{name}={item}"
                for name, item in value.items()
                if item is not None
            )
            + ")"
        )
    return value


def _class_table(title: str, classes: Mapping[str, int]) -> Table:
    used = sum(1 for count in classes.values() if count)
    table = Table("class", "clips", title=f"{title} ({used} of {len(classes)} classes)", title_justify="left")
    ranked = sorted(classes.items(), key=lambda item: -item[1])
    for name, count in ranked[:MOST_CLASSES]:
        table.add_row(name, f"{count:,}")
    if len(ranked) > MOST_CLASSES:
        table.add_row(f"… {len(ranked) - MOST_CLASSES} more", f"{sum(count for _, count in ranked[MOST_CLASSES:]):,}")
    return table
