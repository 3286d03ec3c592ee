"""Rows: the cells of an annotation file, before anyone asks what they mean.

The suffix says how a file is read: CSV, TSV, JSONL, Parquet, or text with AVE's separator. A line that cannot be
split into cells keeps its row number and becomes a fault; a file that is not what its suffix says is a DataError.
Empty text is an absent value, in every kind of file.
"""

import codecs
import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shardkit.errors import DataError, StorageError, UsageError

_SHOWN_COLUMNS = 30
_SHOWN_CHARACTERS = 60
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
AVE_COLUMNS = ("Category", "VideoID", "Quality", "StartTime", "EndTime")
"""What the fields of a line of AVE's text files mean; some of them say it in a first line, some do not."""
AVE_SEPARATOR = "&"
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")


@dataclass(frozen=True)
class Rows:
    """The cells of an annotation file, column by column."""

    path: str
    row_count: int
    columns: Mapping[str, list[Any]]
    """Column name to one value a row, in file order; None where the row has none."""
    faults: Mapping[int, str]
    """Place of a row (0-based) to why its cells could not be read; all its values are None."""
    typed: bool
    """Whether values carry their own types; False: they are text (CSV, TSV and AVE's)."""


def read_rows(path: str | Path, content: bytes | None = None) -> Rows:
    """The rows of the file at `path`, or of one whose content the caller has read.

    Raises:
        StorageError: The file is missing or cannot be read.
        UsageError: The suffix is not one that is read.
        DataError: The file is empty, is not text, or is not what its suffix says.
    """
    suffix = Path(path).suffix
    reader = _READERS.get(suffix.lower())
    if reader is None:
        raise UsageError(
            f"{path}: annotation files are read by suffix, and {suffix or 'no suffix'!r} is none of "
            f"{', '.join(_READERS)}; rename or convert the file",
        )
    if content is None:
        content = read_content(Path(path))
    if not content.removeprefix(codecs.BOM_UTF8).strip():
        raise DataError(f"{path}: the annotation file is empty; expected a header and one row a clip")
    rows = reader(str(path), content)
    if not rows.row_count:
        raise DataError(f"{path}: found a header ({shown(rows.columns)}) and no rows; expected one row a clip")
    return rows


