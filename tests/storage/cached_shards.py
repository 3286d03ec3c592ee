"""The small shards behind nginx, and a node's cache for them."""

from collections.abc import Sequence
from pathlib import Path

from far_folders import SMALL_BYTES, SMALL_NAMES, FarFolder, small_content

from shardkit.format.digest import FileHasher
from shardkit.storage.fetching import Patience
from shardkit.storage.stores import CacheSettings, ReadFolder, ShardFile, ShardStore

QUICK = Patience(deadline_s=30.0, first_wait_s=0.01, most_wait_s=0.05)


def _digest(data: bytes) -> str:
    hasher = FileHasher()
    hasher.update(data)
    return hasher.hexdigest()


SHARDS = tuple(ShardFile(name, SMALL_BYTES, _digest(small_content(number))) for number, name in enumerate(SMALL_NAMES))


def cached_store(far: FarFolder, folder: Path, *, limit_shards: float | None = None) -> ShardStore:
    """A store of the small shards, with a cache that has room for so many."""
    limit_bytes = None if limit_shards is None else int(limit_shards * SMALL_BYTES)
    return store_at(ReadFolder(far.location, far.engine), SHARDS, CacheSettings(str(folder), limit_bytes))


def store_at(place: ReadFolder, shards: tuple[ShardFile, ...] = (), cache: CacheSettings | None = None) -> ShardStore:
    """A store of which all files are in one place."""
    return ShardStore(place, place, shards, cache, QUICK)


class WantingKeeper:
    """A store's keeper, and what it is told that it wants."""

    def __init__(self, store: ShardStore) -> None:
        self._keeper = store.keeper()
        self._wanted: Sequence[int] | None = ()
        self.meter = self._keeper.meter
        self.close = self._keeper.close

    def want(self, shards: Sequence[int] | None) -> None:
        """Wants these from now on, the first ones first; None is that nothing is said."""
        self._wanted = None if shards is None else tuple(shards)

    def run(self, *, most: int | None = None) -> None:
        """See Keeper."""
        self._keeper.run(lambda: self._wanted, most=most)


def cached_shards(store: ShardStore) -> set[int]:
    """The numbers of the shards that are whole in its cache."""
    cache = store.node_cache()
    there = set()
    for number, file in enumerate(store.cached_files()):
        held = cache.hold(file)
        if held is not None:
            with held:
                there.add(number)
    return there


def fill(store: ShardStore, *shards: int) -> None:
    """Puts shards into its cache."""
    cache = store.node_cache()
    for shard in shards:
        with cache.ensure(
            store.cached_files()[shard],
            lambda descriptor, shard=shard: Path(f"/proc/self/fd/{descriptor}").write_bytes(small_content(shard)),
        ):
            pass
