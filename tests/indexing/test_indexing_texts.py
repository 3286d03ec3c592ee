"""What json, cls and txt members say, and the splits that names tell."""

import json

import pytest

from shardkit.errors import UsageError
from shardkit.indexing.sample_texts import SampleTexts, TextRules, UnreadableTextError, split_of_name
from shardkit.indexing.samples import Sample
from shardkit.indexing.tar_members import TarMember


def read(rules: TextRules, **texts: object) -> SampleTexts:
    """What a sample with these members says; JSON out of plain values."""
    members = {
        name: TarMember(f"key.{name}", 0, 1, said if isinstance(said, bytes) else json.dumps(said).encode())
        for name, said in texts.items()
    }
    return rules.read(Sample("key", members))


NO_LABELS = TextRules({})


def test_scalars_of_json_are_columns():
    """Lists and objects are not, `split` is the split, and text is a column too."""
    said = read(
        NO_LABELS, json={"a": 1, "b": "x", "c": None, "d": True, "e": [1], "f": {}, "split": "val"}, txt=b"cap\n"
    )
    assert said.columns == {"a": 1, "b": "x", "c": None, "d": True, "txt": "cap\n"}
    assert said.split == "val"


def test_numbers_that_no_column_can_hold_are_text():
    """Beyond 64 bits."""
    assert read(NO_LABELS, json={"a": 1 << 63, "b": (1 << 63) - 1}).columns == {"a": str(1 << 63), "b": (1 << 63) - 1}


@pytest.mark.parametrize(
    ("value", "label"),
    [
        (3, "3"),
        (3.0, "3"),
        ("bell", "bell"),
        (True, "true"),
        (None, None),
        (-100, None),
        (["a", 2, None], ["a", "2"]),
        ([], []),
    ],
)
def test_a_field_of_json_is_a_label(value, label):
    """Integers are ids, texts class names, lists several classes; null and -100 are unknown."""
    rules = TextRules.of({"sound": "json.label"}, None)
    assert read(rules, json={"label": value}).labels == {"sound": label}


def test_fields_lead_into_objects():
    """With dots; a name that has dots itself comes first; what is not there is unknown."""
    rules = TextRules.of({"x": "json.meta.kind"}, None)
    assert read(rules, json={"meta": {"kind": 1}}).labels == {"x": "1"}
    assert read(rules, json={"meta.kind": 2, "meta": {"kind": 1}}).labels == {"x": "2"}
    assert read(rules, json={"meta": 5}).labels == {"x": None}
    assert read(rules, json=[1, 2]).labels == read(rules).labels == {"x": None}


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        ({"json": b"{"}, "json cannot be read"),
        ({"json": b"[" * 100_000}, "json cannot be read"),
        ({"json": b'{"a": "\\ud800"}'}, "json cannot be read"),
        ({"json": b'{"a": "\xff"}'}, "json is not UTF-8 text (byte 7)"),
        ({"json": {"label": {"a": 1}}}, "json.label is .* no class"),
        ({"json": {"label": [0.5]}}, "json.label is 0.5, which is no class"),
        ({"txt": b"\xff"}, "txt is not UTF-8"),
        ({"cls": b"\xff"}, "cls is not UTF-8"),
        ({"cls": b"2"}, "cls is '2', and 2 classes are named"),
        ({"cls": b"zither"}, "cls is 'zither', and 2 classes are named"),
    ],
)
def test_what_cannot_be_read_says_so(texts, said):
    """Broken JSON, bytes that are no text, values that are no class, ids that no name stands for."""
    import re

    rules = TextRules.of({"sound": "json.label"}, ["bell", "gong"])
    with pytest.raises(
        UnreadableTextError, match=said.replace("(", r"\(").replace(")", r"\)") if "(" in said else said
    ):
        read(rules, **texts)
    assert re.compile(said)


def test_cls_is_a_number_or_a_name():
    """A number is a place among the names that are given; without names it stays as it is."""
    named = TextRules.of({}, ["bell", "gong"])
    assert [read(named, cls=text).labels["cls"] for text in (b"1", b" 0\n", b"gong", b"", b"-100")] == [
        "gong",
        "bell",
        "gong",
        None,
        None,
    ]
    assert read(NO_LABELS, cls=b"17").labels == {"cls": "17"}


@pytest.mark.parametrize("label", ["cls", "txt", "json", "json.", "label", "xml.label"])
def test_labels_come_out_of_json_fields(label):
    """Anything else is refused, with an example."""
    with pytest.raises(UsageError, match=r"NAME=json\.FIELD"):
        TextRules.of({"a": label}, None)
    with pytest.raises(UsageError, match="'cls' comes from cls members"):
        TextRules.of({"cls": "json.label"}, None)


@pytest.mark.parametrize("classes", [[], ["a", "b", "a"]])
def test_classes_have_a_name_each(classes):
    """None and the same twice are mistakes."""
    with pytest.raises(UsageError, match="a name for each is needed"):
        TextRules.of({}, classes)


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train-0000.tar", "train"),
        ("imagenet-val-000000.tar", "val"),
        ("train/000.tar", "train"),
        ("train/set_test.tar", "test"),
        ("validation00.tar", "validation"),
        ("constraint-000.tar", ""),
        ("trained-000.tar", ""),
        ("000.tar", ""),
    ],
)
def test_a_tars_path_can_name_the_split(name, split):
    """The last word of it that is a split's name; part of a word is none."""
    assert split_of_name(name) == split
