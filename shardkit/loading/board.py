"""Board: the runs of slots that are to be filled, and which worker has claimed which.

All workers take from one queue, so a slow worker never holds up work that another could do, and the trainer's process
need not run for them to go on. A run is claimed under a lock that the kernel gives back when its holder is killed,
and every claim is written down before it counts: nothing is lost with a worker.

    trainer   task[published % capacity] = run;  published += 1;  one byte into the token pipe
    worker    one byte out of the token pipe;  under the lock: claim[worker] = next;  next += 1
"""

import fcntl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from shardkit.loading.region import Region

IDLE = -1
_HEADER_ITEMS = 8
_NEXT, _PUBLISHED = 0, 1
_TASK_ITEMS = 4
_CLAIM_ITEMS = 8  # a cache line each: workers write here once a clip
_TICKET, _SLOT, _SINCE = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Run:
    """A run of slots of one batch buffer: the unit of work."""

    buffer: int
    first: int
    stop: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Claim:
    """What a worker says it is doing."""

    ticket: int
    slot: int
    since_s: float
    """time.monotonic() when it began that slot."""


class Board:
    """A view of the shared control region; the trainer's process publishes, workers claim."""

    def __init__(self, region: Region, *, workers: int, capacity: int) -> None:
        self.region = region
        self._capacity = capacity
        # Alone in a process, record locks do not exclude threads from each other: those share this object.
        self._threads = threading.Lock()
        items = region.array.view("i8")
        self._header = items[:_HEADER_ITEMS]
        claims_end = _HEADER_ITEMS + workers * _CLAIM_ITEMS
        self._claims = items[_HEADER_ITEMS:claims_end].reshape(workers, _CLAIM_ITEMS)
        self._tasks = items[claims_end : claims_end + capacity * _TASK_ITEMS].reshape(capacity, _TASK_ITEMS)

    @classmethod
    def create(cls, *, workers: int, capacity: int, shared: bool) -> "Board":
        """An empty board."""
        size_bytes = 8 * (_HEADER_ITEMS + workers * _CLAIM_ITEMS + capacity * _TASK_ITEMS)
        board = cls(Region.create(size_bytes, shared=shared, name="board"), workers=workers, capacity=capacity)
        board._claims[:, _TICKET] = IDLE
        return board

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._threads:
            if self.region.descriptor is None:
                yield
                return
            fcntl.lockf(self.region.descriptor, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.lockf(self.region.descriptor, fcntl.LOCK_UN)

    def publish(self, run: Run) -> int:
        """Adds a run; returns its ticket. The caller then puts a token into the pipe."""
        ticket = int(self._header[_PUBLISHED])
        assert ticket - int(self._header[_NEXT]) < self._capacity
        self._tasks[ticket % self._capacity] = (run.buffer, run.first, run.stop, run.epoch)
        self._header[_PUBLISHED] = ticket + 1
        return ticket

    def claim(self, worker: int) -> tuple[int, Run] | None:
        """Takes the next run for `worker`, with its ticket; None where a token had no run."""
        with self._locked():
            ticket = int(self._header[_NEXT])
            if ticket >= int(self._header[_PUBLISHED]):
                return None
            buffer, first, stop, epoch = self._tasks[ticket % self._capacity].tolist()
            self._write(worker, ticket, first)
            self._header[_NEXT] = ticket + 1
        return ticket, Run(buffer, first, stop, epoch)

    def begin_slot(self, worker: int, ticket: int, slot: int) -> None:
        """Writes down that `worker` now fills `slot`: the one that is lost if it dies."""
        self._write(worker, ticket, slot)

    def _write(self, worker: int, ticket: int, slot: int) -> None:
        claim = self._claims[worker]
        claim[_SLOT] = slot
        claim[_SINCE] = time.monotonic_ns()
        claim[_TICKET] = ticket

    def release(self, worker: int) -> None:
        """Writes down that `worker` has nothing claimed."""
        self._claims[worker, _TICKET] = IDLE

    def claim_of(self, worker: int) -> Claim | None:
        """What `worker` is doing; None when idle."""
        with self._locked():
            claim = self._claims[worker].tolist()
            # Killed between writing the claim and counting it: the run is still in the queue.
            if claim[_TICKET] == IDLE or claim[_TICKET] >= int(self._header[_NEXT]):
                return None
        return Claim(claim[_TICKET], claim[_SLOT], claim[_SINCE] / 1e9)

    def withdraw(self) -> range:
        """Takes back all runs that nobody has claimed; returns their tickets."""
        with self._locked():
            tickets = range(int(self._header[_NEXT]), int(self._header[_PUBLISHED]))
            self._header[_NEXT] = self._header[_PUBLISHED]
        return tickets
