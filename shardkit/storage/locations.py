"""Locations: where files lie, as users name it: a path, a URL, a pattern of tars or a list of them."""

import json
import os
import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from braceexpand import braceexpand

from shardkit.errors import UsageError, without_query

PathLike = str | os.PathLike[str]
URL_MARK = "://"
PASSWORD = re.compile(r"://[^/@:]*:[^/@]*@")
TAR_SUFFIX = ".tar"
WEB = ("http", "https")
"""Protocols of servers that are only read, and list names as they stand in URLs."""
S3 = ("s3", "s3a")


@dataclass(frozen=True, slots=True)
class Location:
    """A folder or a file: on a disk, or behind a URL."""

    url: str
    """A path as it was given, since messages and `rejects.jsonl` name it so: an absolute one would be another on each
    machine. Or a URL, without a slash at its end."""
    storage_options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Keywords of the fsspec file system that a URL belongs to; they may hold keys, so nothing prints them. A local
    folder has them for URLs that are named in it, such as that of the tars that it is the index of."""

    @classmethod
    def of(cls, path: PathLike, storage_options: Mapping[str, Any] | None = None) -> "Location":
        """What a path or a URL names; a `file://` URL is a path.

        Example:
            >>> Location.of("s3://bucket/data/").url
            's3://bucket/data'

        Raises:
            UsageError: The path is empty, the URL holds a password, or the options are no mapping.
        """
        text = os.fspath(path)
        if not text:
            raise UsageError("an empty path is given; give a folder, a file or a URL ('.' is the current folder)")
        if storage_options is not None and not isinstance(storage_options, Mapping):
            raise UsageError(f"storage_options are {type(storage_options).__name__}; a mapping is needed")
        if PASSWORD.search(text):
            raise UsageError(
                f"{PASSWORD.sub('://…@', text)}: a URL with a password would be printed and stored; give user and "
                "password in storage_options, over HTTP as client_kwargs.headers with Authorization"
            )
        if text.startswith("file://"):
            text = unquote(urlsplit(text).path)
        if URL_MARK in text:
            # Behind the mark a slash is part of the URL: `memory:///` is a root.
            scheme, rest = text.split(URL_MARK, 1)
            url = f"{scheme.lower()}{URL_MARK}{rest.rstrip('/') if rest.strip('/') else rest}"
        else:
            url = str(Path(text))
        return cls(url, dict(storage_options or {}))

    def absolute(self) -> "Location":
        """The same, whatever becomes the current folder."""
        return Location(str(self.path.absolute()), self.storage_options) if self.is_local else self

    @property
    def is_local(self) -> bool:
        """Whether it is a path of this machine's file systems."""
        return URL_MARK not in self.url

    @property
    def path(self) -> Path:
        """The path, of what is local."""
        assert self.is_local
        return Path(self.url)

    @property
    def scheme(self) -> str:
        """What a URL begins with, such as s3; `file` for a path."""
        return "file" if self.is_local else self.url.split(URL_MARK, 1)[0]

    @property
    def name(self) -> str:
        """Its last part."""
        return posixpath.basename(self.url)

    @property
    def parent(self) -> "Location":
        """The folder that it is in."""
        parent = str(self.path.parent) if self.is_local else posixpath.dirname(self.url)
        return Location(parent, self.storage_options)

    def child(self, name: str) -> str:
        """Path or URL of a file in it."""
        return f"{self.url}/{name}" if self.url != "/" else f"/{name}"

    def to_json(self) -> dict[str, Any]:
        """The location as a worker process gets it.

        Raises:
            UsageError: Storage options hold objects, which cannot be sent to another process, or no other process has
                its files.
        """
        if self.scheme == "memory":
            raise UsageError(
                f"{self}: these files are in the memory of this process alone; copy them to a disk, or load them with "
                "worker_type='thread'"
            )
        content = {"url": self.url, "storage_options": dict(self.storage_options)}
        try:
            json.dumps(content)
        except TypeError as exc:
            raise UsageError(
                f"{self}: storage_options are sent to worker processes, so they must be plain values: {exc}"
            ) from exc
        return content

    def __str__(self) -> str:
        return without_query(self.url)

    def __repr__(self) -> str:
        return f"Location({str(self)!r})"


