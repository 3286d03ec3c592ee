"""Fetcher: reads that are under way while their reader works on others.

How many is a matter of latency: as many clips as the reader gets through while one comes, and some more, so that it
never waits; and of memory, which a number of bytes bounds.
"""

import math
import threading
import time
from queue import SimpleQueue

import numpy as np

from shardkit.errors import StorageError
from shardkit.storage.clients import RangeClient
from shardkit.storage.fetching import WHOLE_BYTES, Asked, Patience, fetch
from shardkit.storage.ranges import Bytes
from shardkit.storage.request_meter import RequestMeter

FETCH_BYTES = 48 << 20
"""Bytes that one reader may have asked for and not used yet."""
FIRST_READS, LEAST_READS, MOST_READS = 16, 4, 256
"""Reads under way: before the latency is known, at least, and at most, since each has a thread."""
SMOOTHING = 0.1
"""Weight of the newest measurement in the averages."""


class Fetch:
    """A range on its way, for one clip or for several that lie side by side."""

    __slots__ = ("asked", "failure", "found", "name", "start", "stop", "takers")

    def __init__(self, name: str, start: int, stop: int, takers: int) -> None:
        self.name = name
        self.start = start
        self.stop = stop
        self.takers = takers
        """Once they are none, nobody wants it any more."""
        self.asked: Asked | None = None
        self.found: Bytes | None = None
        self.failure: BaseException | None = None


