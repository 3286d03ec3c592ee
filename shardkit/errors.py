"""The errors that shardkit raises: the caller's fault, the data's fault and the storage's fault are different types.

A message says where, what was found, what was expected and what to do about it.
"""

import re

__all__ = [
    "CorruptShardError",
    "DataError",
    "FormatVersionError",
    "ShardkitError",
    "StorageError",
    "TooManyRejectsError",
    "UsageError",
    "WorkerError",
]


_QUERY = re.compile(r"""(https?://[^\s'"?]{,2000}\?)[^\s'"?]{,2000}=[^\s'"]*[^\s'":;,)]""")
"""Of a web URL: signatures and tokens stand there. In the URL of a store a `?` is a letter like others. Lengths have an
end, so that no text takes long."""


def without_query(text: str) -> str:
    """A text to be shown, whose URLs have `?…` in place of their queries."""
    return _QUERY.sub(r"\1…", text)


class ShardkitError(Exception):
    """The base of every error that shardkit raises on purpose."""

    def __str__(self) -> str:
        return without_query(super().__str__())


class UsageError(ShardkitError, ValueError):
    """What was asked for cannot be done: a wrong argument, setting or combination."""


class DataError(ShardkitError):
    """The data is not what it should be: an annotation file, a media file, a shard, an index or a manifest."""


class CorruptShardError(DataError):
    """Bytes of a shard, an index or a manifest differ from what was written."""


class FormatVersionError(DataError):
    """A data set of a format version that this shardkit does not read."""


class TooManyRejectsError(DataError):
    """More clips were rejected or skipped than the caller allows."""


class WorkerError(ShardkitError):
    """A worker process died, hung or could not be started."""


class StorageError(ShardkitError):
    """A file could not be read or written: missing, no permission, disk full, server unreachable."""
