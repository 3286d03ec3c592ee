"""Digests: 64-bit xxh3 of members, packets and seconds of audio; 128-bit xxh3 of whole files."""

from typing import Any

import xxhash

FileHasher = xxhash.xxh3_128
"""Hash object of a whole file: `update(bytes)`, `hexdigest()`."""


GIL_BYTES = 65536
"""Up to this many the GIL is kept: a digest takes some microseconds, as long as giving it away and getting it back."""


def xxh3(data: Any) -> int:
    """The 64-bit xxh3 digest of a bytes-like object."""
    if len(data) <= GIL_BYTES:
        return int(xxhash.xxh3_64_intdigest(data))
    # update() releases the GIL; the one-shot xxh3_64_intdigest() does not.
    hasher = xxhash.xxh3_64()
    hasher.update(data)
    return int(hasher.intdigest())


def file_digest(data: Any) -> str:
    """The digest of a whole file's bytes as the manifest writes it: 32 hex digits of xxh3_128."""
    hasher = FileHasher()
    hasher.update(data)
    return str(hasher.hexdigest())
