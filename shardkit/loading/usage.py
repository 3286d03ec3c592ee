"""What a process uses, as Linux's /proc says."""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ProcessUsage:
    """Memory and CPU time of one process."""

    private_bytes: int
    """Resident memory of its own: without files that are mapped, and without memory that is shared."""
    cpu_s: float
    """Since it started."""


def process_usage(pid: int) -> ProcessUsage | None:
    """What process `pid` uses; None where it is gone, and on systems without /proc."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        # The name stands in parentheses, and may hold spaces.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    # One that has ended has no memory, but its time is known until somebody asks how it ended.
    private = next((line.split()[1] for line in status.splitlines() if line.startswith("RssAnon:")), "0")
    user, system = int(fields[11]), int(fields[12])
    return ProcessUsage(int(private) * 1024, (user + system) / os.sysconf("SC_CLK_TCK"))
