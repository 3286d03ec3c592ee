"""Engine: ring, board and crew together. Steps go in with the rows to load, get a buffer, and come out filled.

A worker that dies or hangs is replaced by one that goes on with what it had claimed. The clip that it was on is tried
once more after a death (the system may have killed it for reasons of its own) and becomes a fault after a second one,
or after a hang.

A worker hangs that stands at the same place for `timeout_s` of waiting: on the same slot, or idle before the same run
that it could fill. Only time spent waiting counts, and of each wait no more than was asked for: before, the worker may
have been held up by a full report pipe; and if the whole machine stood still, nobody is to blame.
"""

import os
import select
import time
import weakref
from collections.abc import Sequence
from contextlib import ExitStack, closing, suppress
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
from shardkit.loading.keeping import keep
from shardkit.loading.plan import BatchLayout, ClipPlan
from shardkit.loading.reports import NO_RUN, Fault, ReportReader
from shardkit.loading.ring import Ring
from shardkit.loading.tally import Tally
from shardkit.loading.usage import ProcessUsage, process_usage
from shardkit.loading.worker import WorkerStart, room_for_files, work
from shardkit.storage.fetcher import FETCH_BYTES
from shardkit.storage.ranges import RangeReader
from shardkit.storage.request_meter import RequestMeter
from shardkit.storage.shards import MAX_OPEN_SHARDS

