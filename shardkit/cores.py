"""How many cores this process may use: its affinity and its control group's quota decide, not the machine's size."""

import os
from pathlib import Path


def usable_cores() -> float:
    """Cores that this process may keep busy; a quota can be a fraction."""
    cores = float(len(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else float(os.cpu_count() or 1)
    quota = _cgroup_quota()
    return cores if quota is None else min(cores, quota)


def _cgroup_quota() -> float | None:
    """Cores that the control group allows (v2, then v1); None without a limit."""
    try:
        limit, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return None if limit == "max" else int(limit) / int(period)
    except (OSError, ValueError):
        pass
    folder = Path("/sys/fs/cgroup/cpu")
    try:
        limit_us = int((folder / "cpu.cfs_quota_us").read_text(encoding="ascii"))
        return None if limit_us <= 0 else limit_us / int((folder / "cpu.cfs_period_us").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
