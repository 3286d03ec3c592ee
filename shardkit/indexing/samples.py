"""Samples: neighbouring members of a tar that share a key, as WebDataset groups them; and which of them is what."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from shardkit.indexing.tar_members import TarMember

VIDEO_SUFFIXES = frozenset(
    ("mp4", "m4v", "mov", "webm", "mkv", "avi", "flv", "mpg", "mpeg", "ts", "3gp", "ogv", "wmv"),
)
PICTURE_SUFFIXES = frozenset(("jpg", "jpeg"))
SOUND_SUFFIXES = frozenset(("wav", "flac", "mp3", "ogg", "opus", "m4a", "aac"))
TEXT_EXTENSIONS = frozenset(("json", "cls", "txt"))
MOST_SAMPLE_BYTES = 1_000_000_000
"""Members of a sample are held in memory, in two processes."""

_NAME = re.compile(r"((?:.*/)?[^./]+)\.([^/]*)")
_META = re.compile(r"__[^/]*__($|/)")
"""Members that WebDataset keeps for itself."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Members that share a key."""

    key: str
    members: Mapping[str, TarMember]
    """By extension, which is all behind the name's first dot, in small letters; those of use only."""
    repeated: str | None = None
    """The first extension that two of them have, of which `members` has the first."""

    @property
    def video(self) -> TarMember | None:
        """The video; of several the one with the shortest extension, and of those the first."""
        return self._first_of(VIDEO_SUFFIXES)

    @property
    def sound(self) -> TarMember | None:
        """The sound that has a member of its own, chosen like the video."""
        return self._first_of(SOUND_SUFFIXES)

    @property
    def of_pictures(self) -> bool:
        """Whether its frames are pictures: beside a video they are previews."""
        return self.video is None and bool(self.pictures)

    @property
    def pictures(self) -> tuple[TarMember, ...]:
        """The JPEG pictures in the order of their names, where numbers count as such: 9 stands before 10."""
        found = [extension for extension in self.members if _suffix(extension) in PICTURE_SUFFIXES]
        return tuple(self.members[extension] for extension in sorted(found, key=_by_numbers))

    def text(self, extension: str) -> bytes | None:
        """The data of a `json`, `cls` or `txt` member."""
        member = self.members.get(extension)
        return None if member is None else member.data

    @property
    def size_bytes(self) -> int:
        """Of its members together."""
        return sum(member.size_bytes for member in self.members.values())

    def _first_of(self, suffixes: frozenset[str]) -> TarMember | None:
        found = [extension for extension in self.members if _suffix(extension) in suffixes]
        return self.members[min(found, key=lambda extension: extension.count("."))] if found else None


def is_useful(name: str) -> bool:
    """Whether a member's name is that of media, or of a text that is read."""
    split = _split(name)
    return split is not None and (
        split[1] in TEXT_EXTENSIONS or _suffix(split[1]) in VIDEO_SUFFIXES | PICTURE_SUFFIXES | SOUND_SUFFIXES
    )


class HeldMembers:
    """Says whose data are held, member by member as they pass: those of use, until their sample gets too large."""

    def __init__(self) -> None:
        self._key: str | None = None
        self._extensions: set[str] = set()
        self._size_bytes = 0

    def __call__(self, name: str, size_bytes: int) -> bool:
        """Whether the data of the next member are to be held."""
        split = _split(name)
        if split is None:
            return False
        key, extension = split
        if key != self._key:
            self._key, self._extensions, self._size_bytes = key, set(), 0
        if extension in self._extensions or not is_useful(name):
            return False
        self._extensions.add(extension)
        self._size_bytes += size_bytes
        return self._size_bytes <= MOST_SAMPLE_BYTES


def samples_of(members: Iterable[TarMember]) -> Iterator[Sample]:
    """The samples of a tar; members of no use to anybody belong to their sample and are left out of it."""
    key: str | None = None
    found: dict[str, TarMember] = {}
    repeated: str | None = None
    for member in members:
        split = _split(member.name)
        if split is None:
            continue
        if split[0] != key:
            if key is not None:
                yield Sample(key, found, repeated)
            key, found, repeated = split[0], {}, None
        if is_useful(member.name) and found.setdefault(split[1], member) is not member:
            repeated = repeated or split[1]
    if key is not None:
        yield Sample(key, found, repeated)


class SamplesSeen:
    """The samples of one tar that have passed, and which of them have members further on, away from the others.

    Attributes:
        scattered: Number to key of those that have.
    """

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, frozenset[str]]] = {}
        # Few are different, and there may be a million samples.
        self._kinds: dict[frozenset[str], frozenset[str]] = {}
        self._doubled: set[str] = set()
        self.scattered: dict[int, str] = {}

    def adds(self, sample: Sample, number: int) -> bool:
        """Whether it is the first one of its key."""
        if sample.key in self._seen:
            self._doubled.add(sample.key)
            return False
        extensions = frozenset(sample.members)
        if extensions:  # what nobody reads makes no sample
            self._seen[sample.key] = number, self._kinds.setdefault(extensions, extensions)
        return True

    def has_part(self, sample: Sample) -> bool:
        """Whether it is none of its own but more of one that has passed, all of whose members have other extensions."""
        if sample.key not in self._seen:
            return False
        number, extensions = self._seen[sample.key]
        if number in self.scattered:
            return True
        if not extensions.isdisjoint(sample.members):
            return False
        # What follows a second sample of the same key is more of that one.
        if sample.members and sample.key not in self._doubled:
            self.scattered[number] = sample.key
        return True


def _split(name: str) -> tuple[str, str] | None:
    """Key and extension of a member's name; None where it has none, or is not for samples."""
    if _META.match(name):
        return None
    match = _NAME.fullmatch(name)
    return None if match is None else (match[1], match[2].lower())


def _suffix(extension: str) -> str:
    return extension.rpartition(".")[2]


def _by_numbers(extension: str) -> tuple[tuple[bool, int, str], ...]:
    """What extensions are sorted by: what stands before the suffix, with numbers as such."""
    parts = re.split(r"([0-9]+)", extension.rpartition(".")[0])
    return tuple((part.isdigit(), int(part) if part.isdigit() else 0, part) for part in parts)
