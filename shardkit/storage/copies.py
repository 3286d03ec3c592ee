"""Copies: whole files from afar into local ones, in parts, several at a time, and checked."""

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from shardkit.errors import CorruptShardError
from shardkit.format.digest import FileHasher
from shardkit.storage.clients import RangeClient
from shardkit.storage.fetching import Patience, fetch
from shardkit.storage.request_meter import RequestMeter

PART_BYTES = 8 << 20
PARTS_AT_ONCE = 8
HASHED_BYTES = 1 << 20


def copy_file(
    client: RangeClient,
    name: str,
    descriptor: int,
    *,
    size_bytes: int,
    digest: str,
    patience: Patience,
    meter: RequestMeter | None = None,
    closing: threading.Event | None = None,
) -> None:
    """Writes a file of the client's folder into a descriptor.

    Args:
        client: Makes the requests.
        name: Of the file.
        descriptor: Where it goes.
        size_bytes: Of the file.
        digest: xxh3_128 of its bytes, hex.
        patience: How long each part is tried.
        meter: Counts the requests.
        closing: Set when nobody waits for the copy any more; where it fails it is set here.

    Raises:
        StorageError: It cannot be read.
        OSError: The descriptor cannot be written to; the caller knows where that is.
        CorruptShardError: Its bytes are not those that were asked for.
    """
    counts, over = meter or RequestMeter(), closing or threading.Event()

    def copy(start: int) -> None:
        stop = min(start + PART_BYTES, size_bytes)
        data = fetch(client, name, start, stop, patience=patience, meter=counts, closing=over)
        done = 0
        while done < len(data):
            done += os.pwrite(descriptor, data[done:].data, start + done)

    with ThreadPoolExecutor(PARTS_AT_ONCE, thread_name_prefix="shardkit-copy") as threads:
        try:
            for _ in threads.map(copy, range(0, size_bytes, PART_BYTES)):
                pass
        except BaseException:
            over.set()
            threads.shutdown(cancel_futures=True)
            raise
    hasher = FileHasher()
    for block in _blocks(descriptor):
        hasher.update(block)
    if hasher.hexdigest() != digest:
        raise CorruptShardError(
            f"{client.location.child(name)}: xxh3 is {hasher.hexdigest()}, the manifest says {digest}; the file was "
            "damaged or replaced: copy it again"
        )


def _blocks(descriptor: int) -> Iterator[bytes]:
    place = 0
    while block := os.pread(descriptor, HASHED_BYTES, place):
        yield block
        place += len(block)
