"""Digests: 64-bit xxh3 of members, packets and seconds of audio; 128-bit xxh3 of whole files."""

import json
from typing import Any, BinaryIO

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


def json_digest(content: Any) -> str:
    """The digest of plain values, as those of a file that holds them as JSON in one certain way."""
    return file_digest(json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode())


class HashingFile:
    """A file to write that counts and digests what passes."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hasher = FileHasher()
        self.size_bytes = 0

    @property
    def closed(self) -> bool:
        """Whether the file is closed; Arrow asks."""
        return self._file.closed

    def write(self, data: bytes) -> int:
        """Writes all of the data."""
        self._hasher.update(data)
        self.size_bytes += len(data)
        return self._file.write(data)

    @property
    def digest(self) -> str:
        """xxh3_128 of what was written, as the manifest has it."""
        return str(self._hasher.hexdigest())
