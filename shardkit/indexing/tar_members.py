"""TarMembers: what is in a tar, as its bytes pass once: members, where their data lie, and the digest of the whole."""

import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, cast

from shardkit.format.digest import FileHasher

CHUNK_BYTES = 1 << 20
"""What is read at a time; a multiple of tar's blocks."""
DECOMPRESS = "decompress it, since clips are read out of its middle"
"""What to do about a compressed tar."""
_COMPRESSIONS = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}


@dataclass(frozen=True, slots=True)
class TarMember:
    """A file in a tar."""

    name: str
    offset: int
    """Byte of the tar at which its data begin."""
    size_bytes: int
    data: bytes | None
    """None where they were not wanted."""


class TarMembers:
    """Iterates over the regular files of a tar, which is read as a stream.

    Where the tar cannot be read any further, the members before that have been given, and `damage` says what is wrong.

    Attributes:
        damage: What is wrong with the tar, and from which byte on it is lost; None where it ended as it should. Known
            at the end, as size and digest.
    """

    def __init__(self, stream: BinaryIO, *, wants: Callable[[str, int], bool]) -> None:
        """Takes a tar.

        Args:
            stream: Is read to its end, and not closed.
            wants: From a member's name and size to whether its data are to be held.
        """
        self._stream = _Passing(stream)
        self._wants = wants
        self.damage: str | None = None
        self._offset = 0

    @property
    def size_bytes(self) -> int:
        """How much has passed."""
        return self._stream.size_bytes

    @property
    def digest(self) -> str:
        """xxh3_128 of what has passed, as the manifest has it."""
        return self._stream.digest

    def __iter__(self) -> Iterator[TarMember]:
        try:
            # Not tarfile's own choice of compression: byte ranges are read later.
            # Names that are not UTF-8 become text that says so: they go into an index of text.
            with tarfile.open(
                fileobj=cast("BinaryIO", self._stream),
                mode="r|",
                bufsize=CHUNK_BYTES,
                encoding="utf-8",
                errors="backslashreplace",
            ) as tar:
                yield from self._members(tar)
                self._check_end(tar.offset)
        except (tarfile.TarError, ValueError, OverflowError) as exc:  # headers of any bytes can say anything
            self.damage = self._described(str(exc))
        self._stream.drain()

    def _members(self, tar: tarfile.TarFile) -> Iterator[TarMember]:
        while True:
            # Where the next one's headers begin; a long name has one of its own.
            self._offset = tar.offset
            info = tar.next()
            if info is None:
                return
            tar.members = []  # type: ignore[attr-defined] # it would keep them all
            if not info.isreg():
                continue
            if info.issparse():
                raise tarfile.ReadError(f"{info.name!r} is a sparse file, whose bytes do not lie side by side")
            data = None
            if self._wants(info.name, info.size):
                file = tar.extractfile(info)
                assert file is not None
                data = file.read()
            yield TarMember(info.name, info.offset_data, info.size, data)

    def _check_end(self, offset: int) -> None:
        """Raises ReadError where tarfile stopped at something else than an end mark, which it does without a word."""
        block = self._stream.block(offset)
        if any(block):
            raise tarfile.ReadError("no tar header where one should be")

    def _described(self, reason: str) -> str:
        compression = next((name for magic, name in _COMPRESSIONS.items() if self._stream.begins_with(magic)), None)
        if compression is not None:
            return f"is compressed ({compression}): {DECOMPRESS}"
        return f"cannot be read from byte {self._offset:,} on ({reason}): fetch it again, or leave it as it is"


class _Passing:
    """A stream that counts and digests what is read of it, and remembers the last of it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._hasher = FileHasher()
        self._begin = b""
        self._last: list[tuple[int, bytes]] = []
        self.size_bytes = 0

    def read(self, size: int) -> bytes:
        """All of `size` bytes, unless the stream ends: chunks begin and end where blocks do."""
        chunk = self._stream.read(size)
        while 0 < len(chunk) < size and (more := self._stream.read(size - len(chunk))):
            chunk += more
        self._hasher.update(chunk)
        self._begin = self._begin or chunk[: tarfile.BLOCKSIZE]
        # Two: the last one is empty where a block was cut short.
        self._last = [*self._last[-1:], (self.size_bytes, chunk)]
        self.size_bytes += len(chunk)
        return chunk

    def begins_with(self, magic: bytes) -> bool:
        return self._begin.startswith(magic)

    def block(self, offset: int) -> bytes:
        """The tar block at an offset, as far as it was among the last to pass."""
        first = self._last[0][0] if self._last else 0
        held = b"".join(chunk for _, chunk in self._last)
        return held[max(0, offset - first) :][: tarfile.BLOCKSIZE]

    def drain(self) -> None:
        while self.read(CHUNK_BYTES):
            pass

    @property
    def digest(self) -> str:
        return str(self._hasher.hexdigest())
