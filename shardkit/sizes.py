"""Sizes in bytes as people write them."""

import re

from shardkit.errors import UsageError

_FACTORS = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "kib": 1 << 10,
    "mib": 1 << 20,
    "gib": 1 << 30,
    "tb": 10**12,
    "tib": 1 << 40,
}


def parse_size(text: str) -> int:
    """Bytes of `512MB`, `1.5 GiB` or `1000`.

    Raises:
        UsageError: It is no size.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", text.lower())
    if found is None or found[2] not in _FACTORS:
        raise UsageError(f"{text!r} is no size; 512MB or 1GiB would be one")
    return int(float(found[1]) * _FACTORS[found[2]])


def shown_size(size_bytes: int) -> str:
    """A size for people: `512.0 MB`."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size_bytes >= factor:
            return f"{size_bytes / factor:.1f} {unit}"
    return f"{size_bytes} B"
