"""where=: conditions on the index, and named splits; which clips they choose, and what they say of what is wrong."""

import dataclasses
import operator
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from snapshots import real_keys

import shardkit
from shardkit.errors import UsageError
from shardkit.format.digest import file_digest
from shardkit.format.index import encode_index
from shardkit.format.manifest import FileInfo, Manifest

CLIPS = 24
NUMBER_OF = {f"clip{number:02d}_0": number for number in range(CLIPS)}


def _numbers(selection) -> list[int]:
    """Which of the fixture's clips are selected."""
    return sorted(NUMBER_OF[key] for key in selection.keys)


@pytest.fixture(scope="module")
def ds(packed):
    """The data set of tests/conftest.py, whose clips are numbered."""
    return shardkit.open(packed)


def _with_columns(packed, folder, columns, **changes):
    """A copy whose index has more columns, and whose manifest says more."""
    shutil.copytree(packed, folder)
    ds = shardkit.open(folder)
    table = pa.Table.from_batches([ds.index.batch])
    for name, values in columns.items():
        by_number = pa.array(values, pa.large_string())
        table = table.append_column(name, by_number.take(pa.array([NUMBER_OF[key] for key in ds.keys])))
    content = encode_index(table.combine_chunks().to_batches()[0])
    (folder / "index.arrow").write_bytes(content)
    manifest = Manifest.from_bytes((folder / "dataset.json").read_bytes(), path="dataset.json")
    changed = dataclasses.replace(manifest, index=FileInfo(len(content), file_digest(content)), **changes)
    (folder / "dataset.json").write_bytes(changed.to_bytes())
    return folder


@pytest.fixture(scope="module")
def named_splits(packed, tmp_path_factory):
    """A copy with two named divisions into splits, and a column of the annotation file called as one of the index's."""
    ave = ["train"] * 20 + ["test"] * 4
    match = ["train", "test", ""] * 8
    return _with_columns(
        packed,
        tmp_path_factory.mktemp("named") / "shards",
        {"split_ave": ave, "split_ave_match": match, "column_source": ["web"] * 12 + ["own"] * 12},
        split_sets={"ave": {"train": 20, "test": 4}, "ave_match": {"train": 8, "test": 8}},
    )


WITH_LABEL = set(range(22))


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("level_1 == 1", {n for n in range(22) if n % 3 == 0} | {22, 23}),
        ('level_1 == "wind"', {n for n in range(22) if n % 3 == 0} | {22, 23}),
        ('level == "Violin"', {n for n in range(22) if n % 3 == 2}),
        ('label_level_level_2 == "Violin"', {n for n in range(22) if n % 3 == 2}),
        ("label in (0, 'Violin')", {n for n in range(22) if n % 3 != 1}),
        ("label < 2", {n for n in range(22) if n % 3 != 2}),
        ('"bright" in labels', {n for n in range(22) if n % 3 == 0}),
        ("1 in labels and 'near' in labels", {n for n in range(22) if n % 3 == 1}),
        ("labels == None", {n for n in range(22) if n % 3 == 2} | {22, 23}),
        ("number == 7", {7}),
        ("number == 7.0 or -3 < number <= 1", {0, 1, 7}),
        ("number in [3, 4, 99]", {3, 4}),
        ("number not in ()", set(range(CLIPS))),
        ("21 <= number", {21, 22, 23}),
        ("note == \"note 5\" or note == 'note 6'", {5, 6}),
        ('note == "nöte"', set()),
        ("duration_s < 1.5", {4, 9, 14, 19}),
        ('split == "test" and duration_s < 1.5', {19}),
        ("audio_bytes == 0", {20, 21}),
        ('not (video_bytes > 0 or "no_such_flag" in flags)', {22, 23}),
        ('source_id != "clip00" and index_row < 4 and (number < 9)', {1, 2}),
        ("audio_samples <= height", {20, 21}),
    ],
)
def test_conditions_choose_the_clips_that_fit(ds, where, expected):
    """Ids, class names, several labels a clip, annotation columns and those of the index; by the fixture's rule."""
    assert _numbers(ds.select(where=where)) == sorted(expected)


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("label == 0", {n for n in WITH_LABEL if n % 3 == 0}),
        ("not label == 0", {n for n in WITH_LABEL if n % 3}),
        ("label != 0", {n for n in WITH_LABEL if n % 3}),
        ("label not in (0, 1)", {n for n in WITH_LABEL if n % 3 == 2}),
        ("label >= 0", WITH_LABEL),
        ("label == None", {22, 23}),
        ("label == -100", {22, 23}),
        ("label in (None, 0)", {n for n in WITH_LABEL if n % 3 == 0} | {22, 23}),
        ("label != None", WITH_LABEL),
        ("label == 0 or number == 22", {n for n in WITH_LABEL if n % 3 == 0} | {22}),
        ("not (label == 0 and number >= 22)", WITH_LABEL),
    ],
)
def test_an_unknown_class_fits_neither_a_comparison_nor_its_opposite(ds, where, expected):
    """Two clips have no label: only == None, or -100, asks for them; and, or, not follow SQL's logic."""
    assert _numbers(ds.select(where=where)) == sorted(expected)


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (pc.field("level_1") == 1, {n for n in range(22) if n % 3 == 0} | {22, 23}),
        (pc.field("label") != 0, {n for n in WITH_LABEL if n % 3}),
        ((pc.field("number") > 20) & (pc.field("split") == "train"), {21, 22, 23}),
        (pc.list_value_length(pc.field("labels")) == 2, {n for n in range(22) if n % 3 == 1}),
        (pc.field("column_note").isin(["note 2"]), {2}),
    ],
)
def test_expressions_have_the_same_names(ds, where, expected):
    """A pyarrow.compute expression chooses by the same columns; of a class that is not known the id is null."""
    assert _numbers(ds.select(where=where)) == sorted(expected)


