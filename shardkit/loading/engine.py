"""Engine: ring, board and crew together. Buffers go in with the rows to load and come out filled.

A worker that dies or hangs is replaced. The clip that it was on is tried once more after a death (the system may have
killed it for reasons of its own) and becomes a fault after a second one, or after a hang.

A worker hangs that stands at the same place for `timeout_s` of waiting: on the same slot, or idle before the same head
of the queue. Only time spent waiting counts, and of each wait no more than was asked for: before, the worker may have
been held up by a full report pipe; and if the whole machine stood still, nobody is to blame.
"""

import os
import select
import time
import weakref
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import numpy.typing as npt

from shardkit.errors import WorkerError
from shardkit.interpreters import above_standard
from shardkit.loading.board import Board, Claim, Run
from shardkit.loading.crew import Crew, ProcessCrew, ThreadCrew
from shardkit.loading.dataset import Dataset
from shardkit.loading.filler import SlotFiller
from shardkit.loading.plan import BatchLayout, ClipPlan
from shardkit.loading.reports import NO_RUN, Fault, ReportReader
from shardkit.loading.ring import Ring
from shardkit.loading.tally import Tally
from shardkit.loading.usage import ProcessUsage, process_usage
from shardkit.loading.worker import WorkerStart, work
from shardkit.storage.shards import ShardReader

MAX_RUN_SLOTS = 16
"""A batch is cut into a run for each worker at most, so that all work on it; into more where those would be longer."""
POLL_S = 1.0
"""Waiting between two looks for hangs, where `timeout_s` allows it."""
MAX_STILLBORN = 3
"""Workers in a row that may die before they come up, one of each number apart: all may be killed at once."""
START_TIMEOUT_S = 60.0
"""How long a worker may take to come up, where `timeout_s` is shorter: imports from a cold network disk are slow."""


_engines: "weakref.WeakSet[Engine]" = weakref.WeakSet()
"""Those of this process, for its forks."""


@cache
def _let_forks_go() -> None:
    """Makes forks of this process let go of its engines; said once a process."""

    def close() -> None:
        for engine in _engines:
            engine.let_go()
        _engines.clear()  # a fork of the fork must not close what has those numbers by then

    os.register_at_fork(after_in_child=close)


@dataclass(slots=True)
class _Filling:
    """A buffer that was submitted."""

    runs_left: int = 0
    faults: list[Fault] = field(default_factory=list)


def _pipe(made: ExitStack) -> tuple[int, int]:
    """A pipe's two ends, which are closed with `made`."""
    ends = [above_standard(end) for end in os.pipe()]
    for end in ends:
        made.callback(os.close, end)
    return ends[0], ends[1]


