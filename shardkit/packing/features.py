"""Features: arrays that users have made of the clips before, such as VGGish's, which are packed beside the media.

A feature comes out of an HDF5 file or out of a folder of .npy files. In HDF5, row i of the dataset belongs to data row
i of the annotation file, rejected rows counted. A folder is listed once, without its subfolders; a clip's file is, in
this order:

    by key       KEY.npy: the clip's key in the data set, ID_STARTMS, with its ordinal where rows repeat; then without
    as cut       ID_SSSSSS.npy (start in seconds) or ID_STARTMS_ENDMS.npy, as media files are called
    by id        ID.npy, where all clips of the id have the same span

Arrays are read where shards are packed, one clip's at a time.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from shardkit.annotations.annotation_set import AnnotationSet
from shardkit.clip import Reason, Reject
from shardkit.errors import DataError, UsageError
from shardkit.format.digest import file_digest, json_digest
from shardkit.format.npy import as_float16, decode_npy, npy_header, stored_bytes
from shardkit.hdf5 import hdf5_dataset, hdf5_values, open_hdf5
from shardkit.packing.keys import key_without_ordinal
from shardkit.packing.settings import PackRequire
from shardkit.packing.shard_files import BLOCK_BYTES
from shardkit.packing.shard_plan import ArrayAt, Candidate
from shardkit.packing.sources import cut_stems
from shardkit.storage.files import map_file, read_bytes, storage_errors
from shardkit.storage.locations import URL_MARK, PathLike

NPY_SUFFIX = ".npy"
NAME = re.compile(r"[A-Za-z0-9_]+")
MEMBER_NAMES = ("mp4", "mov", "wav", "flac", "msg", "npy")
"""Extensions of members: a feature of that name would look like one."""
HEADER_BYTES = 16_384
"""More than a .npy file's header takes."""
NEEDED = "FILE.h5:DATASET or a folder of .npy files is needed, such as audio_feature.h5:avadataset"


@dataclass(frozen=True, slots=True)
class FeatureInput:
    """A feature as it was asked for."""

    name: str
    path: Path
    dataset: str | None
    """In the HDF5 file; None: the path is a folder of .npy files."""

    def __str__(self) -> str:
        return str(self.path) if self.dataset is None else f"{self.path}:{self.dataset}"


@dataclass(frozen=True, slots=True)
class FeatureSource:
    """A feature that was looked at."""

    name: str
    path: Path
    """Absolute: tasks of other processes have another current folder."""
    dataset: str | None
    shape: tuple[int, ...]
    """Of every clip's array."""

    @property
    def extension(self) -> str:
        """Of a clip's member."""
        return f"{self.name}{NPY_SUFFIX}"

    @property
    def member_bytes(self) -> int:
        """About what a clip's member takes in a shard."""
        return stored_bytes(self.shape) + 2 * BLOCK_BYTES

    def where(self, array: ArrayAt) -> str:
        """Where a clip's array lies, for messages that are the same on every machine."""
        where = array.place if self.dataset is None else f"{self.path.name}:{self.dataset}, row {int(array.place) + 1}"
        return f"feature {self.name!r} ({where})"


class FeatureArrays(NamedTuple):
    """What was found of all features."""

    sources: tuple[FeatureSource, ...]
    candidates: list[Candidate]
    """Those that have what they must have, with their arrays; in the order given."""
    rejects: list[Reject]
    """All others."""
    about: dict[str, Any]
    """What the manifest says of each feature: file or folder, dataset, digest."""


def parse_features(given: Mapping[str, PathLike]) -> tuple[FeatureInput, ...]:
    """Features by name, out of texts such as `audio_feature.h5:avadataset` or folders.

    Raises:
        UsageError: A name or a text is wrong.
        StorageError: There is no such file or folder.
    """
    lowered: dict[str, str] = {}
    inputs = []
    for name, said in sorted(given.items()):
        if not NAME.fullmatch(name) or name.lower() in MEMBER_NAMES:
            raise UsageError(
                f"feature {name!r}: a name of letters, digits and '_' is needed that is none of "
                f"{', '.join(MEMBER_NAMES)}"
            )
        if (twin := lowered.setdefault(name.lower(), name)) != name:
            raise UsageError(f"features {twin!r} and {name!r}: WebDataset takes no notice of case; rename one")
        inputs.append(_input(name, os.fspath(said)))
    return tuple(inputs)


def _input(name: str, said: str) -> FeatureInput:
    if URL_MARK in said:
        raise UsageError(f"feature {name!r}: {said} is a URL, and features are read from a disk: copy it first")
    if said and Path(said).is_dir():
        return FeatureInput(name, Path(said), None)
    path, _, dataset = said.rpartition(":")
    if not (path and dataset):
        raise UsageError(f"feature {name!r}: {said!r} is no folder and names no dataset; {NEEDED}")
    with storage_errors(path):
        Path(path).stat()
    return FeatureInput(name, Path(path), dataset)