def read_content(path: Path) -> bytes:
    """The bytes of an annotation file, or of one that belongs to it.

    Raises:
        StorageError: The file is missing or cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError as exc:
        raise StorageError(f"{path}: no such annotation file; check the path") from exc
    except OSError as exc:
        raise StorageError(f"{path}: the annotation file cannot be read: {exc.strerror or exc}") from exc


def shown(columns: Iterable[str]) -> str:
    """Column names as an error message shows them."""
    names = [shortened(name) for name in columns]
    more = f" and {len(names) - _SHOWN_COLUMNS} more" if len(names) > _SHOWN_COLUMNS else ""
    return ", ".join(names[:_SHOWN_COLUMNS]) + more


def shortened(text: object) -> str:
    """Text or a value as an error message shows it, quoted and at most one line long."""
    whole = repr(text)
    return whole if len(whole) <= _SHOWN_CHARACTERS else f"{whole[: _SHOWN_CHARACTERS - 1]}…"


def decoded(path: str, content: bytes) -> str:
    """The text of a file.

    Raises:
        DataError: It is not UTF-8.
    """
    if content.startswith(_UTF16_MARKS):
        raise DataError(f"{path}: the text is UTF-16, expected UTF-8; save the file as UTF-8")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise DataError(
            f"{path}: byte {exc.start:,} is not UTF-8 text; save the file as UTF-8, or give the annotation "
            "file if this is another one",
        ) from exc
    if "\0" in text:
        raise DataError(
            f"{path}: found binary data (character {text.index(chr(0)):,} is zero), expected UTF-8 text; "
            "give the annotation file",
        )
    return text


def _checked_header(path: str, names: list[str]) -> list[str]:
    """The column names, which must differ; an empty one marks a column without a name."""
    header = [name.strip() for name in names]
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        raise DataError(f"{path}: column {twice[0]!r} stands twice in the header; rename one of the two")
    if not any(header):
        raise DataError(f"{path}: the first line names no column; expected a header")
    return header


def _read_delimited(
    path: str, content: bytes, *, delimiter: str, has_quotes: bool = True, header: list[str] | None = None
) -> Rows:
    # strict: an unclosed quote would otherwise swallow all rows after it in silence.
    text = io.StringIO(decoded(path, content), newline="")
    lines = csv.reader(
        text, delimiter=delimiter, strict=True, quoting=csv.QUOTE_MINIMAL if has_quotes else csv.QUOTE_NONE
    )
    faults: dict[int, str] = {}
    records: list[list[str] | None] = []
    try:
        for fields in lines:
            if not fields:
                continue  # an empty line, such as the last one
            if header is None:
                header = _checked_header(path, fields)
            elif len(fields) == len(header):
                records.append(fields)
            else:
                faults[len(records)] = (
                    f"line {lines.line_num} has {len(fields)} fields where the header has {len(header)}: "
                    f"{shortened(delimiter.join(fields))}; quote fields that contain the separator"
                )
                records.append(None)
    except csv.Error as exc:
        raise DataError(
            f"{path}: line {lines.line_num}: {exc}; a quote is probably not closed or not doubled; mend it",
        ) from exc
    # A column without a name (pandas writes its row numbers so) cannot be asked for and is left out.
    columns = {
        name: [(record[place] or None) if record else None for record in records]
        for place, name in enumerate(header or ())
        if name
    }
    return Rows(path, len(records), columns, faults, typed=False)


def _read_csv(path: str, content: bytes) -> Rows:
    # Comma-separated by name only, in many places: spreadsheets of half the world write semicolons.
    header = content.lstrip().split(b"\n", 1)[0]
    delimiter = next((mark for mark in ",\t;" if mark.encode() in header), ",")
    return _read_delimited(path, content, delimiter=delimiter)


def _read_tsv(path: str, content: bytes) -> Rows:
    return _read_delimited(path, content, delimiter="\t")


def _read_ave(path: str, content: bytes) -> Rows:
    text = decoded(path, content)
    first = text.lstrip().splitlines()[0].strip()
    if AVE_SEPARATOR not in first:
        raise UsageError(
            f"{path}: a text file is read as AVE's, with lines {AVE_SEPARATOR.join(AVE_COLUMNS)}, and the first is "
            f"{shortened(first)}; name a table .csv, .tsv, .jsonl or .parquet",
        )
    # AVE has no quoting; the file that is in circulation has no header.
    has_header = tuple(name.strip() for name in first.split(AVE_SEPARATOR)) == AVE_COLUMNS
    header = None if has_header else list(AVE_COLUMNS)
    return _read_delimited(path, content, delimiter=AVE_SEPARATOR, has_quotes=False, header=header)


def _read_jsonl(path: str, content: bytes) -> Rows:
    faults: dict[int, str] = {}
    records: list[dict[str, Any]] = []
    # Not splitlines(): JSON text may hold U+2028 and its kin unescaped.
    for number, line in enumerate(decoded(path, content).split("\n"), start=1):
        if not line.strip():
            continue
        record, fault = _json_object(line)
        if fault:
            faults[len(records)] = f"line {number} {fault}: {shortened(line)}"
        records.append(record)
    if len(faults) == len(records):
        raise DataError(f"{path}: no line is a JSON object; expected one object a line; first, {faults[0]}")
    names = dict.fromkeys(name for record in records for name in record)
    columns = {name: [_absent_if_empty(record.get(name)) for record in records] for name in names if name}
    return Rows(path, len(records), columns, faults, typed=True)


def _json_object(line: str) -> tuple[dict[str, Any], str | None]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as exc:
        return {}, f"is not JSON ({exc})"
    if not isinstance(record, dict):
        return {}, "is JSON but not an object"
    if _SURROGATE_ESCAPE.search(line):
        try:
            json.dumps(record, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            return {}, "holds half a surrogate pair, which is no text"
    return record, None


def _read_parquet(path: str, content: bytes) -> Rows:
    import pyarrow as pa  # noqa: PLC0415 - a CSV costs no Arrow import
    from pyarrow import parquet  # noqa: PLC0415

    try:
        # Not read_table: it would add columns out of folder names such as `split=train`.
        table = parquet.ParquetFile(pa.BufferReader(content)).read()
    except (pa.ArrowException, OSError) as exc:
        raise DataError(f"{path}: not a Parquet file that can be read: {exc}; write it again") from exc
    header = _checked_header(path, table.column_names)
    columns = {
        name: [_absent_if_empty(value) for value in table.column(place).to_pylist()]
        for place, name in enumerate(header)
        if name
    }
    return Rows(path, table.num_rows, columns, {}, typed=True)


def _absent_if_empty(value: Any) -> Any:
    return None if isinstance(value, str) and not value else value


_READERS: Mapping[str, Callable[[str, bytes], Rows]] = {
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".txt": _read_ave,
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".parquet": _read_parquet,
}
SUFFIXES = frozenset(_READERS)
"""What annotation files' names end with, in lower case."""
