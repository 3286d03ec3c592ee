"""A process that uses a cache at random, checks what it sees, and may be killed at any moment.

    python cache_user.py FOLDER LIMIT_BYTES SEED TURNS DIES

It ends with code 0 after its turns, or where DIES is 1, at some turn or other, by SIGKILL in the middle of a download.
"""

import os
import random
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

from shardkit.storage import node_cache
from shardkit.storage.node_cache import CachedFile, NodeCache, NoRoomError

UNIT_BYTES = 50_000
FILES = [
    CachedFile(f"http://host/{number}.tar", (1 + number % 4) * UNIT_BYTES, f"{number:032x}") for number in range(8)
]
"""Each holds its number, over and over."""


def content(file: CachedFile) -> bytes:
    """What a file holds."""
    return bytes([int(file.digest, 16)]) * file.size_bytes


def used_bytes(folder: Path) -> int:
    """Of all that is in a cache."""
    return sum(path.stat().st_size for path in folder.iterdir() if path.name != ".lock")


class User:
    """One process's turns."""

    def __init__(self, folder: Path, limit_bytes: int, *, seed: int, dies: bool) -> None:
        self._cache = NodeCache(folder, limit_bytes=limit_bytes)
        self._draw = random.Random(seed)
        self._dies = dies
        self._held: list = []

    def turn(self) -> None:
        """Does one thing."""
        file = self._draw.choice(FILES)
        match self._draw.choice(("hold", "hold", "fetch", "fetch", "fetch", "let go", "let go", "drop")):
            case "hold":
                self._keep(file, self._cache.hold(file))
            case "fetch":
                with suppress(NoRoomError):
                    self._fetch(file)
            case "let go" if self._held:
                self._held.pop(self._draw.randrange(len(self._held))).close()
            case "drop" if self._held and self._draw.random() < 0.1:
                self._cache.drop(self._draw.choice(self._held))
        # Room is made and files are begun under the lock only, so that nothing moves meanwhile but what goes.
        with self._cache.locked() as is_locked:
            assert is_locked
            with suppress(FileNotFoundError):
                assert used_bytes(self._cache.folder) <= self._cache.limit_bytes

    def _fetch(self, file: CachedFile) -> None:
        part = self._cache.begin(file)
        if part is None:
            return
        try:
            data = content(file)
            os.pwrite(part.descriptor, data[: len(data) // 2], 0)
            time.sleep(self._draw.random() * 0.005)
            if self._dies and self._draw.random() < 0.1:
                os.kill(os.getpid(), signal.SIGKILL)
            if self._draw.random() < 0.2:
                return  # what broke off
            os.pwrite(part.descriptor, data[len(data) // 2 :], len(data) // 2)
            self._keep(file, part.finish())
        finally:
            part.abandon()

    def _keep(self, file: CachedFile, held) -> None:
        if held is None:
            return
        self._held.append(held)
        assert os.pread(held.descriptor, file.size_bytes + 1, 0) == content(file)
        if len(self._held) > 2:
            self._held.pop(0).close()


if __name__ == "__main__":
    node_cache.LOCK_TIMEOUT_S = 60.0  # the machine may pause for longer than a disk without locks is waited for
    place, limit, seed, turns, dies = sys.argv[1:]
    user = User(Path(place), int(limit), seed=int(seed), dies=bool(int(dies)))
    taken = 0
    while taken < int(turns) or int(dies):
        user.turn()
        taken += 1