def find_arrays(
    inputs: Sequence[FeatureInput],
    candidates: Sequence[Candidate],
    *,
    annotations: AnnotationSet,
    require: PackRequire,
) -> FeatureArrays:
    """The array of every feature for every clip; a reject for each clip that lacks what it must have.

    Args:
        inputs: The features.
        candidates: Clips, and their media files where there are any.
        annotations: What they are clips of: its rows are those of HDF5 datasets.
        require: Under `any`, a clip with a media file may lack features, and one without may lack all but one.

    Raises:
        DataError: A dataset is not there, has other rows than the annotation file, or values of another kind.
        StorageError: A file or folder cannot be read.
        UsageError: Several clips are of one row, and an HDF5 file has an array a row; or h5py is not installed.
    """
    if not inputs:
        return FeatureArrays((), list(candidates), [], {})
    lookups = [_Folder(each, annotations) if each.dataset is None else _Hdf5(each, annotations) for each in inputs]
    used: dict[str, list[ArrayAt]] = {each.name: [] for each in inputs}
    complete, rejects = [], []
    for candidate in candidates:
        clip, path = candidate.clip, candidate.located.path
        found = tuple(array for lookup in lookups if (array := lookup.find(candidate)) is not None)
        if path is None and clip.end_s is None:
            detail = "the row names no end, and there is no media file to tell it: give each row an end, or the media"
            rejects.append(Reject(clip.row, clip.id, Reason.BAD_ROW, detail, clip.media))
        elif len(found) == len(lookups) or (require == "any" and (found or path is not None)):
            complete.append(replace(candidate, arrays=found))
            for array in found:
                used[array.feature].append(array)
        else:
            detail = "; ".join(lookup.lacks(candidate) for lookup in lookups if lookup.find(candidate) is None)
            rejects.append(Reject(clip.row, clip.id, Reason.MISSING_FEATURE, detail, clip.media))
    return FeatureArrays(
        sources=tuple(lookup.source(used[lookup.input.name]) for lookup in lookups),
        candidates=complete,
        rejects=rejects,
        about={lookup.input.name: lookup.about(used[lookup.input.name]) for lookup in lookups},
    )


class _Hdf5:
    """The rows of a dataset."""

    def __init__(self, input: FeatureInput, annotations: AnnotationSet) -> None:
        self.input = input
        assert input.dataset is not None
        with _opened(input.path) as file:
            dataset = hdf5_dataset(file, input.dataset, name=str(input.path))
            shape, dtype = tuple(dataset.shape), dataset.dtype
        if dtype.kind not in "fiu" or len(shape) < 2 or 0 in shape:
            raise DataError(
                f"{input}: an array of {dtype} of shape {shape}; floats or integers are needed, an array of one or "
                "more dimensions for each row of the annotation file"
            )
        _check_rows(input, shape[0], annotations)
        self._shape = shape[1:]

    def find(self, candidate: Candidate) -> ArrayAt | None:
        """Where a clip's array lies; background has no row."""
        row = candidate.clip.row
        return ArrayAt(self.input.name, row - 1) if row else None

    def lacks(self, candidate: Candidate) -> str:
        """What was looked for, of a clip that has no array."""
        return (
            f"{self.input} has rows of the annotation file only, and {candidate.key!r} is background; give a folder of "
            ".npy files named by key, or let clips lack features with --require any"
        )

    def source(self, arrays: Iterable[ArrayAt]) -> FeatureSource:  # noqa: ARG002 - a folder needs it
        """What is read when shards are packed."""
        return FeatureSource(self.input.name, self.input.path.absolute(), self.input.dataset, self._shape)

    def about(self, arrays: Iterable[ArrayAt]) -> dict[str, Any]:  # noqa: ARG002 - a folder needs it
        """What the manifest says of it; the whole file is digested."""
        path = self.input.path
        return {"file": path.name, "dataset": self.input.dataset, "xxh3": file_digest(map_file(path))}


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """An `h5py.File`.

    Raises:
        StorageError: There is no such file, or it cannot be read.
        DataError: It is no HDF5 file.
    """
    with storage_errors(path), path.open("rb"):
        pass  # what the system says of it is clearer than what HDF5 says
    with open_hdf5(path, str(path)) as file:
        yield file


def _check_rows(input: FeatureInput, found: int, annotations: AnnotationSet) -> None:
    wanted = annotations.row_count
    if found != wanted:
        names = [clip.id for clip in annotations.clips] + [reject.id for reject in annotations.rejects]
        ids = len(set(names) - {""})
        hint = f"; {found:,} is the number of its distinct ids" if found == ids else ""
        raise DataError(
            f"{input}: {found:,} rows, the annotation file has {wanted:,}{hint}; one array for each of its rows, in "
            "their order, is needed, or a folder of .npy files named by id"
        )
    rows = [clip.row for clip in annotations.clips]
    if len(set(rows)) < len(rows):
        raise UsageError(
            f"{input}: an array for each row, and rows of the annotation file make several clips; give a folder of "
            ".npy files named by key"
        )


