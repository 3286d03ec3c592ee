"""Trying: what is done to a file system of fsspec, done again where that may help, and told in words of our own.

For what is written and listed; ranged reads have their own way, see `shardkit.storage.fetching`.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from shardkit.errors import ShardkitError, StorageError
from shardkit.storage.failures import explain, kind_of, remedy

TRIES = 3
FIRST_PAUSE_S = 0.5
"""Before a second try; twice as long before each further one. Clients try again by themselves within each of these."""
LONGEST_S = 120.0
"""After so long there is no further try."""
MOST_PAUSE_S = 60.0
"""A server that asks to wait for longer is not waited for."""

Result = TypeVar("Result")


@contextmanager
def storage_failures(url: str) -> Iterator[None]:
    """Turns whatever a file system raises about `url` into a StorageError that says what to do."""
    try:
        yield
    except ShardkitError:
        raise
    except Exception as exc:
        raise _storage_failure(url, exc) from exc


def tried(url: str, action: Callable[[], Result]) -> Result:
    """What an action on a file system returns; it is done again where that may help.

    Raises:
        MissingFileError: What the action is about is not there.
        StorageError: It failed for good, or too often.
    """
    pause_s, until_s = FIRST_PAUSE_S, time.monotonic() + LONGEST_S
    for _ in range(TRIES - 1):
        try:
            return action()
        except Exception as exc:
            failure = explain(exc)
            asked_s = failure.retry_after_s or 0.0
            if not failure.transient or asked_s > MOST_PAUSE_S or time.monotonic() > until_s:
                raise _storage_failure(url, exc) from exc
        time.sleep(failure.pause_s(pause_s))
        pause_s *= 2
    with storage_failures(url):
        return action()


def _storage_failure(url: str, exc: Exception) -> StorageError:
    failure = explain(exc)
    return kind_of(failure)(f"{url}: {failure.reason}; {remedy(failure)}")