class Engine:
    """Fills batch buffers with the help of workers; used by one thread."""

    def __init__(
        self,
        dataset: Dataset,
        plan: ClipPlan,
        *,
        batch_size: int,
        workers: int,
        processes: bool,
        timeout_s: float,
    ) -> None:
        self._dataset = dataset
        self._timeout_s = timeout_s
        self._patience_s = min(POLL_S, timeout_s / 4)
        self.workers = workers
        # Before anything is open that would have to be closed (readers open shards when they read): what cannot be made
        # is an error here, and not a thread that dies.
        readers = [] if processes else [dataset.reader() for _ in range(workers)]
        fillers = [(reader, SlotFiller(dataset.index, reader, plan)) for reader in readers]
        layout = BatchLayout.of(plan, batch_size)
        self._run_slots = min(MAX_RUN_SLOTS, -(-batch_size // workers))
        with ExitStack() as made:
            try:
                self.ring = Ring(layout, shared=processes)
                made.callback(self.ring.region.close)
                # Every run of every buffer, and what is left of the runs of workers that died.
                capacity = self.ring.buffers * -(-batch_size // self._run_slots) + 2 * workers
                self._board = Board.create(workers=workers, capacity=capacity, shared=processes)
                made.callback(self._board.region.close)
                self._token_out, self._token_in = _pipe(made)
                self._report_out, self._report_in = _pipe(made)
                self._crew = self._make_crew(plan, layout, batch_size, capacity, fillers)
            except OSError as exc:
                raise WorkerError(
                    f"{workers} workers cannot be started: {exc.strerror}; raise the limit (ulimit -n), or use fewer"
                ) from exc
            made.pop_all()
        os.set_blocking(self._report_out, False)
        self._reports = ReportReader(self._report_out)
        self._runs: dict[int, Run] = {}
        self._fillings: dict[int, _Filling] = {}
        self._deaths: dict[tuple[int, int], int] = {}
        self._stillborn = 0
        self._gone = Tally()
        self.gone_cpu_s = 0.0
        """CPU time of workers that were replaced."""
        self.replaced = 0
        self._waited_s = self._looked_s = 0.0
        self._standing: dict[int, tuple[Claim | int | None, float]] = {}
        self._owner = os.getpid()
        self._closed = False
        _let_forks_go()
        _engines.add(self)
        try:
            for worker in range(workers):
                self._crew.start(worker)
        except BaseException:
            self.close()
            raise

    def _make_crew(
        self,
        plan: ClipPlan,
        layout: BatchLayout,
        batch_size: int,
        capacity: int,
        fillers: Sequence[tuple[ShardReader, SlotFiller]],
    ) -> Crew:
        """Threads with `fillers`, one each; without any, processes."""
        if not fillers:
            ring_descriptor, board_descriptor = self.ring.region.descriptor, self._board.region.descriptor
            assert ring_descriptor is not None
            assert board_descriptor is not None
            start = WorkerStart(
                folder=str(self._dataset.folder),
                index_xxh3=self._dataset.manifest.index.xxh3,
                plan=plan.to_json(),
                batch_size=batch_size,
                buffers=self.ring.buffers,
                ring_descriptor=ring_descriptor,
                board_descriptor=board_descriptor,
                board_bytes=self._board.region.size_bytes,
                workers=self.workers,
                board_capacity=capacity,
                token_descriptor=self._token_out,
                report_descriptor=self._report_in,
            )
            return ProcessCrew(start.to_json(), (ring_descriptor, board_descriptor, self._token_out, self._report_in))
        board, ring, tokens, reports = self._board, self.ring.region, self._token_out, self._report_in

        def target(worker: int) -> None:
            reader, filler = fillers[worker]
            with reader:
                work(
                    worker,
                    board=board,
                    ring=ring,
                    layout=layout,
                    filler=filler,
                    tokens=tokens,
                    reports=reports,
                )

        return ThreadCrew(target)

    def submit(self, buffer: int, *, rows: npt.NDArray[np.int64], positions: npt.NDArray[np.int64], epoch: int) -> None:
        """Queues a buffer: clip rows[i], at rank-independent position positions[i], goes into slot i."""
        views = self.ring.views(buffer)
        views["row"][:] = rows
        views["position"][:] = positions
        self._fillings[buffer] = _Filling()
        self._deaths = {place: deaths for place, deaths in self._deaths.items() if place[0] != buffer}
        for first in range(0, len(rows), self._run_slots):
            self._publish(Run(buffer, first, min(first + self._run_slots, len(rows)), epoch))

    def _publish(self, run: Run) -> None:
        self._runs[self._board.publish(run)] = run
        self._fillings[run.buffer].runs_left += 1
        os.write(self._token_in, b"\0")

    def wait(self, buffer: int) -> list[Fault]:
        """Returns once every slot of `buffer` is filled or has a fault; the faults.

        Raises:
            WorkerError: Workers cannot be started, or a worker thread hangs.
            DataError: A worker finds another data set than was opened, or a damaged one.
            StorageError: A worker cannot read the data set.
        """
        filling = self._fillings[buffer]
        self._drain()
        while filling.runs_left:
            self._await_report()
        del self._fillings[buffer]
        return filling.faults

    def filled(self) -> int:
        """Buffers that were submitted, are filled, and have not been waited for.

        Raises:
            DataError, StorageError: As `wait`.
        """
        self._drain()
        return sum(not filling.runs_left for filling in self._fillings.values())

    def is_good(self, buffer: int) -> bool:
        """Whether every slot of a submitted buffer is filled, without a fault."""
        filling = self._fillings[buffer]
        return not filling.runs_left and not filling.faults

    def tally(self) -> Tally:
        """What all workers have done, those that were replaced included."""
        return sum((self._board.tally_of(worker) for worker in range(self.workers)), start=self._gone)

    def usage(self) -> list[ProcessUsage]:
        """Memory and CPU time of every worker process; none for threads."""
        return [usage for pid in self._crew.pids().values() if (usage := process_usage(pid)) is not None]

    def cancel(self) -> None:
        """Takes back all that was submitted and waits for the clips that workers are on; all buffers are idle then."""
        if self._closed or not self.is_own():
            return  # at the interpreter's end, when iterations are ended after the engine; and in a fork, as its copy
        self._board.cancel()
        self._drain()
        while self._runs:
            self._await_report()
        self._fillings.clear()

    def _await_report(self) -> None:
        """Waits for reports, a while at most, and looks after the workers."""
        sentinels = dict(self._crew.sentinels())
        poll = select.poll()
        for descriptor in (self._report_out, *sentinels):
            poll.register(descriptor, select.POLLIN)
        asked_s = time.monotonic()
        ready = [descriptor for descriptor, _ in poll.poll(1000 * self._patience_s)]
        self._waited_s += min(time.monotonic() - asked_s, self._patience_s)
        self._drain()
        for descriptor in ready:
            if descriptor in sentinels:
                self._replace(sentinels[descriptor])
        if self._waited_s - self._looked_s >= self._patience_s:
            self._looked_s = self._waited_s
            self._look_for_hangs()

    def _drain(self) -> None:
        failure: Fault | None = None
        for report in self._reports.drain():
            if report.ticket == NO_RUN:
                failure = failure or report.fault
                continue
            self._stillborn = 0
            run = self._runs.get(report.ticket)
            if run is None:
                continue
            if report.fault is None:
                del self._runs[report.ticket]
                self._fillings[run.buffer].runs_left -= 1
            else:
                self._fillings[run.buffer].faults.append(report.fault)
        # Last: what else was reported comes only once.
        if failure is not None:
            raise failure.error()

    def _look_for_hangs(self) -> None:
        queue = self._board.unclaimed()
        for worker in range(self.workers):
            claim = self._board.claim_of(worker)
            place = claim or (queue.start if queue else None)
            seen, since_s = self._standing.get(worker, (None, 0.0))
            if place is None or place != seen:
                self._standing[worker] = (place, self._waited_s)
                continue
            timeout_s = self._timeout_s if self._board.is_there(worker) else max(self._timeout_s, START_TIMEOUT_S)
            if self._waited_s - since_s < timeout_s:
                continue
            if not self._crew.replaceable:
                run = None if claim is None else self._runs.get(claim.ticket)
                where = self._dataset.folder if claim is None or run is None else self._clip(run.buffer, claim.slot)
                raise WorkerError(
                    f"{where}: not loaded after {self._timeout_s:g} s in a thread, which cannot be ended; "
                    "use worker_type='process'",
                )
            self._replace(worker, hung_on=claim)

    def _replace(self, worker: int, *, hung_on: Claim | None = None) -> None:
        pid = self._crew.pids().get(worker)
        usage = None if pid is None else process_usage(pid)
        self.gone_cpu_s += 0.0 if usage is None else usage.cpu_s
        ending = self._crew.bury(worker)
        self._drain()
        claim = self._board.claim_of(worker)
        came_up = self._board.is_there(worker)
        self._gone += self._board.tally_of(worker)
        self.replaced += 1
        self._board.leave(worker)
        self._standing.pop(worker, None)
        os.write(self._token_in, b"\0")  # it may have died with a token in its hand; one too many does no harm
        if not came_up:
            self._stillborn += 1
            if self._stillborn >= self.workers + MAX_STILLBORN:
                raise WorkerError(
                    f"{self._stillborn} workers in a row {ending} before they took any work; what they wrote to "
                    "standard error says why (worker_type='thread' works without them)",
                )
        if claim is not None and (run := self._runs.pop(claim.ticket, None)) is not None:
            self._fillings[run.buffer].runs_left -= 1
            # It may have gone on since it was looked at: then the clip that it is on now is not to blame.
            self._resume(run, claim.slot, hung=claim == hung_on, ending=ending)
        self._crew.start(worker)

    def _resume(self, run: Run, slot: int, *, hung: bool, ending: str) -> None:
        self._deaths[run.buffer, slot] = self._deaths.get((run.buffer, slot), 0) + 1
        if hung or self._deaths[run.buffer, slot] > 1:
            del self._deaths[run.buffer, slot]
            message = f"{self._clip(run.buffer, slot)}: " + (
                f"not loaded after {self._timeout_s:g} s; raise timeout_s, see whether the storage stalls, or pack the "
                "clip again"
                if hung
                else f"its worker was {ending}, twice; pack it again, or pass over it with on_error='skip'"
            )
            self._fillings[run.buffer].faults.append(Fault(slot, "WorkerError", message))
            slot += 1
        if slot < run.stop:
            self._publish(Run(run.buffer, slot, run.stop, run.epoch))

    def _clip(self, buffer: int, slot: int) -> str:
        row = int(self.ring.views(buffer)["row"][slot])
        return self._dataset.where(row)

    def is_own(self) -> bool:
        """Whether this process made it; a fork has a copy of this object, but not its workers."""
        return self._owner == os.getpid()

    def let_go(self) -> None:
        """Closes a fork's copies of descriptors: by a pipe's end workers know that the trainer's process is gone."""
        if not self._closed:
            self._crew.let_go()
            os.close(self._token_in)
            self._close_descriptors()

    def _close_descriptors(self) -> None:
        for descriptor in (self._token_out, self._report_in, self._report_out):
            os.close(descriptor)
        self.ring.region.close()
        self._board.region.close()

    def close(self) -> None:
        """Ends the workers. Leased buffers live on until their tensors die."""
        if self._closed or not self.is_own():
            return
        self._closed = True
        self._board.cancel()
        os.close(self._token_in)
        # A thread that is still on a clip will use its descriptors, so their numbers must not pass to other files.
        if self._crew.stop():
            self._close_descriptors()
