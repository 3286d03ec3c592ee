"""The command as a user runs it."""

import subprocess
import sys

FAILED = 1
WRONG_USE = 2
SMALL = ("--frames", "4", "--size", "64", "--shard-size", "400kB", "--workers", "1")


def run(*arguments: object) -> "subprocess.CompletedProcess[str]":
    """What `shardkit` printed and how it ended."""
    command = [sys.executable, "-m", "shardkit", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def assert_one_line(said: "subprocess.CompletedProcess[str]", *words: str, code: int = FAILED) -> None:
    """The command failed, and says why in one line with these words, besides what it is measuring."""
    assert said.returncode == code, said.stderr
    assert said.stdout == ""
    (line,) = [line for line in said.stderr.splitlines() if not line.startswith("measuring")]
    assert line.startswith("error: ")
    for word in words:
        assert word in line, line
