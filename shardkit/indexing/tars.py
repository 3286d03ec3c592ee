"""Which tars are indexed, and where they lie."""

import os
import posixpath
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from braceexpand import braceexpand

from shardkit.errors import StorageError, UsageError
from shardkit.indexing.tar_members import DECOMPRESS
from shardkit.storage.files import storage_errors
from shardkit.storage.folders import check_writable
from shardkit.storage.locations import TAR_SUFFIX, URL_MARK, WEB, Location
from shardkit.storage.trees import RemoteTree

COMPRESSED_SUFFIXES = (".tgz", ".tbz2", ".txz", *(f"{TAR_SUFFIX}.{kind}" for kind in ("gz", "bz2", "xz", "zst", "lz4")))
SIZES_AT_ONCE = 16
"""Of tars at URLs whose listing does not tell: each is a request."""


@dataclass(frozen=True, slots=True)
class Tar:
    """One shard."""

    name: str
    """Path relative to the set's base, with `/`."""
    size_bytes: int


@dataclass(frozen=True, slots=True)
class TarSet:
    """The tars of a data set, and the folder that its index is written into."""

    tars: tuple[Tar, ...]
    base: Location
    """Folder that the names are relative to."""
    out: Location
    compressed: int
    """How many compressed ones lie beside them, and are passed over."""

    @property
    def size_bytes(self) -> int:
        """Of all tars."""
        return sum(tar.size_bytes for tar in self.tars)

    @property
    def far_base(self) -> str | None:
        """The base as the manifest names it; None: the index lies there."""
        return None if self.base.url == self.out.url else self.base.url


@dataclass(frozen=True, slots=True)
class _Found:
    """A tar that was named, or was in a folder that was."""

    url: str
    """Absolute path, or URL."""
    size_bytes: int | None
    """None where it is not known yet."""


def expanded(
    sources: Iterable[str | os.PathLike[str]], storage_options: Mapping[str, Any] | None = None
) -> tuple[Location, ...]:
    """Tars and folders, with brace patterns written out.

    Raises:
        UsageError: A pattern is not closed.
    """
    found: list[str] = []
    for source in sources:
        text = os.fspath(source)
        if "{" not in text or (URL_MARK not in text and Path(text).exists()):
            found.append(text)
            continue
        try:
            found += braceexpand(text)
        except ValueError as exc:
            raise UsageError(f"{text}: {exc}; a pattern looks like data-{{000000..000012}}.tar") from exc
    return tuple(Location.of(text, storage_options) for text in found)


def find_tars(sources: Sequence[Location], out: Location | None) -> TarSet:
    """The tars that paths or URLs name, in their order; those of a folder, subfolders too, by name.

    Args:
        sources: Tars and folders; at a URL, a tar is what is called so.
        out: Where the index goes; None: the folder that holds all of them.

    Raises:
        UsageError: A folder holds no tar, one is named twice, they share no folder, a name is no text, or the index
            would go to a web server.
        StorageError: A tar is not there, or a folder cannot be listed.
    """
    check_writable(out or sources[0])
    found: list[_Found] = []
    compressed = 0
    for source in sources:
        tars, passed_over = _tars_of(source)
        found += tars
        compressed += passed_over
    urls = [tar.url for tar in found]
    twice = sorted({url for url in urls if urls.count(url) > 1}) if len(set(urls)) < len(urls) else []
    if twice:
        raise UsageError(f"{twice[0]}: is named twice; name each tar once")
    one_folder = sources[0] if len(sources) == 1 and _is_folder(sources[0]) else None
    common = Location(_common_folder(urls), sources[0].storage_options)
    out = _normal(out or one_folder or common)
    base = out if all(url.startswith(out.child("")) for url in urls) else common
    sizes = _sizes(found, base.storage_options)
    return TarSet(
        tuple(Tar(_name(url, base), size_bytes) for url, size_bytes in zip(urls, sizes, strict=True)),
        base,
        out,
        compressed,
    )


