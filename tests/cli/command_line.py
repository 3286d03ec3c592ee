"""The command as a user runs it."""

import subprocess
import sys

SMALL = ("--frames", "4", "--size", "64", "--shard-size", "400kB", "--workers", "1")


def run(*arguments: object) -> "subprocess.CompletedProcess[str]":
    """What `shardkit` printed and how it ended."""
    command = [sys.executable, "-m", "shardkit", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
