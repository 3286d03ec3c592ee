"""What ends the keeper of a node's cache reaches the trainer as one of shardkit's errors."""

import os
import select
import threading

import pytest

from shardkit.errors import StorageError, WorkerError
from shardkit.loading.board import Board
from shardkit.loading.keeping import keep
from shardkit.loading.reports import NO_RUN, ReportReader
from shardkit.storage.failures import MissingFileError
from shardkit.storage.keeper import Keeper
from shardkit.storage.locations import Location
from shardkit.storage.stores import ReadFolder, ShardStore


class _FailingStore(ShardStore):
    """A store whose keeper ends with an error."""

    def keeper(self, *, meter=None):
        failing = object.__new__(Keeper)
        failing.run = lambda *_, **__: self._fail()
        failing.close = lambda: None
        return failing

    def _fail(self):
        raise self.shards[0]


@pytest.mark.parametrize(
    ("raised", "kind", "words"),
    [
        (OSError(5, "Input/output error"), WorkerError, "s3://bucket/set: .*unexpected OSError: .*Input/output error"),
        (KeyError("x"), WorkerError, "s3://bucket/set: .*unexpected KeyError: 'x'"),
        (MissingFileError("a.tar: not found"), StorageError, "a.tar: not found"),
    ],
)
def test_whatever_the_keeper_raises_is_reported(raised, kind, words):
    """Errors of other kinds too, and those that shardkit.errors does not name: none is only printed."""
    folder = ReadFolder(Location.of("s3://bucket/set"), "fsspec")
    board = Board.create(workers=1, capacity=1, run_slots=1, shards=1, shared=False)
    (wake_out, wake_in), (report_out, report_in) = os.pipe(), os.pipe()
    keeping = threading.Thread(
        target=keep,
        args=[0],
        kwargs={
            "board": board,
            "store": _FailingStore(folder, folder, shards=(raised,)),
            "most": 1,
            "wake": wake_out,
            "reports": report_in,
        },
    )
    keeping.start()
    # It is given up a second after nobody is there any more: not before it has reported.
    assert select.select([report_out], [], [], 60)[0]
    os.close(wake_in)
    keeping.join()
    os.set_blocking(report_out, False)
    (report,) = ReportReader(report_out).drain()
    for descriptor in (wake_out, report_out, report_in):
        os.close(descriptor)
    assert report.ticket == NO_RUN
    with pytest.raises(kind, match=words):
        raise report.fault.error()
