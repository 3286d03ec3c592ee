"""Keeping: one of a loader's workers does not fill slots but fetches shards into the node's cache."""

import os
import threading

from shardkit.errors import ShardkitError
from shardkit.loading.board import Board
from shardkit.loading.reports import NO_RUN, Fault, Report, send
from shardkit.storage.stores import ShardStore

END_S = 1.0
"""How long a request may take that is under way at the end."""


def keep(worker: int, *, board: Board, store: ShardStore, most: int, wake: int, reports: int) -> None:
    """Keeps the shards that the board says are wanted, the first `most`, until the wake pipe is closed."""
    keeper = store.keeper(meter=board.meter(worker))
    board.release(worker)

    def run() -> None:
        try:
            keeper.run(board.wanted, most=most)
        except ShardkitError as exc:
            send(reports, Report(NO_RUN, Fault.of(0, exc)))
        except Exception as exc:  # noqa: BLE001 - the thread's end would be told to nobody
            message = f"{store.base.location}: shards are not cached: unexpected {type(exc).__name__}: {exc}"
            send(reports, Report(NO_RUN, Fault(0, "WorkerError", message)))

    thread = threading.Thread(target=run, name="shardkit-keeper", daemon=True)
    thread.start()
    while os.read(wake, 4096):
        pass
    keeper.close()
    thread.join(END_S)