MAX_RUN_SLOTS = 16
"""A batch is cut into a run for each worker at most, so that all work on it; into more where those would be longer."""
POLL_S = 1.0
"""Waiting between two looks for hangs, where `timeout_s` allows it."""
MAX_STILLBORN = 3
"""Workers in a row that may die before they come up, one of each number apart: all may be killed at once."""
MOST_AHEAD_CLIPS = 4096
"""Clips that are planned ahead of the ring at most, for all workers together."""
START_TIMEOUT_S = 60.0
"""How long a worker may take to come up, where `timeout_s` is shorter: imports from a cold network disk are slow."""
TRAINER_FILES = 1024
"""Descriptors that a process with worker threads may need for other things than shards: the usual limit of all."""


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
    """A step that was planned."""

    rows: npt.NDArray[np.int64]
    """Of the index, slot by slot."""
    positions: npt.NDArray[np.int64]
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
        self._thread_meters = [] if processes else [RequestMeter() for _ in range(workers)]
        readers = [dataset.reader(meter=meter) for meter in self._thread_meters]
        fillers = [(reader, SlotFiller(dataset.index, reader, plan)) for reader in readers]
        layout = BatchLayout.of(plan, batch_size)
        self._run_slots = min(MAX_RUN_SLOTS, -(-batch_size // workers))
        self.lookahead_steps = _lookahead_steps(dataset, batch_size, workers)
        with ExitStack() as made:
            try:
                self.ring = Ring(layout, shared=processes)
                made.callback(self.ring.region.close)
                # Every run of every step that is planned and not done.
                steps = self.ring.buffers + self.lookahead_steps
                capacity = steps * -(-batch_size // self._run_slots)
                # Beyond those that fill slots, one that keeps shards in a cache.
                self._keeper = workers if dataset.store.keeps_copies else None
                self._numbers = range(workers + (self._keeper is not None))
                self._board = Board.create(
                    workers=len(self._numbers),
                    capacity=capacity,
                    run_slots=self._run_slots,
                    shards=len(dataset.store.shards),
                    shared=processes,
                )
                made.callback(self._board.region.close)
                self._wakes = [_pipe(made) for _ in self._numbers]
                self._report_out, self._report_in = _pipe(made)
                self._crew = self._make_crew(plan, layout, batch_size, capacity, fillers)
            except OSError as exc:
                raise WorkerError(
                    f"{workers} workers cannot be started: {exc.strerror}; raise the limit (ulimit -n), or use fewer"
                ) from exc
            made.pop_all()
        os.set_blocking(self._report_out, False)
        for _, wake_in in self._wakes:
            os.set_blocking(wake_in, False)  # a full pipe wakes as well as one byte more
        self._reports = ReportReader(self._report_out)
        self._runs: dict[int, Run] = {}
        self._fillings: dict[int, _Filling] = {}
        """By step."""
        self._next_step = self._next_assigned = 0
        self._deaths: dict[tuple[int, int], int] = {}
        """Of workers on a slot of a step."""
        self._stillborn = 0
        self._gone = Tally()
        self._gone_meter = RequestMeter()
        self.gone_cpu_s = 0.0
        """CPU time of workers that were replaced, the keeper's apart."""
        self._gone_keeper_cpu_s = 0.0
        self.replaced = 0
        self._waited_s = self._looked_s = 0.0
        self._standing: dict[int, tuple[Claim | int | None, float]] = {}
        self._owner = os.getpid()
        self._closed = False
        _let_forks_go()
        _engines.add(self)
        try:
            for worker in self._numbers:
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
        fillers: Sequence[tuple[RangeReader, SlotFiller]],
    ) -> Crew:
        """Threads with `fillers`, one each; without any, processes."""
        if not fillers:
            ring_descriptor, board_descriptor = self.ring.region.descriptor, self._board.region.descriptor
            assert ring_descriptor is not None
            assert board_descriptor is not None
            start = WorkerStart(
                store=self._dataset.store.to_json(),
                index_path=str(self._dataset.index_file.path),
                index_xxh3=self._dataset.manifest.index.xxh3,
                plan=plan.to_json(),
                batch_size=batch_size,
                buffers=self.ring.buffers,
                ring_descriptor=ring_descriptor,
                board_descriptor=board_descriptor,
                board_bytes=self._board.region.size_bytes,
                board_capacity=capacity,
                run_slots=self._run_slots,
                wake_descriptors=[wake_out for wake_out, _ in self._wakes],
                report_descriptor=self._report_in,
                keeper=self._keeper,
            )
            return ProcessCrew(
                start.to_json(), (ring_descriptor, board_descriptor, *start.wake_descriptors, self._report_in)
            )
        board, ring, wakes, reports = self._board, self.ring.region, self._wakes, self._report_in

        def target(worker: int) -> None:
            if worker == self._keeper:
                store = self._dataset.store
                others = TRAINER_FILES + MAX_OPEN_SHARDS * self.workers
                most = room_for_files(len(store.shards), others=others)
                keep(worker, board=board, store=store, most=most, wake=wakes[worker][0], reports=reports)
                return
            reader, filler = fillers[worker]
            with closing(reader):
                work(
                    worker,
                    board=board,
                    ring=ring,
                    layout=layout,
                    filler=filler,
                    reader=reader,
                    wake=wakes[worker][0],
                    reports=reports,
                )

        return ThreadCrew(target)

    def plan(self, *, rows: npt.NDArray[np.int64], positions: npt.NDArray[np.int64], epoch: int) -> int:
        """Queues a step: clip rows[i], at rank-independent position positions[i], goes into slot i. Returns its number.

        Workers may begin to read for it; they fill it once it is assigned.
        """
        step = self._next_step
        self._next_step += 1
        filling = self._fillings[step] = _Filling(rows, positions)
        row_list, position_list = rows.tolist(), positions.tolist()
        for first in range(0, len(row_list), self._run_slots):
            slots = slice(first, first + self._run_slots)
            run = Run(step, first, epoch, row_list[slots], position_list[slots])
            self._runs[self._board.publish(run)] = run
            filling.runs_left += 1
        return step

    def assign(self, step: int, buffer: int) -> None:
        """Gives a step a buffer; steps get theirs in the order in which they were planned."""
        filling = self._fillings[step]
        views = self.ring.views(buffer)
        views["row"][:] = filling.rows
        views["position"][:] = filling.positions
        self._board.assign(step, buffer)
        self._next_assigned = step + 1

    def want(self, shards: Sequence[int]) -> None:
        """Says which shards will be needed, the first ones first, for a cache."""
        self._board.want(shards)

    def wake(self) -> None:
        """Lets workers look for what was planned and assigned."""
        for _, wake_in in self._wakes:
            with suppress(BlockingIOError):  # it is full: that wakes as well
                os.write(wake_in, b"\0")

    def wait(self, step: int) -> list[Fault]:
        """Returns once every slot of an assigned step is filled or has a fault; the faults.

        Raises:
            WorkerError: Workers cannot be started, or a worker thread hangs.
            DataError: A worker finds another data set than was opened, or a damaged one.
            StorageError: A worker cannot read the data set.
        """
        filling = self._fillings[step]
        self._drain()
        while filling.runs_left:
            self._await_report()
        del self._fillings[step]
        return filling.faults

    def filled(self) -> int:
        """Steps that are filled and have not been waited for.

        Raises:
            DataError, StorageError: As `wait`.
        """
        self._drain()
        return sum(not filling.runs_left for filling in self._fillings.values())

    def is_good(self, step: int) -> bool:
        """Whether every slot of a step is filled, without a fault."""
        filling = self._fillings[step]
        return not filling.runs_left and not filling.faults

    def tally(self) -> Tally:
        """What all workers have done, those that were replaced included."""
        return sum((self._board.tally_of(worker) for worker in range(self.workers)), start=self._gone)

    def meter(self) -> RequestMeter:
        """What all workers have asked of the storage, those that were replaced included."""
        on_board = (self._board.meter(worker) for worker in self._numbers)
        return sum((*on_board, *self._thread_meters), start=self._gone_meter)

    def usage(self) -> list[ProcessUsage]:
        """Memory and CPU time of every worker process that fills slots; none for threads."""
        pids = [pid for worker, pid in self._crew.pids().items() if worker != self._keeper]
        return [usage for pid in pids if (usage := process_usage(pid)) is not None]

    def keeper_cpu_s(self) -> float:
        """CPU time of the process that keeps shards in a cache, and of those before it; 0 for none and for a thread."""
        pid = None if self._keeper is None else self._crew.pids().get(self._keeper)
        usage = None if pid is None else process_usage(pid)
        return self._gone_keeper_cpu_s + (0.0 if usage is None else usage.cpu_s)

    def cancel(self) -> None:
        """Takes back all that was planned and waits for the clips that workers are on; all buffers are idle then."""
        if self._closed or not self.is_own():
            return  # at the interpreter's end, when iterations are ended after the engine; and in a fork, as its copy
        self._board.cancel()
        self.wake()
        self._drain()
        while self._runs:
            self._await_report()
        self._fillings.clear()
        self._deaths.clear()
        # Not before: a worker could have taken it for a buffer that its run may use.
        while self._next_assigned < self._next_step:
            self._board.assign(self._next_assigned, 0)
            self._next_assigned += 1

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
                self._board.done(report.ticket)
                self._fillings[run.step].runs_left -= 1
            else:
                self._fillings[run.step].faults.append(report.fault)
        # Last: what else was reported comes only once.
        if failure is not None:
            raise failure.error()

    def _look_for_hangs(self) -> None:
        for worker in range(self.workers):
            claim = self._board.claim_of(worker)
            place = claim or self._could_fill(worker)
            seen, since_s = self._standing.get(worker, (None, 0.0))
            if place is None or place != seen:
                self._standing[worker] = (place, self._waited_s)
                continue
            timeout_s = self._timeout_s if self._board.is_there(worker) else max(self._timeout_s, START_TIMEOUT_S)
            if claim is not None and claim.reads:
                timeout_s += self._dataset.store.patience_s
            if self._waited_s - since_s < timeout_s:
                continue
            if not self._crew.replaceable:
                run = None if claim is None else self._runs.get(claim.ticket)
                where = self._dataset.folder if claim is None or run is None else self._clip(run, claim.slot)
                raise WorkerError(
                    f"{where}: not loaded after {timeout_s:g} s in a thread, which cannot be ended; "
                    "use worker_type='process'",
                )
            self._replace(worker, hung_on=claim, hung_s=timeout_s)

    def _could_fill(self, worker: int) -> int | None:
        """Ticket of the first run that an idle worker could be at: its own, or one that nobody has claimed."""
        unclaimed = self._board.unclaimed()
        for ticket, run in self._runs.items():
            if run.step >= self._next_assigned and not self._board.is_cancelled(ticket):
                return None
            if ticket in unclaimed or self._board.is_claimed_by(worker, ticket):
                return ticket
        return None

    def _replace(self, worker: int, *, hung_on: Claim | None = None, hung_s: float = 0.0) -> None:
        pid = self._crew.pids().get(worker)
        usage = None if pid is None else process_usage(pid)
        cpu_s = 0.0 if usage is None else usage.cpu_s
        if worker == self._keeper:
            self._gone_keeper_cpu_s += cpu_s
        else:
            self.gone_cpu_s += cpu_s
        ending = self._crew.bury(worker)
        self._drain()
        claim = self._board.claim_of(worker)
        came_up = self._board.is_there(worker)
        self._gone += self._board.tally_of(worker)
        self._gone_meter += self._board.meter(worker)
        self.replaced += 1
        self._board.leave(worker)
        self._standing.pop(worker, None)
        if not came_up:
            self._stillborn += 1
            if self._stillborn >= self.workers + MAX_STILLBORN:
                raise WorkerError(
                    f"{self._stillborn} workers in a row {ending} before they took any work; what they wrote to "
                    "standard error says why (worker_type='thread' works without them)",
                )
        if claim is not None and claim.ticket in self._runs:
            # It may have gone on since it was looked at: then the clip that it is on now is not to blame.
            hung = hung_on is not None and claim.slot == hung_on.slot
            self._shorten(claim, hung_s=hung_s if hung else None, ending=ending)
        self._crew.start(worker)

    def _shorten(self, claim: Claim, *, hung_s: float | None, ending: str) -> None:
        """Leaves, of the run that a worker ended on, what is to be filled by the one that takes its place."""
        hung = hung_s is not None
        run, slot = self._runs[claim.ticket], claim.slot
        filling = self._fillings[run.step]
        self._deaths[run.step, slot] = self._deaths.get((run.step, slot), 0) + 1
        if hung or self._deaths[run.step, slot] > 1:
            del self._deaths[run.step, slot]
            kind = "WorkerError"
            if hung and claim.reads and self._dataset.store.is_far:
                kind = "StorageError"  # no clip's fault
                what = f"not read after {hung_s:g} s; see whether the storage stalls, or raise storage_timeout_s"
            elif hung:
                what = f"not loaded after {hung_s:g} s; raise timeout_s, see whether the disk stalls, or pack it again"
            else:
                what = f"its worker was {ending}, twice; pack it again, or pass over it with on_error='skip'"
            filling.faults.append(Fault(slot, kind, f"{self._clip(run, slot)}: {what}"))
            slot += 1
        if slot < run.stop:
            self._runs[claim.ticket] = run.rest(slot)
            self._board.shorten(claim.ticket, run.rest(slot))
        else:
            del self._runs[claim.ticket]
            self._board.done(claim.ticket)
            filling.runs_left -= 1

    def _clip(self, run: Run, slot: int) -> str:
        return self._dataset.where(run.rows[slot - run.first])

    def is_own(self) -> bool:
        """Whether this process made it; a fork has a copy of this object, but not its workers."""
        return self._owner == os.getpid()

    def let_go(self) -> None:
        """Closes a fork's copies of descriptors: by a pipe's end workers know that the trainer's process is gone."""
        if not self._closed:
            self._crew.let_go()
            self._close_wakes()
            self._close_descriptors()

    def _close_wakes(self) -> None:
        """Ends the workers: each sees the end of its pipe."""
        for _, wake_in in self._wakes:
            os.close(wake_in)

    def _close_descriptors(self) -> None:
        for descriptor in (*(wake_out for wake_out, _ in self._wakes), self._report_in, self._report_out):
            os.close(descriptor)
        self.ring.region.close()
        self._board.region.close()

    def close(self) -> None:
        """Ends the workers. Leased buffers live on until their tensors die."""
        if self._closed or not self.is_own():
            return
        self._closed = True
        self._board.cancel()
        self._close_wakes()
        # A thread that is still on a clip will use its descriptors, so their numbers must not pass to other files.
        if self._crew.stop():
            self._close_descriptors()


def _lookahead_steps(dataset: Dataset, batch_size: int, workers: int) -> int:
    """Steps beyond those with a buffer that workers may read for: as many clips as they hold in memory unused."""
    if not dataset.store.is_far:
        return 0
    clip_bytes = max(1, sum(shard.size_bytes for shard in dataset.store.shards) // max(1, dataset.manifest.clip_count))
    clips = min(MOST_AHEAD_CLIPS, workers * FETCH_BYTES // clip_bytes)
    return max(1, -(-clips // batch_size))
