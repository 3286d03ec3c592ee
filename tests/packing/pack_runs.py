"""Packing runs on small material, in this process or another, and what they leave on disk."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

from synth_media import Variety
from watching import children, wait_until

VARIETY = Variety(sizes=((128, 96),), frame_rates_hz=(Fraction(10),), sample_rates_hz=(16000, 22050))
"""Ten seconds each, as AVO-65's clips; ten frames a second, so that a frame's number is its time."""
SMALL = {"frames": 4, "size": 64, "audio_rate": 8000, "shard_bytes": 400_000}
"""Settings under which the small material makes several shards."""
SMALL_OPTIONS = ("--frames", "4", "--size", "64", "--audio-rate", "8000", "--shard-size", "400kB")
"""The same for the command line."""
TRIES = 5
"""Of what is to be interrupted: whoever watches may stand still for longer than a run takes."""


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by its path in it."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def rejects(out: Path) -> list[dict]:
    """The lines of a data set's `rejects.jsonl`."""
    return [json.loads(line) for line in (out / "rejects.jsonl").read_text("utf-8").splitlines()]


def unlike(found: dict[str, bytes], expected: dict[str, bytes]) -> set[str]:
    """Names of files that two folders do not share byte for byte."""
    return {name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name)}


def start_pack(annotations: Path, media: Path, out: Path, *options: str) -> "subprocess.Popen[str]":
    """A `shardkit pack` under way, with the small settings."""
    command = [sys.executable, "-m", "shardkit", "pack", str(annotations), "--media", str(media), "--out", str(out)]
    return subprocess.Popen(
        [*command, *SMALL_OPTIONS, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def interrupted_pack(
    start: "Callable[[], subprocess.Popen[str]]", folder: Path, interrupt: "Callable[[subprocess.Popen[str]], bool]"
) -> tuple["subprocess.Popen[str]", str]:
    """A pack that `interrupt` met, as it says, with a first shard in `folder` and not done yet, and what it said."""
    for _ in range(TRIES):
        process = start()
        try:
            wait_until(lambda: any(folder.glob(".packing/*.receipt")) or process.poll() is not None)  # noqa: B023
            met = interrupt(process)
            _, said = process.communicate(timeout=100)
        except BaseException:
            process.kill()
            process.communicate()
            raise
        if met and process.returncode and not (folder / "dataset.json").exists():
            return process, said
        shutil.rmtree(folder)
    raise AssertionError("each run was done before it was interrupted")


def worker_pids(parent: int) -> list[int]:
    """Process ids of the pack workers that a process has started and that are alive."""
    found = []
    for pid in children(parent):
        with suppress(OSError):  # it ended just now
            if b"packing.worker" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found
