import csv
import math
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from shardkit.annotations import AnnotationRequest, read_annotations
from shardkit.clip import Reason
from shardkit.errors import DataError, UsageError
from shardkit.taxonomy import UNKNOWN

RELEASED = Path(__file__).parents[2] / "../shared/data/annotations/AVO-65.csv"
HEADER = "ytid,start_time,name,level_1,lebel_2,level_3,level_4\n"


@pytest.fixture(scope="module")
def released():
    """The released file, read."""
    if not RELEASED.exists():
        pytest.skip("../shared/data/annotations/AVO-65.csv is not there")
    return read_annotations(RELEASED)


@pytest.fixture(scope="module")
def released_rows():
    """The released file, row by row, as the csv module reads it."""
    if not RELEASED.exists():
        pytest.skip("../shared/data/annotations/AVO-65.csv is not there")
    with RELEASED.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write(path: Path, text: str) -> Path:
    """The path of a file with this text."""
    path.write_text(text, encoding="utf-8")
    return path


def test_released_file_is_recognised_and_every_row_accounted_for(released):
    """The released file gives 5,959 clips and 102 bad ids out of 6,061 rows, none merged."""
    assert released.format == "avo65"
    assert (released.row_count, len(released.clips), len(released.rejects)) == (6061, 5959, 102)
    assert Counter(reject.reason for reject in released.rejects) == {Reason.BAD_ID: 102}
    rows = [entry.row for entry in (*released.clips, *released.rejects)]
    assert sorted(rows) == list(range(1, 6062))


def test_released_labels_are_those_of_the_file(released, released_rows):
    """Ids, media, start and the four level ids of every clip are what its row says."""
    for clip in released.clips:
        row = released_rows[clip.row - 1]
        assert clip.media == row["ytid"]
        assert clip.id == row["ytid"][:11]
        assert (clip.start_s, clip.end_s) == (float(row["start_time"]), float(row["start_time"]) + 10)
        levels = tuple(int(row[name]) for name in ("level_1", "lebel_2", "level_3", "level_4"))
        assert clip.labels == {"instrument": levels}


def test_released_hierarchy_has_the_data_sets_sizes_and_names(released, released_rows):
    """Levels have 5, 11, 16 and 65 classes; level 4 is named by `name`, level 1 by the authors."""
    (instrument,) = released.label_sets
    assert (instrument.name, instrument.kind) == ("instrument", "hierarchy")
    assert [level.name for level in instrument.levels] == ["level_1", "level_2", "level_3", "level_4"]
    assert [len(level.classes) for level in instrument.levels] == [5, 11, 16, 65]
    assert instrument.levels[0].classes[3] == "Aerophones"
    assert instrument.levels[1].classes == tuple(map(str, range(11)))
    for row in released_rows:
        assert instrument.leaf.classes[int(row["level_4"])] == row["name"]


def test_released_parents_are_those_of_every_clip(released):
    """The parent maps lead from every clip's level 4 up to its level 1."""
    (instrument,) = released.label_sets
    for clip in released.clips:
        path = clip.labels["instrument"]
        for depth, parents in enumerate(instrument.parents):
            assert parents[path[depth + 1]] == path[depth]
    assert not any(UNKNOWN in parents for parents in instrument.parents)


def test_mangled_id_names_itself_and_the_remedy(released):
    """A `#NAME?` row keeps its own row number and says what happened and what to do."""
    first = released.rejects[0]
    assert (first.row, first.id) == (2, "#NAME?")
    assert "spreadsheet" in first.detail
    assert "look it up" in first.detail


def test_readme_schema_with_names_gives_the_same_ids(tmp_path, released, released_rows):
    """The README's schema, with names for levels 1 and 4, numbers both as the released file does."""
    roots = released.label_sets[0].levels[0].classes
    path = tmp_path / "metadata.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["YouTube ID", "Start Time", "End Time", "Level 1", "Level 2", "Level 3", "Level 4 (Label)"],
        )
        for row in released_rows:
            start = int(row["start_time"])
            names = [roots[int(row["level_1"])], row["lebel_2"], row["level_3"], row["name"]]
            writer.writerow([row["ytid"][:11], start, start + 10, *names])
    found = read_annotations(path)
    assert found.format == "avo65"
    assert found.label_sets == released.label_sets
    assert [clip.labels for clip in found.clips] == [clip.labels for clip in released.clips]
    assert {clip.media for clip in found.clips} == {None}


