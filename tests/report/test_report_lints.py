"""Lints of a data set: what is doubtful about splits, classes, labels, events, with the rows that are concerned."""

import itertools
from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_index import record, small_index, small_manifest

from shardkit.annotations.split_lints import Finding
from shardkit.clip import Event
from shardkit.report.lints import lint_dataset

LABELLED = {"tree": (0, 0), "many": (0,)}


def lint(records, *, split_sets=(), **manifest) -> list[Finding]:
    """What is found among these clips."""
    return lint_dataset(small_manifest(len(records), **manifest), small_index(records, split_sets=split_sets))


def found(findings: list[Finding], kind: str) -> list[tuple[str, tuple[int, ...]]]:
    """Messages and rows of one kind."""
    return [(finding.message, finding.rows) for finding in findings if finding.kind == kind]


def test_a_data_set_that_is_in_order_has_no_findings():
    """Every class in both splits, sources apart, parents known: nothing to say but of the class that nobody placed."""
    records = [
        record(row, split=split, labels={"tree": (id % 2, id), "many": (id,)}, source_id=f"{split}{row}")
        for row, (split, id) in enumerate([(split, id) for split in ("train", "test") for id in range(3)], start=1)
    ]
    assert [finding.kind for finding in lint(records)] == ["orphan_class"]


def test_a_source_in_two_splits_is_a_leak_with_its_rows():
    """One source, clips in train and test: named with the rows on each side; the default scheme is `split`."""
    records = [
        record(1, source_id="a", split="train"),
        record(2, source_id="b", split="train"),
        record(3, source_id="a", split="test"),
        record(4, source_id="a", split="train"),
        record(5, source_id="b", split=""),
    ]
    ((message, rows),) = found(lint(records), "leak")
    assert message == "split: source 'a' is in 'train' (rows 1, 4) and in 'test' (row 3)"
    assert rows == (1, 3, 4)


def test_a_media_file_of_several_ids_is_one_source():
    """As in annotation files: clips of one file leak, whatever their ids; of tars of others nobody knows the files."""
    records = [
        record(1, source_id="b", source="m.mp4", split="train"),
        record(2, source_id="a", source="m.mp4", split="test"),
        record(3, source_id="a", source="n.mp4", split="test"),
        record(4, source_id="c", source="", split="train"),
        record(5, source_id="d", source="", split="test"),
    ]
    assert found(lint(records), "leak") == [
        ("split: source 'a' is in 'train' (row 1) and in 'test' (rows 2, 3)", (1, 2, 3))
    ]
    assert found(lint(records, packed=False), "leak") == []


def test_named_splits_leak_for_themselves():
    """AVE's `ave_match` may leak where the default split does not; a clip in none of its splits leaks nowhere."""
    records = [
        record(1, source_id="a", split="train", splits={"ave_match": "train"}),
        record(2, source_id="a", split="train", splits={"ave_match": "test"}),
        record(3, source_id="b", split="train", splits={"ave_match": "test"}),
        record(4, source_id="b", split="train"),
    ]
    findings = found(lint(records, split_sets=("ave_match",)), "leak")
    assert findings == [("ave_match: source 'a' is in 'train' (row 1) and in 'test' (row 2)", (1, 2))]


@given(st.lists(st.tuples(st.integers(0, 8), st.sampled_from(["", "train", "val", "test"])), min_size=1, max_size=40))
def test_every_leak_is_found_and_nothing_else(clips):
    """By source: all rows in a split, where there are several splits."""
    rows = defaultdict(dict)
    for row, (source, split) in enumerate(clips, start=1):
        if split:
            rows[source].setdefault(split, []).append(row)
    expected = {tuple(sorted(itertools.chain(*sides.values()))) for sides in rows.values() if len(sides) > 1}
    records = [record(row, source_id=f"s{source}", split=split) for row, (source, split) in enumerate(clips, start=1)]
    leaks = found(lint(records), "leak")
    assert {rows for _, rows in leaks} == expected
    assert len(leaks) == len(expected)


def test_a_class_that_a_split_lacks_is_named_with_the_rows_elsewhere():
    """For hierarchies the leaf, for multi sets each label; a class that nobody has is `empty_class` and no more."""
    records = [
        record(1, split="train", labels={"tree": (0, 0), "many": (0, 1)}),
        record(2, split="train", labels={"tree": (1, 1), "many": (1,)}),
        record(3, split="test", labels={"tree": (0, 0), "many": (0,)}),
    ]
    findings = lint(records)
    assert found(findings, "missing_class") == [
        ("split: split 'test' has no clip of tree 'q'; 'train' has: row 2", (2,)),
        ("split: split 'test' has no clip of many 'b'; 'train' has: rows 1, 2", (1, 2)),
    ]
    assert found(findings, "empty_class") == [("tree: no clip of 'r'", ()), ("many: no clip of 'c'", ())]


def test_clips_without_a_split_or_a_label_are_named_where_others_have_one():
    """Nothing is said where none has any; clips flagged as background have no label on purpose."""
    records = [
        record(1, split="train", labels=LABELLED),
        record(2, labels=LABELLED),
        record(3, split="train"),
        record(4, split="train", flags=("background",)),
    ]
    findings = lint(records)
    assert found(findings, "no_split") == [("1 clip has no split, others have: row 2", (2,))]
    assert found(findings, "unlabelled") == [
        ("1 clip has no known class of tree: row 3", (3,)),
        ("1 clip has no known class of many: row 3", (3,)),
    ]
    assert {finding.kind for finding in lint([record(1), record(2)])} == {"empty_class", "orphan_class"}


def test_events_without_length_or_outside_their_clip_are_named():
    """Zero-length, reversed, and beyond the clip's end; what fits exactly does not count."""
    spans = [(0.0, 2.0), (1.0, 1.0), (1.5, 0.5), (1.0, 2.5), (-0.5, 1.0)]
    records = [record(row, events=(Event(*span, 0, "av"),)) for row, span in enumerate(spans, start=1)]
    assert found(lint(records), "event_span") == [
        ("2 clips have an event without length: rows 2, 3", (2, 3)),
        ("2 clips have an event that is not inside the clip: rows 4, 5", (4, 5)),
    ]


def test_flags_and_rejects_are_counted():
    """Odd media by flag, background apart; rows that were turned away by reason."""
    records = [record(row, flags=("silent", "still") if row == 3 else ("silent", "background")) for row in range(1, 10)]
    findings = lint(records, reject_counts={"bad_id": 1, "too_short": 1200})
    assert found(findings, "flag") == [
        ("9 clips have the flag silent: rows 1, 2, 3, 4, 5, 6 and 3 more", tuple(range(1, 10))),
        ("1 clip has the flag still: row 3", (3,)),
    ]
    assert found(findings, "reject") == [
        ("bad_id: 1 row, each told in rejects.jsonl", ()),
        ("too_short: 1,200 rows, each told in rejects.jsonl", ()),
    ]


def test_a_class_whose_parent_nobody_told_is_named():
    """Hierarchical losses cannot use it."""
    assert found(lint([record(1)]), "orphan_class") == [("tree: no clip tells the top of leaf 'r'", ())]


@pytest.mark.parametrize("records", [[], [record(1)]])
def test_data_sets_of_no_clip_or_one_are_no_special_case(records):
    """Nothing fails."""
    assert isinstance(lint(records), list)
