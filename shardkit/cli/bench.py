"""`shardkit bench`: how fast a data set loads here, with which number of workers, and what holds it up."""

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.table import Table

import shardkit
from shardkit.cli import EXIT_INTERRUPTED
from shardkit.cli.machine import machine, versions
from shardkit.cli.throughput_plot import check_plot, draw_throughput, write_plot
from shardkit.errors import StorageError, UsageError
from shardkit.sizes import shown_size
from shardkit.storage.files import is_stream, local_path, write_named

if TYPE_CHECKING:
    from shardkit.loading.dataset import Dataset
    from shardkit.loading.loader import Loader
    from shardkit.loading.measure import Measurement

ENDLESS_EPOCHS = 1 << 40
WARM_SHARE = 0.99
STANDARD_OUTPUT = "-"
STAGES = {
    "read": "read",
    "check": "check",
    "decode": "decode frames",
    "audio": "decode audio",
    "other": "other",
    "wait": "wait",
}


@dataclass(frozen=True, slots=True)
class Bench:
    """Measurements of one data set, and all that they depend on."""

    path: str
    name: str
    """Of the data set's folder."""
    clips: int
    options: Mapping[str, Any]
    """Keywords of the loader."""
    seconds: float
    consumer_ms: float
    machine: Mapping[str, Any]
    """As it was before."""
    measurements: tuple["Measurement", ...]
    """Of all ranks together."""
    ranks: tuple[tuple["RankMeasurement", ...], ...] = ()
    """Of each rank, where there are several; one item a measurement."""
    interrupted: bool = False
    """Whether there would have been more of them."""

    @property
    def cache(self) -> str:
        """What is known of where the bytes came from."""
        if any(one.stats.is_far for one in self.measurements):
            return ", ".join(dict.fromkeys(map(_far, self.measurements)))
        if all(one.passes_before >= 1 for one in self.measurements):
            return "warm after the first pass"
        return "unknown"

    def to_json(self) -> dict[str, Any]:
        """All of it, for machines."""
        return {
            "path": self.path,
            "clips": self.clips,
            "options": dict(self.options),
            "seconds": self.seconds,
            "consumer_ms": self.consumer_ms,
            "interrupted": self.interrupted,
            "cache": self.cache,
            "machine": dict(self.machine),
            "versions": versions(),
            "results": [self._result(place) for place in range(len(self.measurements))],
        }

    def _result(self, place: int) -> dict[str, Any]:
        result = self.measurements[place].to_json()
        if self.ranks:
            ranks = self.ranks[place]
            result |= {"nodes": _by_node(ranks), "ranks": [rank.to_json() for rank in ranks]}
        return result


@dataclass(frozen=True, slots=True)
class RankMeasurement:
    """What one of several ranks measured."""

    node: str
    measurement: "Measurement"

    def to_json(self) -> dict[str, Any]:
        """All of it, for machines."""
        return {"node": self.node, **self.measurement.to_json()}


def _by_node(ranks: Sequence[RankMeasurement]) -> dict[str, dict[str, float]]:
    """Rates of each machine."""
    nodes: dict[str, dict[str, float]] = {}
    for rank in ranks:
        node = nodes.setdefault(rank.node, {"ranks": 0, "clips_per_s": 0.0, "mb_per_s": 0.0})
        stats = rank.measurement.stats
        node["ranks"] += 1
        node["clips_per_s"] += stats.clips_per_s
        node["mb_per_s"] += stats.mb_per_s
    return nodes


def _far(one: "Measurement") -> str:
    """Whether what came over a network was on this machine already."""
    share = one.stats.cached_share
    if share >= WARM_SHARE:
        return "warm: all clips from copies on this machine"
    return f"cold: {1 - share:.0%} of the clips over the network"


def parse_workers(text: str | None) -> tuple[int | None, ...]:
    """Numbers of workers of `4` or `1,2,4`, each once; (None,), the loader's own choice, without any.

    Raises:
        UsageError: They are no such numbers.
    """
    if text is None:
        return (None,)
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdecimal() and int(part) for part in parts):
        raise UsageError(f"--workers {text}: whole numbers of at least 1 are needed, such as 2 or 1,2,4")
    return tuple(dict.fromkeys(map(int, parts)))