class Fetcher:
    """Threads that fetch ranges of one folder's files, for one reader.

    Attributes:
        meter: What was asked of the storage so far.
    """

    def __init__(
        self,
        client: RangeClient,
        *,
        patience: Patience,
        budget_bytes: int = FETCH_BYTES,
        meter: RequestMeter | None = None,
    ) -> None:
        self.meter = meter or RequestMeter()
        self._client = client
        self._patience = patience
        self._budget_bytes = budget_bytes
        self._queue: SimpleQueue[Fetch | None] = SimpleQueue()
        self._closing = threading.Event()
        # One lock for all: a future for each read, with a lock of its own, takes longer than all that is done here.
        self._lock = threading.Lock()
        self._came = threading.Condition(self._lock)
        self._awaited: Fetch | None = None
        self._threads = self._idle = self._backlog = 0
        self._ahead_bytes = self._ahead = 0
        self._latency_s = self._deviation_s = 0.0
        self._service_s = 0.0
        self._taken_s = 0.0

    def has_room(self) -> bool:
        """Whether more should be begun."""
        return self._ahead_bytes < self._budget_bytes and self._ahead < self._wanted()

    def _wanted(self) -> float:
        if not (self._latency_s and self._service_s):
            return FIRST_READS
        # As TCP reckons with round trips: their mean and four times their deviation.
        slow_s = self._latency_s + 4 * self._deviation_s
        return min(MOST_READS, max(LEAST_READS, math.ceil(slow_s / self._service_s)))

    def begin(self, name: str, start: int, stop: int, *, takers: int = 1) -> Fetch:
        """Asks for bytes [start, stop) of a file, which will be taken or forgotten `takers` times."""
        wanted = Fetch(name, start, stop, takers)
        self._ahead_bytes += stop - start
        self._ahead += takers
        answer = self._client.begin(name, start, stop) if stop - start <= WHOLE_BYTES else None
        if answer is None:
            self._enqueue(wanted)
        else:
            wanted.asked = Asked(answer, time.monotonic())
            answer.add_done_callback(lambda _: self._answered(wanted))
        return wanted

    def _enqueue(self, wanted: Fetch) -> None:
        with self._lock:
            if self._closing.is_set():  # requests that were begun before may fail later
                wanted.failure = StorageError(f"{self._client.location.child(wanted.name)}: its reader was closed")
                self._tell(wanted)
                return
            if self._idle:
                self._idle -= 1
            elif self._threads == MOST_READS or not self._starts_thread():
                self._backlog += 1
            self._queue.put(wanted)

    def _starts_thread(self) -> bool:
        try:
            threading.Thread(target=self._run, name="shardkit-fetch", daemon=True).start()
        except RuntimeError:  # a container may allow fewer
            if not self._threads:
                raise
            return False
        self._threads += 1
        return True

    def _answered(self, wanted: Fetch) -> None:
        """Takes an answer as it comes, in the client's thread, where nobody would hear of an error."""
        try:
            self._take_in(wanted)
        except BaseException as exc:  # noqa: BLE001 - whoever takes it gets it
            with self._lock:
                wanted.failure = exc
                self._tell(wanted)

    def _take_in(self, wanted: Fetch) -> None:
        """Keeps an answer; what is none, a thread of ours tries again."""
        asked = wanted.asked
        if asked is None:  # it was forgotten
            return
        if asked.answer.cancelled():  # by others, such as a loop that ends
            wanted.asked = None
            self._enqueue(wanted)
        elif asked.answer.exception() or len(memoryview(asked.answer.result())) != wanted.stop - wanted.start:
            self._enqueue(wanted)
        else:
            took_s = time.monotonic() - asked.at_s
            self.meter.count_request(wanted.stop - wanted.start, took_s, is_retry=False)
            with self._lock:
                wanted.found = np.frombuffer(asked.answer.result(), np.uint8)
                self._measured(took_s)
                self._tell(wanted)

    def take(self, wanted: Fetch) -> Bytes:
        """The bytes of what was begun, once they are there.

        Raises:
            StorageError: They could not be had in time, or not at all.
            CorruptShardError: The file ends before them.
        """
        now_s = time.monotonic()
        if self._taken_s:
            self._service_s = _smoothed(self._service_s, now_s - self._taken_s)
        try:
            with self._lock:
                self._awaited = wanted
                while wanted.found is None and wanted.failure is None:
                    self._came.wait()
                self._awaited = None
            if wanted.failure is not None:
                raise wanted.failure
            assert wanted.found is not None
            return wanted.found
        finally:
            self.forget(wanted)
            self._taken_s = time.monotonic()

    def forget(self, wanted: Fetch) -> None:
        """Gives up what was begun, or has been taken."""
        self._ahead -= 1
        wanted.takers -= 1
        if not wanted.takers:
            self._ahead_bytes -= wanted.stop - wanted.start
            # Whoever took it has it; the memory is to be used again while it is in the caches.
            asked, wanted.asked, wanted.found = wanted.asked, None, None
            if asked:
                asked.answer.cancel()

    def _run(self) -> None:
        while (wanted := self._queue.get()) is not None:
            began_s = time.monotonic()
            found = failure = None
            try:
                if wanted.takers:
                    found = fetch(
                        self._client,
                        wanted.name,
                        wanted.start,
                        wanted.stop,
                        patience=self._patience,
                        meter=self.meter,
                        closing=self._closing,
                        asked=wanted.asked,
                    )
            except BaseException as exc:  # noqa: BLE001 - whoever takes it gets it
                failure = exc
            with self._lock:
                if self._backlog:
                    self._backlog -= 1
                else:
                    self._idle += 1
                if found is not None:
                    self._measured(time.monotonic() - began_s)
                wanted.found, wanted.failure = found, failure
                self._tell(wanted)
            del wanted, found, failure  # it may wait for long, and would keep them

    def _tell(self, wanted: Fetch) -> None:
        if self._awaited is wanted:
            self._came.notify()

    def _measured(self, latency_s: float) -> None:
        if not self._latency_s:
            self._latency_s = latency_s
        self._deviation_s = _smoothed(self._deviation_s, abs(latency_s - self._latency_s))
        self._latency_s = _smoothed(self._latency_s, latency_s)

    def close(self) -> None:
        """Ends the threads, those that wait for a server once it has answered or its time is over."""
        with self._lock:
            self._closing.set()
            for _ in range(self._threads):
                self._queue.put(None)


def _smoothed(average: float, value: float) -> float:
    return average + SMOOTHING * (value - average) if average else value
