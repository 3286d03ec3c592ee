"""CPU time of a process and of everything that it started."""

import os
from pathlib import Path

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def cpu_s(root: int) -> float:
    """CPU seconds, user and system, of process `root` and all below it, also of those that ended and were waited for.

    Between two calls a worker may end: its time then counts as its parent's, so differences stay right.
    """
    return sum(_times_s(pid) for pid in descendants(root))


def descendants(root: int) -> list[int]:
    """`root` and the processes below it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _fields(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


def _fields(pid: int) -> list[str]:
    """What follows the command in /proc/PID/stat; nothing where the process is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return []
    # The command stands in parentheses and can hold spaces and parentheses.
    return stat[stat.rindex(")") + 2 :].split()


def _times_s(pid: int) -> float:
    """User and system time, its own and that of children that were waited for."""
    fields = _fields(pid)
    return sum(map(int, fields[11:15])) * _TICK_S
