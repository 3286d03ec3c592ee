"""The worker: takes runs off the board, fills their slots, reports. A fresh interpreter, or a thread.

Started as `python -m shardkit.loading.worker` with inherited descriptors and a JSON file as its standard input;
it never imports torch and ends when the trainer's process closes the token pipe or is gone.
"""

import json
import os
import resource
import signal
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter_ns

from shardkit.errors import CorruptShardError, ShardkitError
from shardkit.format.index import ClipIndex, decode_batch
from shardkit.format.manifest import INDEX_NAME, MANIFEST_NAME, Manifest
from shardkit.loading.board import Board
from shardkit.loading.filler import Prepared, SlotFiller
from shardkit.loading.plan import BatchLayout, ClipPlan, Slot, slot_of
from shardkit.loading.region import Region
from shardkit.loading.reports import NO_RUN, Fault, Report, send
from shardkit.storage.files import map_file, read_bytes
from shardkit.storage.shards import MAX_OPEN_SHARDS, ShardReader

OTHER_FILES = 64
"""Descriptors that a worker needs for other things than shards, and some more."""


@dataclass(frozen=True, slots=True)
class WorkerStart:
    """What a worker process is told: descriptors, sizes, and what a clip's slot holds."""

    folder: str
    index_xxh3: str
    """Digest of the index that the rows to load are numbers of."""
    plan: str
    """ClipPlan as JSON."""
    batch_size: int
    buffers: int
    ring_descriptor: int
    board_descriptor: int
    board_bytes: int
    workers: int
    board_capacity: int
    token_descriptor: int
    report_descriptor: int

    def to_json(self) -> str:
        """The description as it stands in the worker's standard input."""
        return json.dumps(asdict(self))


def work(
    worker: int,
    *,
    board: Board,
    ring: Region,
    layout: BatchLayout,
    filler: SlotFiller,
    tokens: int,
    reports: int,
) -> None:
    """Fills runs until the token pipe is closed."""
    views: dict[int, Slot] = {}
    tally = filler.tally
    board.tally(worker, tally)
    board.release(worker)
    while os.read(tokens, 1):
        claimed = board.claim(worker)
        if claimed is None:
            continue
        began_ns = perf_counter_ns()
        ticket, run = claimed
        if run.buffer not in views:
            start = run.buffer * layout.size_bytes
            views[run.buffer] = layout.views(ring.array[start : start + layout.size_bytes])
        places = () if board.is_cancelled(ticket) else range(run.first, run.stop)
        slots = [slot_of(views[run.buffer], place) for place in places]
        clips = [_prepared(filler, slot, run.epoch) for slot in slots]
        for slot, clip in enumerate(clips, start=run.first):
            if board.is_cancelled(ticket):
                break
            board.begin_slot(worker, ticket, slot)
            try:
                if isinstance(clip, Exception):
                    raise clip  # noqa: TRY301 - its turn has come
                filler.fill(clip)
            except ShardkitError as exc:
                send(reports, Report(ticket, Fault(slot, type(exc).__name__, str(exc))))
            except Exception as exc:  # noqa: BLE001 - whatever one clip does must not end the worker
                message = f"{filler.where(int(slots[slot - run.first]['row']))}: unexpected {type(exc).__name__}: {exc}"
                send(reports, Report(ticket, Fault(slot, "WorkerError", message)))
        tally.busy_ns += perf_counter_ns() - began_ns
        board.tally(worker, tally)
        send(reports, Report(ticket))
        board.release(worker)


def _prepared(filler: SlotFiller, slot: Slot, epoch: int) -> Prepared | Exception:
    """What is to be filled; or why it cannot be, for when it is that clip's turn: the worker may end before."""
    try:
        return filler.prepare(slot, row=int(slot["row"]), position=int(slot["position"]), epoch=epoch)
    except Exception as exc:  # noqa: BLE001 - see above
        return exc


def main() -> None:
    """Runs one worker process."""
    # Ctrl-C is the trainer's to handle; it closes the token pipe.
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
            send(start.report_descriptor, Report(NO_RUN, Fault(0, type(exc).__name__, str(exc))))


def _room_for_files(wanted: int) -> int:
    """How many shards may stay open: with a shuffle over thousands, opening one for nearly each clip would be dear."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = wanted + OTHER_FILES if hard == resource.RLIM_INFINITY else min(wanted + OTHER_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return max(MAX_OPEN_SHARDS, limit - OTHER_FILES)


def _run(worker: int, start: WorkerStart) -> None:
    plan = ClipPlan.from_json(start.plan)
    layout = BatchLayout.of(plan, start.batch_size)
    folder = Path(start.folder)
    # A worker may be started long after the data set was opened, when another one stands in its place.
    manifest = Manifest.from_bytes(read_bytes(folder / MANIFEST_NAME), path=str(folder / MANIFEST_NAME))
    if manifest.index.xxh3 != start.index_xxh3:
        raise CorruptShardError(f"{folder}: the index was replaced while it is being loaded; start the loader anew")
    # The trainer's process has checked the index's digest.
    index_path = folder / INDEX_NAME
    index = ClipIndex(decode_batch(map_file(index_path), path=str(index_path)), path=str(index_path))
    board = Board(
        Region(start.board_descriptor, start.board_bytes),
        workers=start.workers,
        capacity=start.board_capacity,
    )
    names = [shard.name for shard in manifest.shards]
    with ShardReader(folder, names, max_open=_room_for_files(len(names))) as reader:
        work(
            worker,
            board=board,
            ring=Region(start.ring_descriptor, layout.size_bytes * start.buffers),
            layout=layout,
            filler=SlotFiller(index, reader, plan),
            tokens=start.token_descriptor,
            reports=start.report_descriptor,
        )


if __name__ == "__main__":
    main()
