"""Servers of benchmarks/storage for tests: where a program is not installed, the test is skipped and says which."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TypeVar

import pytest

from benchmarks.storage.servers import ServerMissingError

T = TypeVar("T")


@contextmanager
def started(server: AbstractContextManager[T]) -> Iterator[T]:
    """The server for as long as the block runs."""
    with ExitStack() as stack:
        try:
            running = stack.enter_context(server)
        except ServerMissingError as exc:
            pytest.skip(str(exc))
        yield running