SIGNS = {"==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
COMPARISONS = st.builds(
    lambda name, sign, value: (f"{name} {sign} {value}", SIGNS[sign](pc.field(name), value)),
    st.sampled_from(["number", "duration_s", "height", "label", "level_1"]),
    st.sampled_from(list(SIGNS)),
    st.integers(0, 1),
)
CONDITIONS = st.recursive(
    COMPARISONS,
    lambda inner: st.one_of(
        inner.map(lambda one: (f"not ({one[0]})", ~one[1])),
        st.builds(lambda one, two: (f"({one[0]}) and ({two[0]})", one[1] & two[1]), inner, inner),
        st.builds(lambda one, two: (f"({one[0]}) or ({two[0]})", one[1] | two[1]), inner, inner),
    ),
    max_leaves=8,
)


@given(CONDITIONS)
def test_a_text_and_the_expression_that_it_says_choose_the_same(ds, condition):
    """Any nest of and, or, not and comparisons, read by the parser, equals what Arrow makes of it, nulls and all."""
    text, expression = condition
    assert ds.select(where=text).keys == ds.select(where=expression).keys


def test_conditions_add_to_the_others_and_to_earlier_selections(ds):
    """In a selection, and with a split and keys, all conditions hold."""
    train = ds.select(split="train")
    late = train.select(where="number > 10", keys=[key for key in train.keys if NUMBER_OF[key] % 2])
    assert _numbers(late) == [13, 17, 21, 23]
    assert _numbers(ds.select(split="train", where="number > 20")) == [21, 22, 23]


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("", "where='': a condition is needed"),
        ("level_1 == = 3", "where='level_1 == = 3': at character 12: "),
        ("(note == 'é' and\nnumber == x.y)", "'x.y', at character 28: "),
        (
            "lewel_1 == 3",
            "'lewel_1', at character 1: there is no 'lewel_1', perhaps 'level_1'; there are labels: label, ",
        ),
        ("x == 1", "annotation file: number, note; of every index: key, row, .*duration_s.*flags"),
        ('level_1 == "wnd"', "'\"wnd\"', at character 12: no class of this name; near are 'wind'"),
        ("number > 1 and level_1 == 2", "'2', at character 27: no class of this id; ids are 0 to 1"),
        ("label == 1.5", "a class is needed: its name in quotes, or its id"),
        ("label == True", "a class is needed: its name in quotes, or its id"),
        ("label < 'Violin'", "class names have no order"),
        ("label == level_1", "compared with a value, not with another column"),
        ("labels == 'bright'", "several values a clip: write 'bright' in labels"),
        ("'silent' in note", "a list such as .* or flags is needed after `in`"),
        ("3 in flags", "flags holds text: write it in quotes"),
        ("note == 3", "'3', at character 9: note holds text: write it in quotes"),
        ("number == note", "number holds numbers, this text"),
        ("number == '3'", "number holds numbers"),
        ("number < None", "nothing is < None"),
        ("number == 99999999999999999999", "number cannot be compared with it"),
        ("number is None", "write == or !="),
        ("number", "a condition is needed"),
        ("1 == 1", "a name is needed on one side"),
        ("1 in (1, 2)", "a name is needed before `in`"),
        ("number == 2 + 1", "'2 \\+ 1', at character 11: a number, a text"),
        ("number == -True", "a number, a text"),
        ("number == b'3'", "a number, a text"),
        ("abs(number) == 3", "a name is needed on one side"),
        ("number.real == 3", "a name is needed on one side"),
        ("number[0] == 3", "a name is needed on one side"),
        ("(n := 3) == number", "a number, a text"),
        ("f'{number}' == note", "a number, a text"),
        ("[n for n in labels] == 3", "a name is needed on one side"),
        ("number == 3 if True else 4", "a condition is needed"),
        ("(lambda: 1) == number", "a number, a text"),
        ("__import__('os').system('true') == 0", "a name is needed on one side"),
        pytest.param("number == '\0'", "where=", id="null byte"),
        pytest.param("(" * 5000 + "number == 1" + ")" * 5000, "where=", id="many parentheses"),
        pytest.param("not " * 50_000 + "number == 1", "nested too deep", id="many nots"),
    ],
)
def test_what_is_no_condition_is_refused_with_its_place_and_what_there_is(ds, where, message):
    """Anything but the small grammar, unknown names, classes and mixed types: UsageError that shows text and place."""
    with pytest.raises(UsageError, match=message):
        ds.select(where=where)


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (pc.field("nix") == 3, r"where=\(nix == 3\): .*there are labels: label, level_1"),
        (pc.field("label") == "Violin", "labels are ids here, class names go in a text"),
        (pc.field("number") + 1, "its values are int64, true or false is needed"),
        (3, "where=3: a text such as 'level_1 == 3', or an expression of pyarrow.compute, is needed"),
    ],
)
def test_expressions_that_are_no_conditions_are_refused(ds, where, message):
    """Arrow's complaint, and the names that there are."""
    with pytest.raises(UsageError, match=message):
        ds.select(where=where)


