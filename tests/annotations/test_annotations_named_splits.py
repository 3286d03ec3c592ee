"""Named splits: files that list the clips of a split."""

import io
from pathlib import Path

import h5py
import numpy as np
import pytest

from shardkit.annotations import AnnotationRequest, read_annotations
from shardkit.errors import DataError, UsageError
from shardkit.packing.keys import clip_keys

RELEASED = Path(__file__).parents[2] / "../shared/data/annotations/AVE-Annotations.txt"
ROWS = (
    "Bark&aaaaaaaaaaa&good&0&10",
    "Goat&-bbbbbbbbbb&good&2&5",
    "Goat&aaaaaaaaaaa&good&0&10",
    "Bark&cut&good&0&10",
)


def h5(order, name="order"):
    """The bytes of an HDF5 file that has this dataset."""
    file = io.BytesIO()
    with h5py.File(file, "w") as opened:
        opened[name] = order
    return file.getvalue()


@pytest.fixture
def split(tmp_path):
    """Reads four rows of AVE, the last of them bad, with split files of these contents."""

    def read(scheme="ave", **contents):
        (tmp_path / "Annotations.txt").write_text("\n".join(ROWS))
        files = {}
        for name, content in contents.items():
            files[name] = tmp_path / f"{name}{'.h5' if isinstance(content, bytes) else '.txt'}"
            files[name].write_bytes(content if isinstance(content, bytes) else content.encode())
        request = AnnotationRequest(split_files={scheme: {name: str(path) for name, path in files.items()}})
        return read_annotations(tmp_path / "Annotations.txt", request, keys_of=clip_keys)

    return read


def test_several_schemes_of_aves_size_stand_beside_each_other(tmp_path):
    """AVE's 4,143 rows have the splits of both orders, row by row; a clip that an order leaves out has none."""
    if not RELEASED.exists():
        pytest.skip("../shared/data/annotations/AVE-Annotations.txt is not there")
    rows = np.random.default_rng(0).permutation(4143)
    orders = {
        "ave": {"train": rows[:3339], "val": rows[3339:3741], "test": rows[3741:]},
        "ave_match": {"train": rows[::2], "test": rows[1:2001:2]},
    }
    files = {scheme: {} for scheme in orders}
    for scheme, splits in orders.items():
        for name, order in splits.items():
            path = tmp_path / f"{scheme}_{name}_order.h5"
            path.write_bytes(h5(order.astype(np.int32)))
            files[scheme][name] = str(path)
    found = read_annotations(RELEASED, AnnotationRequest(split_files=files))
    assert dict(found.split_sets) == {"ave": ("train", "val", "test"), "ave_match": ("train", "test")}
    for scheme, splits in orders.items():
        expected = {int(row) + 1: name for name, order in splits.items() for row in order}
        assert {clip.row: clip.splits[scheme] for clip in found.clips if scheme in clip.splits} == expected


@pytest.mark.parametrize(
    ("line", "rows"),
    [
        ("-bbbbbbbbbb", [2]),
        ("aaaaaaaaaaa", [1, 3]),
        ("aaaaaaaaaaa_0", [1]),
        ("aaaaaaaaaaa_0_2", [3]),
        ("Goat&aaaaaaaaaaa&good&0&10", [3]),
        ("Goat & -bbbbbbbbbb & good & 2.0 & 5", [2]),
        ("Category&VideoID&Quality&StartTime&EndTime\r\nBark&aaaaaaaaaaa&good&0&10", [1]),
        ("-bbbbbbbbbb\n\n aaaaaaaaaaa_0 ", [1, 2]),
        ("-bbbbbbbbbb\ncut", [2]),
    ],
)
def test_a_line_of_text_is_an_id_a_key_or_a_row(split, line, rows):
    """An id stands for all its clips, a key or a row of AVE's for one; rows that were turned away are passed over."""
    found = split(train=line)
    assert [clip.row for clip in found.clips if clip.splits == {"ave": "train"}] == rows
    assert [clip.row for clip in found.clips if not clip.splits] == [row for row in (1, 2, 3) if row not in rows]


def test_row_numbers_count_from_zero_and_rejected_rows_too(split):
    """Row 3 of four was rejected by the reader: it is no error, and makes no clip."""
    found = split(train=h5([0, 3]), test=h5([[1]]))
    assert [clip.splits.get("ave") for clip in found.clips] == ["train", "test", None]


@pytest.mark.parametrize(
    ("contents", "said"),
    [
        ({"train": h5([0, 4])}, r"train\.h5: row 4, and the annotation file has 4 rows"),
        ({"train": h5([-1])}, "row -1"),
        ({"train": h5([0.0, 1.0])}, "is of float64, expected whole numbers"),
        ({"train": h5([[0, 1], [2, 3]])}, r"shape \(2, 2\)"),
        ({"train": h5([0], "rows")}, "no dataset 'order'.*it has 'rows'"),
        ({"train": b"no"}, "not a readable HDF5 file"),
        ({"train": h5([0, 1]), "test": h5([1])}, r"test\.h5: row 2 \(-bbbbbbbbbb\) is in split 'test'.*'train' by"),
        ({"train": "aaaaaaaaaaa_0", "test": "aaaaaaaaaaa"}, r"row 1 \(aaaaaaaaaaa\) is in split 'test'"),
        ({"train": "aaaaaaaaaaa\nnobody"}, r"train\.txt: line 2: 'nobody' is not in the annotation file"),
        ({"train": "Goat&aaaaaaaaaaa&good&0&9"}, "line 1: .* is not in the annotation file"),
        ({"train": "Goat&aaaaaaaaaaa&good&x&9"}, "line 1: start is 'x'"),
        ({"train": "\n"}, "lists no clip"),
    ],
)
def test_a_file_that_does_not_fit_is_an_error(split, contents, said):
    """The error names the file, and what in it does not belong to the annotation file."""
    with pytest.raises(DataError, match=said):
        split(**contents)


@pytest.mark.parametrize("name", ["ave:match", "", "a b"])
def test_names_of_schemes_are_words(name):
    """What a colon divides later cannot hold one."""
    with pytest.raises(UsageError, match="is no name of a split"):
        AnnotationRequest(split_files={name: {"train": "a.h5"}})
    with pytest.raises(UsageError, match="is no name of a split"):
        AnnotationRequest(split_files={"ave": {name: "a.h5"}})
