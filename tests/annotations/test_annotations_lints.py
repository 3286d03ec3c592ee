"""Lints: leaks between splits, classes that a split lacks, classes below two parents."""

import csv
from pathlib import Path

import pytest

from shardkit.annotations import AnnotationRequest, lint_annotations, lint_parents, read_annotations
from shardkit.annotations.labels import TwoParentsError

AVE = Path(__file__).parents[2] / "../shared/data/annotations/AVE-Annotations.txt"


def table(tmp_path, *rows, **options):
    """The annotation set of a table with these rows, the first of which has the columns' names."""
    path = tmp_path / "clips.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return read_annotations(path, AnnotationRequest(**options))


def test_splits_that_keep_sources_and_classes_together_are_clean(tmp_path):
    """Clips of a source in one split, and every class in each, are not worth a word; nor are files without splits."""
    rows = [("id", "start_s", "label", "split"), ("a", 0, "x", "train"), ("a", 9, "y", "train"), ("b", 0, "x", "test")]
    assert lint_annotations(table(tmp_path, *rows, ("b", 9, "y", "test"))) == []
    assert lint_annotations(table(tmp_path, *(row[:3] for row in rows))) == []


def test_a_source_in_two_splits_is_a_leak_that_names_all_its_rows(tmp_path):
    """Clips share a source by their id, or by their media file; those in no split leak nowhere."""
    (leak,) = lint_annotations(
        table(
            tmp_path,
            ("id", "media", "start_s", "split"),
            ("a", "m.mp4", 0, "train"),
            ("b", "m.mp4", 9, "test"),
            ("b", "m.mp4", 18, "test"),
            ("c", "n.mp4", 0, "train"),
            ("c", "n.mp4", 9, ""),
        )
    )
    assert (leak.kind, leak.rows) == ("leak", (1, 2, 3))
    assert leak.message == "split: source 'a' is in 'train' (row 1) and in 'test' (rows 2, 3)"


def test_a_class_that_a_split_lacks_is_named_with_the_rows_that_others_have(tmp_path):
    """The deepest level counts, and unknown labels do not."""
    (missing,) = lint_annotations(
        table(
            tmp_path,
            ("id", "level_1", "level_2", "split"),
            ("a", "w", "x", "train"),
            ("b", "w", "y", "train"),
            ("c", "w", "x", "test"),
            ("d", "w", "", "test"),
        )
    )
    assert (missing.kind, missing.rows) == ("missing_class", (2,))
    assert missing.message == "split: split 'test' has no clip of level 'y'; 'train' has: row 2"


def test_aves_repeated_ids_leak_between_named_splits(tmp_path):
    """Rows of a repeated id in two splits of a scheme are named; a scheme that keeps them together is clean."""
    if not AVE.exists():
        pytest.skip("../shared/data/annotations/AVE-Annotations.txt is not there")
    lines = AVE.read_text("utf-8").splitlines()
    ids = [line.split("&")[1] for line in lines]
    files = {}
    for scheme, in_test in (("rows", lambda row: row % 5 == 0), ("ids", lambda row: ids.index(ids[row]) % 5 == 0)):
        files[scheme] = {}
        for split in ("train", "test"):
            path = tmp_path / f"{scheme}_{split}.txt"
            path.write_text("\n".join(line for row, line in enumerate(lines) if in_test(row) == (split == "test")))
            files[scheme][split] = str(path)
    found = lint_annotations(read_annotations(AVE, AnnotationRequest(split_files=files)))
    rows_of = {}
    for row, id in enumerate(ids):
        rows_of.setdefault(id, []).append(row)
    leaking = {tuple(row + 1 for row in rows) for rows in rows_of.values() if len({row % 5 == 0 for row in rows}) > 1}
    assert leaking
    assert {finding.rows for finding in found if finding.kind == "leak"} == leaking
    assert all(finding.message.startswith("rows: source ") for finding in found if finding.kind == "leak")


def test_a_class_below_two_parents_names_all_rows_of_both(tmp_path):
    """Reading raises, and what it raises knows every class that contradicts itself, with all rows of every parent."""
    rows = [("id", "level_1", "level_2")]
    rows += [(f"id{place}", "ab"[place % 2], "x" if place < 6 else "y") for place in range(8)]
    with pytest.raises(TwoParentsError, match="'x' stands below level_1 'a' in row 1 and below 'b' in row 2") as caught:
        table(tmp_path, *rows)
    first, second = lint_parents(caught.value)
    assert (first.kind, first.rows, second.rows) == ("two_parents", (1, 2, 3, 4, 5, 6), (7, 8))
    assert first.message == "level_2 'x' stands below level_1 'a' (rows 1, 3, 5) and below level_1 'b' (rows 2, 4, 6)"
