import json
import math
import re

import pytest

from shardkit.annotations import AnnotationRequest, read_annotations
from shardkit.clip import Event, Reason
from shardkit.errors import DataError, UsageError
from shardkit.taxonomy import UNKNOWN, Level


def table(tmp_path, text, **options):
    """The annotation set of a CSV with this text."""
    path = tmp_path / "table.csv"
    path.write_text(text, encoding="utf-8")
    return read_annotations(path, AnnotationRequest(**options))


def lines(tmp_path, *records, **options):
    """The annotation set of a JSONL file with these records."""
    path = tmp_path / "table.jsonl"
    path.write_text("\n".join(json.dumps(record) for record in records), encoding="utf-8")
    return read_annotations(path, AnnotationRequest(**options))


def test_id_defaults_to_the_stem_of_the_media_file(tmp_path):
    """A row with a media file only is called after the file; a row with an id only has no media file."""
    found = table(tmp_path, "id,media\n,folder/-x.y.mp4\nb,\nc,c.mkv\n")
    assert [(clip.id, clip.media) for clip in found.clips] == [
        ("-x.y", "folder/-x.y.mp4"),
        ("b", None),
        ("c", "c.mkv"),
    ]


@pytest.mark.parametrize(
    ("row", "reason", "said"),
    [
        (",,,", Reason.BAD_ID, "neither an id nor a media file"),
        ("#NAME?,,,", Reason.BAD_ID, "spreadsheet"),
        ("#REF!,,,", Reason.BAD_ID, "spreadsheet"),
        ("1.23E+10,,,", Reason.BAD_ID, "spreadsheet"),
        (",#NAME?,,", Reason.BAD_ID, "media is '#NAME\\?'"),
        ("a,,-1,", Reason.BAD_ROW, "start_s is '-1'"),
        ("a,,nan,", Reason.BAD_ROW, "start_s is 'nan'"),
        ("a,,inf,", Reason.BAD_ROW, "start_s is 'inf'"),
        ("a,,1_0,", Reason.BAD_ROW, "start_s is '1_0'"),
        ("a,,1e400,", Reason.BAD_ROW, "start_s is '1e400'"),
        ("a,,0:30,", Reason.BAD_ROW, "start_s is '0:30'"),
        ("a,,5,5", Reason.BAD_ROW, "ends at 5 s and starts at 5 s"),
        ("a,,,0", Reason.BAD_ROW, "ends at 0 s"),
    ],
)
def test_row_that_is_no_clip_is_rejected(tmp_path, row, reason, said):
    """Mangled or missing ids and spans that are none are rejected with the cell and the remedy."""
    found = table(tmp_path, f"id,media,start_s,end_s\ngood,,1,2\n{row}\n")
    assert [clip.id for clip in found.clips] == ["good"]
    (reject,) = found.rejects
    assert (reject.row, reject.reason) == (2, reason)
    assert re.search(said, reject.detail)


@pytest.mark.parametrize("value", [math.nan, math.inf, -0.5, True, [1], 10**400])
def test_typed_number_that_is_no_time_is_rejected(tmp_path, value):
    """JSON numbers are checked as text is; NaN, which data frames write for a gap, is no time either."""
    found = lines(tmp_path, {"id": "a", "end_s": 1}, {"id": "b", "end_s": value})
    assert [reject.reason for reject in found.rejects] == [Reason.BAD_ROW]


def test_label_names_are_numbered_in_sorted_order(tmp_path):
    """Class names become the ids of their sorted order, and an empty label is unknown."""
    found = table(tmp_path, "id,label\na,dog\nb,cat\nc,\nd, dog \n")
    (label,) = found.label_sets
    assert (label.name, label.kind, label.leaf.classes) == ("label", "single", ("cat", "dog"))
    assert [clip.labels["label"] for clip in found.clips] == [(1,), (0,), (UNKNOWN,), (1,)]


def test_integer_labels_stay_as_they_are(tmp_path):
    """Integer ids keep their values, with classes up to the highest; -100 is unknown."""
    found = table(tmp_path, "id,label\na,3\nb,0\nc,-100\nd,10\n")
    assert found.label_sets[0].leaf.classes == tuple(map(str, range(11)))
    assert [clip.labels["label"] for clip in found.clips] == [(3,), (0,), (UNKNOWN,), (10,)]


def test_one_name_among_integers_makes_them_names(tmp_path):
    """A column with a leading zero or a word holds names, all of it."""
    found = table(tmp_path, "id,label\na,3\nb,007\n")
    assert found.label_sets[0].leaf.classes == ("007", "3")


