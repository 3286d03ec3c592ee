"""What a measurement ran on: it means little without."""

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

from shardkit import __version__
from shardkit.cores import usable_cores

LIBRARIES = ("av", "decord2", "numpy", "pyarrow", "simplejpeg", "torch", "xxhash")
"""Packages whose versions decide how fast a loader is."""


def machine() -> dict[str, Any]:
    """Processor, cores that this process may run on, memory, system, and how busy it was before."""
    return {
        "processor": _processor(),
        "architecture": platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "usable_cores": usable_cores(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": platform.platform(),
        "load_average": os.getloadavg(),
    }


def versions() -> dict[str, str]:
    """Versions of shardkit, Python and the libraries that do the work."""
    own = {"shardkit": __version__, "python": platform.python_version()}
    return own | {name: version(name) for name in LIBRARIES}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    models = {line.partition(":")[2].strip() for line in lines if line.startswith("model name")}
    return ", ".join(sorted(models)) or platform.processor() or platform.machine()
