"""ShardStore: where the files of one data set are read from, and how; plain data, so that worker processes get it."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from shardkit.errors import StorageError
from shardkit.storage.caching import CachingReader
from shardkit.storage.clients import Engine, RangeClient, make_client
from shardkit.storage.failures import MissingFileError, is_refused_range
from shardkit.storage.fetching import Patience, read_file
from shardkit.storage.files import read_bytes
from shardkit.storage.keeper import Keeper
from shardkit.storage.locations import Location
from shardkit.storage.node_cache import CachedFile, NodeCache
from shardkit.storage.ranges import RangeReader
from shardkit.storage.remote import RemoteReader
from shardkit.storage.request_meter import RequestMeter
from shardkit.storage.shards import MAX_OPEN_SHARDS, ShardReader
from shardkit.storage.shared_disks import is_on_shared_disk

OPENING = Patience(deadline_s=20.0)
"""A wrong address is found out sooner than a server that is down for a while."""
_PROBED_BYTES = 2


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """Where a node keeps copies of shards, and how much of them."""

    folder: str
    limit_bytes: int | None = None


class ShardFile(NamedTuple):
    """One shard as a file."""

    name: str
    size_bytes: int
    digest: str
    """xxh3_128 of its bytes, hex."""


@dataclass(frozen=True, slots=True)
class ReadFolder:
    """A folder, and how it is read."""

    location: Location
    engine: Engine | None
    """What reads it from afar; None for a disk of this machine."""
    _clients: dict[tuple[Any, ...], RangeClient] = field(default_factory=dict, repr=False, compare=False)
    """By process, since none lives on in a fork, and by options: some take half a second to make, and connect anew."""

    def __reduce__(self) -> tuple[Any, ...]:
        return ReadFolder, (self.location, self.engine)

    @property
    def is_far(self) -> bool:
        """Whether its bytes come over a network."""
        return self.engine is not None

    def client(self, patience: Patience, *, max_open: int = MAX_OPEN_SHARDS) -> RangeClient:
        """This process's client for it, whose requests take no longer than a read may be tried.

        Args:
            patience: How long that is.
            max_open: Files of a disk that it may keep open.

        Raises:
            StorageError: A package is missing.
        """
        key = _client_key(patience, max_open)
        if key not in self._clients:
            made = make_client(self.location, self.engine, deadline_s=patience.deadline_s, max_open=max_open)
            self._clients.setdefault(key, made)  # another thread may have been as quick
        return self._clients[key]

    def read(self, name: str) -> bytes:
        """A whole small file.

        Raises:
            MissingFileError: It is not there.
            StorageError: It cannot be read.
        """
        if self.is_far:
            return read_file(self.client(OPENING), name, patience=OPENING)
        try:
            return read_bytes(self.location.path / name)
        except StorageError as exc:
            if isinstance(exc.__cause__, FileNotFoundError):
                raise MissingFileError(str(exc)) from exc
            raise

    def to_json(self) -> dict[str, Any]:
        """The folder as a worker process gets it."""
        return {"location": self.location.to_json(), "engine": self.engine}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "ReadFolder":
        """The inverse of `to_json`."""
        return cls(Location(**data["location"]), data["engine"])


@dataclass(frozen=True, slots=True)
class ShardStore:
    """Where a data set's files are."""

    home: ReadFolder
    """Where manifest and index are."""
    base: ReadFolder
    """Where the shards are."""
    shards: tuple[ShardFile, ...] = ()
    """By number."""
    cache: CacheSettings | None = None
    patience: Patience = field(default_factory=Patience)

    @property
    def is_far(self) -> bool:
        """Whether shards come over a network."""
        return self.base.is_far

    @property
    def keeps_copies(self) -> bool:
        """Whether shards are copied to this machine."""
        return self.cache is not None and self.is_far

    @property
    def patience_s(self) -> float:
        """How long a read may be tried before it fails."""
        return self.patience.deadline_s if self.is_far else 0.0

    @property
    def names(self) -> list[str]:
        """The shards' names by number, relative to the base."""
        return [shard.name for shard in self.shards]

    def reader(
        self,
        *,
        max_open: int = MAX_OPEN_SHARDS,
        meter: RequestMeter | None = None,
    ) -> RangeReader:
        """A new reader of the shards, for one thread.

        Args:
            max_open: Files that it may keep open.
            meter: Counts the requests.

        Raises:
            StorageError: A package is missing.
        """
        if not self.is_far:
            return ShardReader(self.base.location.path, self.names, max_open=max_open)
        client = self.base.client(self.patience, max_open=max_open)
        remote = RemoteReader(client, self.names, patience=self.patience, meter=meter)
        if self.cache is None:
            return remote
        return CachingReader(remote, self.node_cache(), self.cached_files(), max_open=max_open)

    def node_cache(self) -> NodeCache:
        """The cache of a store that has one.

        Raises:
            StorageError: It cannot be written to.
        """
        assert self.cache is not None
        return NodeCache(Path(self.cache.folder), limit_bytes=self.cache.limit_bytes)

    def cached_files(self) -> Sequence[CachedFile]:
        """The shards as a cache knows them."""
        return _CachedFiles(self)

    def keeper(self, *, meter: RequestMeter | None = None) -> Keeper:
        """What fetches the shards of a store with a cache into it; `meter` counts the requests.

        Raises:
            StorageError: The cache cannot be written to, or a package is missing.
        """
        return Keeper(
            self.base.client(self.patience),
            self.node_cache(),
            self.names,
            self.cached_files(),
            patience=self.patience,
            meter=meter,
        )

    def to_json(self) -> dict[str, Any]:
        """The store as a worker process gets it."""
        return {
            "home": self.home.to_json(),
            "base": self.base.to_json(),
            "shards": list(self.shards),
            "cache": None if self.cache is None else asdict(self.cache),
            "patience": asdict(self.patience),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "ShardStore":
        """The inverse of `to_json`."""
        return cls(
            home=ReadFolder.from_json(data["home"]),
            base=ReadFolder.from_json(data["base"]),
            shards=tuple(ShardFile(*shard) for shard in data["shards"]),
            cache=None if data["cache"] is None else CacheSettings(**data["cache"]),
            patience=Patience(**data["patience"]),
        )


class _CachedFiles(Sequence[CachedFile]):
    """Made when they are asked for: there may be tens of thousands, of which a reader wants few."""

    def __init__(self, store: ShardStore) -> None:
        self._store = store

    def __len__(self) -> int:
        return len(self._store.shards)

    def __getitem__(self, shard: Any) -> Any:
        name, size_bytes, digest = self._store.shards[shard]
        return CachedFile(self._store.base.location.child(name), size_bytes, digest)


def _client_key(patience: Patience, max_open: int) -> tuple[Any, ...]:
    return os.getpid(), patience.deadline_s, max_open


def open_read_folder(location: Location, *, probe: str) -> ReadFolder:
    """The best way to read a folder that works here.

    Args:
        location: The folder.
        probe: A file in it, of which some bytes are read: not every server answers ranged reads as obstore wants it.

    Raises:
        StorageError: A package is missing, or the server does not answer ranged reads.
    """
    if location.is_local:
        return ReadFolder(location, "disk" if is_on_shared_disk(location.path) else None)
    client = make_client(location, deadline_s=OPENING.deadline_s)
    if client.engine == "obstore" and not _answers_ranges(client, probe):
        client = make_client(location, "fsspec", deadline_s=OPENING.deadline_s)
    if client.engine != "obstore" and not _answers_ranges(client, probe):
        raise StorageError(
            f"{location}: this server does not answer ranged reads; serve the data with one that does, such as nginx"
        )
    return ReadFolder(location, client.engine, {_client_key(OPENING, MAX_OPEN_SHARDS): client})


def _answers_ranges(client: RangeClient, name: str) -> bool:
    """Whether a ranged read brings that range; yes where it fails for other reasons, which whoever reads will tell."""
    try:
        found = len(memoryview(client.read(name, 1, 1 + _PROBED_BYTES)))
    except Exception as exc:  # noqa: BLE001 - every client has its own
        return not is_refused_range(exc)
    return found <= _PROBED_BYTES