@pytest.mark.parametrize("id", ["1000000", "9" * 6000])
def test_huge_integer_label_is_an_error_not_a_huge_list(tmp_path, id):
    """An id that would need millions of classes is a DataError that names the column."""
    with pytest.raises(DataError, match=r"table\.csv: column 'label' holds the integer id"):
        table(tmp_path, f"id,label\na,{id}\n")


def test_multi_labels_are_sets(tmp_path):
    """`labels` holds any number of classes, as a list or separated by |; order and repeats do not matter."""
    separated = table(tmp_path, "id,labels\na,dog|cat\nb,\nc,dog| dog\n")
    listed = lines(
        tmp_path,
        {"id": "a", "labels": ["dog", "cat"]},
        {"id": "b", "labels": []},
        {"id": "c", "labels": ["dog"]},
    )
    assert (separated.label_sets, separated.clips) == (listed.label_sets, listed.clips)
    assert separated.label_sets[0].kind == "multi"
    assert [clip.labels["labels"] for clip in separated.clips] == [(0, 1), (), (1,)]


def test_lists_under_the_name_label_are_multi_labels_too(tmp_path):
    """A `label` column of lists is read as `labels`, and is not another column."""
    found = lines(tmp_path, {"id": "a", "label": ["x"]}, {"id": "b", "label": "x|y"})
    assert [(labels.name, labels.kind) for labels in found.label_sets] == [("labels", "multi")]
    assert found.columns == ()


def test_levels_make_a_hierarchy(tmp_path):
    """level_1 … level_n are one label set with parents, mixing ids and names by column."""
    found = table(tmp_path, "id,level_1,level_2\na,animal,1\nb,thing,0\nc,,0\n")
    (level,) = found.label_sets
    assert (level.name, level.kind) == ("level", "hierarchy")
    assert level.levels == (Level("level_1", ("animal", "thing")), Level("level_2", ("0", "1")))
    assert level.parents == ((1, 0),)
    assert [clip.labels["level"] for clip in found.clips] == [(0, 1), (1, 0), (UNKNOWN, 0)]


def test_missing_level_is_a_usage_error(tmp_path):
    """level_2 without level_1 is refused, with the remedy."""
    with pytest.raises(UsageError, match="level_1 without a gap; found level_2"):
        table(tmp_path, "id,level_2\na,x\n")


def test_events_are_read_from_lists_and_from_json_text(tmp_path):
    """Events come as lists or as JSON text, classes sorted by name, modality av unless given."""
    events = [
        {"start_s": 0, "end_s": 2.5, "class": "dog", "modality": "audio"},
        {"start_s": 1, "end_s": 10, "label": "cat"},
    ]
    listed = lines(tmp_path, {"id": "a", "start_s": 5, "end_s": 15, "events": events}, {"id": "b"})
    quoted = json.dumps(events).replace('"', '""')
    written = table(tmp_path, f'id,start_s,end_s,events\na,5,15,"{quoted}"\nb,,,\n')
    assert listed.event_classes == written.event_classes == ("cat", "dog")
    assert listed.clips[0].events == (Event(0, 2.5, 1, "audio"), Event(1, 10, 0, "av"))
    assert written.clips == listed.clips
    assert listed.clips[1].events == ()


@pytest.mark.parametrize(
    ("events", "said"),
    [
        (
            [{"start_s": 0, "end_s": 1, "class": "x"}, {"start_s": 2, "end_s": 1, "class": "x"}],
            "event 2 .* not after",
        ),
        ([{"start_s": 1, "end_s": 1, "class": "x"}], "event 1 .* not after"),
        ([{"start_s": 9, "end_s": 10.1, "class": "x"}], "event 1 .* ends at 10.1 s in a clip of 10 s"),
        ([{"start_s": -1, "end_s": 1, "class": "x"}], "event 1 .*start_s is -1"),
        ([{"start_s": 0, "end_s": 1}], "needs start_s, end_s and class"),
        (
            [{"start_s": 0, "end_s": 1, "class": "x", "modality": "smell"}],
            "'smell' is none of audio, visual, av",
        ),
        ([{"start_s": 0, "end_s": 1, "class": "x", "modality": ["av"]}], "is none of"),
        (
            [{"start_s": 0, "end_s": 1, "class": 3}, {"start_s": 0, "end_s": 1, "class": -100}],
            "event 2 .*class -100 is negative",
        ),
        (["x"], "event 1 is .*expected an object"),
        ({"start_s": 0}, "expected a list"),
        ("{", "not JSON"),
    ],
)
def test_bad_event_rejects_its_row_and_is_named(tmp_path, events, said):
    """An event that is reversed, outside the clip or incomplete rejects its row and is named."""
    found = lines(tmp_path, {"id": "a", "start_s": 30, "end_s": 40, "events": events}, {"id": "b"})
    (reject,) = found.rejects
    assert (reject.row, reject.reason) == (1, Reason.BAD_ROW)
    assert re.search(said, reject.detail)


