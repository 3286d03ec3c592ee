"""IsolatedWorkers: clips decoded in worker processes, each with a deadline; a crash or a hang costs one clip.

What a worker process does is its own module's matter, see `shardkit.isolation.serving`.
"""

import os
import select
import shutil
import subprocess
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, TypeVar
from uuid import uuid4

import msgpack

from shardkit.clip import Reason
from shardkit.errors import WorkerError
from shardkit.interpreters import ending, start_module
from shardkit.isolation.serving import LENGTH, READY, message

START_TIMEOUT_S = 60.0
START_TRIES = 3
"""Processes in a row that may end before they are ready: the system may have killed one for reasons of its own."""
LOOK_AHEAD = 16
"""Clips under way or done for each worker while an earlier one is waited for: a long one among short ones
must not keep the others idle. Some 10 MB a worker where only answers are large."""
LOOK_AHEAD_BYTES = 32_000_000
"""Of requests that are not answered yet, for each worker: those that carry media. About what a worker process takes."""
WRITE_BYTES = 1 << 20
END_TIMEOUT_S = 10.0
"""For a thread to see that its worker is gone."""

Task = TypeVar("Task")


class _DeadlineError(Exception):
    """The worker did not answer in time."""


class _EndedError(Exception):
    """The worker process ended."""


class _Worker:
    """One worker process; started when it is first asked. One thread at a time asks it, any thread may stop it."""

    def __init__(self, module: str, settings: Any, *, has_scratch: bool) -> None:
        self._module = module
        self._settings = msgpack.packb(settings)
        self._has_scratch = has_scratch
        self._scratch: Path | None = None
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
            deadline_s = time.monotonic() + timeout_s
            self._send(process, request, deadline_s)
            return msgpack.unpackb(self._receive(process, deadline_s))
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
                f"{START_TRIES} workers in a row ended before they were ready, the last one {exc}; what they "
                "wrote to standard error says why"
            ) from exc

    def _start_once(self) -> "subprocess.Popen[bytes]":
        # Under the lock, so that no process is started behind the back of `stop`.
        with self._starting:
            if self._stopped:
                raise WorkerError("the run was stopped")
            arguments = []
            if self._has_scratch:
                # The worker makes it: one that is there before the worker would stay if this process were killed.
                self._scratch = Path(tempfile.gettempdir()) / f"shardkit-{uuid4().hex}"
                arguments.append(str(self._scratch))
            process = self._process = start_module(
                self._module, arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
            )
        assert process.stdin is not None
        # A worker that stands still must not hold up whoever writes to it.
        os.set_blocking(process.stdin.fileno(), False)
        deadline_s = time.monotonic() + START_TIMEOUT_S
        try:
            if self._receive(process, deadline_s) != READY:
                raise WorkerError("a worker said something unexpected when it started")
            self._send(process, self._settings, deadline_s)
        except BrokenPipeError as exc:
            raise _EndedError(self.end()) from exc
        except _DeadlineError as exc:
            raise WorkerError(
                f"a worker was not ready after {START_TIMEOUT_S:g} s; try again when the machine, and the "
                "disk that Python is on, are less busy"
            ) from exc
        return process

    def _send(self, process: "subprocess.Popen[bytes]", body: bytes, deadline_s: float) -> None:
        assert process.stdin is not None
        descriptor = process.stdin.fileno()
        for part in message(body):
            rest = memoryview(part)
            while rest:
                self._await(descriptor, select.POLLOUT, deadline_s)
                with suppress(BlockingIOError):
                    rest = rest[os.write(descriptor, rest[:WRITE_BYTES]) :]

    def _receive(self, process: "subprocess.Popen[bytes]", deadline_s: float) -> bytes:
        (length,) = LENGTH.unpack(self._read(process, LENGTH.size, deadline_s))
        return self._read(process, length, deadline_s)

    def _await(self, descriptor: int, events: int, deadline_s: float) -> None:
        # Not select(), which knows no descriptor above 1,023: a machine with hundreds of cores gets there.
        poll = select.poll()
        poll.register(descriptor, events)
        # It may lie there when the time is over: this process may have stood still, and not the worker.
        if not poll.poll(1000 * max(0.0, deadline_s - time.monotonic())):
            self.end()
            raise _DeadlineError("gave no answer in time")

    def _read(self, process: "subprocess.Popen[bytes]", count: int, deadline_s: float) -> bytes:
        assert process.stdout is not None
        descriptor = process.stdout.fileno()
        parts = []
        while count:
            self._await(descriptor, select.POLLIN, deadline_s)
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
        """Ends the process and lets go of its pipes and of its temporary folder; returns how it ended."""
        process, self._process = self._process, None
        if process is None:
            return "ended"
        process.kill()
        code = process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)
            self._scratch = None
        return ending(code)


@dataclass(slots=True, eq=False)
class _Request:
    """What a worker is asked, and its answer or why there is none."""

    name: str
    """Of the clip, for messages."""
    body: bytes
    """Until it is answered; what waits for its turn then holds no media."""
    size_bytes: int
    """Of the body."""
    answered: "SimpleQueue[_Request]"
    """Where it is put then."""
    answer: dict[str, Any] | None = None
    failure: BaseException | None = None

    @property
    def is_answered(self) -> bool:
        """Whether it has been, or never will be."""
        return self.answer is not None or self.failure is not None


