"""Fetching: ranged reads from afar, tried again until they succeed or their time is over.

    attempt   one request for what is still missing; what came is kept, and the next one begins behind it
    wait      longer after each failure (doubled, with jitter), or as long as the server asks
    deadline  measured from the first attempt; then StorageError, with URL, range, attempts and the last cause. It ends
              an attempt, too: what still comes, however slowly, is broken off. Only a disk that hangs is waited for

What no retry mends (no such file, no permission, a wrong option) ends it at once.
"""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import numpy as np

from shardkit.errors import CorruptShardError, StorageError
from shardkit.storage.clients import DEADLINE_S, RangeClient
from shardkit.storage.failures import (
    BEYOND_END,
    TOO_MANY_REQUESTS,
    Failure,
    RangesRefusedError,
    explain,
    kind_of,
    remedy,
)
from shardkit.storage.ranges import Bytes
from shardkit.storage.request_meter import RequestMeter

WHOLE_BYTES = 2 << 20
"""Up to so many bytes are first asked for in one piece: a stream of pieces costs two to four times the CPU time. Of an
answer that broke off nothing is left then; the next one is a stream in small pieces, and what is longer always is one.
"""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a read is tried again and again."""

    deadline_s: float = DEADLINE_S
    """From the first attempt to the last."""
    first_wait_s: float = 0.1
    most_wait_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that was made already."""

    answer: Future[Any]
    at_s: float
    """By the monotonic clock."""


class _Tries:
    """The attempts at one read, and the waits between them."""

    def __init__(
        self,
        client: RangeClient,
        name: str,
        place: tuple[int, int] | None,
        patience: Patience,
        asked: Asked | None = None,
    ) -> None:
        self.client = client
        self.count = 0
        self._name = name
        self._place = place
        self._patience = patience
        self._began_s = asked.at_s if asked else time.monotonic()
        self._wait_s = patience.first_wait_s

    def are_over(self) -> bool:
        """Whether the deadline has passed."""
        return time.monotonic() - self._began_s > self._patience.deadline_s

    def pause_s(self, failure: Failure, cause: BaseException | None) -> float:
        """How long to wait after a failed attempt.

        Raises:
            StorageError: There is no use in another one, or no time.
        """
        pause_s = failure.pause_s(self._wait_s)
        self._wait_s = min(2 * self._wait_s, self._patience.most_wait_s)
        tried_s = time.monotonic() - self._began_s
        if not failure.transient or tried_s + pause_s > self._patience.deadline_s:
            tries = f" in {self.count} attempt{'s' * (self.count > 1)} over {tried_s:.1f} s"
            tries = tries if failure.transient or self.count > 1 else ""
            what = self.client.location.child(self._name)
            if self._place:
                what += f", bytes {self._place[0]:,} to {self._place[1]:,}"
            told = f"{what}: not read{tries}: {failure.reason}; {_remedy(self.client, failure)}"
            raise kind_of(failure)(told) from cause
        if failure.status == TOO_MANY_REQUESTS and failure.retry_after_s is None:
            self.client = self.client.telling()
        return pause_s


def fetch(
    client: RangeClient,
    name: str,
    start: int,
    stop: int,
    *,
    patience: Patience,
    meter: RequestMeter,
    closing: threading.Event,
    asked: Asked | None = None,
) -> Bytes:
    """Bytes [start, stop) of a file.

    Args:
        client: Makes the requests.
        name: Of the file, in the client's folder.
        start: First byte.
        stop: Last byte + 1.
        patience: How long it is tried.
        meter: Counts the requests.
        closing: Set when nobody waits for the bytes any more.
        asked: The first attempt, where that was made already.

    Returns:
        uint8 [stop - start].

    Raises:
        StorageError: They could not be had in time, or not at all.
        CorruptShardError: The file ends before `stop`.
    """
    pieces: list[Bytes] = []
    place = start
    tries = _Tries(client, name, (start, stop), patience, asked)
    while True:
        tries.count += 1
        before, cause = place, None
        asked_s = asked.at_s if asked else time.monotonic()
        failure = Failure("a short answer", transient=True)
        try:
            for piece in _attempt(tries.client, name, place, stop, again=tries.count > 1, asked=asked):
                pieces.append(piece)
                place += len(piece)
                if place < stop and tries.are_over():
                    failure = Failure("its bytes come too slowly", transient=True)
                    break
        except Exception as exc:  # noqa: BLE001 - every client has its own
            failure, cause = explain(exc), exc
        meter.count_request(place - before, time.monotonic() - asked_s, is_retry=tries.count > 1)
        if place == stop:
            return pieces[0] if len(pieces) == 1 else np.concatenate(pieces or [np.empty(0, np.uint8)])
        if place > stop:
            failure = explain(RangesRefusedError())
        # Disks, and what else knows no status 416, answer with nothing.
        if failure.status == BEYOND_END or (cause is None and place == before):
            raise CorruptShardError(
                f"{client.location.child(name)}: ends before byte {stop:,}, and the index says a clip reaches there; "
                "the shard was cut, or the index overwritten: copy it again"
            ) from cause
        asked = None
        pause_s = tries.pause_s(failure, cause)
        if closing.wait(pause_s):
            raise StorageError(f"{client.location.child(name)}: given up, since nobody waits for it")


def _attempt(
    client: RangeClient, name: str, start: int, stop: int, *, again: bool, asked: Asked | None
) -> Iterator[Bytes]:
    """What one request brings, in one piece or several: uint8 arrays over the client's memory."""
    if start == stop:
        return
    if stop - start <= WHOLE_BYTES and not again:
        yield np.frombuffer(asked.answer.result() if asked else client.read(name, start, stop), np.uint8)
        return
    for piece in client.pieces(name, start, stop, small=again):
        yield np.frombuffer(piece, np.uint8)


def _remedy(client: RangeClient, failure: Failure) -> str:
    if client.location.is_local:
        return "check the path, its permissions and the file system"
    return remedy(failure)


def read_file(client: RangeClient, name: str, *, patience: Patience) -> bytes:
    """A whole small file.

    Raises:
        StorageError: It could not be had in time, or not at all.
    """
    tries = _Tries(client, name, None, patience)
    while True:
        tries.count += 1
        try:
            return bytes(memoryview(tries.client.read_all(name)))
        except Exception as exc:  # noqa: BLE001 - every client has its own
            pause_s = tries.pause_s(explain(exc), exc)
        time.sleep(pause_s)
