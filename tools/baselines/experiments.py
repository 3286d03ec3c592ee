"""What `make baselines` runs: all synthetic experiments, and whether they show what they have to.

    python -m tools.baselines.experiments --work DIR [--json FILE] [--seeds 0,1,2] [--only NAME …]

The data sets are made once. Each experiment is a process of its own with one thread of PyTorch, since small networks
gain nothing from more; as many run at once as there are cores.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.loaders.machine import commit, machine, version_of
from shardkit.cli.machine import versions
from tools.baselines.claims import CLAIMS
from tools.baselines.config import Config, read_config
from tools.baselines.shuffles import KINDS, shuffled_scores
from tools.baselines.synthetic import NAMES, SIZES, make
from tools.baselines.tables import mean_and_deviation, table_of
from tools.baselines.training import Outcome

HERE = Path(__file__).parent
CONFIGS = HERE / "configs" / "synthetic"
LONGEST_FIRST = ("cml", "fusion-cross-attention", "fusion-bottleneck", "avel-weak", "avel-full")
"""Begun first, so that no core idles at the end."""
REUSED_MEMORY = {
    # What glibc gives back to the system costs page faults when it is asked for again: a quarter of a step's time.
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 32),
    "OMP_NUM_THREADS": "1",
}


def configurations(only: Sequence[str] = ()) -> list[tuple[Path, Config]]:
    """File and content of each experiment, those that take longest first.

    Args:
        only: Names, such as `cml`; all where there are none.
    """
    found = [(path, read_config(path)) for path in sorted(CONFIGS.glob("*.yaml"))]
    chosen = [(path, config) for path, config in found if not only or config.name in only]
    return sorted(chosen, key=lambda item: item[1].name not in LONGEST_FIRST)


def run_one(path: Path, config: Config, *, work: Path, seeds: Sequence[int]) -> list[Outcome]:
    """Trains and tests one experiment in a process of its own; its log is `work/NAME.log`.

    Raises:
        RuntimeError: It failed.
    """
    out, log = work / "runs", work / f"{config.name}.log"
    command = [sys.executable, "-m", "tools.baselines.train", str(path), "--data", str(work / "data")]
    command += ["--out", str(out), "--seeds", ",".join(map(str, seeds)), "--threads", "1", "--cpu"]
    with log.open("w", encoding="utf-8") as file:
        done = subprocess.run(
            command,
            check=False,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=os.environ | REUSED_MEMORY,
            cwd=HERE.parent.parent,
        )
    if done.returncode:
        raise RuntimeError(f"{config.name} failed, the end of {log}:\n{log.read_text('utf-8')[-2000:]}")
    return [
        Outcome(**json.loads((out / config.name / f"seed{seed}" / "outcome.json").read_text("utf-8"))) for seed in seeds
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code: 1 where something does not show what it has to."""
    parser = argparse.ArgumentParser(description="Run the synthetic experiments.")
    parser.add_argument("--work", type=Path, required=True, help="where data, checkpoints and logs go")
    parser.add_argument("--json", type=Path, help="where the figures go")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--only", nargs="*", default=(), help="names of experiments; claims are then not checked")
    options = parser.parse_args(arguments)
    seeds = [int(seed) for seed in options.seeds.split(",")]
    before = machine()
    began_s = time.perf_counter()
    used = {Path(config.data).parts[0] for _, config in configurations(options.only)} | {"spelled"}
    for name in NAMES:
        if name in used:
            make(name, options.work / "data")
    made_s = time.perf_counter() - began_s
    print(f"data sets made or found in {made_s:.1f} s", flush=True)

    outcomes = _run_all(options.work, seeds, options.only)
    shuffles = shuffled_scores(options.work / "data" / "spelled" / "shards", seeds=seeds)
    total_s = time.perf_counter() - began_s
    figures = {
        name: {
            test: {metric: [outcome.tests[test][metric] for outcome in found] for metric in values}
            for test, values in found[0].tests.items()
        }
        for name, found in outcomes.items()
    } | {"shuffles": shuffles}
    for name in sorted(outcomes):
        print(f"\n{table_of(name, outcomes[name])}")
    _print_shuffles(shuffles)
    print(f"\n{total_s:.0f} s in all, {made_s:.0f} s of it for the data sets")
    if options.only:
        return 0

    claims = [(claim, claim.measure(figures)) for claim in CLAIMS]
    print("\nSynthetic data, means over seeds:")
    for claim, measured in claims:
        verdict = "pass" if claim.holds(measured) else "FAIL"
        print(f"  {verdict}  {claim.text:<66} {100 * measured:6.2f} %  ({claim.bounds})")
    if options.json is not None:
        content = {
            "commit": commit(HERE),
            "machine": before,
            "versions": versions() | {name: version_of(name) for name in ("torchaudio", "torchmetrics")},
            "seeds": seeds,
            "clips": {name: asdict(sizes) for name, sizes in SIZES.items()},
            "seconds": {"data": made_s, "total": total_s},
            "experiments": {name: [asdict(outcome) for outcome in found] for name, found in sorted(outcomes.items())},
            "shuffles": shuffles,
            "claims": [
                {"text": claim.text, "measured": measured, "bounds": claim.bounds, "holds": claim.holds(measured)}
                for claim, measured in claims
            ],
        }
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return 0 if all(claim.holds(measured) for claim, measured in claims) else 1


def _run_all(work: Path, seeds: Sequence[int], only: Sequence[str]) -> dict[str, list[Outcome]]:
    outcomes: dict[str, list[Outcome]] = {}
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        runs = {
            pool.submit(run_one, path, config, work=work, seeds=seeds): config.name
            for path, config in configurations(only)
        }
        for run in as_completed(runs):
            outcomes[runs[run]] = found = run.result()
            for outcome in found:
                print(f"{runs[run]} seed {outcome.seed}: {outcome.waiting}", flush=True)
    return outcomes


def _print_shuffles(shuffles: dict[str, dict[str, list[float]]]) -> None:
    print("\nshuffles of an exact matcher, l = 1 of 10:")
    for kind in KINDS:
        cells: list[Any] = []
        for metric, values in shuffles[kind].items():
            mean, deviation = mean_and_deviation(values)
            cells.append(f"{metric} {100 * mean:.2f} ± {100 * deviation:.2f} %")
        print(f"  {kind:<18} {', '.join(cells)}")


if __name__ == "__main__":
    sys.exit(main())
