"""How fast `shardkit pack` is, as a ratio to bare PyAV processes that decode the same clips and do nothing else.

The limit: as many processes as workers, each decoding all frames and all audio of its share of the files, on one
thread, with nothing scaled, encoded, checked or written. Both run in turns, on the same files; medians of the repeats
are compared.

    python benchmarks/pack_speed.py --media DIR [--limit 200] [--workers 2] [--repeats 5] [--json OUT]
"""

import argparse
import csv
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

BARE = """
import sys, av
av.logging.set_level(av.logging.PANIC)
for path in sys.stdin.read().split("\\n"):
    for kind in ("video", "audio"):
        with av.open(path) as container:
            stream = container.streams.best(kind)
            if stream is None:
                continue
            stream.codec_context.thread_count = 1
            for frame in container.decode(stream):
                pass
"""


def bare_s(paths: list[Path], workers: int) -> float:
    """Seconds that bare processes take to decode all files."""
    began_s = time.perf_counter()
    processes = [
        subprocess.Popen([sys.executable, "-c", BARE], stdin=subprocess.PIPE, text=True) for _ in range(workers)
    ]
    for number, process in enumerate(processes):
        process.stdin.write("\n".join(map(str, paths[number::workers])))
        process.stdin.close()
    if any(process.wait() for process in processes):
        raise SystemExit("a bare process failed")
    return time.perf_counter() - began_s


def pack_s(table: Path, media: Path, workers: int) -> float:
    """Seconds that `shardkit pack` takes, from starting the command to its end."""
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "shardkit", "pack", table, "--media", media, "--out", f"{out}/shards"]
        began_s = time.perf_counter()
        done = subprocess.run(
            [*map(str, command), "--workers", str(workers), "--json"], check=True, capture_output=True
        )
        elapsed_s = time.perf_counter() - began_s
        packed, rows = (json.loads(done.stdout)[name] for name in ("packed", "rows"))
        if packed != rows:
            raise SystemExit(f"{packed} of {rows} clips were packed: the two sides would do different work")
        return elapsed_s


def main() -> None:
    """Runs the comparison and prints it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--media", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=200)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    paths = sorted(path for path in arguments.media.iterdir() if path.suffix == ".mp4")[: arguments.limit]
    runs: dict[str, list[float]] = {"pack": [], "bare": []}
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "clips.csv"
        with table.open("w", newline="") as file:
            csv.writer(file).writerows([["media", "label"], *([path.name, "clip"] for path in paths)])
        bare_s(paths, arguments.workers)  # the files come into the page cache
        for _ in range(arguments.repeats):
            runs["bare"].append(bare_s(paths, arguments.workers))
            runs["pack"].append(pack_s(table, arguments.media, arguments.workers))
    bare, packed = (len(paths) / statistics.median(runs[name]) for name in ("bare", "pack"))
    result = {
        "clips": len(paths),
        "workers": arguments.workers,
        "bare_clips_per_s": bare,
        "pack_clips_per_s": packed,
        "ratio": packed / bare,
        "runs_s": runs,
        "machine": platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "cache": "warm",
        "versions": {name: version(name) for name in ("shardkit", "av", "numpy", "simplejpeg")},
    }
    print(f"bare PyAV {bare:.1f} clips/s, pack {packed:.1f} clips/s, ratio {packed / bare:.2f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
