"""Board: the runs of slots that are to be filled, and which worker has claimed which.

All workers take from one queue, so a slow worker never holds up work that another could do, and the trainer's process
need not run for them to go on. A run is claimed under a lock that the kernel gives back when its holder is killed, and
its owner is written down before the claim counts: nothing is lost with a worker, and the one that takes its place finds
what was its own. The trainer's process never takes the lock: a worker that is stopped while it holds it must not stop
the training.

    trainer   task[published % capacity] = run;  published += 1;  a byte into every worker's wake pipe
              buffer[step % capacity] = buffer;  assigned += 1;   the same
    worker    under the lock: task[next % capacity].owner = worker;  next += 1

A run belongs to a step, whose batch buffer may be assigned later: what comes from afar is claimed and asked for before
there is a place for it.
"""

import fcntl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from shardkit.loading.region import Region
from shardkit.loading.tally import TALLY_ITEMS, Tally
from shardkit.storage.request_meter import METER_ITEMS, RequestMeter

ABSENT, IDLE = -2, -1
NOBODY = -1
_HEADER_ITEMS = 8
_NEXT, _PUBLISHED, _CANCELLED, _ASSIGNED, _WANTED, _WANTED_COUNT = range(6)
_TASK_ITEMS = 5
_STEP, _FIRST, _STOP, _EPOCH, _OWNER = range(_TASK_ITEMS)
_TICKET, _SLOT, _READS = range(3)
_TALLY = slice(8, 8 + TALLY_ITEMS)
_METER = slice(-(-_TALLY.stop // 8) * 8, -(-_TALLY.stop // 8) * 8 + METER_ITEMS)
_WORKER_ITEMS = -(-_METER.stop // 8) * 8
"""Whole cache lines: a worker writes to its first several times a clip, to the others once a run or a request."""


@dataclass(frozen=True, slots=True)
class Run:
    """A run of slots of one batch: the unit of work."""

    step: int
    """Number of the batch; its buffer is assigned when there is one."""
    first: int
    epoch: int
    rows: list[int]
    """Of the index: what goes into the slots from `first` on."""
    positions: list[int]
    """Of the epoch's order."""

    @property
    def stop(self) -> int:
        """Last slot + 1."""
        return self.first + len(self.rows)

    def rest(self, first: int) -> "Run":
        """What is left of it from slot `first` on."""
        done = first - self.first
        return Run(self.step, first, self.epoch, self.rows[done:], self.positions[done:])


@dataclass(frozen=True, slots=True)
class Claim:
    """What a worker says it is doing; no two workers say the same. The first slot also stands for planning the run."""

    ticket: int
    slot: int
    reads: bool = False
    """Whether it waits for the storage."""


class Board:
    """A view of the shared control region; the trainer's process publishes, workers claim."""

    def __init__(self, region: Region, *, workers: int, capacity: int, run_slots: int, shards: int = 0) -> None:
        self.region = region
        self._capacity = capacity
        # Alone in a process, record locks do not exclude threads from each other: those share this object.
        self._threads = threading.Lock()
        items = region.array.view("i8")
        sizes = _sizes(workers, capacity, run_slots, shards)
        parts = []
        start = 0
        for size in sizes:
            parts.append(items[start : start + size])
            start += size
        self._header = parts[0]
        self._workers = parts[1].reshape(workers, _WORKER_ITEMS)
        self._buffers = parts[2]
        self._tasks = parts[3].reshape(capacity, _TASK_ITEMS)
        self._clips = parts[4].reshape(capacity, 2, run_slots)
        self._wanted = parts[5]

    @classmethod
    def create(cls, *, workers: int, capacity: int, run_slots: int, shards: int = 0, shared: bool) -> "Board":
        """An empty board.

        Args:
            workers: Number of workers, and of others who count requests.
            capacity: Runs that may be published and not done at a time; no fewer than steps.
            run_slots: Slots of a run at most.
            shards: Shards of which it can be said that they are wanted.
            shared: Whether other processes work on it.
        """
        items = sum(_sizes(workers, capacity, run_slots, shards))
        region = Region.create(8 * items, shared=shared, name="board")
        board = cls(region, workers=workers, capacity=capacity, run_slots=run_slots, shards=shards)
        board._workers[:, _TICKET] = ABSENT
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
        """Adds a run; returns its ticket. The caller then wakes the workers."""
        ticket = int(self._header[_PUBLISHED])
        self._write(ticket, run, NOBODY)
        self._header[_PUBLISHED] = ticket + 1
        return ticket

    def _write(self, ticket: int, run: Run, owner: int) -> None:
        place = ticket % self._capacity
        self._clips[place, :, : len(run.rows)] = (run.rows, run.positions)
        self._tasks[place] = (run.step, run.first, run.stop, run.epoch, owner)

    def assign(self, step: int, buffer: int) -> None:
        """Gives a step its buffer; steps get theirs in order. The caller then wakes the workers."""
        assert step == int(self._header[_ASSIGNED])
        self._buffers[step % self._capacity] = buffer
        self._header[_ASSIGNED] = step + 1

    def buffer_of(self, step: int) -> int | None:
        """The buffer of a step; None as long as it has none."""
        return int(self._buffers[step % self._capacity]) if step < int(self._header[_ASSIGNED]) else None

    def claim(self, worker: int) -> tuple[int, Run] | None:
        """Takes the next run for `worker`, with its ticket; None where there is none."""
        if int(self._header[_NEXT]) >= int(self._header[_PUBLISHED]):
            return None
        with self._locked():
            ticket = int(self._header[_NEXT])
            if ticket >= int(self._header[_PUBLISHED]):
                return None
            # Killed from here to where it is counted, its owner is overwritten by the next one who claims.
            self._tasks[ticket % self._capacity, _OWNER] = worker
            self._header[_NEXT] = ticket + 1
        return ticket, self._run(ticket)

    def _run(self, ticket: int) -> Run:
        place = ticket % self._capacity
        step, first, stop, epoch, _ = self._tasks[place].tolist()
        rows, positions = self._clips[place, :, : stop - first].tolist()
        return Run(step, first, epoch, rows, positions)

    def claimed_by(self, worker: int) -> list[tuple[int, Run]]:
        """The runs that `worker` has claimed and that are not known to be done, with their tickets, in order."""
        following = int(self._header[_NEXT])
        tickets = range(max(0, following - self._capacity), following)
        return [
            (ticket, self._run(ticket)) for ticket in tickets if self._tasks[ticket % self._capacity, _OWNER] == worker
        ]

    def is_claimed_by(self, worker: int, ticket: int) -> bool:
        """Whether a run that is not known to be done is `worker`'s."""
        claimed = ticket < int(self._header[_NEXT])
        return claimed and int(self._tasks[ticket % self._capacity, _OWNER]) == worker

    def shorten(self, ticket: int, run: Run) -> None:
        """Leaves `run` of what a worker that is gone had claimed under `ticket`, for the one that takes its place."""
        self._write(ticket, run, int(self._tasks[ticket % self._capacity, _OWNER]))

    def done(self, ticket: int) -> None:
        """Writes down that a run is done."""
        self._tasks[ticket % self._capacity, _OWNER] = NOBODY

    def begin_slot(self, worker: int, ticket: int, slot: int, *, reads: bool = False) -> None:
        """Writes down that `worker` now fills `slot`: the one that is lost if it dies."""
        mine = self._workers[worker]
        mine[_SLOT] = slot
        mine[_READS] = reads
        mine[_TICKET] = ticket

    def reads(self, worker: int, reads: bool) -> None:  # noqa: FBT001 - on or off
        """Writes down whether `worker` waits for the storage."""
        self._workers[worker, _READS] = reads

    def want(self, shards: Sequence[int]) -> None:
        """Writes down which shards will be needed, the first ones first."""
        # Odd while it is written.
        self._header[_WANTED] += 1
        self._wanted[: len(shards)] = shards
        self._header[_WANTED_COUNT] = len(shards)
        self._header[_WANTED] += 1

    def wanted(self) -> list[int] | None:
        """The shards that will be needed; None while that is being written."""
        version = int(self._header[_WANTED])
        shards: list[int] = self._wanted[: int(self._header[_WANTED_COUNT])].tolist()
        return shards if version % 2 == 0 and version == int(self._header[_WANTED]) else None

    def tally(self, worker: int, tally: Tally) -> None:
        """Writes down what `worker` has done since it started."""
        tally.write(self._workers[worker, _TALLY])

    def tally_of(self, worker: int) -> Tally:
        """What `worker` has done since it started, up to its last run."""
        return Tally.read(self._workers[worker, _TALLY])

    def meter(self, worker: int) -> RequestMeter:
        """What `worker` has asked of the storage since it started: a view, for it to count in."""
        return RequestMeter(self._workers[worker, _METER])

    def release(self, worker: int) -> None:
        """Writes down that `worker` is there and is on no slot."""
        self._workers[worker, _TICKET] = IDLE

    def leave(self, worker: int) -> None:
        """Writes down that `worker` is gone, and what it did with it."""
        self._workers[worker, _TICKET] = ABSENT
        self.tally(worker, Tally())
        self._workers[worker, _METER] = 0

    def is_there(self, worker: int) -> bool:
        """Whether `worker` has come up, and has not left."""
        return int(self._workers[worker, _TICKET]) != ABSENT

    def claim_of(self, worker: int) -> Claim | None:
        """What `worker` is doing; None when it is on no slot."""
        ticket, slot, reads = self._workers[worker, : _READS + 1].tolist()
        return Claim(ticket, slot, bool(reads)) if ticket >= 0 else None

    def unclaimed(self) -> range:
        """Tickets that nobody has claimed."""
        return range(int(self._header[_NEXT]), int(self._header[_PUBLISHED]))

    def cancel(self) -> None:
        """Makes workers report all runs published so far as done without any work, save the clips they are on."""
        self._header[_CANCELLED] = self._header[_PUBLISHED]

    def is_cancelled(self, ticket: int) -> bool:
        """Whether the work of a run is not wanted any more."""
        return ticket < int(self._header[_CANCELLED])


def _sizes(workers: int, capacity: int, run_slots: int, shards: int) -> tuple[int, ...]:
    """Items of the board's parts."""
    header, tasks, clips = _HEADER_ITEMS, capacity * _TASK_ITEMS, 2 * capacity * run_slots
    return header, workers * _WORKER_ITEMS, capacity, tasks, clips, shards
