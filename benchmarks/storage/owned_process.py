"""A server as a child that never outlives us, whichever way we end, with a folder of its own that goes with it."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from benchmarks.storage import watchdog

T = TypeVar("T")

START_S = 60.0
_LOOK_AGAIN_S = 0.01


class ServerDidNotStartError(RuntimeError):
    """A server ended, or was not ready in time; the message ends with what it printed."""


class OwnedProcess:
    """A command that runs until the block ends that started it."""

    def __init__(self, name: str, folder: Path, guard: "subprocess.Popen[bytes]") -> None:
        self.name = name
        self._guard = guard
        self.folder = folder
        """Its own, and its working directory."""

    def __repr__(self) -> str:
        return f"OwnedProcess({self.name!r}, folder={str(self.folder)!r}, ended={self.ended})"

    @property
    def ended(self) -> bool:
        """Whether it ended by itself."""
        return (self.folder / "ended").exists() or self._guard.poll() is not None

    def log(self) -> str:
        """What it printed so far."""
        log = self.folder / "log"
        return log.read_text(errors="replace") if log.exists() else ""

    def wait_for(self, ready: Callable[[], T | None]) -> T:
        """Asks `ready` again and again until it returns something; returns that.

        Raises:
            ServerDidNotStartError: The process ended, or `START_S` passed.
        """
        deadline_s = time.monotonic() + START_S
        while time.monotonic() < deadline_s:
            if (found := ready()) is not None:
                return found
            if self.ended:
                raise ServerDidNotStartError(f"{self.name} ended before it was ready: {self.log()}")
            time.sleep(_LOOK_AGAIN_S)
        raise ServerDidNotStartError(f"{self.name} was not ready after {START_S:.0f} s: {self.log()}")


@contextmanager
def owned_process(
    name: str,
    command: Callable[[Path], Sequence[str]],
    *,
    environment: Mapping[str, str] | None = None,
    inherit: Sequence[int] = (),
) -> Iterator[OwnedProcess]:
    """Starts a command, and ends it with the block or with this process, whatever comes first.

    Args:
        name: For messages.
        command: Gets the folder, may write files there, and returns the arguments.
        environment: Of the command; None is ours.
        inherit: Descriptors that the command gets under the same numbers.
    """
    folder = Path(tempfile.mkdtemp(prefix="shardkit-server-"))
    try:
        guard = subprocess.Popen(
            [sys.executable, "-I", "-S", str(watchdog.__file__), str(folder), *command(folder)],
            stdin=subprocess.PIPE,
            cwd=folder,
            env=environment,
            pass_fds=inherit,
            # A session of its own: Ctrl-C is ours, and we end it then.
            start_new_session=True,
        )
    except BaseException:
        shutil.rmtree(folder)
        raise
    with guard:
        assert guard.stdin is not None
        try:
            yield OwnedProcess(name, folder, guard)
        finally:
            if guard.poll() is None:
                os.write(guard.stdin.fileno(), b"\n")
                guard.wait()
            shutil.rmtree(folder, ignore_errors=True)
