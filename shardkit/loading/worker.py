"""The worker: takes runs off the board, fills their slots, reports. A fresh interpreter, or a thread.

Started as `python -m shardkit.loading.worker` with inherited descriptors and a JSON file as its standard input;
it never imports torch and ends when the trainer's process closes the wake pipe or is gone.
"""

import json
import os
import resource
import signal
import sys
from collections import deque
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter_ns
from typing import Any

from shardkit.errors import CorruptShardError, ShardkitError
from shardkit.format.index import ClipIndex, decode_batch
from shardkit.format.manifest import MANIFEST_NAME, Manifest
from shardkit.loading.board import Board, Run
from shardkit.loading.filler import Planned, SlotFiller
from shardkit.loading.keeping import keep
from shardkit.loading.plan import BatchLayout, ClipPlan, Slot, slot_of
from shardkit.loading.region import Region
from shardkit.loading.reports import NO_RUN, Fault, Report, send
from shardkit.storage.files import map_file
from shardkit.storage.ranges import RangeReader
from shardkit.storage.shards import MAX_OPEN_SHARDS
from shardkit.storage.stores import ShardStore

OTHER_FILES = 64
"""Descriptors that a worker needs for other things than shards, and some more."""


@dataclass(frozen=True, slots=True)
class WorkerStart:
    """What a worker process is told: descriptors, sizes, and what a clip's slot holds."""

    store: dict[str, Any]
    """ShardStore as JSON."""
    index_path: str
    index_xxh3: str
    """Digest of the index that the rows to load are numbers of."""
    plan: str
    """ClipPlan as JSON."""
    batch_size: int
    buffers: int
    ring_descriptor: int
    board_descriptor: int
    board_bytes: int
    board_capacity: int
    run_slots: int
    wake_descriptors: list[int]
    """One a worker."""
    report_descriptor: int
    keeper: int | None
    """Number of the worker that fetches shards into a cache and fills no slots."""

    def to_json(self) -> str:
        """The description as it stands in the worker's standard input."""
        return json.dumps(asdict(self))


@dataclass(frozen=True, slots=True)
class _Claimed:
    """A run that this worker will fill."""

    ticket: int
    run: Run
    clips: list[Planned | Exception]
    """What is to be filled; or why it cannot be, for when it is that clip's turn: the worker may end before."""


class _Work:
    """The worker's loop: runs are claimed and begun as far ahead as their reader has room for, and filled in order."""

    def __init__(
        self,
        worker: int,
        *,
        board: Board,
        ring: Region,
        layout: BatchLayout,
        filler: SlotFiller,
        reader: RangeReader,
        reports: int,
    ) -> None:
        self._worker = worker
        self._board = board
        self._ring = ring
        self._layout = layout
        self._filler = filler
        self._reader = reader
        self._reports = reports
        self._views: dict[int, Slot] = {}

    def run(self, wake: int) -> None:
        """Fills runs until the wake pipe is closed."""
        board, worker = self._board, self._worker
        board.tally(worker, self._filler.tally)
        # First, what a worker that this one replaces had claimed.
        claimed = deque(self._begun(ticket, run) for ticket, run in board.claimed_by(worker))
        board.release(worker)
        while True:
            while not claimed or self._reader.has_room():
                following = board.claim(worker)
                if following is None:
                    break
                claimed.append(self._begun(*following))
            if claimed and self._fill(claimed[0]):
                claimed.popleft()
            elif not os.read(wake, 4096):
                return

    def _begun(self, ticket: int, run: Run) -> _Claimed:
        """A run whose clips are planned and, where they come from afar, asked for."""
        began_ns = perf_counter_ns()
        self._board.begin_slot(self._worker, ticket, run.first)
        clips: list[Planned | Exception] = []
        wanted = [] if self._board.is_cancelled(ticket) else zip(run.rows, run.positions, strict=True)
        for row, position in wanted:
            try:
                clips.append(self._filler.plan(row=row, position=position, epoch=run.epoch))
            except Exception as exc:  # noqa: BLE001 - whatever one clip does must not end the worker
                clips.append(exc)
        self._filler.begin([clip for clip in clips if isinstance(clip, Planned)])
        self._board.release(self._worker)
        self._filler.tally.busy_ns += perf_counter_ns() - began_ns
        return _Claimed(ticket, run, clips)

    def _fill(self, claimed: _Claimed) -> bool:
        """Fills a run and reports it; False where there is no buffer for it yet."""
        board, worker, ticket, run = self._board, self._worker, claimed.ticket, claimed.run
        if board.is_cancelled(ticket):
            self._forget(claimed.clips)
            send(self._reports, Report(ticket))
            return True
        buffer = board.buffer_of(run.step)
        if buffer is None:
            return False
        began_ns = perf_counter_ns()
        board.begin_slot(worker, ticket, run.first)
        if buffer not in self._views:
            start = buffer * self._layout.size_bytes
            self._views[buffer] = self._layout.views(self._ring.array[start : start + self._layout.size_bytes])
        for place, clip in enumerate(claimed.clips, start=run.first):
            if isinstance(clip, Planned):
                self._filler.place(clip, slot_of(self._views[buffer], place))
        for place, clip in enumerate(claimed.clips):
            if board.is_cancelled(ticket):
                self._forget(claimed.clips[place:])
                break
            slot = run.first + place
            board.begin_slot(worker, ticket, slot, reads=True)
            try:
                if isinstance(clip, Exception):
                    raise clip  # noqa: TRY301 - its turn has come
                data = self._filler.read(clip)
                board.reads(worker, False)
                self._filler.fill(clip, data)
            except ShardkitError as exc:
                send(self._reports, Report(ticket, Fault.of(slot, exc)))
            except Exception as exc:  # noqa: BLE001 - see above
                message = f"{self._filler.where(run.rows[place])}: unexpected {type(exc).__name__}: {exc}"
                send(self._reports, Report(ticket, Fault(slot, "WorkerError", message)))
        self._filler.tally.busy_ns += perf_counter_ns() - began_ns
        board.tally(worker, self._filler.tally)
        send(self._reports, Report(ticket))
        board.release(worker)
        return True

    def _forget(self, clips: Sequence[Planned | Exception]) -> None:
        for clip in clips:
            if isinstance(clip, Planned):
                self._filler.forget(clip)


