"""RemoteTree: files below a URL that are only read: listed once, then fetched whole, one by one."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from shardkit.errors import StorageError
from shardkit.storage.files import storage_errors
from shardkit.storage.filesystems import open_filesystem
from shardkit.storage.locations import S3, WEB, Location
from shardkit.storage.trying import tried

CHUNK_BYTES = 8 << 20
"""Of one request, and what is asked for again after a fault."""
FLAT = (*S3, "gs", "gcs", "az", "abfs", "abfss", "hf")
"""Protocols that list all that is below a name at once."""


class RemoteTree:
    """A folder at a URL, with its subfolders."""

    def __init__(self, location: Location) -> None:
        self._url = location.url
        self._files, self._root = open_filesystem(location.url, location.storage_options)
        self._is_quoted = location.scheme in WEB
        self._is_flat = location.scheme in FLAT

    def __repr__(self) -> str:
        return f"RemoteTree({self._url!r})"

    def sizes(self) -> Iterator[tuple[str, int | None]]:
        """Path below the URL and size in bytes of every file; None where a listing does not tell.

        Raises:
            StorageError: The folder is missing, empty, or cannot be listed.
        """
        inside = f"{self._root}/"
        empty = True
        for entry in tried(self._url, self._entries):
            path = str(entry["name"])
            name = path.removeprefix(inside)
            # A web server's listing has links of other kinds too, such as `?sort=size`.
            if name != path and entry["type"] == "file" and not (self._is_quoted and "?" in name):
                empty = False
                size = entry.get("size")
                yield (unquote(name) if self._is_quoted else name), None if size is None else int(size)
        if empty:
            raise StorageError(f"{self._url}: no such folder, or nothing in it; check the URL")

    def _entries(self) -> list[dict[str, Any]]:
        if self._is_flat:
            return list(self._files.find(self._root, detail=True).values())
        # Not `find`, which leaves out the folders that it cannot list.
        folders = self._files.walk(self._root, detail=True, on_error="raise")
        return [entry for _, _, files in folders for entry in files.values()]

    def fetch(self, path: str, size_bytes: int | None, target: Path) -> Iterator[None]:
        """Copies a file to a local one, chunk by chunk; it is complete when there is no further step.

        Args:
            path: The file, as `sizes` gives it.
            size_bytes: Its size, as `sizes` gives it.
            target: Where to; its folder is there.

        Raises:
            MissingFileError: It is not there (any more).
            StorageError: It cannot be fetched, or its copy cannot be written.
        """
        url, place = f"{self._url}/{path}", self._place(path)
        if size_bytes is None:
            size_bytes = self.size(path)
        with storage_errors(target), target.open("wb") as file:
            if size_bytes is None:
                file.write(tried(url, lambda: self._files.cat_file(place)))
                return
            done = 0
            while done < size_bytes:
                done += file.write(self._chunk(url, place, done, size_bytes))
                yield

    def size(self, path: str) -> int | None:
        """Size in bytes of a file, its path as `sizes` gives it; None where the server does not tell.

        Raises:
            MissingFileError: It is not there.
            StorageError: The server cannot be asked.
        """

        def asked() -> int | None:
            try:
                found: int | None = self._files.info(self._place(path)).get("size")
            except FileNotFoundError as exc:
                # fsspec's HTTP says so of whatever kept it from asking.
                raise (exc.__cause__ or exc) from None
            return found

        return tried(f"{self._url}/{path}", asked)

    def _place(self, path: str) -> str:
        return f"{self._root}/{quote(path) if self._is_quoted else path}"

    def _chunk(self, url: str, place: str, start: int, size_bytes: int) -> bytes:
        """The next bytes of a file; all of them from a server that knows no ranges."""
        stop = min(size_bytes, start + CHUNK_BYTES)

        def asked() -> bytes:
            data = bytes(self._files.cat_file(place, start=start, end=stop))
            if len(data) == stop - start or (start == 0 and len(data) == size_bytes):
                return data
            raise ConnectionError(f"{len(data):,} bytes came, {stop - start:,} were asked for")

        return tried(url, asked)
