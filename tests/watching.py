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
    state, _ = _state_and_parent(pid)
    return state not in ("", "Z", "X")


def children(pid: int) -> list[int]:
    """Processes that a process has started and that run."""
    # Not /proc/PID/task/TID/children, which may leave some out while others end.
    found = [(int(path.name), *_state_and_parent(int(path.name))) for path in Path("/proc").glob("[0-9]*")]
    return [child for child, state, parent in found if parent == pid and state not in ("", "Z", "X")]


def _state_and_parent(pid: int) -> tuple[str, int]:
    """A process's state, and who started it; nothing and 0 where it is gone."""
    try:
        state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
    except (FileNotFoundError, ProcessLookupError):
        return "", 0
    return state, int(parent)


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
