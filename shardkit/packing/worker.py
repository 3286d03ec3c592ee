"""The pack worker process: requests on standard input, answers on standard output, one clip at a time.

Media files are decoded here and nowhere else, since a damaged one can hang or end the process that decodes it.
"""

import os
import select
import struct
import sys
import threading
import traceback
from pathlib import Path
from typing import Any, BinaryIO

import msgpack

from shardkit.clip import Reason
from shardkit.media.ffmpeg_log import silence_ffmpeg
from shardkit.packing.clip_media import RejectedClipError, pack_media
from shardkit.packing.settings import PackSettings

LENGTH = struct.Struct("<Q")
READY = b"ready"


def write_message(stream: BinaryIO, body: bytes) -> None:
    """Writes one length-prefixed message."""
    stream.write(LENGTH.pack(len(body)))
    stream.write(body)
    stream.flush()


def answer(request: dict[str, Any], settings: PackSettings) -> dict[str, Any]:
    """The packed media of a request, or the reason and detail of a reject."""
    try:
        media = pack_media(request["path"], request["start_s"], request["end_s"], settings)
    except RejectedClipError as exc:
        return {"reason": exc.reason.value, "detail": str(exc)}
    except Exception as exc:  # noqa: BLE001 - what one file does must not end the packing
        name, innermost = Path(request["path"]).name, traceback.extract_tb(exc.__traceback__)[-1]
        # Not the whole path: where Python is installed must not show in rejects.jsonl.
        where = f"{'/'.join(Path(innermost.filename).parts[-2:])}:{innermost.lineno}"
        return {
            "reason": Reason.INTERNAL_ERROR.value,
            "detail": f"{name}: unexpected {type(exc).__name__}: {exc} ({where}); leave the clip out and report it",
        }
    return media.to_wire()


def _end_with_parent() -> None:
    """Ends this process once nobody holds the other end of standard input."""
    hangup = select.poll()
    hangup.register(0, 0)
    hangup.poll()
    os._exit(1)


def main() -> None:
    """Answers requests until standard input is closed."""
    # A file can hang for ever, also after the packing process was killed.
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # Whatever a library prints must not get between the messages.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    silence_ffmpeg()
    requests = sys.stdin.buffer
    settings: PackSettings | None = None
    write_message(answers, READY)
    while header := requests.read(LENGTH.size):
        request = msgpack.unpackb(requests.read(LENGTH.unpack(header)[0]))
        if settings is None:
            settings = PackSettings.from_json(request)
            continue
        write_message(answers, msgpack.packb(answer(request, settings)))


if __name__ == "__main__":
    main()
