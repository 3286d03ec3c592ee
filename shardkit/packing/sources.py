"""Sources: which media file under the media folder a clip is cut from, and where in it.

The folder is walked once, or listed once where it is a URL; after that a clip costs a few look-ups, and a local file
that is used one system call. A clip's file is, in this order:

    as named     the path that the annotation gives; or, for a name without a folder, the one file of that
                 name anywhere below
    cut before   ID_SSSSSS.ext (start in seconds: AudioSet, AVO-65) or ID_STARTMS_ENDMS.ext (VGGSound),
                 or ID_START_END.ext in whole seconds (AVVP)
    whole        ID.ext, from which the clip is cut at pack time; or which is the clip, if files are said to be cut
"""

import os
import posixpath
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from shardkit.clip import BACKGROUND, Clip, Reason, Reject
from shardkit.errors import StorageError
from shardkit.storage.locations import Location

EXTENSIONS = (
    *("mp4", "mkv", "webm", "mov", "avi", "m4v", "flv", "3gp", "ts", "mpg", "wmv"),
    *("wav", "flac", "mp3", "m4a", "ogg", "opus", "aac"),
)
"""Extensions of media files, the preferred first; those from wav on hold sound only."""

_RANK = {f".{extension}": rank for rank, extension in enumerate(EXTENSIONS)}


@dataclass(frozen=True, slots=True)
class Located:
    """A clip and the file that it is cut from."""

    clip: Clip
    path: str | None
    """Relative to the media folder, or to that of the background, with forward slashes; None: the clip has no file."""
    start_s: float | None
    """Start of the clip in the file's time; None: from the file's beginning."""
    end_s: float | None
    """End of the clip in the file's time; None: to the file's end."""
    size_bytes: int | None = None
    """Size of the file; None where it cannot be told."""

    @property
    def is_background(self) -> bool:
        """Whether the file is of the background folder; its clip then ends where it does, if that is before `end_s`."""
        return BACKGROUND in self.clip.flags


def find_sources(
    clips: Sequence[Clip], media_root: Location, *, optional: bool = False, are_cut: bool = False
) -> tuple[list[Located], list[Reject]]:
    """The clips whose media file is there, and a reject for each of the others; both in the order given.

    With `optional`, clips for which there is no file are located without one. With `are_cut`, files hold the clips'
    spans and nothing else, whatever they are called.

    Where several files fit an id, the extension that stands first in EXTENSIONS wins, then the path that sorts
    first. Several files of a name that the annotation gives without a folder are no answer.

    Raises:
        StorageError: The media folder, or a folder in it, is missing or cannot be read.
    """
    root = media_root.url
    index, sizes = _files_below(media_root)
    # Not resolved: links stay as they are named.
    inside = posixpath.join(os.path.abspath(root) if media_root.is_local else posixpath.normpath(root), "")  # noqa: PTH100
    located: list[Located] = []
    rejects: list[Reject] = []
    for clip in clips:
        media = None if clip.media is None else posixpath.normpath(clip.media).removeprefix(inside)
        if media is not None and (media.startswith("/") or media.split("/", 1)[0] == ".."):
            detail = (
                f"the media file {clip.media!r} lies outside the media folder; name it relative to that "
                "folder, or give the folder that holds it"
            )
            rejects.append(Reject(clip.row, clip.id, Reason.BAD_ROW, detail, clip.media))
            continue
        if twins := index.twins(media):
            detail = (
                f"the media file {clip.media!r} is ambiguous: {' and '.join(twins)} are below {root}; name it with its "
                "folder"
            )
            rejects.append(Reject(clip.row, clip.id, Reason.MISSING_MEDIA, detail, clip.media))
            continue
        cut = cut_stems(clip)
        stems = [*cut, clip.id]
        if media is not None and "/" in media and clip.id == posixpath.splitext(posixpath.basename(media))[0]:
            # The id says no more than the path did: whatever has it elsewhere is another file.
            stems = []
        path = index.find(media, stems)
        if path is None and optional:
            located.append(Located(clip, None, clip.start_s, clip.end_s))
            continue
        if path is None:
            detail = _looked_for(clip, stems, root)
            rejects.append(Reject(clip.row, clip.id, Reason.MISSING_MEDIA, detail, clip.media))
            continue
        if path not in sizes:
            sizes[path] = _size_bytes(root, path)
        if are_cut or posixpath.splitext(posixpath.basename(path))[0] in cut:
            # Whole microseconds: 40.3 - 30.3 is 9.999999999999996.
            length_s = None if clip.end_s is None else round(clip.end_s - (clip.start_s or 0.0), 6)
            located.append(Located(clip, path, 0.0, length_s, sizes[path]))
        else:
            located.append(Located(clip, path, clip.start_s, clip.end_s, sizes[path]))
    return located, rejects