class _Folder:
    """The .npy files right in a folder."""

    def __init__(self, input: FeatureInput, annotations: AnnotationSet) -> None:
        self.input = input
        self._sizes: dict[str, int] = {}
        with storage_errors(input.path), os.scandir(input.path) as entries:
            for entry in entries:
                if entry.name.endswith(NPY_SUFFIX) and entry.is_file():
                    self._sizes[entry.name] = entry.stat().st_size
        spans: dict[str, tuple[float | None, float | None]] = {}
        self._cut_ids: set[str] = set()
        """Ids of which several spans are clips: a file that is named by the id alone is of none of them."""
        for clip in annotations.clips:
            if spans.setdefault(clip.id, (clip.start_s, clip.end_s)) != (clip.start_s, clip.end_s):
                self._cut_ids.add(clip.id)

    def find(self, candidate: Candidate) -> ArrayAt | None:
        """Where a clip's array lies."""
        for name in self._names(candidate):
            if name in self._sizes:
                return ArrayAt(self.input.name, name, self._sizes[name])
        return None

    def _names(self, candidate: Candidate) -> list[str]:
        clip = candidate.clip
        stems = [candidate.key, key_without_ordinal(clip), *cut_stems(clip)]
        if clip.id not in self._cut_ids:
            stems.append(clip.id)
        return [f"{stem}{NPY_SUFFIX}" for stem in dict.fromkeys(stems)]

    def lacks(self, candidate: Candidate) -> str:
        """What was looked for, of a clip that has no array."""
        id = candidate.clip.id
        several = f" ({id}.npy is not looked for: the id has several spans)" if id in self._cut_ids else ""
        return f"none of {', '.join(self._names(candidate))} is in {self.input.path}{several}"

    def source(self, arrays: Iterable[ArrayAt]) -> FeatureSource:
        """What is read when shards are packed; the first file that can be read says which shape all have."""
        path = self.input.path.absolute()
        for array in arrays:
            file = path / str(array.place)
            with storage_errors(file), file.open("rb") as opened, suppress(DataError):
                return FeatureSource(self.input.name, path, None, npy_header(opened.read(HEADER_BYTES)).shape)
        return FeatureSource(self.input.name, path, None, ())

    def about(self, arrays: Iterable[ArrayAt]) -> dict[str, Any]:
        """What the manifest says of it: a digest of the names and sizes of the files that are used."""
        used = sorted({(str(array.place), array.size_bytes) for array in arrays})
        return {"folder": self.input.path.name, "files": len(used), "xxh3": json_digest(used)}


class BadArrayError(Exception):
    """An array that cannot be packed; its message says why."""


class FeatureReader:
    """Reads the arrays of one clip after another; open while a shard is packed."""

    def __init__(self, sources: Sequence[FeatureSource]) -> None:
        self._sources = {source.name: source for source in sources}
        self._datasets: dict[str, Any] = {}
        self._open = ExitStack()

    def __enter__(self) -> "FeatureReader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._datasets.clear()
        self._open.close()

    def read(self, arrays: Iterable[ArrayAt]) -> dict[str, npt.NDArray[np.float16]]:
        """A clip's arrays by feature.

        Raises:
            BadArrayError: One is no array of finite numbers, of another shape than those of other clips, or beyond
                float16.
            StorageError: A file cannot be read.
            DataError: What was an HDF5 file is none any more, or has no such dataset.
        """
        found = {}
        for array in arrays:
            source = self._sources[array.feature]
            # Not in the `try`: a file that a node does not see is no fault of its clips.
            dataset = None if source.dataset is None else self._dataset(source, source.dataset)
            try:
                if dataset is None:
                    values = decode_npy(read_bytes(source.path / str(array.place)))
                else:
                    values = hdf5_values(dataset, int(array.place), name=str(source.path))
                if values.shape != source.shape:
                    raise BadArrayError(f"{source.where(array)}: shape {values.shape}, others have {source.shape}")
                found[array.feature] = as_float16(values)
            except DataError as exc:
                raise BadArrayError(f"{source.where(array)}: {exc}") from exc
        return found

    def _dataset(self, source: FeatureSource, name: str) -> Any:
        """A source's `h5py.Dataset`, opened once."""
        if source.name not in self._datasets:
            file = self._open.enter_context(_opened(source.path))
            self._datasets[source.name] = hdf5_dataset(file, name, name=str(source.path))
        return self._datasets[source.name]
