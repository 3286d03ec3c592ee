"""Reading annotation files: which format a file is of, and the reader that knows it."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from shardkit.annotations import ave, avo65, avvp, chapters, table
from shardkit.annotations.also import AlsoFile
from shardkit.annotations.annotation_set import AnnotationSet
from shardkit.annotations.named_splits import with_split_files
from shardkit.annotations.request import AnnotationRequest
from shardkit.annotations.rows import Rows, read_content, read_rows, shown
from shardkit.clip import Clip
from shardkit.errors import UsageError


@dataclass(frozen=True)
class _Format:
    """A format of annotation files; a new one is a module of its own and an entry in _FORMATS."""

    recognises: Callable[[Collection[str]], bool]
    """Whether a header (the column names) is of this format."""
    read: Callable[[Rows, AnnotationRequest, Mapping[str, AlsoFile]], AnnotationSet]
    """The annotation set of the rows and of the further files, by role."""
    needs: str
    """The columns that a header must have, for people."""
    roles: tuple[str, ...] = ()
    """Of the further files that the format has."""
    options: tuple[str, ...] = ()
    """Of `column`, `names` and `duration_s` those that mean something to it."""


# The first that recognises a header reads it: the narrower format stands before the wider one.
_FORMATS: Mapping[str, _Format] = {
    "ave": _Format(ave.recognises, ave.read, ave.NEEDS),
    "avvp": _Format(avvp.recognises, avvp.read, avvp.NEEDS, roles=avvp.ROLES),
    "chapters": _Format(
        chapters.recognises, chapters.read, chapters.NEEDS, roles=chapters.ROLES, options=("duration_s",)
    ),
    "avo65": _Format(avo65.recognises, avo65.read, avo65.NEEDS, options=("names",)),
    "table": _Format(table.recognises, table.read, table.NEEDS, options=("column",)),
}


def read_annotations(
    path: str | Path,
    request: AnnotationRequest | None = None,
    *,
    content: bytes | None = None,
    files: Mapping[str, bytes] | None = None,
    keys_of: Callable[[Sequence[Clip]], Sequence[str]] | None = None,
) -> AnnotationSet:
    """What an annotation file says: clips, rows turned away, label sets.

    Args:
        path: A CSV, TSV, JSONL or Parquet file, or AVE's text file.
        request: How to read it, and which files belong to it; None recognises the format by the header. A file whose
            columns are renamed is a table.
        content: The file's bytes, where the caller has read them; `path` then only names it.
        files: The bytes of the further files, by the names that the request has for them; None: they are read.
        keys_of: Gives every clip its key, for files of splits that list keys; None: such lines are an error.

    Raises:
        StorageError: A file is missing or cannot be read.
        UsageError: The format is unknown or not recognised, an option is of another format, a file that is needed is
            not named, or the file lacks columns that it needs.
        DataError: A file is empty, is not text, or contradicts itself or another one.
    """
    request = request or AnnotationRequest()
    if request.format != "auto" and request.format not in _FORMATS:
        raise UsageError(f"format {request.format!r} is none of auto, {', '.join(sorted(_FORMATS))}")
    rows = read_rows(path, content)
    name: str = request.format
    if name == "auto":
        name = "table" if request.column else _recognised(rows)
    format = _FORMATS[name]
    _check_options(name, format, request, rows)
    if files is None:
        files = {name: read_content(Path(name)) for name in request.files}
    also = {role: AlsoFile(name, files[name]) for role, name in request.also.items()}
    annotated = format.read(rows, request, also)
    if not request.split_files:
        return annotated
    split_files = {
        scheme: {split: AlsoFile(name, files[name]) for split, name in named.items()}
        for scheme, named in request.split_files.items()
    }
    return with_split_files(annotated, split_files, keys=None if keys_of is None else keys_of(annotated.clips))


def _recognised(rows: Rows) -> str:
    for name, format in _FORMATS.items():
        if format.recognises(rows.columns):
            return name
    needs = "; ".join(f"{name} needs {format.needs}" for name, format in _FORMATS.items())
    raise UsageError(
        f"{rows.path}: the header is of no known format; it has {shown(rows.columns)}; {needs}; "
        "correct the header line, or map the columns of a table with --column",
    )


def _check_options(name: str, format: _Format, request: AnnotationRequest, rows: Rows) -> None:
    """Passes options that mean something to the format."""
    if request.column and "column" not in format.options:
        raise UsageError(
            f"{rows.path}: {name} has fixed columns, and --column renames those of a table; leave it out, "
            "or read the file with --format table",
        )
    for option, shown_as in (("names", "--names"), ("duration_s", "--duration")):
        if getattr(request, option) is not None and option not in format.options:
            owner = next(other for other, its in _FORMATS.items() if option in its.options)
            raise UsageError(f"{rows.path}: {shown_as} is for the format {owner}, and this is {name}; leave it out")
    if unknown := sorted(set(request.also) - set(format.roles)):
        raise UsageError(
            f"{rows.path}: --also {unknown[0]}=…: {name} has "
            + (f"further files for {', '.join(format.roles)}" if format.roles else "no further files; leave it out")
        )
