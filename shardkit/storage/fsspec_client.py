"""FsspecClient: ranged reads through any fsspec file system."""

import asyncio
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from typing import Any

from shardkit.storage.clients import Engine
from shardkit.storage.filesystems import open_filesystem
from shardkit.storage.locations import S3, Location

PIECE_BYTES, SMALL_PIECE_BYTES = 4 << 20, 1 << 20
"""fsspec hands over whole answers: what broke off is asked for again from the start of such a piece."""


class FsspecClient:
    """Reads files of one folder through an fsspec file system, several threads at once."""

    engine: Engine = "fsspec"

    def __init__(self, location: Location, *, stall_s: float, deadline_s: float) -> None:
        self.location = location
        self._deadline_s = deadline_s
        # An instance of its own: others in this process keep their retries.
        options = {**location.storage_options, "skip_instance_cache": True}
        self._files, self._root = open_filesystem(location.url, options, stall_s=stall_s)
        if location.scheme in S3:
            self._files.retries = 1  # tries; ours are made around them

    def read(self, name: str, start: int, stop: int) -> Any:
        """See RangeClient."""
        asked = self.begin(name, start, stop)
        return asked.result() if asked else self._files.cat_file(f"{self._root}/{name}", start=start, end=stop)

    def begin(self, name: str, start: int, stop: int) -> Future[Any] | None:
        """See RangeClient."""
        # Beside fsspec's loop every thread that waits for it costs: with 32 of them half as much as the request.
        return self._begin(name, start=start, end=stop)

    def _begin(self, name: str, **span: int) -> Future[Any] | None:
        if not self._files.async_impl:
            return None
        return asyncio.run_coroutine_threadsafe(self._answer(name, span), self._files.loop)

    async def _answer(self, name: str, span: Mapping[str, int]) -> Any:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task
        # botocore knows no timeout of a whole request, and `wait_for` takes a quarter of a request's time.
        timer = loop.call_later(self._deadline_s, task.cancel)
        try:
            return await self._files._cat_file(f"{self._root}/{name}", **span)  # noqa: SLF001 - named by its documentation
        except asyncio.CancelledError:
            if loop.time() < timer.when():  # nobody wants it any more
                raise
            raise TimeoutError from None
        finally:
            timer.cancel()

    def pieces(self, name: str, start: int, stop: int, *, small: bool = False) -> Iterator[Any]:
        """See RangeClient."""
        piece_bytes = SMALL_PIECE_BYTES if small else PIECE_BYTES
        for place in range(start, stop, piece_bytes):
            wanted = min(stop, place + piece_bytes) - place
            piece = self.read(name, place, place + wanted)
            yield piece
            if len(memoryview(piece)) != wanted:
                return  # what follows would stand in a wrong place

    def read_all(self, name: str) -> Any:
        """See RangeClient."""
        asked = self._begin(name)
        return asked.result() if asked else self._files.cat_file(f"{self._root}/{name}")

    def telling(self) -> "FsspecClient":
        """See RangeClient."""
        return self