def _normal(location: Location) -> Location:
    """A location whose names can be compared."""
    if not location.is_local:
        return location
    # Path.absolute() would leave `..` in them. Not resolved: a folder of links to tars elsewhere is a folder of tars.
    return Location(os.path.abspath(location.url), location.storage_options)  # noqa: PTH100


def _is_folder(source: Location) -> bool:
    return source.path.is_dir() if source.is_local else not source.url.endswith(TAR_SUFFIX)


def _is_quoted(url: str) -> bool:
    return url.partition(URL_MARK)[0] in WEB


def _name(url: str, base: Location) -> str:
    name = url.removeprefix(base.child(""))
    if _is_quoted(url):
        return unquote(name)
    try:
        name.encode()
    except UnicodeEncodeError as exc:
        raise UsageError(f"{name!r}: a tar's name has to be text; rename it") from exc
    return name


def _common_folder(urls: Sequence[str]) -> str:
    schemes = {url.partition(URL_MARK)[0] if URL_MARK in url else "" for url in urls}
    folders = [posixpath.dirname(url.partition(URL_MARK)[2] or url) for url in urls]
    common = posixpath.commonpath(folders) if len(schemes) == 1 else ""
    if not common:
        first, *_, last = sorted(urls)
        raise UsageError(f"{first} and {last} lie in no common folder; index them apart")
    (scheme,) = schemes
    return f"{scheme}{URL_MARK}{common}" if scheme else common


def _tars_of(source: Location) -> tuple[list[_Found], int]:
    """The tars that a source names, and how many compressed ones in its folder it does not."""
    source = _normal(source)
    if source.url.endswith(COMPRESSED_SUFFIXES) and not (source.is_local and source.path.is_dir()):
        raise UsageError(f"{source}: is compressed: {DECOMPRESS}")
    if not _is_folder(source):
        return [_Found(source.url, None)], 0
    sizes = _local_files(source.path) if source.is_local else _far_files(source)
    names = [name for name in sizes if not any(part.startswith(".") for part in name.split("/"))]
    found = sorted((name for name in names if name.endswith(TAR_SUFFIX)), key=lambda name: name.split("/"))
    compressed = sorted(name for name in names if name.endswith(COMPRESSED_SUFFIXES))
    if not found and compressed:
        raise UsageError(
            f"{source}: all tars in this folder are compressed ({len(compressed)}, such as {compressed[0]}): "
            f"{DECOMPRESS}"
        )
    if not found:
        raise UsageError(f"{source}: no tars in this folder; check the path")
    written: Callable[[str], str] = quote if _is_quoted(source.url) else str
    return [_Found(source.child(written(name)), sizes[name]) for name in found], len(compressed)


def _local_files(folder: Path) -> dict[str, int | None]:
    with storage_errors(folder):
        return {path.relative_to(folder).as_posix(): None for path in folder.rglob("*")}


def _far_files(folder: Location) -> dict[str, int | None]:
    return dict(RemoteTree(folder).sizes())


def _sizes(found: Sequence[_Found], storage_options: Mapping[str, Any]) -> list[int]:
    """In bytes, of each."""
    trees: dict[str, RemoteTree] = {}

    def size(tar: _Found) -> int:
        if tar.size_bytes is not None:
            return tar.size_bytes
        if URL_MARK not in tar.url:
            with storage_errors(tar.url):
                return Path(tar.url).stat().st_size
        location = Location(tar.url)
        size_bytes = trees[location.parent.url].size(_name(tar.url, location.parent))
        if size_bytes is None:
            raise StorageError(f"{tar.url}: its server does not say how large it is; serve it with another one")
        return size_bytes

    for tar in found:
        if URL_MARK in tar.url and tar.size_bytes is None:
            folder = Location(tar.url, storage_options).parent
            trees[folder.url] = trees.get(folder.url) or RemoteTree(folder)
    if not trees:
        return [size(tar) for tar in found]
    with ThreadPoolExecutor(SIZES_AT_ONCE) as threads:
        return list(threads.map(size, found))
