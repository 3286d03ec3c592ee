"""Near files: a data set's index on this machine's own disk, where it is mapped. One that comes from afar is copied."""

import os
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from shardkit.errors import StorageError
from shardkit.storage.copies import copy_file
from shardkit.storage.files import storage_errors
from shardkit.storage.node_cache import CachedFile, HeldFile, NodeCache
from shardkit.storage.stores import ShardStore

COPIES_BYTES = 20_000_000_000
"""Limit of the folder where copies go that no cache_dir was given for; those in use do not count against it."""


@dataclass(frozen=True, slots=True)
class NearFile:
    """A file on this machine's disk."""

    path: Path
    held: HeldFile | None
    """Of a copy: keeps it."""


def near_file(store: ShardStore, name: str, *, size_bytes: int, digest: str) -> NearFile:
    """A file beside a store's manifest, or a checked copy of it that all processes of this machine share.

    Args:
        store: Where it is.
        name: Of the file.
        size_bytes: Of the file.
        digest: xxh3_128 of its bytes, hex.

    Raises:
        StorageError: It cannot be read, or its copy not be written.
        CorruptShardError: Its bytes are others.
    """
    if not store.home.is_far:
        return NearFile(store.home.location.path / name, None)
    if store.cache is None:
        cache = NodeCache(copies_folder(), limit_bytes=max(COPIES_BYTES, size_bytes))
    else:
        cache = store.node_cache()
    client = store.home.client(store.patience)

    def fetch(descriptor: int) -> None:
        copy_file(client, name, descriptor, size_bytes=size_bytes, digest=digest, patience=store.patience)

    held = cache.ensure(CachedFile(store.home.location.child(name), size_bytes, digest), fetch)
    return NearFile(held.path, held)


def copies_folder() -> Path:
    """Where copies go that no cache_dir was given for: a folder of this user's alone, as what is in it is trusted.

    Raises:
        StorageError: It cannot be made, or is another user's.
    """
    folder = Path(tempfile.gettempdir()) / f"shardkit-{os.getuid()}"
    with storage_errors(folder):
        folder.mkdir(mode=0o700, exist_ok=True)
        about = folder.lstat()
    if about.st_uid != os.getuid() or about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise StorageError(f"{folder}: others can write here, and it is for copies of this user's; give a cache_dir")
    return folder
