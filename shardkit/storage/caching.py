"""CachingReader: shards that this machine has a copy of are read there, the others from afar."""

import time
from collections.abc import Sequence
from typing import Any

from shardkit.errors import CorruptShardError, StorageError
from shardkit.storage.node_cache import CachedFile, HeldFile, NodeCache
from shardkit.storage.ranges import Bytes, Range
from shardkit.storage.remote import RemoteReader
from shardkit.storage.request_meter import RequestMeter
from shardkit.storage.shards import MAX_OPEN_SHARDS, ShardReader

LOOK_EVERY_S = 0.2
"""Between two looks whether a shard is there by now."""
IDLE_S = 2.0
"""A copy that no clip was read of for so long is let go of, so that room can be made: it costs little to take again."""


class _Copies(ShardReader):
    """The copies that are held, by shard."""

    def __init__(self, cache: NodeCache, files: Sequence[CachedFile], max_open: int) -> None:
        super().__init__(cache.folder, (), max_open=max_open)
        self._cache = cache
        self._files = files
        self._held: dict[int, HeldFile] = {}
        self._used_s: dict[int, float] = {}
        self._looked_s: dict[int, float] = {}
        self._swept_s = 0.0

    def name(self, shard: int) -> str:
        """See ShardReader; a name in a cache takes a while to find, and most are never asked for."""
        return str(self._folder / self._files[shard].name)

    def has(self, shard: int) -> bool:
        """Whether a shard can be read here; it can until `let_go`."""
        now_s = time.monotonic()
        if shard not in self._held:
            if now_s - self._looked_s.get(shard, -LOOK_EVERY_S) < LOOK_EVERY_S:
                return False
            self._looked_s[shard] = now_s
            held = self._cache.hold(self._files[shard])
            if held is None:
                return False
            if len(self._held) >= self._max_open:
                self.let_go(min(self._held, key=self._used_s.__getitem__))
            self._held[shard] = held
        self._used_s[shard] = now_s
        return True

    def let_go_of_idle(self) -> None:
        """Lets go of copies that were not used for a while."""
        now_s = time.monotonic()
        if now_s - self._swept_s < LOOK_EVERY_S:
            return
        self._swept_s = now_s
        for shard in [shard for shard in self._held if now_s - self._used_s[shard] > IDLE_S]:
            self.let_go(shard)

    def let_go(self, shard: int) -> None:
        """Lets go of a copy, if it is held."""
        held = self._held.pop(shard, None)
        if held is not None:
            held.close()
        self._looked_s.pop(shard, None)

    def drop(self, shard: int) -> None:
        """Removes a damaged copy, if it is held."""
        held = self._held.get(shard)
        if held is not None:
            self._cache.drop(held)
            self.let_go(shard)

    def _handle(self, shard: int) -> int:
        return self._held[shard].descriptor

    def close(self) -> None:
        """Lets go of all copies."""
        for shard in list(self._held):
            self.let_go(shard)


class CachingReader:
    """Reads ranges of shards, from a node's cache where they are there; see RangeReader."""

    def __init__(
        self, remote: RemoteReader, cache: NodeCache, files: Sequence[CachedFile], *, max_open: int = MAX_OPEN_SHARDS
    ) -> None:
        self._remote = remote
        self._copies = _Copies(cache, files, max_open)
        self._begun_far = False

    @property
    def meter(self) -> RequestMeter:
        """What was asked of the storage so far, and what was not."""
        return self._remote.meter

    def name(self, shard: int) -> str:
        """See RangeReader."""
        return self._remote.name(shard)

    def has_room(self) -> bool:
        """See RangeReader: only what comes from afar is begun ahead."""
        return self._begun_far and self._remote.has_room()

    def begin(self, clips: Sequence[tuple[int, Sequence[Range]]]) -> list[Any]:
        """See RangeReader."""
        self._copies.let_go_of_idle()
        far = [place for place, (shard, _) in enumerate(clips) if not self._copies.has(shard)]
        self._begun_far = bool(far)
        begun: list[Any] = [None] * len(clips)
        for place, its in zip(far, self._remote.begin([clips[place] for place in far]), strict=True):
            begun[place] = its
        return begun

    def forget(self, begun: Any) -> None:
        """See RangeReader."""
        if begun is not None:
            self._remote.forget(begun)

    def read(
        self, shard: int, ranges: Sequence[Range], into: Sequence[Bytes] | None = None, *, begun: Any = None
    ) -> list[Bytes]:
        """See RangeReader."""
        if begun is None and self._copies.has(shard):
            try:
                views = self._copies.read(shard, ranges, into)
            except (CorruptShardError, StorageError):  # it was cut, or its disk is at fault
                self._copies.drop(shard)
            else:
                self.meter.count_cached_clip()
                return views
        return self._remote.read(shard, ranges, into, begun=begun)

    def read_anew(self, shard: int, ranges: Sequence[Range], into: Sequence[Bytes] | None = None) -> list[Bytes] | None:
        """See RangeReader: past the cache, whose copy is removed."""
        self._copies.drop(shard)
        return self._remote.read_anew(shard, ranges, into)

    def close(self) -> None:
        """See RangeReader."""
        self._copies.close()
        self._remote.close()
