"""`shardkit bench`: how fast a data set loads here, with which number of workers, and what holds it up."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

import shardkit
from shardkit.cli.machine import machine, versions
from shardkit.cli.sizes import shown_size
from shardkit.cli.throughput_plot import check_plot, draw_throughput
from shardkit.errors import UsageError
from shardkit.storage.files import local_path, write_atomic

if TYPE_CHECKING:
    from shardkit.loading.loader import Loader
    from shardkit.loading.measure import Measurement

ENDLESS_EPOCHS = 1 << 40
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

    @property
    def cache(self) -> str:
        """What is known of the page cache."""
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
            "cache": self.cache,
            "machine": dict(self.machine),
            "versions": versions(),
            "results": [one.to_json() for one in self.measurements],
        }


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
    workers: str | None,
    seconds: float,
    consumer_ms: float,
    json_path: str | None,
    plot_path: str | None,
) -> Bench:
    """Measures with each number of workers, writes the files asked for, and says on standard error how far it is.

    Raises:
        UsageError: An option is wrong.
        DataError: The data set or a clip is damaged.
        StorageError: The data set cannot be read, or a file not be written.
        WorkerError: Workers cannot be started.
    """
    counts = parse_workers(workers)
    if not (math.isfinite(seconds) and seconds > 0):
        raise UsageError(f"--seconds {seconds:g}: a number above 0 is needed")
    if not (math.isfinite(consumer_ms) and consumer_ms >= 0):
        raise UsageError(f"--consumer-ms {consumer_ms:g}: a number of at least 0 is needed")
    report = _output("--json", None if json_path == STANDARD_OUTPUT else json_path)
    plot = _output("--plot", plot_path)
    if plot is not None:
        check_plot(plot)
    from shardkit.loading.measure import measure

    dataset = shardkit.open(path)
    if options["split"] is not None:
        dataset = dataset.select(split=options["split"])
    console = Console(stderr=True, quiet=json_path == STANDARD_OUTPUT, markup=False, highlight=False, soft_wrap=True)
    ran_on = machine()
    measurements = []
    for count in counts:

        def start(count: int | None = count) -> "Loader":
            loader = shardkit.loader(path, workers=count, epochs=ENDLESS_EPOCHS, **options)
            # A line and no moving bar, which would take its share of a core; after what may be wrong with options.
            console.print(f"measuring {seconds:g} s with {_workers(count)}")
            return loader

        measurements.append(measure(start, seconds=seconds, consumer_s=consumer_ms / 1000))
    bench = Bench(
        path=path,
        name=dataset.folder.name,
        clips=len(dataset),
        options=options,
        seconds=seconds,
        consumer_ms=consumer_ms,
        machine=ran_on,
        measurements=tuple(measurements),
    )
    if report is not None:
        write_atomic(report, json.dumps(bench.to_json(), ensure_ascii=False, indent=2).encode() + b"\n")
    if plot is not None:
        draw_throughput(
            plot,
            [(one.stats.workers, one.stats.clips_per_s) for one in measurements],
            title=_title(bench),
            subtitle=_how(bench),
            usable_cores=ran_on["usable_cores"],
        )
    return bench


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
    row("clips/s", [f"{one.clips_per_s:,.1f}" for one in stats])
    row("read, MB/s", [f"{one.mb_per_s:,.1f}" for one in stats], ends=True)
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
    if bench.cache == "unknown":
        console.print(
            f"page cache: unknown; not all {bench.clips:,} clips had been loaded when measuring began, and disks may "
            "show in `read`: run it again, or longer",
        )


def _output(option: str, path: str | None) -> Path | None:
    """The file that an option names, where one can be written."""
    if path is None:
        return None
    file = local_path(path)
    if not file.absolute().parent.is_dir():
        raise UsageError(f"{option} {path}: there is no folder {file.parent}")
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
    return f"{bench.name}{of}: {bench.clips:,} clips"


def _how(bench: Bench) -> str:
    tensors = ", ".join(f"{name} {shape}" for name, shape in bench.measurements[0].tensors.items())
    burns = f"; beside {bench.consumer_ms:g} ms of Python a batch" if bench.consumer_ms else ""
    return f"{tensors}{burns}"


def _largest(private_bytes: tuple[int, ...]) -> str:
    return shown_size(max(private_bytes)) if private_bytes else "(threads)"