def check_options_used(*locations: Location) -> None:
    """Passes if one of the locations is a URL, or none has storage options: who gives them expects an effect.

    Raises:
        UsageError: There are storage options for local paths only.
    """
    first = locations[0]
    if first.storage_options and all(location.is_local for location in locations):
        raise UsageError(f"{first}: storage_options are for URLs, and this is a local path; leave them out")


def check_options_stay(home: Location, base: Location) -> None:
    """Passes if the storage options that a user gave for one place may be used at another, which a file there names.

    Raises:
        UsageError: They may hold keys and tokens, and would go to another server without the user's knowing.
    """
    if home.is_local or base.is_local or _server(home) == _server(base):
        return
    from fsspec import available_protocols  # noqa: PLC0415 - local data sets do without

    protocols = available_protocols()
    if any(not (isinstance(value, Mapping) and name in protocols) for name, value in home.storage_options.items()):
        raise UsageError(
            f"{home}: its tars are at {base}, and storage_options do not say which of them are meant for there: name "
            f'the protocol, as in {{"{home.scheme}": {{…}}, "{base.scheme}": {{…}}}}'
        )


def _server(location: Location) -> str:
    # One provider has all buckets of an object store.
    is_web = location.scheme in WEB
    return location.url.split("/")[2] if is_web else location.scheme


@dataclass(frozen=True, slots=True)
class NamedShards:
    """What a user named: a folder, and which of its shards, if not all."""

    folder: Location
    shards: tuple[str, ...] | None = None


def named_shards(
    source: PathLike | Sequence[PathLike], storage_options: Mapping[str, Any] | None = None, *, known: Sequence[str]
) -> NamedShards:
    """The folder and the shards that a path, a URL, a brace pattern or a list of tars names.

    Args:
        source: A folder, a known file in it, a tar, a pattern such as `s3://bucket/clips-{000000..000015}.tar`, or a
            list of tars and patterns.
        storage_options: Keywords of the fsspec file system.
        known: Names of files that stand for their folder, such as the manifest.

    Raises:
        UsageError: Nothing is named, or tars of different folders are.
    """
    if isinstance(source, str | os.PathLike):
        text = os.fspath(source)
        names = _expanded(text)
        if names == [text] and not text.endswith(TAR_SUFFIX):
            folder = Location.of(text, storage_options).absolute()
            return NamedShards(folder.parent if folder.name in known else folder)
    else:
        names = [name for each in source for name in _expanded(os.fspath(each))]
    if not names:
        raise UsageError("no shards are named: give a folder, a URL, a tar, a pattern or a list of tars")
    # They are read later, and the current folder may change.
    tars = [Location.of(name, storage_options).absolute() for name in names]
    if odd := next((tar for tar in tars if not tar.name.endswith(TAR_SUFFIX)), None):
        raise UsageError(f"{odd}: several names are shards of one data set, and this is no .tar")
    folders = {tar.parent.url for tar in tars}
    if len(folders) > 1:
        first, second, *_ = sorted(folders)
        raise UsageError(
            f"shards of several folders are named: {first} and {second}; a data set has one: index all of them with "
            "`shardkit index … --out FOLDER`, or make a loader for each"
        )
    return NamedShards(tars[0].parent, tuple(dict.fromkeys(tar.name for tar in tars)))


def _expanded(pattern: str) -> list[str]:
    # A folder may well have braces in its name.
    if "{" not in pattern or (URL_MARK not in pattern and Path(pattern).exists()):
        return [pattern]
    try:
        return list(braceexpand(pattern))
    except ValueError as exc:  # braces that do not pair
        raise UsageError(f"{pattern}: {exc}") from exc
