"""Keys: the name that a clip's members share in the tar, made of its id and its start."""

import re
from collections.abc import Iterable

import xxhash

from shardkit.clip import Clip
from shardkit.errors import UsageError

LONGEST_ID_BYTES = 64
"""What an id may take: with start, ordinal and `.flac` a name stays within the 100 bytes that ustar has."""
LONGEST_NAME_BYTES = 100

_ESCAPED = re.compile(r"[^A-Za-z0-9_-]")
_HASH_DIGITS = 16


def clip_keys(clips: Iterable[Clip]) -> list[str]:
    """One key a clip: `ID_STARTMS`, with an ordinal (`_2`, `_3`, …) where an earlier clip has that key.

    Keys are ASCII without dots, distinct, and depend on the clips and their order only. Readers of
    WebDataset tars split a member's name at its first dot, so what is not a letter, digit, `_` or `-` is
    written `~XX`, a UTF-8 byte each.

    Example:
        >>> clip_keys([Clip(row=1, id="a.b", start_s=30.0), Clip(row=2, id="a.b", start_s=30.0)])
        ['a~2Eb_30000', 'a~2Eb_30000_2']
    """
    keys: list[str] = []
    taken: set[str] = set()
    next_ordinal: dict[str, int] = {}
    for clip in clips:
        base = key = key_without_ordinal(clip)
        # An id may itself end like an ordinal (`a_1` at 2 ms), so every candidate is looked up.
        while key in taken:
            ordinal = next_ordinal.get(base, 2)
            next_ordinal[base] = ordinal + 1
            key = f"{base}_{ordinal}"
        taken.add(key)
        keys.append(key)
    return keys


def check_member_names(keys: Iterable[str], extensions: Iterable[str]) -> None:
    """Passes if names of members stay within the 100 bytes that ustar has.

    Raises:
        UsageError: An extension, which has the name of a feature in it, is too long for a key.
    """
    longest_key, longest = max(keys, key=len, default=""), max(extensions, key=len, default="")
    if longest and len(name := f"{longest_key}.{longest}") > LONGEST_NAME_BYTES:
        raise UsageError(
            f"{name}: {len(name)} bytes, and names in tars have at most {LONGEST_NAME_BYTES}; name the feature with "
            f"{len(name) - LONGEST_NAME_BYTES} letters less"
        )


def key_without_ordinal(clip: Clip) -> str:
    """`ID_STARTMS`: what all clips of an id share that start together."""
    return f"{_safe_id(clip.id)}_{round((clip.start_s or 0.0) * 1000)}"


def without_ordinal(key: str, id: str) -> str:
    """`ID_STARTMS` of a key of a clip of source `id`."""
    start = len(_safe_id(id)) + 1
    return key[:start] + key[start:].split("_", 1)[0]


def _safe_id(id: str) -> str:
    safe = _ESCAPED.sub(_escape, id)
    if len(safe) <= LONGEST_ID_BYTES:
        return safe
    digest = xxhash.xxh3_64_hexdigest(id.encode())
    return f"{safe[: LONGEST_ID_BYTES - 1 - _HASH_DIGITS]}~{digest}"


def _escape(match: re.Match[str]) -> str:
    return "".join(f"~{byte:02X}" for byte in match[0].encode())