def run_bench(
    path: str,
    options: Mapping[str, Any],
    *,
    storage: Mapping[str, Any],
    workers: str | None,
    seconds: float,
    consumer_ms: float,
    json_path: str | None,
    plot_path: str | None,
) -> None:
    """Measures with each number of workers, prints the figures and writes the files asked for.

    Under torchrun all ranks measure at once, and the first one adds them up. Standard error says how far it is. What
    Ctrl-C cuts short is printed and written as far as it came.

    Raises:
        UsageError: An option is wrong.
        DataError: The data set or a clip is damaged.
        StorageError: The data set cannot be read; or a file not be written, after the figures were printed.
        WorkerError: Workers cannot be started.
        typer.Exit: It was interrupted.
    """
    counts = parse_workers(workers)
    if not (math.isfinite(seconds) and seconds > 0):
        raise UsageError(f"--seconds {seconds:g}: a number above 0 is needed")
    if not (math.isfinite(consumer_ms) and consumer_ms >= 0):
        raise UsageError(f"--consumer-ms {consumer_ms:g}: a number of at least 0 is needed")
    printed = json_path == STANDARD_OUTPUT
    report = _output("--json", None if printed else json_path)
    plot = _output("--plot", plot_path)
    if plot is not None:
        check_plot(plot)
    console = Console(stderr=True, quiet=printed, markup=False, highlight=False, soft_wrap=True)
    from shardkit.loading.rank_group import RankGroup

    ran_on = machine()
    measurements: list[tuple[RankMeasurement, ...]] = []
    with RankGroup() as group:
        console.quiet = printed or not group.is_first
        try:
            dataset = shardkit.open(path, **storage)
            dataset = dataset.select(split=options["split"], where=options["where"])
            consumer_s = consumer_ms / 1000
            for one in _measurements(dataset, options, counts, seconds=seconds, consumer_s=consumer_s, console=console):
                told = group.gather(RankMeasurement(group.node(), one))
                measurements.append(tuple(told))
        except KeyboardInterrupt:
            if not group.is_alone:
                raise
            typer.echo(f"interrupted: {len(measurements)} of {len(counts)} numbers of workers measured", err=True)
            if not measurements:
                raise typer.Exit(EXIT_INTERRUPTED) from None
        if not group.is_first:
            return
    from shardkit.loading.measure import Measurement

    bench = Bench(
        path=str(dataset.folder),
        name=dataset.folder.name,
        clips=len(dataset),
        options=options,
        seconds=seconds,
        consumer_ms=consumer_ms,
        machine=ran_on,
        measurements=tuple(Measurement.joined([rank.measurement for rank in ranks]) for ranks in measurements),
        ranks=() if group.is_alone else tuple(measurements),
        interrupted=len(measurements) < len(counts),
    )
    try:
        if printed:
            typer.echo(json.dumps(bench.to_json(), ensure_ascii=False))
        else:
            show_bench(bench)
    finally:  # also where nobody reads on
        _write(bench, report=report, plot=plot)
    if bench.interrupted:
        raise typer.Exit(EXIT_INTERRUPTED)


def _measurements(
    dataset: "Dataset",
    options: Mapping[str, Any],
    counts: Sequence[int | None],
    *,
    seconds: float,
    consumer_s: float,
    console: Console,
) -> "Iterator[Measurement]":
    from shardkit.loading.measure import measure

    for count in counts:

        def start(count: int | None = count) -> "Loader":
            loader = shardkit.loader(dataset, workers=count, epochs=ENDLESS_EPOCHS, **options)
            # A line and no moving bar, which would take its share of a core; after what may be wrong with options.
            console.print(f"measuring {seconds:g} s with {_workers(count)}")
            return loader

        yield measure(start, seconds=seconds, consumer_s=consumer_s)


def _write(bench: Bench, *, report: Path | None, plot: Path | None) -> None:
    """Writes the files asked for.

    Raises:
        StorageError: One cannot be written; the other is.
    """
    failures = []
    try:
        if report is not None:
            write_named(report, json.dumps(bench.to_json(), ensure_ascii=False, indent=2).encode() + b"\n")
    except StorageError as exc:
        failures.append(exc)
    try:
        if plot is not None:
            figure = draw_throughput(
                [(one.stats.workers, one.stats.clips_per_s) for one in bench.measurements],
                title=_title(bench),
                subtitle=_how(bench),
                usable_cores=bench.machine["usable_cores"],
            )
            write_plot(plot, figure)
    except StorageError as exc:
        failures.append(exc)
    if failures:
        raise StorageError("; ".join(map(str, failures))) from failures[0]


