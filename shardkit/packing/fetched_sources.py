"""FetchedSources: media files from a URL, copied into a worker's own temporary folder before they are decoded."""

from collections.abc import Iterator
from pathlib import Path

from shardkit.storage.files import storage_errors
from shardkit.storage.locations import Location
from shardkit.storage.trees import RemoteTree

LONGEST_NAME_BYTES = 255
"""Of a file, on nearly all file systems; object stores allow a thousand."""


class FetchedSources:
    """A folder of media at a URL; one file of it at a time is here, in a folder that is made for it.

    Raises:
        StorageError: The folder cannot be made, or the URL not be understood.
    """

    def __init__(self, media: Location, folder: Path) -> None:
        self._tree = RemoteTree(media)
        with storage_errors(folder):
            folder.parent.mkdir(mode=0o700, exist_ok=True)
            folder.mkdir(mode=0o700)
        self._folder = folder
        self._path: str | None = None
        self._copy: Path | None = None
        self._rest: Iterator[None] = iter(())
        self.is_complete = False
        """Whether all of the file that was begun is here."""

    def has_begun(self, path: str) -> bool:
        """Whether this is the file that was begun last."""
        return path == self._path

    def begin(self, path: str, size_bytes: int | None) -> None:
        """Lets go of the file that is here, and makes another one ready to be fetched."""
        if self._copy is not None:
            self._copy.unlink(missing_ok=True)
        # The name stays: demuxers look at it, and messages say it.
        name = path.rpartition("/")[2]
        if len(name.encode()) > LONGEST_NAME_BYTES:
            name = f"source{Path(name).suffix}"
        self._path, self._copy, self.is_complete = path, self._folder / name, False
        self._rest = self._tree.fetch(path, size_bytes, self._copy)

    def step(self) -> None:
        """Fetches the next chunk of the file that was begun.

        Raises:
            MissingFileError: It is not there (any more).
            StorageError: It cannot be fetched.
        """
        try:
            self.is_complete = next(self._rest, self) is self
        except BaseException:
            self._path = None  # who asks for it again begins anew
            raise

    @property
    def copy(self) -> str:
        """Where the file lies that was fetched last; it stays for the next clip of the same file."""
        return str(self._copy)
