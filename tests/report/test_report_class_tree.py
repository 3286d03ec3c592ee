"""Classes as a tree with counts, and as AudioSet's list."""

import csv
import io

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from small_index import TREE, record, small_index, small_manifest

from shardkit.report.class_tree import ClassNode, class_labels_csv, class_tree
from shardkit.report.info import dataset_info
from shardkit.taxonomy import UNKNOWN, Level


def test_a_tree_has_every_class_below_its_parent_with_its_clips():
    """By id; a class whose parent is not known stands beside the top ones; only the given rows count."""
    index = small_index(
        [record(row, labels={"tree": path, "many": ()}) for row, path in enumerate([(0, 0), (0, UNKNOWN), (1, 1)], 1)]
    )
    leaf = [ClassNode("leaf", id, name, clips) for id, name, clips in ((0, "p", 1), (1, "q", 1), (2, "r", 0))]
    assert class_tree(TREE, index, np.arange(3)) == (
        ClassNode("top", 0, "x", 2, (leaf[0],)),
        ClassNode("top", 1, "y", 1, (leaf[1],)),
        leaf[2],
    )
    assert [node.clips for node in class_tree(TREE, index, np.array([1]))] == [1, 0, 0]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"])), min_size=1, max_size=20, unique=True))
def test_class_labels_round_trip(classes):
    """Read as AST's training code does, by csv.DictReader: indices, names, and a mid for each without commas."""
    text = class_labels_csv(Level("level 4, leaf", tuple(classes)))
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [(int(row["index"]), row["display_name"]) for row in rows] == list(enumerate(classes))
    mids = [row["mid"] for row in rows]
    assert not any("," in mid or " " in mid for mid in mids)
    assert len(set(mids)) == len(mids)


def test_machine_ids_of_audioset_stay_what_they_are():
    """A data set whose classes are named by mid gives the file that AudioSet has."""
    text = class_labels_csv(Level("label", ("/m/09x0r", "/t/dd00003", "Speech, male", "/m/a b")))
    assert text == (
        "index,mid,display_name\n"
        "0,/m/09x0r,/m/09x0r\n"
        "1,/t/dd00003,/t/dd00003\n"
        '2,/m/label_2,"Speech, male"\n'
        "3,/m/label_3,/m/a b\n"
    )


def test_info_counts_named_splits():
    """Each division into splits for itself, with the clips in none of its splits."""
    splits = [{"ave": "train"}, {"ave": "train", "match": "test"}, {}]
    index = small_index([record(row, splits=one) for row, one in enumerate(splits, 1)], split_sets=("ave", "match"))
    info = dataset_info("shards", small_manifest(3), index, np.arange(3))
    assert info.split_sets == {"ave": {"": 1, "train": 2}, "match": {"": 2, "test": 1}}
