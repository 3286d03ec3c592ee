"""Keeper: fetches shards into a node's cache before they are asked for, and keeps those that will be."""

import logging
import threading
from collections.abc import Callable, Sequence

from shardkit.errors import CorruptShardError, StorageError
from shardkit.storage.clients import RangeClient
from shardkit.storage.copies import copy_file
from shardkit.storage.fetching import Patience
from shardkit.storage.node_cache import CachedFile, HeldFile, NodeCache, NoRoomError, PartFile
from shardkit.storage.request_meter import RequestMeter

POLL_S = 0.2
"""Between two looks at what is wanted, what other processes fetch, and whether there is room by now."""
_log = logging.getLogger("shardkit")


class Keeper:
    """Keeps the shards of one data set that one rank will need; ranks that share a cache share the work.

    Each takes the first that is missing and that no other one fetches.

    Attributes:
        meter: What was asked of the storage so far.
    """

    def __init__(
        self,
        client: RangeClient,
        cache: NodeCache,
        names: Sequence[str],
        files: Sequence[CachedFile],
        *,
        patience: Patience,
        meter: RequestMeter | None = None,
    ) -> None:
        self.meter = meter or RequestMeter()
        self._client = client
        self._cache = cache
        self._names = names
        self._files = files
        self._cached_names = [file.name for file in files]
        self._patience = patience
        self._held: dict[int, HeldFile] = {}
        self._damaged: set[int] = set()
        self._part: PartFile | None = None
        self._closing = threading.Event()
        self._copying = threading.Event()
        """Set when nobody waits for the shard that is being fetched; by a copy that fails, too, for its other parts."""

    def run(self, wanted: Callable[[], Sequence[int] | None], *, most: int | None = None) -> None:
        """Fetches and keeps what is wanted, until `close`.

        Args:
            wanted: Says which shards will be needed, the first ones first; others are let go of. None where it
                cannot say just now.
            most: How many it may keep at once: each takes a descriptor.

        Raises:
            StorageError: The storage cannot be read, or the cache not be written to.
        """
        try:
            while not self._closing.wait(POLL_S):
                told = wanted()
                if told is None:
                    continue
                now = told[:most]
                for shard in set(self._held).difference(now):
                    self._held.pop(shard).close()
                # First, so that no room is made of what is wanted as well.
                self._hold(now)
                for shard in now:
                    if self._closing.is_set() or not self._fetch(shard):
                        break
        except StorageError:
            if not self._closing.is_set():  # else it is the read that was given up
                raise
        finally:
            while self._held:
                self._held.popitem()[1].close()

    def _hold(self, shards: Sequence[int]) -> None:
        """Keeps those that are there, and lets go of those that were dropped."""
        there = self._cache.names()
        for shard in shards:
            if shard in self._held and not self._held[shard].is_there():
                self._held.pop(shard).close()
            if shard not in self._held and self._cached_names[shard] in there:
                held = self._cache.hold(self._files[shard])
                if held is not None:
                    self._held[shard] = held

    def _fetch(self, shard: int) -> bool:
        """Fetches a shard, unless it is there or another process does; False where it is time to look anew."""
        if shard in self._held or shard in self._damaged:
            return True
        try:
            part = self._cache.begin(self._files[shard])
        except NoRoomError:
            return False
        if part is None:
            return True
        self._part = part
        try:
            held = self._fetched(shard, part)
        finally:
            self._part = None
            part.abandon()
        if held is not None:
            self._held[shard] = held
        return False

    def _fetched(self, shard: int, part: PartFile) -> HeldFile | None:
        file = self._files[shard]
        copying = self._copying = threading.Event()
        if self._closing.is_set():  # since it was last looked at
            copying.set()
        try:
            with self._cache.errors():
                copy_file(
                    self._client,
                    self._names[shard],
                    part.descriptor,
                    size_bytes=file.size_bytes,
                    digest=file.digest,
                    patience=self._patience,
                    meter=self.meter,
                    closing=copying,
                )
            return part.finish()
        except CorruptShardError as exc:
            # Its clips are read one by one, and each is judged by itself.
            self._damaged.add(shard)
            _log.warning("not cached: %s", exc)
            return None

    def close(self) -> None:
        """Ends `run` soon; what was half fetched is gone at once."""
        self._closing.set()
        self._copying.set()
        part = self._part
        if part is not None:
            part.remove()