def test_part_of_the_data_set_has_the_ids_of_the_whole(tmp_path):
    """A file with two classes only still has all 65, so a head trained on one part fits the other."""
    by_name = write(
        tmp_path / "names.csv",
        "video_id,start,end,level_1,level_2,level_3,level_4\n"
        "aaaaaaaaaaa,10.5,20.5,Chordophones,Lutes,Bowed,Violin\n"
        "bbbbbbbbbbb,1,11,Aerophones,Reeds,Free,Accordion\n",
    )
    by_id = write(tmp_path / "ids.csv", HEADER + "aaaaaaaaaaa_000010.mp4,10,Violin,2,4,6,62\n")
    named, numbered = read_annotations(by_name), read_annotations(by_id)
    assert named.clips[0].labels["instrument"][3] == numbered.clips[0].labels["instrument"][3] == 62
    assert named.clips[0].start_s == 10.5
    assert named.label_sets[0].leaf == numbered.label_sets[0].leaf
    assert [len(level.classes) for level in numbered.label_sets[0].levels] == [5, 11, 16, 65]


def test_names_that_are_not_avo65s_are_sorted(tmp_path):
    """Level names that AVO-65 does not have get the ids of their sorted order."""
    path = write(
        tmp_path / "other.csv",
        "youtube_id,start_time,end_time,level_1,level_2,level_3,level_4\n"
        "aaaaaaaaaaa,0,10,Strings,Bowed,Short,Viola\n"
        "bbbbbbbbbbb,0,10,Reeds,Free,Long,Crash Cymbal\n",
    )
    found = read_annotations(path)
    assert found.label_sets[0].leaf.classes == ("Crash Cymbal", "Viola")
    assert found.clips[0].labels == {"instrument": (1, 0, 1, 1)}


@pytest.mark.parametrize(
    ("row", "reason", "said"),
    [
        ("short_000030.mp4,30,Accordion,3,5,8,0", Reason.BAD_ID, "11 letters"),
        (",30,Accordion,3,5,8,0", Reason.BAD_ID, "empty"),
        ("bbbbbbbbbbb_000030.mp4,31,Accordion,3,5,8,0", Reason.BAD_ROW, "cut at 30 s"),
        ("bbbbbbbbbbb_000030.mp4,,Accordion,3,5,8,0", Reason.BAD_ROW, "start is empty"),
        ("bbbbbbbbbbb_000030.mp4,abc,Accordion,3,5,8,0", Reason.BAD_ROW, "'abc'"),
        ("bbbbbbbbbbb_000030.mp4,30,Accordion,3,5,8", Reason.BAD_ROW, "6 fields"),
        ("bbbbbbbbbbb_000030.mp4,30,Accordion,3,five,8,0", Reason.BAD_ROW, "level_2 is 'five'"),
    ],
)
def test_bad_row_is_rejected_alone(tmp_path, row, reason, said):
    """A row that is no clip is rejected with its reason, and the others keep their ids."""
    good = "aaaaaaaaaaa_000030.mp4,30,Accordion,3,5,8,0\n"
    more = "ccccccccccc_000030.mp4,30,Accordion,3,5,8,0\n"
    found = read_annotations(write(tmp_path / "a.csv", HEADER + good + row + "\n" + more))
    assert [clip.row for clip in found.clips] == [1, 3]
    assert found.clips[1].labels == {"instrument": (3, 5, 8, 0)}
    (reject,) = found.rejects
    assert (reject.row, reject.reason) == (2, reason)
    assert said in reject.detail


def test_empty_level_is_unknown(tmp_path):
    """An empty level cell becomes -100 and says nothing about parents."""
    found = read_annotations(write(tmp_path / "a.csv", HEADER + "aaaaaaaaaaa_000030.mp4,30,,3,,8,0\n"))
    assert found.clips[0].labels == {"instrument": (3, UNKNOWN, 8, 0)}


