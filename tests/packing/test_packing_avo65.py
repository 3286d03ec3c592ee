"""AVO-65.csv as it was released, with media for a handful of its rows."""

import csv
import io
import tarfile
from collections import Counter
from pathlib import Path

import msgpack
import pytest
from pack_runs import SMALL, VARIETY, rejects
from synth_media import make_media, read_code, rows_of_csv

import shardkit

CSV = Path(__file__).parents[2] / "../shared/data/annotations/AVO-65.csv"
MADE = 12

pytestmark = pytest.mark.skipif(not CSV.is_file(), reason="AVO-65.csv is not at ../shared/data/annotations")


@pytest.fixture(scope="module")
def avo65(tmp_path_factory):
    """The rows of the CSV by number, the report, and the data set."""
    folder = tmp_path_factory.mktemp("avo65")
    made = rows_of_csv(CSV, count=MADE)
    make_media(folder / "media", made, variety=VARIETY, workers=1)
    report = shardkit.pack(CSV, media=folder / "media", out=folder / "shards", **SMALL)
    with CSV.open(newline="", encoding="utf-8-sig") as file:
        rows = dict(enumerate(csv.DictReader(file), start=1))
    return rows, {row.number for row in made}, report, shardkit.open(folder / "shards")


def levels(row):
    """The four ids of a row of the CSV."""
    return [int(row[name]) for name in ("level_1", "lebel_2", "level_3", "level_4")]


def test_every_row_is_packed_or_turned_away_with_its_number(avo65):
    """6,061 rows: those with media are packed, 102 mangled ids stand each on its own line, the rest lacks media."""
    rows, made, report, dataset = avo65
    rejected = rejects(dataset.folder.path)
    mangled = {number for number, row in rows.items() if row["ytid"] == "#NAME?"}
    assert len(rows) == report.rows == 6061
    assert set(dataset.index.row.tolist()) == made
    assert {reject["row"] for reject in rejected if reject["reason"] == "bad_id"} == mangled
    assert len(mangled) == 102
    assert {reject["row"] for reject in rejected if reject["reason"] == "missing_media"} == set(rows) - made - mangled
    assert Counter(reject["row"] for reject in rejected).most_common(1)[0][1] == 1


def test_the_four_levels_of_every_clip_are_those_of_its_row(avo65):
    """Labels in the index are the ids of the CSV, row by row, and so are those of a decoded clip."""
    rows, _, _, dataset = avo65
    (label_set,) = dataset.label_sets
    expected = [levels(rows[number]) for number in dataset.index.row.tolist()]
    assert dataset.index.labels(label_set).tolist() == expected
    assert [dataset[place].labels["instrument"].tolist() for place in range(len(dataset))] == expected


def test_pictures_belong_to_their_rows(avo65):
    """The number that each picture carries is that of the row whose labels stand beside it."""
    _, _, _, dataset = avo65
    for place, number in enumerate(dataset.index.row.tolist()):
        assert {read_code(frame.transpose(1, 2, 0)).number for frame in dataset[place].video} == {number}


def test_message_carries_names_so_that_the_tar_alone_says_what_a_clip_is(avo65):
    """The msg member has the id and the name of every level; level 4 is the instrument of the row."""
    rows, _, _, dataset = avo65
    numbers = dict(zip(dataset.keys, dataset.index.row.tolist(), strict=True))
    seen = 0
    for shard in dataset.shard_names:
        with tarfile.open(dataset.folder.path / shard) as tar:
            for member in tar:
                key, _, extension = member.name.partition(".")
                if extension == "msg":
                    message = msgpack.unpack(io.BytesIO(tar.extractfile(member).read()))
                    instrument = message["labels"]["instrument"]
                    assert instrument["ids"] == levels(rows[numbers[key]])
                    assert instrument["names"][-1] == rows[numbers[key]]["name"]
                    assert len(instrument["names"]) == 4
                    seen += 1
    assert seen == MADE
