"""Trains one configuration with several seeds, and prints mean and standard deviation of what they reach.

    python -m tools.baselines.train CONFIG.yaml --data DIR --out DIR [--seeds 0,1,2] [--resume]
    torchrun --nproc-per-node 4 -m tools.baselines.train CONFIG.yaml --data DIR --out DIR

What is interrupted, or killed, goes on with `--resume`: on CPUs, with as many ranks and threads, with the very losses
that it would have had.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from shardkit.errors import ShardkitError
from tools.baselines.config import Config, read_config
from tools.baselines.ranks import Ranks, joined_ranks
from tools.baselines.tables import table_of
from tools.baselines.training import Outcome, Run


def train(
    config: Config,
    *,
    data: Path,
    ranks: Ranks,
    seeds: Sequence[int],
    out: Path | None = None,
    resume: bool = False,
    say: Callable[[str], None] = print,
    **options: Any,
) -> list[Outcome]:
    """The outcome of each seed; those that an earlier run has finished are read with `resume`.

    Args:
        config: What is trained.
        data: Folder that `config.data` lies in.
        ranks: Which of them this is.
        seeds: One run each.
        out: Where checkpoints and outcomes go, `NAME/seedN/`; None keeps nothing.
        resume: Goes on where an earlier run stopped.
        say: What is told of each line.
        options: Of `Run`.
    """
    outcomes = []
    for seed in seeds:
        folder = None if out is None else out / config.name / f"seed{seed}"
        done = None if folder is None else folder / "outcome.json"
        if resume and done is not None and done.is_file():
            outcomes.append(Outcome(**json.loads(done.read_text("utf-8"))))
            continue
        run = Run(config, data, seed, ranks, folder, say=say, **options)
        outcomes.append(run.outcome(resume=resume))
        if done is not None and ranks.is_first:
            done.parent.mkdir(parents=True, exist_ok=True)
            done.write_text(json.dumps(asdict(outcomes[-1])), "utf-8")
    return outcomes


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Train a baseline.")
    parser.add_argument("config", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="folder that the configuration's data lie in")
    parser.add_argument("--out", type=Path, help="where checkpoints and outcomes go; none are kept without it")
    parser.add_argument("--seeds", default="0,1,2", help="numbers with commas between them (0,1,2)")
    parser.add_argument("--epochs", type=int, help="another number than the configuration's")
    parser.add_argument("--checkpoint-steps", type=int, default=100)
    parser.add_argument("--print-steps", type=int, default=10)
    parser.add_argument("--threads", type=int, help="of PyTorch on the CPU; the losses depend on it")
    parser.add_argument("--cpu", action="store_true", help="leave a GPU alone")
    parser.add_argument("--resume", action="store_true", help="go on where an earlier run stopped")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    options = _parser().parse_args(arguments)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    try:
        config = read_config(options.config, **({} if options.epochs is None else {"epochs": options.epochs}))
        began_s = time.perf_counter()
        with joined_ranks(cpu=options.cpu) as ranks:
            # On GPUs some operations have no form that gives the same bits every time, and would raise.
            torch.use_deterministic_algorithms(ranks.device.type == "cpu")
            outcomes = train(
                config,
                data=options.data,
                ranks=ranks,
                seeds=[int(seed) for seed in options.seeds.split(",")],
                out=options.out,
                resume=options.resume,
                say=lambda line: print(line, flush=True),
                checkpoint_steps=options.checkpoint_steps,
                print_steps=options.print_steps,
            )
        if ranks.is_first:
            print(table_of(config.name, outcomes))
            print(f"{time.perf_counter() - began_s:.1f} s")
    except ShardkitError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