def test_class_below_two_parents_names_class_and_rows(tmp_path):
    """A hierarchy that contradicts itself is a DataError naming the file, the class and both rows."""
    rows = "aaaaaaaaaaa_000030.mp4,30,Accordion,3,5,8,0\nbbbbbbbbbbb_000030.mp4,30,Accordion,2,5,8,0\n"
    with pytest.raises(DataError, match=r"a\.csv: level_2 '5' stands below level_1 'Aerophones' in row 1 .* row 2"):
        read_annotations(write(tmp_path / "a.csv", HEADER + rows))


def test_class_with_two_names_names_both(tmp_path):
    """A level-4 id with two names is a DataError naming both and their rows."""
    rows = "aaaaaaaaaaa_000030.mp4,30,Accordion,3,5,8,0\nbbbbbbbbbbb_000030.mp4,30,Banjo,3,5,8,0\n"
    with pytest.raises(DataError, match="'Accordion' in row 1 and 'Banjo' in row 2"):
        read_annotations(write(tmp_path / "a.csv", HEADER + rows))


def test_missing_columns_and_renames_are_usage_errors(tmp_path):
    """Asked to read another file as avo65, the error says which columns are missing and what the file has."""
    path = write(tmp_path / "a.csv", "ytid,start_time,level_1\naaaaaaaaaaa,1,2\n")
    with pytest.raises(UsageError, match=r"no column for level_2, level_3, level_4.*has 'ytid', 'start_time'"):
        read_annotations(path, AnnotationRequest(format="avo65"))
    with pytest.raises(UsageError, match="--format table"):
        read_annotations(path, AnnotationRequest(format="avo65", column={"id": "ytid"}))


def test_released_columns_as_parquet_with_gaps_are_numbers_too(tmp_path):
    """A data frame writes an id column with gaps as floats; they are still ids."""
    path = tmp_path / "a.parquet"
    columns = {name: [3.0, math.nan] for name in ("level_1", "lebel_2", "level_3", "level_4")}
    ids = ["aaaaaaaaaaa_000030.mp4", "bbbbbbbbbbb_000030.mp4"]
    parquet.write_table(pa.table({"ytid": ids, "start_time": [30, 30], **columns}), path)
    found = read_annotations(path)
    assert [clip.labels["instrument"] for clip in found.clips] == [(3, 3, 3, 3), (UNKNOWN,) * 4]


def test_levels_two_and_three_have_inferred_names_on_request(released):
    """`names="inferred"` names all 11 and 16 classes as the table of codes does, and changes nothing else."""
    named = read_annotations(RELEASED, AnnotationRequest(names="inferred"))
    assert named.clips == released.clips
    (plain,), (instrument,) = released.label_sets, named.label_sets
    assert (instrument.parents, instrument.levels[0], instrument.leaf) == (plain.parents, plain.levels[0], plain.leaf)
    table = RELEASED.with_name("avo65_hierarchy.tsv")
    if not table.exists():
        pytest.skip("../shared/data/annotations/avo65_hierarchy.tsv is not there")
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(filter(lambda line: not line.startswith("#"), file), delimiter="\t"))
    assert len(rows) == 65
    for row in rows:
        for level in (2, 3):
            assert instrument.levels[level - 1].classes[int(row[f"level_{level}"])] == row[f"l{level}_name"]
    assert "" not in {*instrument.levels[1].classes, *instrument.levels[2].classes}


def test_options_of_other_formats_are_refused(tmp_path):
    """`names`, a duration and further files mean nothing to a table, and --column nothing to AVO-65."""
    path = write(tmp_path / "a.csv", "id,label\na,b\n")
    with pytest.raises(UsageError, match="--names is for the format avo65, and this is table"):
        read_annotations(path, AnnotationRequest(names="inferred"))
    with pytest.raises(UsageError, match="--duration is for the format chapters"):
        read_annotations(path, AnnotationRequest(duration_s=5))
    with pytest.raises(UsageError, match="--also audio=…: table has no further files"):
        read_annotations(path, AnnotationRequest(also={"audio": "b.csv"}))
