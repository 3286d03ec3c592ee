"""How much memory batches may take here: what the machine has left, and what the control group allows."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

GROUPS = Path("/sys/fs/cgroup")
_UNLIMITED = "max"


class GroupReadings(NamedTuple):
    """What a control group (v2) says of its memory, as its files have it."""

    limit: str
    """memory.max."""
    used: str
    """memory.current; the cache of files that were read is part of it."""
    kinds: str
    """memory.stat."""


def available_bytes(meminfo: str, groups: Iterable[GroupReadings] = ()) -> int | None:
    """Memory that can be taken without swapping and without being killed for it.

    Args:
        meminfo: Linux's /proc/meminfo.
        groups: This process's control group and those that it is in.

    Returns:
        Bytes; None where nothing is known.
    """
    known = []
    machine_kib = _fields(meminfo.replace(":", "")).get("MemAvailable")
    if machine_kib is not None:
        known.append(machine_kib * 1024)
    for group in groups:
        if group.limit.strip() == _UNLIMITED:
            continue
        kinds = _fields(group.kinds)
        # The system drops cached files before it kills anybody, and a loader's shards fill that cache.
        dropped = kinds.get("active_file", 0) + kinds.get("inactive_file", 0)
        known.append(max(0, int(group.limit) - max(0, int(group.used) - dropped)))
    return min(known, default=None)


def read_available_bytes() -> int | None:
    """`available_bytes` of this process, now."""
    try:
        meminfo = Path("/proc/meminfo").read_text(encoding="ascii")
    except OSError:
        meminfo = ""
    return available_bytes(meminfo, _own_groups())


def _own_groups() -> list[GroupReadings]:
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    own = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), None)
    if own is None:
        return []
    folder = GROUPS / own
    readings = []
    for group in (folder, *folder.parents):
        if group.is_relative_to(GROUPS):
            try:
                names = ("memory.max", "memory.current", "memory.stat")
                readings.append(GroupReadings(*((group / name).read_text(encoding="ascii") for name in names)))
            except OSError:
                continue  # the root has no limit, and in a container the path may be the host's
    return readings


def _fields(text: str) -> Mapping[str, int]:
    """The numbers of `name number …` lines."""
    words = (line.split() for line in text.splitlines())
    return {line[0]: int(line[1]) for line in words if len(line) > 1 and line[1].isdecimal()}
