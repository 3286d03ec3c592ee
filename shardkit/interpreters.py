"""Worker processes as fresh interpreters: not forks, nor multiprocessing, which imports the user's `__main__` again."""

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from shardkit.errors import WorkerError

STANDARD_ERROR = 2
_MALLOC = {"MALLOC_TRIM_THRESHOLD_": str(128 << 20), "MALLOC_MMAP_THRESHOLD_": str(32 << 20)}
"""glibc otherwise gives the frames that a decoder frees back to the system, to take them anew for the next clip: with
decord 270 page faults a clip, a tenth of its time."""


def start_module(module: str, arguments: Sequence[str] = (), **options: Any) -> "subprocess.Popen[bytes]":
    """Starts `python -m module`, which finds the same packages as this process, also those put on sys.path by hand.

    Ctrl-C does not reach it (it has its own session); its parent ends it, or it ends when its pipe is closed.

    Args:
        module: A module of shardkit.
        arguments: Its command line.
        options: What subprocess.Popen takes.

    Raises:
        WorkerError: The interpreter cannot be started.
    """
    if not sys.executable:
        raise WorkerError("this program embeds Python and has no interpreter to start workers with")
    search_path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path)  # noqa: PTH100 - "" is the cwd
    # PYTHONSAFEPATH keeps a file of the current folder from shadowing a package.
    environment = _MALLOC | os.environ | {"PYTHONPATH": search_path, "PYTHONSAFEPATH": "1"}
    # Workers are the parallelism: a thread pool of NumPy's in each would only have them wait for each other.
    environment["OPENBLAS_NUM_THREADS"] = "1"
    try:
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments], env=environment, start_new_session=True, **options
        )
    except OSError as exc:
        raise WorkerError(f"a worker process cannot be started: {exc}") from exc


def above_standard(descriptor: int) -> int:
    """The same file under a number above 2: those may be closed here, and a process that is started gets its own."""
    if descriptor > STANDARD_ERROR:
        return descriptor
    try:
        return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, STANDARD_ERROR + 1)
    finally:
        os.close(descriptor)


def ending(code: int) -> str:
    """How a process ended, by its return code."""
    return f"ended by {signal.Signals(-code).name}" if code < 0 else f"exited with code {code}"
