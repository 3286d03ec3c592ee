"""CacheWatch: the most that lay in a folder at any moment."""

import os
import threading
from contextlib import suppress
from pathlib import Path

EVERY_S = 0.05


def folder_bytes(folder: Path) -> int:
    """Sizes of all files below a folder, or what they take on the disk, whichever is more of each."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):  # it went meanwhile
                about = (Path(parent) / name).lstat()
                total += max(about.st_size, about.st_blocks * 512)
    return total


class CacheWatch:
    """Looks at a folder every 50 ms while it is open."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._most_bytes = 0

    @property
    def most_bytes(self) -> int:
        """The most that was seen, now among it."""
        self._look()
        return self._most_bytes

    def _look(self) -> None:
        self._most_bytes = max(self._most_bytes, folder_bytes(self._folder))

    def _run(self) -> None:
        while not self._over.wait(EVERY_S):
            self._look()

    def __enter__(self) -> "CacheWatch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
