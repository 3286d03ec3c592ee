"""Runs a command until its own standard input speaks or closes; then ends the command and removes its folder.

    python watchdog.py FOLDER COMMAND ...

Whoever starts it holds the other end of the pipe, which closes whichever way that process ends, by SIGKILL too. A byte
in it asks for the same, for processes that were forked meanwhile may hold the pipe open. What the command prints goes
to FOLDER/log. When it ends by itself, FOLDER/ended holds its return code; the folder stays until the pipe speaks.
"""

import os
import select
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

PATIENCE_S = 2.0
"""How long a command may take to end after SIGTERM."""


def main(folder: Path, command: list[str]) -> None:
    """Returns when the command and all that it started have ended and its folder is gone."""
    with (folder / "log").open("wb") as log:
        # Descriptors that were handed to this process are meant for the command.
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=folder,
            close_fds=False,
            start_new_session=True,
        )
    watched = select.poll()
    watched.register(sys.stdin, select.POLLIN)
    watched.register(os.pidfd_open(child.pid), select.POLLIN)
    if sys.stdin.fileno() not in dict(watched.poll()):
        (folder / "ended").write_text(str(child.wait()))
        sys.stdin.read(1)
    with suppress(subprocess.TimeoutExpired):
        child.terminate()
        child.wait(PATIENCE_S)
    # The child, if it is still there, and what it left behind.
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    shutil.rmtree(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
