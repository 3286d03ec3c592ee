"""The worker: takes runs off the board, fills their slots, reports. A fresh interpreter, or a thread.

Started as `python -m shardkit.loading.worker` with inherited descriptors and a JSON file as its standard input;
it never imports torch and ends when the trainer's process closes the token pipe or is gone.
"""

import json
import os
import signal
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import numpy.typing as npt

from shardkit.errors import CorruptShardError, ShardkitError
from shardkit.format.index import ClipIndex, decode_batch
from shardkit.format.manifest import INDEX_NAME, MANIFEST_NAME, Manifest
from shardkit.loading.board import Board
from shardkit.loading.filler import SlotFiller
from shardkit.loading.plan import BatchLayout, ClipPlan
from shardkit.loading.region import Region
from shardkit.loading.reports import Fault, Report, send
from shardkit.storage.files import map_file, read_bytes
from shardkit.storage.shards import ShardReader


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
    views: dict[int, list[dict[str, npt.NDArray[Any]]]] = {}
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
            fields = layout.views(ring.array[start : start + layout.size_bytes])
            views[run.buffer] = [
                {name: array[slot : slot + 1].reshape(array.shape[1:]) for name, array in fields.items()}
                for slot in range(layout.batch_size)
            ]
        slots = views[run.buffer]
        for slot in range(run.first, run.stop):
            if board.is_cancelled(ticket):
                break
            board.begin_slot(worker, ticket, slot)
            arrays = slots[slot]
            try:
                filler.fill(arrays, row=int(arrays["row"]), position=int(arrays["position"]), epoch=run.epoch)
            except ShardkitError as exc:
                send(reports, Report(ticket, Fault(slot, type(exc).__name__, str(exc))))
            except Exception as exc:  # noqa: BLE001 - whatever one clip does must not end the worker
                message = f"{filler.where(int(arrays['row']))}: unexpected {type(exc).__name__}: {exc}"
                send(reports, Report(ticket, Fault(slot, "WorkerError", message)))
        tally.busy_ns += perf_counter_ns() - began_ns
        board.tally(worker, tally)
        send(reports, Report(ticket))
        board.release(worker)


def main() -> None:
    """Runs one worker process."""
    # Ctrl-C is the trainer's to handle; it closes the token pipe.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    worker = int(sys.argv[1])
    # All workers share this one file and its place, so it is read without moving on.
    stdin = sys.stdin.fileno()
    start = WorkerStart(**json.loads(os.pread(stdin, os.fstat(stdin).st_size, 0)))
    plan = ClipPlan.from_json(start.plan)
    layout = BatchLayout.of(plan, start.batch_size)
    folder = Path(start.folder)
    # A worker may be started long after the data set was opened, when another one stands in its place.
    manifest = Manifest.from_bytes(read_bytes(folder / MANIFEST_NAME), path=str(folder / MANIFEST_NAME))
    if manifest.index.xxh3 != start.index_xxh3:
        raise CorruptShardError(f"{folder}: the data set was replaced while it is being loaded; start the loader anew")
    # The trainer's process has checked the index's digest.
    index_path = folder / INDEX_NAME
    index = ClipIndex(decode_batch(map_file(index_path), path=str(index_path)), path=str(index_path))
    board = Board(
        Region(start.board_descriptor, start.board_bytes),
        workers=start.workers,
        capacity=start.board_capacity,
    )
    # The trainer's process is gone, and with it the reader of the reports: no matter.
    with suppress(BrokenPipeError), ShardReader(folder, [shard.name for shard in manifest.shards]) as reader:
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