def media_files(root: Location) -> list[tuple[str, int | None]]:
    """Path and size of every media file below a folder, by path.

    Raises:
        StorageError: The folder, or one in it, is missing or cannot be read.
    """
    index, sizes = _files_below(root)
    paths = sorted(path for path in index.paths if posixpath.splitext(path)[1].lower() in _RANK)
    return [(path, sizes[path] if path in sizes else _size_bytes(root.url, path)) for path in paths]


def _files_below(root: Location) -> "tuple[_Index, dict[str, int | None]]":
    """All files below a folder, and the sizes of those whose listing tells it."""
    return (_walk(root.url), {}) if root.is_local else _listed(root)


@dataclass(slots=True)
class _Index:
    """The files below the media folder by path, name and stem, in whatever order they were added."""

    paths: set[str] = field(default_factory=set)
    by_name: dict[str, str] = field(default_factory=dict)
    """Name to the path that sorts first."""
    second: dict[str, str] = field(default_factory=dict)
    """Name of several files to the path that sorts second."""
    by_stem: dict[str, tuple[int, str]] = field(default_factory=dict)
    """Stem to the preferred media file, as (rank of the extension, path)."""

    def add(self, path: str, name: str) -> None:
        self.paths.add(path)
        if (other := self.by_name.setdefault(name, path)) != path:
            self.by_name[name], later = sorted((other, path))
            self.second[name] = min(later, self.second.get(name, later))
        stem, extension = posixpath.splitext(name)
        rank = _RANK.get(extension.lower())
        if rank is not None:
            self.by_stem[stem] = min((rank, path), self.by_stem.get(stem, (rank, path)))

    def twins(self, media: str | None) -> tuple[str, str] | None:
        """Two of the files that have the name `media`, where none has it as its path."""
        if media is None or media in self.paths or media not in self.second:
            return None
        return self.by_name[media], self.second[media]

    def find(self, media: str | None, stems: Sequence[str]) -> str | None:
        """Path of the file named `media`, or else of the first stem that is there."""
        if media is not None:
            path = media if media in self.paths else self.by_name.get(media)  # no name has a folder
            if path is not None:
                return path
        return next((self.by_stem[stem][1] for stem in stems if stem in self.by_stem), None)


def _walk(root: str) -> _Index:
    """All files below the folder; links to folders are not followed, as they can go in circles."""
    index = _Index()
    folders = [""]
    while folders:
        folder = folders.pop()
        place = Path(root, folder)
        try:
            with os.scandir(place) as entries:
                for entry in entries:
                    if entry.name.startswith(".") or not _is_text(entry.name):
                        continue
                    path = f"{folder}/{entry.name}" if folder else entry.name
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(path)
                    elif entry.is_file():
                        index.add(path, entry.name)
        except FileNotFoundError as exc:
            raise StorageError(f"{place}: no such media folder; give the folder that holds the media files") from exc
        except NotADirectoryError as exc:
            raise StorageError(f"{place}: a file, expected the folder that holds the media files") from exc
        except OSError as exc:
            raise StorageError(f"{place}: the media folder cannot be read: {exc.strerror or exc}") from exc
    return index


def _listed(media_root: Location) -> tuple[_Index, dict[str, int | None]]:
    """All files below a URL, and their sizes."""
    from shardkit.storage.trees import RemoteTree  # noqa: PLC0415 - a local folder costs no fsspec

    index = _Index()
    sizes: dict[str, int | None] = {}
    for path, size_bytes in RemoteTree(media_root).sizes():
        if not path.startswith(".") and "/." not in path:
            index.add(path, posixpath.basename(path))
            sizes[path] = size_bytes
    return index, sizes


def _is_text(name: str) -> bool:
    """Whether a file's name is UTF-8: what is not can be neither annotated nor written to the index."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _size_bytes(root: str, path: str) -> int | None:
    try:
        return Path(root, path).stat().st_size
    except OSError:
        return None


def cut_stems(clip: Clip) -> list[str]:
    """Stems of a file that was cut for this clip: ID_SSSSSS, ID_STARTMS_ENDMS and ID_START_END."""
    if clip.start_s is None:
        return []
    names = []
    start_ms = round(clip.start_s * 1000)
    if start_ms % 1000 == 0:
        names.append(f"{clip.id}_{start_ms // 1000:06d}")
    if clip.end_s is not None:
        end_ms = round(clip.end_s * 1000)
        names.append(f"{clip.id}_{start_ms}_{end_ms}")
        if start_ms % 1000 == end_ms % 1000 == 0:
            names.append(f"{clip.id}_{start_ms // 1000}_{end_ms // 1000}")
    return names


def _looked_for(clip: Clip, stems: Sequence[str], root: str) -> str:
    names = [*([clip.media] if clip.media else []), *(f"{stem}.*" for stem in stems)]
    return (
        f"none of {', '.join(names)} is below {root} (extensions {' '.join(EXTENSIONS)}); put the file "
        "there, or give the folder that holds it"
    )
