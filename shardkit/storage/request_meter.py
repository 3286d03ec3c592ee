"""RequestMeter: what was asked of a storage: counted by threads, read by other processes where memory is shared."""

import math
import threading
from typing import Any

import numpy as np
import numpy.typing as npt

_REQUESTS, _BYTES, _RETRIES, _CACHED = range(4)
_LATENCIES = 4
LEAST_S = 1e-4
STEP = 1.2
BUCKETS = 80
"""Latencies are counted in buckets each a fifth longer than the one before, from 0.1 ms to three minutes."""
METER_ITEMS = _LATENCIES + BUCKETS


class RequestMeter:
    """Counts of requests.

    Attributes:
        items: int64 [METER_ITEMS], which may be shared memory.
    """

    def __init__(self, items: npt.NDArray[np.int64] | None = None) -> None:
        self.items = np.zeros(METER_ITEMS, np.int64) if items is None else items
        self._lock = threading.Lock()

    __hash__ = None  # type: ignore[assignment] # it changes

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RequestMeter) and bool((self.items == other.items).all())

    def __reduce__(self) -> tuple[Any, ...]:
        return RequestMeter, (self.items.copy(),)

    def count_request(self, size_bytes: int, seconds: float, *, is_retry: bool) -> None:
        """Counts a request, the bytes that it brought, and how long it took."""
        bucket = int(math.log(max(seconds, LEAST_S) / LEAST_S, STEP))
        with self._lock:
            self.items[_REQUESTS] += 1
            self.items[_BYTES] += size_bytes
            self.items[_RETRIES] += is_retry
            self.items[_LATENCIES + min(bucket, BUCKETS - 1)] += 1

    def count_cached_clip(self) -> None:
        """Counts a clip that was read from a copy."""
        self.items[_CACHED] += 1

    @property
    def requests(self) -> int:
        """Requests, retries among them."""
        return int(self.items[_REQUESTS])

    @property
    def request_bytes(self) -> int:
        """Bytes that requests brought."""
        return int(self.items[_BYTES])

    @property
    def retries(self) -> int:
        """Requests for what an earlier one had not brought."""
        return int(self.items[_RETRIES])

    @property
    def cached_clips(self) -> int:
        """Clips that were read from copies."""
        return int(self.items[_CACHED])

    def latency_s(self, share: float) -> float:
        """How long requests took: as long as this share of them at most, within a tenth; 0 without any."""
        counts = self.items[_LATENCIES:]
        if not counts.sum():
            return 0.0
        bucket = int(np.searchsorted(np.cumsum(counts), share * counts.sum()))
        return float(LEAST_S * STEP ** (bucket + 0.5))

    def __add__(self, other: "RequestMeter") -> "RequestMeter":
        return RequestMeter(self.items + other.items)

    def __sub__(self, other: "RequestMeter") -> "RequestMeter":
        return RequestMeter(self.items - other.items)
