"""What `shardkit index` prints for people."""

from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import DownloadColumn

from shardkit.cli.run_display import RunDisplay
from shardkit.cli.show import print_counts
from shardkit.sizes import shown_size

if TYPE_CHECKING:
    from shardkit.indexing.outcome import IndexProgress, IndexReport


class IndexDisplay(RunDisplay):
    """The progress of indexing."""

    def __init__(self, *, quiet: bool) -> None:
        super().__init__("indexing", DownloadColumn(), quiet=quiet)

    def update(self, progress: "IndexProgress") -> None:
        """Shows how far the run is."""
        rate = progress.fresh / progress.elapsed_s if progress.elapsed_s else 0.0
        self.show(
            progress.read_bytes,
            progress.total_bytes,
            elapsed_s=progress.elapsed_s,
            amount=f"{shown_size(progress.read_bytes)} of {shown_size(progress.total_bytes)} read",
            speed=f"{progress.done} samples, {rate:.1f}/s",
            rejected=progress.rejected,
        )


def show_index_report(report: "IndexReport") -> None:
    """Prints what was indexed and what was rejected."""
    console = Console(soft_wrap=True, markup=False, highlight=False)
    done = f"in {report.elapsed_s:.1f} s, {report.clips_per_s:.1f} samples/s"
    console.print(
        f"indexed {report.indexed:,} of {report.samples:,} samples into {report.out} "
        f"({report.shards} tars, {shown_size(report.size_bytes)}, {report.media_s / 3600:.2f} h of media) "
        f"{done if report.fresh else 'by an earlier run; nothing was left to do'}",
    )
    for title, names in (("label sets", report.label_sets), ("columns", report.columns)):
        if names:
            console.print(f"{title}: {', '.join(names)}")
    print_counts(console, "splits", {name or "(none)": count for name, count in report.splits.items()})
    print_counts(console, "rejected", report.rejected)
    if report.rejected:
        console.print(f"  each with its reason in {report.out}/rejects.jsonl")
    print_counts(console, "flagged", report.flags)
    if report.compressed:
        console.print(f"compressed tars passed over: {report.compressed:,}; decompress them, and index again")
