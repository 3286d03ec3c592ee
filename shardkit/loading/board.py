"""Board: the runs of slots that are to be filled, and which worker has claimed which.

All workers take from one queue, so a slow worker never holds up work that another could do, and the trainer's process
need not run for them to go on. A run is claimed under a lock that the kernel gives back when its holder is killed,
and every claim is written down before it counts: nothing is lost with a worker. The trainer's process never takes the
lock: a worker that is stopped while it holds it must not stop the training.

    trainer   task[published % capacity] = run;  published += 1;  one byte into the token pipe
    worker    one byte out of the token pipe;  under the lock: claim[worker] = next;  next += 1
"""

import fcntl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from shardkit.loading.region import Region
from shardkit.loading.tally import TALLY_ITEMS, Tally

ABSENT, IDLE = -2, -1
_HEADER_ITEMS = 8
_NEXT, _PUBLISHED, _CANCELLED = 0, 1, 2
_TASK_ITEMS = 4
_CLAIM_ITEMS = 16  # two cache lines each: workers write to the first once a clip, to the second once a run
_TICKET, _SLOT = 0, 1
_TALLY = slice(8, 8 + TALLY_ITEMS)


@dataclass(frozen=True, slots=True)
class Run:
    """A run of slots of one batch buffer: the unit of work."""

    buffer: int
    first: int
    stop: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Claim:
    """What a worker says it is doing; no two workers say the same. The first slot also stands for preparing the run."""

    ticket: int
    slot: int


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
        board._claims[:, _TICKET] = ABSENT
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
            # Nobody else is between writing a claim down and counting it: who says so was killed there.
            self._claims[self._claims[:, _TICKET] == ticket, _TICKET] = IDLE
            if ticket >= int(self._header[_PUBLISHED]):
                return None
            buffer, first, stop, epoch = self._tasks[ticket % self._capacity].tolist()
            self.begin_slot(worker, ticket, first)
            self._header[_NEXT] = ticket + 1
        return ticket, Run(buffer, first, stop, epoch)

    def begin_slot(self, worker: int, ticket: int, slot: int) -> None:
        """Writes down that `worker` now fills `slot`: the one that is lost if it dies."""
        claim = self._claims[worker]
        claim[_SLOT] = slot
        claim[_TICKET] = ticket

    def tally(self, worker: int, tally: Tally) -> None:
        """Writes down what `worker` has done since it started."""
        tally.write(self._claims[worker, _TALLY])

    def tally_of(self, worker: int) -> Tally:
        """What `worker` has done since it started, up to its last run."""
        return Tally.read(self._claims[worker, _TALLY])

    def release(self, worker: int) -> None:
        """Writes down that `worker` is there and has nothing claimed."""
        self._claims[worker, _TICKET] = IDLE

    def leave(self, worker: int) -> None:
        """Writes down that `worker` is gone, and what it did with it."""
        self._claims[worker, _TICKET] = ABSENT
        self.tally(worker, Tally())

    def is_there(self, worker: int) -> bool:
        """Whether `worker` has come up, and has not left."""
        return int(self._claims[worker, _TICKET]) != ABSENT

    def claim_of(self, worker: int) -> Claim | None:
        """What `worker` is doing; None when idle."""
        # `next` is read first. A claim that was not counted then does not count: it may pass to another worker.
        following = int(self._header[_NEXT])
        claim = self._claims[worker].tolist()
        return Claim(claim[_TICKET], claim[_SLOT]) if 0 <= claim[_TICKET] < following else None

    def unclaimed(self) -> range:
        """Tickets that nobody has claimed."""
        return range(int(self._header[_NEXT]), int(self._header[_PUBLISHED]))

    def cancel(self) -> None:
        """Makes workers report all runs published so far as done without any work, save the clips they are on."""
        self._header[_CANCELLED] = self._header[_PUBLISHED]

    def is_cancelled(self, ticket: int) -> bool:
        """Whether the work of a run is not wanted any more."""
        return ticket < int(self._header[_CANCELLED])
