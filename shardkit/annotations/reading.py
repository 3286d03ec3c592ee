"""Reading annotation files: which format a file is of, and the reader that knows it."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from shardkit.annotations import avo65, table
from shardkit.annotations.annotation_set import AnnotationSet
from shardkit.annotations.rows import Rows, read_rows, shown
from shardkit.errors import UsageError

FormatName = Literal["auto", "avo65", "table"]


@dataclass(frozen=True)
class _Format:
    """A format of annotation files; a new one is a module of its own and an entry in _FORMATS."""

    recognises: Callable[[Collection[str]], bool]
    """Whether a header (the column names) is of this format."""
    read: Callable[[Rows, Mapping[str, str]], AnnotationSet]
    """The annotation set of the rows, with our column name to the file's where they differ."""
    needs: str
    """The columns that a header must have, for people."""


# The first that recognises a header reads it: the narrower format stands before the wider one.
_FORMATS: Mapping[str, _Format] = {
    "avo65": _Format(avo65.recognises, avo65.read, avo65.NEEDS),
    "table": _Format(table.recognises, table.read, table.NEEDS),
}


def read_annotations(
    path: str | Path,
    *,
    format: FormatName = "auto",
    column: Mapping[str, str] | None = None,
    content: bytes | None = None,
) -> AnnotationSet:
    """What an annotation file says: clips, rows turned away, label sets.

    Args:
        path: A CSV, TSV, JSONL or Parquet file.
        format: `auto` recognises the format by the header; a file whose columns are renamed is a table.
        column: For tables: our column name to the file's name, such as `{"id": "ytid"}`.
        content: The file's bytes, where the caller has read them; `path` then only names it.

    Raises:
        StorageError: The file is missing or cannot be read.
        UsageError: The format is unknown or not recognised, or the file lacks columns that it needs.
        DataError: The file is empty, is not text, or contradicts itself.
    """
    column = dict(column or {})
    if format != "auto" and format not in _FORMATS:
        raise UsageError(f"format {format!r} is none of auto, {', '.join(_FORMATS)}")
    rows = read_rows(path, content)
    if format == "auto":
        return _FORMATS["table" if column else _recognised(rows)].read(rows, column)
    return _FORMATS[format].read(rows, column)


def _recognised(rows: Rows) -> str:
    for name, format in _FORMATS.items():
        if format.recognises(rows.columns):
            return name
    needs = "; ".join(f"{name} needs {format.needs}" for name, format in _FORMATS.items())
    raise UsageError(
        f"{rows.path}: the header is of no known format; it has {shown(rows.columns)}; {needs}; "
        "correct the header line, or map the columns of a table with --column",
    )
