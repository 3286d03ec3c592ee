"""Engine: ring, board and crew together. Buffers go in with the rows to load and come out filled.

A worker that dies or hangs is replaced. The clip that it was on is tried once more after a death (the system may have
killed it for reasons of its own) and becomes a fault after a second one, or after a hang.
"""

import os
import select
import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from shardkit.errors import WorkerError
from shardkit.loading.board import Board, Run
from shardkit.loading.crew import Crew, ProcessCrew, ThreadCrew
from shardkit.loading.dataset import Dataset
from shardkit.loading.filler import SlotFiller
from shardkit.loading.plan import BatchLayout, ClipPlan
from shardkit.loading.reports import Fault, ReportReader
from shardkit.loading.ring import Ring
from shardkit.loading.worker import WorkerStart, work

RUNS_PER_WORKER = 2
"""A batch is cut into about this many runs a worker, so that all finish it together."""
MAX_RUN_SLOTS = 16
POLL_S = 1.0
"""How often hangs are looked for while waiting."""
MAX_STILLBORN = 3
"""Workers in a row that may die before they take any work."""


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
        self._workers = workers
        layout = BatchLayout.of(plan, batch_size)
        self._run_slots = min(MAX_RUN_SLOTS, max(1, batch_size // (RUNS_PER_WORKER * workers)))
        self.ring = Ring(layout, shared=processes)
        # Every run of every buffer, and what is left of the runs of workers that died.
        capacity = self.ring.buffers * -(-batch_size // self._run_slots) + 2 * workers
        self._board = Board.create(workers=workers, capacity=capacity, shared=processes)
        self._token_out, self._token_in = os.pipe()
        self._report_out, self._report_in = os.pipe()
        os.set_blocking(self._report_out, False)
        self._reports = ReportReader(self._report_out)
        self._runs: dict[int, Run] = {}
        self._faults: dict[int, list[Fault]] = {}
        self._deaths: dict[tuple[int, int], int] = {}
        self._stillborn = 0
        self._closed = False
        self._crew = self._make_crew(plan, layout, batch_size, capacity, processes=processes)
        for worker in range(workers):
            self._crew.start(worker)

    def _make_crew(
        self, plan: ClipPlan, layout: BatchLayout, batch_size: int, capacity: int, *, processes: bool
    ) -> Crew:
        if processes:
            ring_descriptor, board_descriptor = self.ring.region.descriptor, self._board.region.descriptor
            assert ring_descriptor is not None
            assert board_descriptor is not None
            start = WorkerStart(
                folder=str(self._dataset.folder),
                index_name=self._dataset.index_name,
                shards=self._dataset.shard_names,
                plan=plan.to_json(),
                batch_size=batch_size,
                buffers=self.ring.buffers,
                ring_descriptor=ring_descriptor,
                board_descriptor=board_descriptor,
                board_bytes=self._board.region.size_bytes,
                workers=self._workers,
                board_capacity=capacity,
                token_descriptor=self._token_out,
                report_descriptor=self._report_in,
            )
            return ProcessCrew(start.to_json(), (ring_descriptor, board_descriptor, self._token_out, self._report_in))
        board, ring, tokens, reports = self._board, self.ring.region, self._token_out, self._report_in
        dataset = self._dataset

        def target(worker: int) -> None:
            with dataset.reader() as reader:
                filler = SlotFiller(dataset.index, reader, plan)
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
        self._faults[buffer] = []
        self._deaths = {place: deaths for place, deaths in self._deaths.items() if place[0] != buffer}
        for first in range(0, len(rows), self._run_slots):
            self._publish(Run(buffer, first, min(first + self._run_slots, len(rows)), epoch))

    def _publish(self, run: Run) -> None:
        self._runs[self._board.publish(run)] = run
        os.write(self._token_in, b"\0")

    def wait(self, buffer: int) -> list[Fault]:
        """Returns once every slot of `buffer` is filled or has a fault; the faults.

        Raises:
            WorkerError: Workers cannot be started, or a worker thread hangs.
        """
        self._wait_until(lambda: all(run.buffer != buffer for run in self._runs.values()))
        return self._faults.pop(buffer)

    def cancel(self) -> None:
        """Takes back what no worker has begun and waits for the rest; all buffers are idle afterwards."""
        for ticket in self._board.withdraw():
            del self._runs[ticket]
        self._wait_until(lambda: not self._runs)
        self._faults.clear()

    def _wait_until(self, done: Callable[[], bool]) -> None:
        began_s = time.monotonic()
        self._drain()
        poll = select.poll()
        poll.register(self._report_out, select.POLLIN)
        watched: dict[int, int] = {}
        while not done():
            for descriptor in watched.keys() - self._crew.sentinels().keys():
                poll.unregister(descriptor)
            watched = dict(self._crew.sentinels())
            for descriptor in watched:
                poll.register(descriptor, select.POLLIN)
            ready = [descriptor for descriptor, _ in poll.poll(1000 * min(POLL_S, self._timeout_s / 4))]
            self._drain()
            for descriptor in ready:
                if descriptor in watched:
                    self._replace(watched[descriptor], hung=False)
            self._look_for_hangs(began_s)

    def _drain(self) -> None:
        for report in self._reports.drain():
            self._stillborn = 0
            run = self._runs.get(report.ticket)
            if run is None:
                continue
            if report.fault is None:
                del self._runs[report.ticket]
            else:
                self._faults[run.buffer].append(report.fault)

    def _look_for_hangs(self, began_s: float) -> None:
        # Only time spent waiting here counts: before, a worker may have been held up by a full report pipe.
        now_s = time.monotonic()
        for worker in range(self._workers):
            claim = self._board.claim_of(worker)
            if claim is None or now_s - max(claim.since_s, began_s) < self._timeout_s or claim.ticket not in self._runs:
                continue
            if not self._crew.replaceable:
                raise WorkerError(
                    f"{self._clip(self._runs[claim.ticket].buffer, claim.slot)}: not loaded after {self._timeout_s:g} s"
                    " in a thread, which cannot be ended; use worker_type='process'",
                )
            self._replace(worker, hung=True)

    def _replace(self, worker: int, *, hung: bool) -> None:
        ending = self._crew.bury(worker)
        self._drain()
        claim = self._board.claim_of(worker)
        self._board.release(worker)
        os.write(self._token_in, b"\0")  # it may have died with a token in its hand; one too many does no harm
        if claim is None:
            self._stillborn += 1
            if self._stillborn >= MAX_STILLBORN:
                raise WorkerError(
                    f"{self._stillborn} workers in a row {ending} before they took any work; what they wrote to "
                    "standard error says why (worker_type='thread' works without them)",
                )
        elif (run := self._runs.pop(claim.ticket, None)) is not None:
            self._resume(run, claim.slot, hung=hung, ending=ending)
        self._crew.start(worker)

    def _resume(self, run: Run, slot: int, *, hung: bool, ending: str) -> None:
        self._deaths[run.buffer, slot] = self._deaths.get((run.buffer, slot), 0) + 1
        if hung or self._deaths[run.buffer, slot] > 1:
            del self._deaths[run.buffer, slot]
            what = f"not loaded after {self._timeout_s:g} s (timeout_s)" if hung else f"its worker was {ending}, twice"
            message = f"{self._clip(run.buffer, slot)}: {what}; check the clip with `shardkit info`, or pack it again"
            self._faults[run.buffer].append(Fault(slot, "WorkerError", message))
            slot += 1
        if slot < run.stop:
            self._publish(Run(run.buffer, slot, run.stop, run.epoch))

    def _clip(self, buffer: int, slot: int) -> str:
        row = int(self.ring.views(buffer)["row"][slot])
        return self._dataset.where(row)

    def close(self) -> None:
        """Ends the workers. Leased buffers live on until their tensors die."""
        if self._closed:
            return
        self._closed = True
        self._board.withdraw()
        os.close(self._token_in)
        self._crew.stop()
        for descriptor in (self._token_out, self._report_in, self._report_out):
            os.close(descriptor)
        self.ring.region.close()
        self._board.region.close()