def work(
    worker: int,
    *,
    board: Board,
    ring: Region,
    layout: BatchLayout,
    filler: SlotFiller,
    reader: RangeReader,
    wake: int,
    reports: int,
) -> None:
    """Fills runs until the wake pipe is closed."""
    _Work(worker, board=board, ring=ring, layout=layout, filler=filler, reader=reader, reports=reports).run(wake)


def main() -> None:
    """Runs one worker process."""
    # Ctrl-C is the trainer's to handle; it closes the wake pipe.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    worker = int(sys.argv[1])
    # All workers share this one file and its place, so it is read without moving on.
    stdin = sys.stdin.fileno()
    start = WorkerStart(**json.loads(os.pread(stdin, os.fstat(stdin).st_size, 0)))
    # The trainer's process is gone, and with it the reader of the reports: no matter.
    with suppress(BrokenPipeError):
        try:
            _run(worker, start)
        except ShardkitError as exc:
            send(start.report_descriptor, Report(NO_RUN, Fault.of(0, exc)))


def room_for_files(wanted: int, *, others: int = OTHER_FILES) -> int:
    """How many shards may stay open beside other files: opening one for nearly each clip would be dear."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = wanted + others if hard == resource.RLIM_INFINITY else min(wanted + others, hard)
    if soft != resource.RLIM_INFINITY and soft < limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return max(MAX_OPEN_SHARDS, limit - others)


def _run(worker: int, start: WorkerStart) -> None:
    store = ShardStore.from_json(start.store)
    board = Board(
        Region(start.board_descriptor, start.board_bytes),
        workers=len(start.wake_descriptors),
        capacity=start.board_capacity,
        run_slots=start.run_slots,
        shards=len(store.shards),
    )
    wake, reports = start.wake_descriptors[worker], start.report_descriptor
    most_open = room_for_files(len(store.shards))
    if worker == start.keeper:
        keep(worker, board=board, store=store, most=most_open, wake=wake, reports=reports)
        return
    if not store.home.is_far:
        # A worker may be started long after the data set was opened, when another one stands in its place. A copy of
        # an index from afar stays what it is.
        path = store.home.location.child(MANIFEST_NAME)
        if Manifest.from_bytes(store.home.read(MANIFEST_NAME), path=path).index.xxh3 != start.index_xxh3:
            raise CorruptShardError(
                f"{store.home.location}: the index was replaced while it is being loaded; start the loader anew"
            )
    # The trainer's process has checked the index's digest.
    index = ClipIndex(decode_batch(map_file(Path(start.index_path)), path=start.index_path), path=start.index_path)
    plan = ClipPlan.from_json(start.plan)
    layout = BatchLayout.of(plan, start.batch_size)
    with closing(store.reader(max_open=most_open, meter=board.meter(worker))) as reader:
        work(
            worker,
            board=board,
            ring=Region(start.ring_descriptor, layout.size_bytes * start.buffers),
            layout=layout,
            filler=SlotFiller(index, reader, plan),
            reader=reader,
            wake=wake,
            reports=reports,
        )


if __name__ == "__main__":
    main()
