"""IsolatedWorkers: clips decoded in worker processes, each with a deadline; a crash or a hang costs one clip."""

import os
import select
import subprocess
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import Any, TypeVar

import msgpack

from shardkit.clip import Reason
from shardkit.errors import WorkerError
from shardkit.interpreters import ending, start_module
from shardkit.packing.settings import PackSettings
from shardkit.packing.worker import LENGTH, READY, write_message

START_TIMEOUT_S = 60.0
START_TRIES = 3
"""Processes in a row that may end before they are ready: the system may have killed one for reasons of its own."""
LOOK_AHEAD = 16
"""Clips under way or done for each worker while an earlier one is waited for: a long one among short ones
must not keep the others idle. Some 10 MB a worker."""

Task = TypeVar("Task")


class _DeadlineError(Exception):
    """The worker did not answer in time."""


class _EndedError(Exception):
    """The worker process ended."""


class _Worker:
    """One worker process; started when it is first asked. One thread at a time asks it, any thread may stop it."""

    def __init__(self, settings: PackSettings) -> None:
        self._settings = msgpack.packb(settings.to_json())
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = False
        self._starting = threading.Lock()

    def ask(self, request: bytes, timeout_s: float) -> Any:
        """The worker's answer."""
        try:
            process = self._process
            if process is None or process.poll() is not None:  # killed while it was idle
                self.end()
                process = self._start()
            self._send(process, request)
            return msgpack.unpackb(self._receive(process, timeout_s))
        except BrokenPipeError as exc:
            raise _EndedError(self.end()) from exc

    def _start(self) -> "subprocess.Popen[bytes]":
        for _ in range(START_TRIES - 1):
            with suppress(_EndedError):
                return self._start_once()
        try:
            return self._start_once()
        except _EndedError as exc:
            raise WorkerError(
                f"{START_TRIES} pack workers in a row ended before they were ready, the last one {exc}; what they "
                "wrote to standard error says why"
            ) from exc

    def _start_once(self) -> "subprocess.Popen[bytes]":
        # Under the lock, so that no process is started behind the back of `stop`.
        with self._starting:
            if self._stopped:
                raise WorkerError("packing was stopped")
            process = self._process = start_module(
                "shardkit.packing.worker", stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
        try:
            if self._receive(process, START_TIMEOUT_S) != READY:
                raise WorkerError("a pack worker said something unexpected when it started")
            self._send(process, self._settings)
        except BrokenPipeError as exc:
            raise _EndedError(self.end()) from exc
        except _DeadlineError as exc:
            raise WorkerError(
                f"a pack worker was not ready after {START_TIMEOUT_S:g} s; try again when the machine, and the "
                "disk that Python is on, are less busy"
            ) from exc
        return process

    def _send(self, process: "subprocess.Popen[bytes]", body: bytes) -> None:
        assert process.stdin is not None
        write_message(process.stdin, body)  # type: ignore[arg-type]

    def _receive(self, process: "subprocess.Popen[bytes]", timeout_s: float) -> bytes:
        deadline_s = time.monotonic() + timeout_s
        (length,) = LENGTH.unpack(self._read(process, LENGTH.size, deadline_s))
        return self._read(process, length, deadline_s)

    def _read(self, process: "subprocess.Popen[bytes]", count: int, deadline_s: float) -> bytes:
        assert process.stdout is not None
        descriptor = process.stdout.fileno()
        # Not select(), which knows no descriptor above 1,023: a machine with hundreds of cores gets there.
        readable = select.poll()
        readable.register(descriptor, select.POLLIN)
        parts = []
        while count:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0 or not readable.poll(left_s * 1000):
                self.end()
                raise _DeadlineError("gave no answer in time")
            part = os.read(descriptor, min(count, 1 << 20))
            if not part:
                raise _EndedError(self.end())
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def stop(self) -> None:
        """Ends the process for good; whoever waits for an answer learns that it ended."""
        with self._starting:
            self._stopped = True
            if self._process is not None:
                self._process.kill()

    def end(self) -> str:
        """Ends the process and lets go of its pipes; returns how it ended."""
        process, self._process = self._process, None
        if process is None:
            return "ended"
        process.kill()
        code = process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):  # what was buffered for it is of no use
                    pipe.close()
        return ending(code)


class IsolatedWorkers:
    """A fixed number of worker processes that pack media; answers come in the order of the requests."""

    def __init__(self, settings: PackSettings, *, workers: int, clip_timeout_s: float) -> None:
        self._clip_timeout_s = clip_timeout_s
        self._workers = [_Worker(settings) for _ in range(workers)]
        self._idle: SimpleQueue[_Worker] = SimpleQueue()
        for worker in self._workers:
            self._idle.put(worker)
        # A thread a worker waits for its pipe; the decoding is the processes'.
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="shardkit-pack")

    def map(self, tasks: Iterable[tuple[Task, dict[str, Any]]]) -> Iterator[tuple[Task, dict[str, Any]]]:
        """Each task with the worker's answer to its request: packed media, or `reason` and `detail`.

        The first clips are under way when this returns.
        """
        rest = iter(tasks)
        waiting: deque[tuple[Task, Future[dict[str, Any]]]] = deque()

        def submit(count: int) -> None:
            for task, request in islice(rest, count):
                waiting.append((task, self._threads.submit(self._answer, request)))

        def answers() -> Iterator[tuple[Task, dict[str, Any]]]:
            while waiting:
                task, answer = waiting.popleft()
                done = answer.result()
                submit(1)
                yield task, done

        submit(LOOK_AHEAD * len(self._workers))
        return answers()

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        worker = self._idle.get()
        try:
            return self._ask_twice(worker, request)
        finally:
            self._idle.put(worker)

    def _ask_twice(self, worker: _Worker, request: dict[str, Any]) -> dict[str, Any]:
        body = msgpack.packb(request)
        name = Path(request["path"]).name
        how = ""
        # A worker can be killed for reasons of the system's own, and a clip must not depend on those.
        for _ in range(2):
            try:
                answer: dict[str, Any] = worker.ask(body, self._clip_timeout_s)
            except _DeadlineError:
                detail = (
                    f"{name}: not packed after {self._clip_timeout_s:g} s; leave it out, or give more time "
                    "with --clip-timeout"
                )
                return {"reason": Reason.TIMEOUT.value, "detail": detail}
            except _EndedError as exc:
                how = str(exc)
            else:
                return answer
        detail = f"{name}: its worker process {how}, twice; the file is damaged: leave it out"
        return {"reason": Reason.CRASH.value, "detail": detail}

    def close(self) -> None:
        """Ends the processes and threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for worker in self._workers:
            worker.stop()
        self._threads.shutdown(wait=True)
        for worker in self._workers:
            worker.end()

    def __enter__(self) -> "IsolatedWorkers":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
