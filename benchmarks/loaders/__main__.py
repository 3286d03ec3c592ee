"""The whole benchmark: makes what is missing, finds worker counts, measures in turns, prints and stores the ratios.

python -m benchmarks.loaders --data .bench --repeats 5 --json benchmarks/results/loaders.json
python -m benchmarks.loaders --data .bench --cases 'shardkit-*' 'bare-*' --repeats 3
python -m benchmarks.loaders --tiny
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

from benchmarks.loaders.cases import Case, chosen_cases
from benchmarks.loaders.contestants.contract import Setup
from benchmarks.loaders.machine import commit, machine, versions
from benchmarks.loaders.measure import files_of
from benchmarks.loaders.measurement import Timing
from benchmarks.loaders.prepare import BenchFolder, make_packed, read_once
from benchmarks.loaders.ratios import requirements
from benchmarks.loaders.report import figures, tables, write_json
from benchmarks.loaders.rounds import REPOSITORY, Plan, Results, calibrate, measure_rounds
from benchmarks.loaders.scale import FULL, TINY, Scale
from benchmarks.loaders.verdicts import Verdict, verdicts
from shardkit.cores import usable_cores


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, help="folder to work in (.bench; .bench/tiny with --tiny)")
    parser.add_argument("--repeats", type=int, help="rounds (5; 1 with --tiny)")
    parser.add_argument("--seconds", type=float, help="measured, of each case in each round (4; 0.1 with --tiny)")
    parser.add_argument("--clips", type=int, help="fewer clips, for a quick look")
    parser.add_argument("--cases", nargs="+", default=["*"], help="patterns of names, such as 'shardkit-*@square'")
    parser.add_argument("--json", type=Path, help="where all figures go")
    parser.add_argument("--setups", type=Path, help="take worker counts from the JSON of an earlier run")
    parser.add_argument("--prepare-only", action="store_true", help="make what is missing, and stop")
    parser.add_argument("--workers", type=int, help="processes that make what is missing (one a core)")
    parser.add_argument("--tiny", action="store_true", help="24 clips of a second: to see that everything works")
    options = parser.parse_args(arguments)
    if options.data is None:
        # Apart: what is there already is taken as it is.
        options.data = REPOSITORY / ".bench" / ("tiny" if options.tiny else "")
    if options.repeats is None:
        options.repeats = 1 if options.tiny else 5
    if options.seconds is None:
        options.seconds = 0.1 if options.tiny else 4.0
    return options


def prepare(folder: BenchFolder, scale: Scale, cases: list[Case], results: Results, workers: int | None) -> int:
    """Makes what the cases read, and reads it once; returns the bytes that are in the page cache then."""
    read: set[Path] = set()
    for case in cases:
        make_packed(folder, scale, case.stored, workers=workers)
        try:
            read.update(files_of(folder, scale, case))
        except ImportError as exc:
            results.errors[case.name] = f"not installed: {exc}"
    return read_once(read)


def main(arguments: list[str] | None = None) -> int:
    """Runs it; the exit code is 1 where a case failed."""
    options = _options(arguments)
    cases = chosen_cases(options.cases)
    scale = TINY if options.tiny else FULL
    scale = replace(scale, clips=options.clips or scale.clips)
    results = Results()
    cached_bytes = prepare(BenchFolder(options.data), scale, cases, results, options.workers)
    if options.prepare_only:
        return 0
    if options.setups:
        stored = json.loads(options.setups.read_text())
        results.setups = {name: Setup(**fields) for name, fields in stored["setups"].items()}
        results.tried = stored["tried_clips_per_s"]
    if options.tiny:
        timing = Timing(warm_up_s=0, measured_s=options.seconds, measured_batches=2)
        calibration = Timing(warm_up_s=0, measured_s=0.1, measured_batches=2)
    else:
        timing = Timing(warm_up_s=3, measured_s=options.seconds, measured_batches=24)
        calibration = Timing(warm_up_s=2, measured_s=4, measured_batches=12)
    plan = Plan(
        options.data.absolute(), options.tiny, max(1, int(usable_cores())), timing, calibration, options.repeats
    )
    about = {
        "machine": machine(),
        "versions": versions(),
        "commit": commit(REPOSITORY),
        "cache": f"warm: the files of each case are read once before each measurement ({cached_bytes:,} bytes in all)",
        "clips": scale.clips,
        "batch_size": scale.batch_size,
        "seconds": timing.measured_s,
        "is_tiny": options.tiny,
    }

    def held() -> list[Verdict]:
        return verdicts(requirements(cores=plan.cores, batch_size=scale.batch_size), results.rounds)

    def store() -> None:
        if options.json:
            write_json(options.json, figures(about, results, held()))

    calibrate(plan, cases, results)
    measure_rounds(plan, cases, results, after_round=store)
    print("", *tables(figures(about, results, held())), sep="\n\n")
    for name, error in results.errors.items():
        print(f"\n{name} failed: {error}", file=sys.stderr)
    return 1 if results.errors else 0


if __name__ == "__main__":
    sys.exit(main())
