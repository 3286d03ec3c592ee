import os

import pytest

from shardkit.annotations import read_annotations
from shardkit.annotations.rows import read_rows
from shardkit.clip import Reason
from shardkit.errors import DataError, StorageError, UsageError


@pytest.mark.parametrize(
    ("name", "content", "error", "said"),
    [
        ("a.csv", b"", DataError, "empty"),
        ("a.csv", b"\xef\xbb\xbf", DataError, "empty"),
        ("a.csv", b"id,media\n", DataError, "no rows"),
        ("a.csv", b"id,id\na,b\n", DataError, "'id' stands twice"),
        ("a.csv", b'id\n"abc\ndef\n', DataError, "line 3.*quote"),
        ("a.csv", b"id\na\xff\n", DataError, "byte 4 is not UTF-8"),
        ("a.csv", "id\na\n".encode("utf-16"), DataError, "UTF-16.*save the file as UTF-8"),
        ("a.csv", b"id\n\0\0\n", DataError, "binary"),
        (
            "a.csv",
            b"Church bell&RUhOCu3LNXM&good&0&10\nBark&x&good&0&10\n",
            UsageError,
            "no known format.*needs",
        ),
        ("a.jsonl", b"id,media\na,b\n", DataError, "no line is a JSON object.*line 1"),
        ("a.jsonl", b"[1]\n", DataError, "not an object"),
        ("a.parquet", b"PAR1 not really", DataError, "Parquet"),
        ("a.xlsx", b"id\na\n", UsageError, r"'\.xlsx' is none of \.csv"),
        ("a.txt", b"id\na\n", UsageError, "read as AVE's"),
        ("a", b"id\na\n", UsageError, "no suffix"),
    ],
)
def test_file_that_cannot_be_read_says_what_was_found(tmp_path, name, content, error, said):
    """A file that is no annotation file is one clear error that names the file and what was found."""
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(error, match=said) as caught:
        read_annotations(path)
    assert str(path) in str(caught.value)


def test_missing_file_is_a_storage_error(tmp_path):
    """A missing file is the storage's fault, not the data's."""
    with pytest.raises(StorageError, match="no such annotation file"):
        read_annotations(tmp_path / "a.csv")


def test_folder_is_a_storage_error(tmp_path):
    """A folder in place of the file is a StorageError that says so."""
    (tmp_path / "a.csv").mkdir()
    with pytest.raises(StorageError, match="directory"):
        read_annotations(tmp_path / "a.csv")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_file_without_permission_is_a_storage_error(tmp_path):
    """A file that may not be read is a StorageError."""
    path = tmp_path / "a.csv"
    path.write_text("id\na\n")
    path.chmod(0)
    with pytest.raises(StorageError, match="ermission"):
        read_annotations(path)


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_byte_order_mark_and_line_ends_make_no_difference(tmp_path, newline, mark):
    """With or without a byte order mark, with any line ends, the cells are the same."""
    path = tmp_path / "a.csv"
    path.write_bytes(mark + newline.join(["id,start_s", "ä,1", "", "b,2", ""]).encode())
    assert read_rows(path).columns == {"id": ["ä", "b"], "start_s": ["1", "2"]}


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_csv_may_have_semicolons_or_tabs(tmp_path, separator):
    """A .csv whose header has no comma is read with the separator that it has."""
    path = tmp_path / "a.csv"
    path.write_text(f"id{separator}label\na{separator}x y\n")
    assert read_rows(path).columns == {"id": ["a"], "label": ["x y"]}


def test_column_without_a_name_is_left_out(tmp_path):
    """Row numbers that a data frame writes without a name are not a column."""
    path = tmp_path / "a.csv"
    path.write_text(",id\n0,a\n1,b\n")
    assert read_rows(path).columns == {"id": ["a", "b"]}


def test_broken_rows_keep_their_numbers(tmp_path):
    """Rows with too many or too few fields are rejected with their line and shift no row after them."""
    path = tmp_path / "a.csv"
    path.write_text("id,label\na,x\nb\nc,y,z\nd,x\n")
    found = read_annotations(path)
    assert [(clip.row, clip.id) for clip in found.clips] == [(1, "a"), (4, "d")]
    assert [(reject.row, reject.reason) for reject in found.rejects] == [
        (2, Reason.BAD_ROW),
        (3, Reason.BAD_ROW),
    ]
    assert "line 3 has 1 fields where the header has 2" in found.rejects[0].detail


def test_broken_json_lines_keep_their_numbers(tmp_path):
    """Lines that are no JSON object are rejected alone, however they are broken."""
    lines = [
        '{"id": "a"}',
        "{",
        "[" * 100_000,
        '{"id": "\\ud800"}',
        "3",
        '{"id": "b\\ud83d\\ude00"}',
        '{"id": "\u2028c"}',
    ]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    found = read_annotations(path)
    assert [(clip.row, clip.id) for clip in found.clips] == [(1, "a"), (6, "b😀"), (7, "c")]
    assert [reject.row for reject in found.rejects] == [2, 3, 4, 5]
    assert "half a surrogate pair" in found.rejects[2].detail
