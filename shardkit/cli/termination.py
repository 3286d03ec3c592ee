"""SIGTERM as schedulers send it: a run ends as after Ctrl-C, with nothing left behind and a word on what is there."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

GOES_ON = "the same command with --resume goes on"
"""What is said of a run that can be resumed."""


class Terminated(SystemExit):
    """This process was asked to end; it exits with the code that shells give for that."""

    def __init__(self) -> None:
        super().__init__(128 + signal.SIGTERM)


@contextmanager
def ended_by_sigterm(left: str) -> Iterator[None]:
    """SIGTERM raises Terminated in the main thread meanwhile; after it, or Ctrl-C, standard error says `left`."""

    def end(*_: object) -> None:
        raise Terminated

    usual = signal.signal(signal.SIGTERM, end)
    try:
        yield
    except (KeyboardInterrupt, Terminated):
        sys.stderr.write(f"stopped; {left}\n")
        raise
    finally:
        signal.signal(signal.SIGTERM, usual)
