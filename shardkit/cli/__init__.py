"""The `shardkit` command."""

import sys

from shardkit.errors import ShardkitError, TooManyRejectsError, UsageError

EXIT_FAILED, EXIT_USAGE, EXIT_REJECTS, EXIT_INTERRUPTED = 1, 2, 3, 130


def main() -> None:
    """Runs the command line; errors that people can mend come without a traceback."""
    from shardkit.cli.app import app

    try:
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


def _fail(error: ShardkitError, code: int) -> None:
    sys.stderr.write(f"error: {error}\n")
    sys.exit(code)
