"""Named splits: divisions of a data set that files list, such as AVE's `ave` and its cross-modality `ave_match`.

A file lists the clips of one split: HDF5 (`.h5`, `.hdf5`) has 0-based row numbers of the annotation file in the dataset
`order`, as AVE's authors publish them; any other is text with an id, a key or a row of AVE's a line.
"""

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

import numpy as np

from shardkit.annotations.also import AlsoFile
from shardkit.annotations.annotation_set import AnnotationSet
from shardkit.annotations.cells import RowError, read_seconds
from shardkit.annotations.rows import AVE_COLUMNS, AVE_SEPARATOR, shortened
from shardkit.clip import Clip
from shardkit.errors import DataError
from shardkit.hdf5 import hdf5_dataset, hdf5_values, open_hdf5

_HDF5 = (".h5", ".hdf5")
ORDER = "order"
"""Name of the dataset in AVE's files: 0-based numbers of rows of its annotations."""
_AveRow = tuple[str, str, float, float]
"""Class, id, and start and end of the event."""


def with_split_files(
    annotated: AnnotationSet,
    schemes: Mapping[str, Mapping[str, AlsoFile]],
    *,
    keys: Sequence[str] | None = None,
) -> AnnotationSet:
    """The annotation set with the split of every clip in each scheme, where a file lists it.

    Args:
        annotated: The clips.
        schemes: Scheme to split to the file that lists its clips.
        keys: Every clip's key; None: files list no keys.

    Raises:
        UsageError: An HDF5 file, and h5py is not installed.
        DataError: A file lists what is not in the annotation file, or a clip stands in two splits of a scheme.
    """
    listed = _Listed(annotated, keys)
    splits: list[dict[str, str]] = [{} for _ in annotated.clips]
    for scheme, files in schemes.items():
        for split, file in files.items():
            for place in listed.places(file):
                earlier = splits[place].setdefault(scheme, split)
                if earlier != split:
                    clip = annotated.clips[place]
                    raise DataError(
                        f"{file.name}: row {clip.row} ({clip.id}) is in split {split!r} of {scheme!r}, and in "
                        f"{earlier!r} by {files[earlier].name}; a clip has one split: take it out of one of the files"
                    )
    clips = tuple(replace(clip, splits=said) for clip, said in zip(annotated.clips, splits, strict=True))
    return replace(annotated, clips=clips, split_sets={scheme: tuple(files) for scheme, files in schemes.items()})


class _Listed:
    """The clips by whatever a file may list them by."""

    def __init__(self, annotated: AnnotationSet, keys: Sequence[str] | None) -> None:
        self._row_count = annotated.row_count
        self._rejected_ids = {reject.id for reject in annotated.rejects}
        self._by_row: dict[int, list[int]] = {}
        self._by_name: dict[str, list[int]] = {}
        self._by_ave: dict[_AveRow, list[int]] = {}
        for place, clip in enumerate(annotated.clips):
            self._by_row.setdefault(clip.row, []).append(place)
            self._by_name.setdefault(clip.id, []).append(place)
            if annotated.format == "ave":
                self._by_ave.setdefault(_ave_row(clip, annotated.event_classes), []).append(place)
        for place, key in enumerate(keys or ()):
            # What is an id already stays one.
            self._by_name.setdefault(key, [place])

    def places(self, file: AlsoFile) -> Iterable[int]:
        """The clips that a file lists; rows that were turned away are passed over."""
        if PurePosixPath(file.name).suffix.lower() in _HDF5:
            return [place for number in _read_order(file) for place in self._of_row(number, file)]
        lines = file.lines()
        if lines and _fields(lines[0][1]) == list(AVE_COLUMNS):
            del lines[0]
        if not lines:
            raise DataError(f"{file.name}: lists no clip; expected an id, a key or a row of AVE's a line")
        return [place for number, line in lines for place in self._of_line(line, f"{file.name}: line {number}")]

    def _of_row(self, number: int, file: AlsoFile) -> Sequence[int]:
        if not 0 <= number < self._row_count:
            raise DataError(
                f"{file.name}: row {number}, and the annotation file has {self._row_count:,} rows, numbered from 0; "
                "give the annotation file that it was made for"
            )
        return self._by_row.get(number + 1, ())

    def _of_line(self, line: str, where: str) -> Sequence[int]:
        fields = _fields(line)
        is_row = len(fields) == len(AVE_COLUMNS)
        places = self._by_ave.get(_line_row(fields, where), ()) if is_row else self._by_name.get(line, ())
        if not places and (fields[1] if is_row else line) not in self._rejected_ids:
            raise DataError(
                f"{where}: {shortened(line)} is not in the annotation file, expected an id, a key or a row of AVE's; "
                "take the line out, or give the annotation file that it was made for"
            )
        return places


def _fields(line: str) -> list[str]:
    return [field.strip() for field in line.split(AVE_SEPARATOR)]


def _line_row(fields: Sequence[str], where: str) -> _AveRow:
    category, id, _, start, end = fields
    try:
        start_s, end_s = (read_seconds(text, column=name) or 0.0 for text, name in ((start, "start"), (end, "end")))
    except RowError as error:
        raise DataError(f"{where}: {error.detail}") from error
    return category, id, start_s, end_s


def _ave_row(clip: Clip, classes: Sequence[str]) -> _AveRow:
    start_s, end_s = next(((event.start_s, event.end_s) for event in clip.events), (0.0, 0.0))
    (label,) = clip.labels["event"]
    return classes[label], clip.id, start_s, end_s


def _read_order(file: AlsoFile) -> list[int]:
    """The row numbers in an HDF5 file of AVE's kind, as they stand there: from 0 on."""
    with open_hdf5(io.BytesIO(file.content), file.name) as opened:
        values = np.asarray(hdf5_values(hdf5_dataset(opened, ORDER, name=file.name), (), name=file.name))
    if values.dtype.kind not in "iu":
        raise DataError(f"{file.name}: dataset {ORDER!r} is of {values.dtype}, expected whole numbers: 0-based rows")
    if values.size != max(values.shape, default=0):
        raise DataError(
            f"{file.name}: dataset {ORDER!r} has the shape {values.shape}, expected one row number after another"
        )
    return [int(value) for value in values.ravel()]