def show_bench(bench: Bench) -> None:
    """Prints a column for each number of workers, and what holds each up."""
    console = Console(markup=False, highlight=False, soft_wrap=True)
    console.print(_title(bench), style="bold")
    console.print(_how(bench))
    table = Table("", title_justify="left")
    for one in bench.measurements:
        table.add_column(_workers(one.stats.workers), justify="right")

    def row(name: str, cells: Sequence[str], *, ends: bool = False) -> None:
        table.add_row(name, *cells, end_section=ends)

    measured = bench.measurements
    stats = [one.stats for one in measured]
    nodes = [_by_node(ranks) for ranks in bench.ranks]
    row("clips/s", [f"{one.clips_per_s:,.1f}" for one in stats])
    for node in nodes[0] if nodes else ():
        row(f"  {node}, {nodes[0][node]['ranks']:g} ranks", [f"{of[node]['clips_per_s']:,.1f}" for of in nodes])
    row("read, MB/s", [f"{one.mb_per_s:,.1f}" for one in stats], ends=not nodes)
    for node in nodes[0] if nodes else ():
        is_last = node == list(nodes[0])[-1]
        row(f"  {node}", [f"{of[node]['mb_per_s']:,.1f}" for of in nodes], ends=is_last)
    if any(one.is_far for one in stats):
        told = [one.storage_json() for one in stats]
        row("requests a clip", [f"{one['requests_per_clip']:.2f}" for one in told])
        row("kB a clip over the network", [f"{one['bytes_per_clip'] / 1000:,.0f}" for one in told])
        for share in ("p50", "p99"):
            row(f"a request takes, ms ({share})", [f"{1000 * one[f'latency_{share}_s']:.1f}" for one in told])
        row("retries", [f"{one['retries']:,}" for one in told])
        row("clips from copies", [f"{one['cached_share']:.0%}" for one in told], ends=True)
    stages = [one.stages_s() for one in stats]
    row("a worker's time a clip, ms", [f"{1000 * sum(one.values()):.2f}" for one in stages])
    for stage, name in STAGES.items():
        row(f"  {name}", [f"{1000 * one[stage]:.2f}" for one in stages])
    row("CPU time a clip, ms", [f"{1000 * one.cpu_s_per_clip:.2f}" for one in measured], ends=True)
    row("workers busy", [f"{one.busy_share:.0%}" for one in stats])
    row("loop waited", [f"{one.waited_share:.0%}" for one in stats])
    row("ring filled", [f"{one.ring_occupancy:.0%}" for one in stats], ends=True)
    row("memory: ring", [shown_size(one.ring_bytes) for one in stats])
    row("memory: each worker, at most", [_largest(one.worker_private_bytes) for one in stats])
    row("memory: training process", [shown_size(one.trainer_private_bytes) for one in measured], ends=True)
    row("first batch after, s", [f"{one.first_batch_s:.2f}" for one in measured])
    console.print(table)
    for of in stats:
        console.print(f"{_workers(of.workers)}: {of.verdict}")
        if of.replaced_workers:
            console.print(f"  {of.replaced_workers} workers died or hung meanwhile and were replaced")
    if any(one.is_far for one in stats):
        console.print(bench.cache)
    elif bench.cache == "unknown":
        console.print(
            f"page cache: unknown; not all {bench.clips:,} clips had been loaded when measuring began, and disks may "
            "show in `read`: run it again, or longer",
        )


def _output(option: str, path: str | None) -> Path | None:
    """The file that an option names, where one can be written."""
    if path is None:
        return None
    file = local_path(path)
    if not is_stream(file) and not (target := Path(os.path.realpath(file))).parent.is_dir():
        folder = target.parent if file.is_symlink() else file.parent
        raise UsageError(f"{option} {path}: there is no folder {folder}")
    if file.is_dir():
        raise UsageError(f"{option} {path}: this is a folder; name a file")
    return file


def _workers(count: int | None) -> str:
    if count is None:
        return "as many workers as a loader has by itself"
    return f"{count} worker" if count == 1 else f"{count} workers"


def _title(bench: Bench) -> str:
    split = bench.options["split"]
    of = "" if split is None else f", split {split!r}"
    of += "" if bench.options.get("where") is None else f", {bench.options['where']}"
    return f"{bench.name}{of}: {bench.clips:,} clips"


def _how(bench: Bench) -> str:
    tensors = ", ".join(f"{name} {shape}" for name, shape in bench.measurements[0].tensors.items())
    burns = f"; beside {bench.consumer_ms:g} ms of Python a batch" if bench.consumer_ms else ""
    return f"{tensors}{burns}"


def _largest(private_bytes: tuple[int, ...]) -> str:
    return shown_size(max(private_bytes)) if private_bytes else "(threads)"