def test_event_may_end_with_the_clip_whatever_the_rounding(tmp_path):
    """40.3 - 30.3 is less than 10 in binary; an event of the whole clip is still inside."""
    events = [{"start_s": 0, "end_s": 10, "class": "x"}]
    found = lines(tmp_path, {"id": "a", "start_s": 30.3, "end_s": 40.3, "events": events})
    assert len(found.clips) == 1


def test_other_columns_are_kept_and_typed(tmp_path):
    """Columns that are not ours keep their values, as integers, floats or text, None where empty."""
    found = table(tmp_path, "id,n,x,code,word\na,1,1,007,u\nb,,2.5,12,\nc,-3,,1,v w\n")
    assert found.columns == ("n", "x", "code", "word")
    assert [dict(clip.columns) for clip in found.clips] == [
        {"n": 1, "x": 1.0, "code": "007", "word": "u"},
        {"n": None, "x": 2.5, "code": "12", "word": None},
        {"n": -3, "x": None, "code": "1", "word": "v w"},
    ]


def test_other_columns_of_mixed_types_get_one_type(tmp_path):
    """A typed column that mixes types becomes floats or text, so that an index can hold it."""
    found = lines(
        tmp_path,
        {"id": "a", "n": 1, "mixed": 1, "big": 2**70, "nested": {"k": [1]}, "flag": True},
        {"id": "b", "n": 0.5, "mixed": "x", "big": 1, "nested": None, "flag": False},
    )
    assert [dict(clip.columns) for clip in found.clips] == [
        {"n": 1.0, "mixed": "1", "big": str(2**70), "nested": '{"k": [1]}', "flag": True},
        {"n": 0.5, "mixed": "x", "big": "1", "nested": None, "flag": False},
    ]


def test_renamed_columns_are_read_under_our_names(tmp_path):
    """`column` maps our names to the file's; one column may serve two of ours and is not kept besides."""
    found = table(
        tmp_path,
        "ytid,begin,id\na_000001.mp4,1,77\n",
        column={"id": "ytid", "media": "ytid", "start_s": "begin"},
    )
    (clip,) = found.clips
    assert (clip.id, clip.media, clip.start_s) == ("a_000001.mp4", "a_000001.mp4", 1.0)
    assert found.columns == ()


@pytest.mark.parametrize("column", [{"identity": "id"}, {"id": "nothing"}, {"level_0": "id"}])
def test_rename_that_cannot_be_done_lists_what_the_file_has(tmp_path, column):
    """An unknown name of ours, or a column that the file lacks, is a UsageError listing what it has."""
    with pytest.raises(UsageError, match="'id', 'begin'"):
        table(tmp_path, "id,begin\na,1\n", column=column)


def test_exact_duplicate_names_the_earlier_row(tmp_path):
    """A row that repeats span, labels, events and split is rejected; other columns may differ."""
    found = table(tmp_path, "id,start_s,label,note\na,1,x,first\nb,1,x,\na,1.0,x,second\n")
    assert [clip.row for clip in found.clips] == [1, 2]
    (reject,) = found.rejects
    assert (reject.row, reject.reason) == (3, Reason.DUPLICATE)
    assert "row 1" in reject.detail


@pytest.mark.parametrize("other", ["a,1,y,train", "a,2,x,train", "a,1,x,test"])
def test_same_source_with_other_labels_is_a_clip_of_its_own(tmp_path, other):
    """The same id with another class, span or split is kept."""
    found = table(tmp_path, f"id,start_s,label,split\na,1,x,train\n{other}\n")
    assert len(found.clips) == 2


def test_split_is_kept(tmp_path):
    """The split column is read as text; empty is none."""
    found = table(tmp_path, "id,split\na, train \nb,\n")
    assert [clip.split for clip in found.clips] == ["train", None]


def test_table_without_id_and_media_says_what_it_needs(tmp_path):
    """A table that names no clip is a UsageError with what is needed, what is there and the remedy."""
    with pytest.raises(UsageError, match=r"needs id or media.*--column id=NAME.*has 'name', 'label'"):
        table(tmp_path, "name,label\na,b\n", format="table")
