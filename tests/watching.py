"""Waiting for what happens beside a test, and what of this process and others can be looked at meanwhile."""

import time
from contextlib import suppress
from pathlib import Path


def wait_until(holds, *, timeout_s: float = 100.0):
    """Polls until something holds, and returns it. The machine may pause for seconds at any time."""
    deadline_s = time.monotonic() + timeout_s
    while not (found := holds()):
        assert time.monotonic() < deadline_s, "what was waited for did not happen"
        time.sleep(0.002)
    return found


def is_running(pid: int) -> bool:
    """Whether a process is there and not merely waiting to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def children(pid: int) -> list[int]:
    """Processes that any of a process's threads has started; threads come and go."""
    found: list[int] = []
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):
            found += map(int, (thread / "children").read_text().split())
    return found


def open_files(folder: Path, pid: int | str = "self") -> list[Path]:
    """What a process has open below a folder."""
    found = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            found.append(link.readlink())
    return [path for path in found if path.is_relative_to(folder)]


def descriptor_count() -> int:
    """How many descriptors are open; those of an earlier test may be closed at any moment."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())
