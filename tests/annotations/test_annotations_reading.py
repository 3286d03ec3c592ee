import subprocess
import sys

import pytest

from shardkit.annotations import AnnotationRequest, read_annotations
from shardkit.errors import UsageError


def write(tmp_path, text):
    """The path of a CSV with this text."""
    path = tmp_path / "a.csv"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("header", "format"),
    [
        ("ytid,start_time,name,level_1,lebel_2,level_3,level_4", "avo65"),
        ("YouTube ID,Start Time,End Time,Level 1,Level 2,Level 3,Level 4 (Label)", "avo65"),
        ("id,start,end,level_1,level_2,level_3,level_4", "avo65"),
        ("id,start_s,end_s,level_1,level_2,level_3,level_4", "table"),
        ("media,label,a,b,c,d,e", "table"),
    ],
)
def test_format_is_recognised_by_its_header(tmp_path, header, format):
    """Both AVO-65 headers are recognised; a header in a table's own names is a table."""
    path = write(tmp_path, f"{header}\naaaaaaaaaaa,1,11,1,1,1,1\n")
    assert read_annotations(path).format == format


def test_renamed_columns_make_a_table(tmp_path):
    """With `column`, a file that looks like AVO-65 is read as the table that the caller describes."""
    path = write(tmp_path, "ytid,start_time,level_1,level_2,level_3,level_4\nany id,1,1,1,1,1\n")
    assert read_annotations(path, AnnotationRequest(column={"id": "ytid"})).format == "table"


def test_unrecognised_header_says_what_was_found_and_needed(tmp_path):
    """The error lists the columns found and what every format needs."""
    path = write(tmp_path, "filename,onset,offset\na,1,2\n")
    with pytest.raises(UsageError, match=r"'filename', 'onset', 'offset'.*avo65 needs.*table needs.*--column"):
        read_annotations(path)


def test_unknown_format_lists_the_known_ones(tmp_path):
    """A format that is none is refused before the file is opened."""
    with pytest.raises(UsageError, match="'nope' is none of auto, ave, avo65, avvp, chapters, table"):
        read_annotations(tmp_path / "missing.csv", AnnotationRequest(format="nope"))


def test_reading_csv_imports_neither_arrow_nor_torch(tmp_path):
    """A CSV is read with the standard library only."""
    path = write(tmp_path, "id\na\n")
    code = (
        "import sys; from shardkit.annotations import read_annotations; read_annotations(sys.argv[1]); "
        "sys.exit(', '.join({'pyarrow', 'torch', 'av', 'decord', 'fsspec'} & sys.modules.keys()) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
