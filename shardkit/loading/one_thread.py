"""OneThread: a loader is iterated over by one thread at a time; another gets an error, and disturbs nothing."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from shardkit.errors import UsageError


class OneThread:
    """Held while a batch is made; between two batches it knows the thread that took the last one.

    An iterator may be handed on from one thread to another, as those do that look at a first batch and start a thread
    for the rest; but no two may ask at once, and nobody may start an iteration while another's is under way.
    """

    def __init__(self) -> None:
        self._anew()

    def __reduce__(self) -> tuple[Any, ...]:
        return OneThread, ()  # a copy is another loader's

    def _anew(self) -> None:
        self._process = os.getpid()
        self._lock = threading.RLock()
        self._last: threading.Thread | None = None
        self._interruptions = 0

    def __enter__(self) -> None:
        """Takes the turn, again if this thread has it.

        Raises:
            UsageError: Another thread has it.
        """
        if self._process != os.getpid():
            self._anew()  # in a fork, where the thread that may hold the lock is not
        if not self._lock.acquire(blocking=False):
            if not self._interruptions:
                raise _two_threads()
            self._lock.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()

    def took_batch(self) -> None:
        """Notes that this thread takes a batch."""
        self._last = threading.current_thread()

    def check_last(self) -> None:
        """Makes sure that the last batch was taken by this thread, or by one that has ended.

        Raises:
            UsageError: It was another, which may come again.
        """
        last = self._last
        if last is not None and last is not threading.current_thread() and last.is_alive():
            raise _two_threads()

    @contextmanager
    def interrupted(self) -> Iterator[None]:
        """Waits until no other thread has the turn; whoever asks for it meanwhile waits in turn."""
        if self._process != os.getpid():
            self._anew()
        self._interruptions += 1
        try:
            with self._lock:
                yield
        finally:
            self._interruptions -= 1


def _two_threads() -> UsageError:
    return UsageError(
        "this loader is being iterated over in another thread; make one loader for each, or end the other's iteration "
        "first (its close())",
    )
