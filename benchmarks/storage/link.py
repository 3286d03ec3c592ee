"""How far away a server is, and how much comes through."""

import threading
import time
from dataclasses import dataclass

_BLOCK_BYTES = 1 << 18
_SLOW_BLOCK_S = 0.02


@dataclass(frozen=True)
class Link:
    """What lies between clients and the server.

    Raises:
        ValueError: A field is out of its range.
    """

    latency_s: float = 0.0
    """From a request to the first byte of its answer, besides what the server takes."""
    bytes_per_s: float | None = None
    """Of all bodies together; None is as fast as it goes."""
    mend_206: bool = False
    """Whether answers with a Content-Range get status 206, which rclone's have not and obstore wants."""

    def __post_init__(self) -> None:
        if self.latency_s < 0:
            raise ValueError(f"latency_s is {self.latency_s}, expected 0 or more")
        if self.bytes_per_s is not None and self.bytes_per_s <= 0:
            raise ValueError(f"bytes_per_s is {self.bytes_per_s}, expected more than 0, or None")


class Throttle:
    """Lets so many bytes a second through, for all threads together."""

    def __init__(self, bytes_per_s: float | None) -> None:
        self._bytes_per_s = bytes_per_s
        self._lock = threading.Lock()
        self._free_s = 0.0
        # A slow link gives small pieces often: whoever waits for the next byte sees it move.
        slow = _BLOCK_BYTES if bytes_per_s is None else int(bytes_per_s * _SLOW_BLOCK_S)
        self.block_bytes = max(1, min(_BLOCK_BYTES, slow))
        """How much to send at once."""

    def wait(self, size: int) -> None:
        """Returns when `size` bytes have come through."""
        if self._bytes_per_s is None:
            return
        with self._lock:
            now_s = time.monotonic()
            self._free_s = max(self._free_s, now_s) + size / self._bytes_per_s
            left_s = self._free_s - now_s
        time.sleep(left_s)
