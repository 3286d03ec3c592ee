"""Crews: the workers of a loader, as processes or as threads, behind one interface."""

import errno
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Protocol

from shardkit.errors import WorkerError
from shardkit.interpreters import ending, start_module

STOP_TIMEOUT_S = 2.0
"""How long a worker may take to finish the clip it is on when the loader is closed."""


class Crew(Protocol):
    """Starts, watches and stops workers, which are numbered from 0."""

    replaceable: bool
    """Whether a hanging worker can be ended and replaced."""

    def start(self, worker: int) -> None:
        """Starts worker `worker`, or its replacement."""

    def sentinels(self) -> dict[int, int]:
        """Descriptors that become readable when a worker is gone, to worker number."""

    def bury(self, worker: int) -> str:
        """Ends a worker if it still runs; returns how it ended."""

    def pids(self) -> dict[int, int]:
        """Process id of every worker that has one of its own."""

    def let_go(self) -> None:
        """Closes a fork's copies of descriptors."""

    def stop(self) -> bool:
        """Ends all workers, whose wake pipes have been closed before; False if one still runs."""


class ProcessCrew:
    """Fresh interpreters, not forks: no lock or CUDA context comes along, and `__main__` is not imported again."""

    replaceable = True

    def __init__(self, start_json: str, descriptors: tuple[int, ...]) -> None:
        # A file and no pipe: one that is written to a worker that hangs would hang the trainer's process.
        self._start_file = os.memfd_create("shardkit-start", os.MFD_CLOEXEC)
        os.write(self._start_file, start_json.encode())
        self._descriptors = descriptors
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._sentinels: dict[int, int] = {}

    def start(self, worker: int) -> None:
        """See Crew."""
        process = start_module(
            "shardkit.loading.worker", [str(worker)], stdin=self._start_file, pass_fds=self._descriptors
        )
        self._processes[worker] = process
        try:
            self._sentinels[os.pidfd_open(process.pid)] = worker
        except (AttributeError, OSError) as exc:
            if isinstance(exc, OSError) and exc.errno in (errno.EMFILE, errno.ENFILE):
                raise WorkerError(f"{exc.strerror}: raise the limit (ulimit -n), or use fewer workers") from exc
            raise WorkerError(f"worker processes need Linux 5.3 (pidfd_open): {exc}; use worker_type='thread'") from exc

    def sentinels(self) -> dict[int, int]:
        """See Crew."""
        return self._sentinels

    def bury(self, worker: int) -> str:
        """See Crew."""
        process = self._processes.pop(worker)
        process.kill()
        try:
            code = process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            # In an uninterruptible call, such as on a dead network disk: it ends with that, and never runs again. Raw
            # frames that it was reading may still arrive in the slot of the clip that it was on.
            code = -signal.SIGKILL
        for descriptor in [d for d, number in self._sentinels.items() if number == worker]:
            del self._sentinels[descriptor]
            os.close(descriptor)
        return ending(code)

    def stop(self) -> bool:
        """See Crew."""
        deadline_s = time.monotonic() + STOP_TIMEOUT_S
        for process in self._processes.values():
            try:
                process.wait(max(0.0, deadline_s - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
        for worker in list(self._processes):
            self.bury(worker)
        os.close(self._start_file)
        return True

    def pids(self) -> dict[int, int]:
        """See Crew."""
        # A copy at once: stats() may ask from another thread while a worker is replaced.
        return {worker: process.pid for worker, process in list(self._processes.items())}

    def let_go(self) -> None:
        """See Crew."""
        for descriptor in (self._start_file, *self._sentinels):
            os.close(descriptor)


class ThreadCrew:
    """Threads of this process: for notebooks, debuggers and systems without memfd."""

    replaceable = False

    def __init__(self, target: Callable[[int], None]) -> None:
        self._target = target
        self._threads: list[threading.Thread] = []

    def start(self, worker: int) -> None:
        """See Crew."""
        thread = threading.Thread(target=self._target, args=(worker,), name=f"shardkit-worker-{worker}", daemon=True)
        thread.start()
        self._threads.append(thread)

    def sentinels(self) -> dict[int, int]:
        """See Crew: a thread does not die alone."""
        return {}

    def bury(self, worker: int) -> str:
        """See Crew."""
        raise AssertionError(f"thread {worker} cannot be ended")

    def pids(self) -> dict[int, int]:
        """See Crew."""
        return {}

    def let_go(self) -> None:
        """See Crew: threads have none of their own."""

    def stop(self) -> bool:
        """See Crew."""
        deadline_s = time.monotonic() + STOP_TIMEOUT_S
        for thread in self._threads:
            thread.join(max(0.0, deadline_s - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)
