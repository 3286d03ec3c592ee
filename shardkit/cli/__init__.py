"""The `shardkit` command."""

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from shardkit.errors import ShardkitError, TooManyRejectsError, UsageError

EXIT_FAILED, EXIT_USAGE, EXIT_REJECTS, EXIT_INTERRUPTED = 1, 2, 3, 130


def main() -> None:
    """Runs the command line; errors that people can mend come without a traceback."""
    try:
        from shardkit.cli.app import app

        with _warnings_for_people():
            app()
    except UsageError as exc:
        _fail(exc, EXIT_USAGE)
    except TooManyRejectsError as exc:
        _fail(exc, EXIT_REJECTS)
    except ShardkitError as exc:
        _fail(exc, EXIT_FAILED)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(EXIT_INTERRUPTED)


@contextmanager
def _warnings_for_people() -> Iterator[None]:
    """Warnings are one line, without the place in the code."""

    def line(message: Warning | str, category: object, filename: str, lineno: int, line: str | None = None) -> str:  # noqa: ARG001 - as it is called
        return f"warning: {message}\n"

    usual, warnings.formatwarning = warnings.formatwarning, line
    try:
        yield
    finally:
        warnings.formatwarning = usual


def _fail(error: ShardkitError, code: int) -> None:
    sys.stderr.write(f"error: {error}\n")
    sys.exit(code)
