"""RangeClient: one request for bytes of a file in one folder. Retries are made around it, by `fetching`.

disk      a file system that machines share: preadv, so that many reads are under way at once
obstore   s3, gs, az, http(s) where obstore is installed: on S3 a third of s3fs's CPU time
fsspec    everything else; where a server answers ranged reads in a way that obstore refuses; in a fork
"""

from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any, Literal, Protocol

from shardkit.errors import StorageError, UsageError
from shardkit.storage.locations import Location
from shardkit.storage.shards import MAX_OPEN_SHARDS

Engine = Literal["disk", "obstore", "fsspec"]
STALL_S = 15.0
"""A connection on which no byte comes for so long is given up, and the request made again."""
DEADLINE_S = 120.0
"""A request that is not answered in full by then is given up: bytes that trickle never stall."""


class RangeClient(Protocol):
    """Reads files of one folder; may be used by many threads at once. What it raises is its library's own."""

    engine: Engine
    location: Location

    def read(self, name: str, start: int, stop: int) -> Any:
        """Bytes [start, stop) of a file, as an object with a buffer; fewer where the answer was shorter."""

    def begin(self, name: str, start: int, stop: int) -> "Future[Any] | None":
        """The same in the background, called from one thread; None where only a thread that waits can do it."""

    def pieces(self, name: str, start: int, stop: int, *, small: bool = False) -> Iterator[Any]:
        """The same one after another as they arrive, so that what came before a failure is kept.

        Small ones cost more, and less is lost: where connections always break early, a read gets on nevertheless.
        """

    def read_all(self, name: str) -> Any:
        """A whole small file."""

    def telling(self) -> "RangeClient":
        """One whose failures tell how long a server asks to wait."""


def make_client(
    location: Location,
    engine: Engine | None = None,
    *,
    stall_s: float = STALL_S,
    deadline_s: float = DEADLINE_S,
    max_open: int = MAX_OPEN_SHARDS,
) -> RangeClient:
    """A client for a location.

    Args:
        location: The folder.
        engine: Which one; None takes the best that is installed and understands the location's options.
        stall_s: See STALL_S.
        deadline_s: See DEADLINE_S.
        max_open: Files of a disk that it may keep open.

    Raises:
        StorageError: A package is missing, or there are no credentials.
        UsageError: The URL or an option is wrong; or only obstore serves the URL here, and this is a fork of a process
            that used it.
    """
    if location.is_local or engine == "disk":
        from shardkit.storage.disk_client import DiskClient  # noqa: PLC0415 - each client's libraries cost time

        return DiskClient(location, max_open=max_open)
    from shardkit.storage.fsspec_client import FsspecClient  # noqa: PLC0415

    if engine != "fsspec":
        from shardkit.storage.obstore_client import is_forked, obstore_client  # noqa: PLC0415

        if is_forked():
            try:
                return FsspecClient(location, stall_s=stall_s, deadline_s=deadline_s)
            except StorageError as exc:
                raise UsageError(
                    f"{location}: obstore does not work in a fork of a process that used it, and what works there "
                    f"cannot be had ({exc}); start processes with multiprocessing_context='spawn'"
                ) from exc
        client = obstore_client(location, stall_s=stall_s, deadline_s=deadline_s)
        if client is not None:
            return client
        if engine == "obstore":
            raise StorageError(f"{location}: obstore is missing here; install it, as where the data set was opened")
    return FsspecClient(location, stall_s=stall_s, deadline_s=deadline_s)