class IsolatedWorkers:
    """A fixed number of worker processes that decode clips; answers come in the order of the requests."""

    def __init__(
        self,
        module: str,
        settings: Any,
        *,
        workers: int,
        clip_timeout_s: float,
        look_ahead: int = LOOK_AHEAD,
        has_scratch: bool = False,
    ) -> None:
        """Makes the workers; processes start when there is something to do.

        Args:
            module: What a worker process runs; it calls `serve`.
            settings: Plain values that every worker gets first.
            workers: How many.
            clip_timeout_s: After which a worker is ended and its clip given up.
            look_ahead: Clips under way or done for each worker while an earlier one is waited for.
            has_scratch: Each process may make a temporary folder of its own, the argument of its command line; it is
                removed when the process has ended, however it did.
        """
        self._clip_timeout_s = clip_timeout_s
        self._most_waiting, self._most_bytes = look_ahead * workers, LOOK_AHEAD_BYTES * workers
        self._workers = [_Worker(module, settings, has_scratch=has_scratch) for _ in range(workers)]
        # A thread a worker waits for its pipe; the decoding is the processes'. Queues that are written in C join them
        # to whoever maps: Ctrl-C in the middle of `concurrent.futures` may leave one of its locks taken, and then
        # everybody waits for ever.
        self._requests: SimpleQueue[_Request | None] = SimpleQueue()
        self._threads = [
            threading.Thread(target=self._serve, args=(worker,), name="shardkit-isolated", daemon=True)
            for worker in self._workers
        ]
        for thread in self._threads:
            thread.start()

    def map(self, tasks: Iterable[tuple[Task, dict[str, Any]]]) -> Iterator[tuple[Task, dict[str, Any]]]:
        """Each task with the worker's answer to its request, or the `reason` and `detail` of a reject.

        The first clips are under way when this returns. No task is taken while the requests that are not answered have
        LOOK_AHEAD_BYTES a worker or more. What a request has as `path` names it in messages. A worker
        that first has to fetch something answers `again_s`: it is asked again, and has so many seconds for the next
        step (None: those of a clip). What it does not get in time, or cannot live to get, is a `storage_error`, and no
        fault of the clip.
        """
        rest = iter(tasks)
        waiting: deque[tuple[Task, _Request]] = deque()
        answered: SimpleQueue[_Request] = SimpleQueue()
        held_bytes = 0

        def submit() -> None:
            nonlocal held_bytes
            while len(waiting) < self._most_waiting and held_bytes < self._most_bytes:
                following = next(rest, None)
                if following is None:
                    return
                task, wanted = following
                body = msgpack.packb(wanted)
                request = _Request(Path(wanted["path"]).name, body, len(body), answered)
                held_bytes += len(body)
                waiting.append((task, request))
                self._requests.put(request)

        def answers() -> Iterator[tuple[Task, dict[str, Any]]]:
            nonlocal held_bytes
            while waiting:
                task, request = waiting[0]
                # The first one may take long: each that is answered behind it makes room for another.
                while not (request.is_answered and answered.empty()):
                    held_bytes -= answered.get().size_bytes
                    submit()
                waiting.popleft()
                if request.failure is not None:
                    raise request.failure
                submit()
                assert request.answer is not None
                yield task, request.answer

        submit()
        return answers()

    def _serve(self, worker: _Worker) -> None:
        while (request := self._requests.get()) is not None:
            try:
                request.answer = self._ask_twice(worker, request.name, request.body)
            except BaseException as exc:  # noqa: BLE001 - whoever maps gets it
                request.failure = exc
            request.body = b""
            request.answered.put(request)
            del request  # the answer is held by whoever waits for it

    def _ask_twice(self, worker: _Worker, name: str, body: bytes) -> dict[str, Any]:
        how = ""
        fetch_s: float | None = None
        # A worker can be killed for reasons of the system's own, and a clip must not depend on those.
        for _ in range(2):
            fetch_s = None
            try:
                while "again_s" in (answer := worker.ask(body, fetch_s or self._clip_timeout_s)):
                    fetch_s = answer["again_s"]
            except _DeadlineError:
                if fetch_s is not None:
                    return {"storage_error": f"{name}: nothing came for {fetch_s:g} s; check network and server"}
                detail = (
                    f"{name}: not decoded after {self._clip_timeout_s:g} s; leave it out, or give more time "
                    "with --clip-timeout"
                )
                return {"reason": Reason.TIMEOUT.value, "detail": detail}
            except _EndedError as exc:
                how = str(exc)
            else:
                return dict(answer)
        if fetch_s is not None:  # not a byte of it was decoded
            error = f"{name}: its worker process {how} while fetching it; free memory, or take fewer --workers"
            return {"storage_error": error}
        detail = f"{name}: its worker process {how}, twice; the file is damaged: leave it out"
        return {"reason": Reason.CRASH.value, "detail": detail}

    def close(self) -> None:
        """Ends the processes and threads."""
        with suppress(Empty):
            while True:
                self._requests.get_nowait()
        for _ in self._threads:
            self._requests.put(None)
        for worker in self._workers:
            worker.stop()
        for thread in self._threads:
            thread.join(END_TIMEOUT_S)
        for worker in self._workers:
            worker.end()

    def __enter__(self) -> "IsolatedWorkers":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
