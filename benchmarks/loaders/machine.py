"""What a run ran on."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = (
    *("shardkit", "torch", "numpy", "simplejpeg", "decord2", "av", "pyarrow", "webdataset"),
    *("litdata", "spdl_core", "spdl_io", "megatron-energon"),
)


def machine() -> dict:
    """Processor, cores, memory, kernel."""
    cpu_info = Path("/proc/cpuinfo").read_text()
    models = {line.partition(":")[2].strip() for line in cpu_info.splitlines() if line.startswith("model name")}
    memory_kb = int(Path("/proc/meminfo").read_text().split(maxsplit=2)[1])
    return {
        "processor": ", ".join(sorted(models)),
        "architecture": platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": memory_kb * 1024,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_average": os.getloadavg(),
    }


def versions() -> dict[str, str | None]:
    """Versions of everything that is measured; None is not installed."""
    return {name: _version(name) for name in PACKAGES}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