def test_a_name_of_several_things_is_refused_and_each_has_a_name_of_its_own(named_splits):
    """`source` is the media file in the index, and a column of this annotation file: both can be said."""
    ds = shardkit.open(named_splits)
    with pytest.raises(
        UsageError, match="'source' stands for several things: say which one, column_source or index_source"
    ):
        ds.select(where='source == "web"')
    assert _numbers(ds.select(where='column_source == "web" and index_source != ""')) == list(range(12))


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({"split": "ave:test"}, {20, 21, 22, 23}),
        ({"split": "ave_match:train"}, set(range(0, CLIPS, 3))),
        ({"split": "ave_match:"}, set(range(2, CLIPS, 3))),
        ({"where": "ave_match == None"}, set(range(2, CLIPS, 3))),
        ({"where": 'ave_match != "test"'}, set(range(0, CLIPS, 3))),
        ({"split": "test"}, {n for n in range(20) if n % 4 == 3}),
        ({"where": 'ave_match == "train" and split_ave == "test"'}, {21}),
    ],
)
def test_named_splits_are_chosen_by_scheme_and_name(named_splits, conditions, expected):
    """`SCHEME:NAME`, in select as in conditions; without a scheme it is the default split; "" is none."""
    assert _numbers(shardkit.open(named_splits).select(**conditions)) == sorted(expected)


@pytest.mark.parametrize("split", ["ave", "ave:dev", "avd:train", "ave_match:test:1"])
def test_an_unknown_split_is_refused_with_the_splits_of_each_scheme(named_splits, split):
    """The error lists default and named splits, and how to write the latter."""
    said = (
        f"no split '{split}'; the data set has 'test', 'train'; ave has 'test', 'train'; ave_match has 'test', "
        "'train'; for a named one write ave:NAME"
    )
    with pytest.raises(UsageError, match=said):
        shardkit.open(named_splits).select(split=split)


def test_a_loader_loads_what_fits_and_reads_nothing_else(packed):
    """where= and split= together: these clips, whole epochs of them, and not a byte of others."""
    with shardkit.loader(
        packed, batch_size=5, where="number < 6", split="train", modalities=("audio",), workers=1, worker_type="thread"
    ) as loader:
        keys = real_keys(loader)
        index = loader.dataset.index
        read_bytes = loader.stats().tally.read_bytes
        own = [row for row, key in enumerate(index.keys(np.arange(len(index)))) if key in keys]
    assert sorted(NUMBER_OF[key] for key in keys) == [0, 1, 2, 4, 5]
    assert 0 < read_bytes <= int(index.audio_bytes[own].sum())


def test_a_loader_of_a_named_split_loads_it(named_splits):
    """loader(split="ave:test") has the split's clips."""
    with shardkit.loader(
        named_splits, batch_size=2, split="ave_match:test", modalities=("audio",), workers=1, worker_type="thread"
    ) as loader:
        assert {NUMBER_OF[key] for key in real_keys(loader)} == set(range(1, CLIPS, 3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"where": "number > 99"}, "no clips in this selection for which number > 99: nothing to load"),
        ({"where": "number > 20", "split": "test"}, "no clips in this split 'test' for which number > 20"),
        ({"where": 7}, "where=7: a text such as"),
    ],
)
def test_a_condition_that_leaves_nothing_is_refused(packed, options, message):
    """As an empty split is; and what can be no condition, before anything is read."""
    with pytest.raises(UsageError, match=message):
        shardkit.loader(packed, batch_size=4, **options)
