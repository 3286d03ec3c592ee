"""The worker's side: requests on standard input, answers on standard output, one clip at a time."""

import os
import select
import struct
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack

from shardkit.clip import Reason

LENGTH = struct.Struct("<Q")
READY = b"ready"

Answer = dict[str, Any]
Request = dict[str, Any]


def message(body: bytes) -> tuple[bytes, bytes]:
    """What goes through the pipe for a message: its length and itself."""
    return LENGTH.pack(len(body)), body


def internal_error(name: str, exc: Exception) -> Answer:
    """The reject of a clip at which shardkit itself failed; call it where `exc` was caught."""
    innermost = traceback.extract_tb(exc.__traceback__)[-1]
    # Not the whole path: where Python is installed must not show in rejects.jsonl.
    where = f"{'/'.join(Path(innermost.filename).parts[-2:])}:{innermost.lineno}"
    return {
        "reason": Reason.INTERNAL_ERROR.value,
        "detail": f"{name}: unexpected {type(exc).__name__}: {exc} ({where}); leave the clip out and report it",
    }


def _end_with_parent(farewell: Callable[[], None]) -> None:
    """Ends this process once nobody holds the other end of standard input."""
    hangup = select.poll()
    hangup.register(0, 0)
    hangup.poll()
    farewell()
    os._exit(1)


def serve(
    answering: Callable[[Any], Callable[[Request], Answer]], *, farewell: Callable[[], None] = lambda: None
) -> None:
    """Answers requests until standard input is closed.

    Args:
        answering: From the settings, which come first, to what answers requests.
        farewell: What is done once the process that asks is gone; it may come in the middle of an answer.
    """
    # A file can hang for ever, also after the process that wants it was killed.
    ending = threading.Thread(target=_end_with_parent, args=(farewell,), daemon=True)
    ending.start()
    # Whatever a library prints must not get between the messages.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    requests = sys.stdin.buffer
    answer: Callable[[Request], Answer] | None = None

    def send(body: bytes) -> None:
        answers.writelines(message(body))
        answers.flush()

    send(READY)
    while header := requests.read(LENGTH.size):
        content = msgpack.unpackb(requests.read(LENGTH.unpack(header)[0]))
        if answer is None:
            answer = answering(content)
            continue
        send(msgpack.packb(answer(content)))
    # Not by itself, which would break the farewell off.
    ending.join()
