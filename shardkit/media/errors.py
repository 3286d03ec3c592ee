"""What can be wrong with media; the exceptions of FFmpeg, libjpeg-turbo and decord stay in this package."""

from typing import Literal

from shardkit.errors import DataError

__all__ = ["MediaDecodeError", "MuxError", "NoStreamError", "UnreadableMediaError"]


class UnreadableMediaError(DataError):
    """A file is missing, empty, not media, or cut off before what is needed to open it."""


class NoStreamError(DataError):
    """A media file has no stream of the kind that was asked for, or none that can be decoded."""

    def __init__(self, message: str, *, kind: Literal["video", "audio"]) -> None:
        super().__init__(message)
        self.kind = kind


class MediaDecodeError(DataError):
    """A decoder reported an error inside the range that was asked for, or returned what cannot be used."""


class MuxError(DataError):
    """Packets cannot be put into a container as asked."""
