"""What the commands print for people."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import MofNCompleteColumn
from rich.table import Table
from rich.tree import Tree

from shardkit.cli.run_display import RunDisplay
from shardkit.sizes import shown_size

if TYPE_CHECKING:
    from shardkit.packing.outcome import PackProgress, PackReport
    from shardkit.report.class_tree import ClassNode
    from shardkit.report.info import DatasetInfo

MOST_CLASSES = 20


class PackDisplay(RunDisplay):
    """The progress of packing."""

    def __init__(self, *, quiet: bool) -> None:
        super().__init__("packing", MofNCompleteColumn(), quiet=quiet)

    def update(self, progress: "PackProgress") -> None:
        """Shows how far the run is."""
        rate = progress.fresh / progress.elapsed_s if progress.elapsed_s else 0.0
        self.show(
            progress.done,
            progress.total,
            elapsed_s=progress.elapsed_s,
            amount=f"{progress.done} of {progress.total} clips",
            speed=f"{rate:.1f} clips/s",
            rejected=progress.rejected,
        )


def show_pack_report(report: "PackReport") -> None:
    """Prints what was packed and what was rejected."""
    console = Console(soft_wrap=True, markup=False, highlight=False)
    done = f"in {report.elapsed_s:.1f} s, {report.clips_per_s:.1f} clips/s"
    part = f" of part {report.part}" if report.part else ""
    console.print(
        f"packed {report.packed:,} of {report.rows:,} clips{part} into {report.out} "
        f"({report.shards} shards, {shown_size(report.size_bytes)}, {report.media_s / 3600:.2f} h of media) "
        f"{done if report.fresh else 'by earlier runs; nothing was left to do'}",
    )
    print_counts(console, "rejected", report.rejected)
    if report.part:
        console.print("  when all parts are packed: the same command with --finish")
    elif report.rejected or report.background_rejected:
        console.print(f"  each with its reason in {report.out}/rejects.jsonl")
    if report.background or report.background_rejected:
        lost = f", {report.background_rejected:,} more rejected" if report.background_rejected else ""
        console.print(f"background: {report.background:,} training clips without events{lost}")
    print_counts(console, "flagged", report.flags)


def show_info(info: "DatasetInfo", trees: "Mapping[str, Sequence[ClassNode]] | None" = None) -> None:
    """Prints what is in a data set; label sets with a tree as that, the others class by class."""
    trees = trees or {}
    console = Console(soft_wrap=True, markup=False, highlight=False)
    console.print(info.path, style="bold", end="")
    console.print(f"  {info.name}, digest {info.digest}")
    console.print(
        f"{info.clips:,} clips, {info.hours:.2f} h, {info.shards} shards, {shown_size(info.size_bytes)}; "
        f"{info.with_video:,} with video, {info.with_audio:,} with audio, {info.events:,} events",
    )
    if not info.packed:
        console.print(
            f"indexed, not packed; its tars are {'beside the index' if info.base is None else f'in {info.base}'}"
        )
    for name, shapes in info.features.items():
        print_counts(console, f"feature {name}", {f"{shape} of": count for shape, count in shapes.items()})
    named = {f"splits of {scheme}": splits for scheme, splits in info.split_sets.items()}
    for title, splits in {"splits": info.splits, **named}.items():
        print_counts(console, title, {name or "(none)": count for name, count in splits.items()})
    settings = ", ".join(f"{name} {_setting(value)}" for name, value in info.settings.items())
    console.print(f"settings: {settings}")
    for set_name, levels in info.classes.items():
        if set_name in trees:
            console.print(_class_tree(set_name, trees[set_name]))
            continue
        for level, classes in levels.items():
            console.print(_class_table(f"{set_name}: {level}", classes))
    if info.event_classes:
        console.print(_class_table("events", info.event_classes))
    print_counts(console, "flags", info.flags)
    print_counts(console, "rejects", info.rejects)


def print_counts(console: Console, title: str, counts: Mapping[str, int]) -> None:
    """Prints a line of names and counts; nothing where there are none."""
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


def _class_tree(title: str, nodes: "Sequence[ClassNode]") -> Tree:
    """Classes of a hierarchy, each below its parent: level and id, name, clips."""

    def grow(tree: Tree, nodes: "Sequence[ClassNode]") -> Tree:
        for node in nodes:
            grow(
                tree.add(f"{node.level} {node.id}: {node.name}, {node.clips:,} clip{'' if node.clips == 1 else 's'}"),
                node.children,
            )
        return tree

    top = nodes[0].level if nodes else ""
    tree = grow(Tree(title), [node for node in nodes if node.level == top])
    if orphans := [node for node in nodes if node.level != top]:
        grow(tree.add("no clip tells the parent of:"), orphans)
    return tree


def _class_table(title: str, classes: Mapping[str, int]) -> Table:
    used = sum(1 for count in classes.values() if count)
    table = Table("class", "clips", title=f"{title} ({used} of {len(classes)} classes)", title_justify="left")
    ranked = sorted(classes.items(), key=lambda item: -item[1])
    for name, count in ranked[:MOST_CLASSES]:
        table.add_row(name, f"{count:,}")
    if len(ranked) > MOST_CLASSES:
        table.add_row(f"… {len(ranked) - MOST_CLASSES} more", f"{sum(count for _, count in ranked[MOST_CLASSES:]):,}")
    return table
