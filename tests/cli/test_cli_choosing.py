"""Commands that choose clips and look at classes and labels: --where, info --tree, --class-labels, lint."""

import csv
import json

import pytest
from command_line import FAILED, assert_one_line, run
from typer.testing import CliRunner

import shardkit
from shardkit.cli.app import app
from shardkit.errors import UsageError

LEAKING = "id,label,split\n" + "".join(
    f"clip{row},{label},{split}\n"
    for row, (label, split) in enumerate([("a", "train"), ("b", "train"), ("a", "test"), ("b", "test")])
)


def said(*arguments: object) -> str:
    """What a command that found nothing wrong prints."""
    result = CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_info_counts_the_clips_that_fit(packed):
    """--where: clips, hours and classes are those of the condition, for people and machines."""
    where = 'level_1 == 3 and "no_such_flag" not in flags'
    numbers = json.loads(said("info", packed[0], "--where", where, "--json"))
    ds = shardkit.open(packed[0]).select(where=where)
    assert 0 < numbers["clips"] == len(ds) < 5
    assert sum(numbers["classes"]["instrument"]["level_4"].values()) == len(ds)
    assert f"{len(ds)} clip" in said("info", packed[0], "--where", where)


def test_a_condition_that_is_none_is_refused_in_one_line(packed):
    """The exit code of wrong use, and what there is."""
    refused = run("info", packed[0], "--where", "levle_1 == 3")
    assert_one_line(refused, "levle_1", "perhaps 'level_1'", "duration_s", code=2)


def test_stats_and_bench_measure_the_clips_that_fit(packed):
    """--where goes into the selection, and into what is printed of it."""
    where = "duration_s > 1 and audio_bytes > 0"
    common = ("--where", where, "--workers", 1, "--json")
    measured = json.loads(said("stats", packed[0], "--modality", "video", "--size", 64, *common))
    assert (measured["where"], measured["clips"]) == (where, 5)
    benched = json.loads(said("bench", packed[0], "--seconds", 0.1, "--batch-size", 2, "--size", 64, *common, "-"))
    assert (benched["options"]["where"], benched["clips"]) == (where, 5)


def test_statistics_of_no_clip_are_refused(packed):
    """A condition that leaves nothing: UsageError, and no division by nothing."""
    with pytest.raises(shardkit.UsageError, match="no clip is chosen"):
        said("stats", packed[0], "--where", "duration_s > 1000")


def test_info_shows_hierarchies_as_trees_and_json_stays_as_it_is(packed):
    """--tree: level, id, name and clips of each class, below its parent."""
    shown = said("info", packed[0], "--tree")
    lines = [line.rstrip() for line in shown.splitlines()]
    top = next(place for place, line in enumerate(lines) if line.startswith("├── level_1 3: Aerophones, "))
    assert lines[top + 1 : top + 4] == [
        "│   ├── level_2 5: 5, 1 clip",
        "│   │   └── level_3 8: 8, 1 clip",
        "│   │       └── level_4 0: Accordion, 1 clip",
    ]
    assert "└── no clip tells the parent of:" in lines
    assert "instrument: level_4" not in shown
    assert said("info", packed[0], "--tree", "--json") == said("info", packed[0], "--json")


def test_the_classes_of_a_level_are_written_as_audiosets_list(packed, tmp_path):
    """class_labels_indices.csv of a level, or of the only label set; read back, the ids are the data set's."""
    (instrument,) = shardkit.open(packed[0]).label_sets
    for level, classes in (((), instrument.leaf.classes), (("--level", "level_1"), instrument.levels[0].classes)):
        said("info", packed[0], "--class-labels", tmp_path / "labels.csv", *level)
        with (tmp_path / "labels.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assert [(row["index"], row["display_name"]) for row in rows] == [(str(n), c) for n, c in enumerate(classes)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--class-labels", "labels.csv", "--level", "level_9"), "--level 'level_9': no such label set or level"),
        (("--level", "level_1"), "--level level_1 says which classes --class-labels writes"),
    ],
)
def test_classes_that_are_not_there_are_refused(packed, arguments, message):
    """An unknown level, and a level without a file."""
    with pytest.raises(shardkit.UsageError, match=message):
        said("info", packed[0], *arguments)


def test_lint_of_a_file_that_is_in_order_finds_nothing(tmp_path):
    """Exit code 0."""
    (tmp_path / "clips.csv").write_text(LEAKING)
    assert said("lint", tmp_path / "clips.csv").splitlines()[-1] == "nothing found"


def test_lint_of_an_annotation_file_names_rejects_and_leaks(tmp_path):
    """Exit code 1; each finding with its kind and the rows, numbers from 1 on; columns may be renamed as for pack."""
    path = tmp_path / "clips.csv"
    path.write_text(LEAKING.replace("id,", "ytid,") + "clip0,a,test\nclip9,a,train\nclip9,a,train\n")
    result = CliRunner().invoke(app, ["lint", str(path), "--column", "id=ytid", "--json"])
    assert result.exit_code == FAILED
    linted = json.loads(result.stdout)
    assert linted["what"] == "table, 7 rows, 6 clips, 1 rejected"
    assert [(each["kind"], each["rows"]) for each in linted["findings"]] == [("reject", [7]), ("leak", [1, 5])]
    shown = CliRunner().invoke(app, ["lint", str(path), "--column", "id=ytid"])
    assert "reject: 1\n  duplicate: 1 row; row 7: the same span" in shown.stdout
    assert "leak: 1\n  split: source 'clip0' is in 'train'" in shown.stdout


def test_lint_of_a_class_with_two_parents_names_its_rows(tmp_path):
    """What cannot be packed is a finding too, and not an error."""
    path = tmp_path / "clips.csv"
    path.write_text("id,level_1,level_2\na,wind,flute\nb,string,harp\nc,string,flute\n")
    result = CliRunner().invoke(app, ["lint", str(path), "--json"])
    assert result.exit_code == FAILED
    (finding,) = json.loads(result.stdout)["findings"]
    assert (finding["kind"], finding["rows"]) == ("two_parents", [1, 3])
    for part in ("'flute'", "'wind' (row 1)", "'string' (row 3)"):
        assert part in finding["message"]


def test_lint_looks_at_named_splits(tmp_path):
    """Files of splits are given as for pack; a leak names the scheme."""
    (tmp_path / "Annotations.txt").write_text("Bark&-aaaaaaaaaa&good&0&10\nGoat&-aaaaaaaaaa&good&0&5\n")
    options = []
    for split, key in (("train", "-aaaaaaaaaa_0"), ("test", "-aaaaaaaaaa_0_2")):
        (tmp_path / f"{split}.txt").write_text(key)
        options += ["--split-file", f"ave:{split}={tmp_path / split}.txt"]
    result = CliRunner().invoke(app, ["lint", str(tmp_path / "Annotations.txt"), *options])
    assert result.exit_code == FAILED
    assert "leak: 1\n  ave: source '-aaaaaaaaaa' is in 'train' (row 1) and in 'test' (row 2)" in result.stdout


def test_lint_of_a_data_set_looks_at_its_index(packed):
    """A folder is a data set: rejects by reason; exit code 1."""
    result = CliRunner().invoke(app, ["lint", str(packed[0])])
    assert result.exit_code == FAILED
    assert "data set, 5 clips in" in result.stdout
    assert "reject: 5\n  bad_id: 1 row, each told in rejects.jsonl" in result.stdout


def test_of_many_findings_people_see_the_first_and_machines_all(tmp_path):
    """Twelve leaks: ten are shown, and how many more there are."""
    path = tmp_path / "clips.csv"
    path.write_text("id,start_s,end_s,split\n" + "".join(f"c{n},{s},{s + 1},s{s}\n" for n in range(12) for s in (0, 1)))
    result = CliRunner().invoke(app, ["lint", str(path)])
    assert "leak: 12\n" in result.stdout
    assert "… 2 more; --json tells all" in result.stdout
    assert len(json.loads(CliRunner().invoke(app, ["lint", str(path), "--json"]).stdout)["findings"]) == 12


def test_lint_of_what_is_not_there_is_an_error(tmp_path):
    """Neither a file nor a data set: StorageError, as of other commands."""
    for name in ("clips.csv", "shards"):
        with pytest.raises(shardkit.StorageError):
            said("lint", tmp_path / name)


def test_lint_of_a_data_set_refuses_how_to_read_a_file(packed):
    """Options of annotation files say nothing of what is packed."""
    result = CliRunner().invoke(app, ["lint", str(packed), "--names", "inferred"])
    assert isinstance(result.exception, UsageError)
    assert "leave them out" in str(result.exception)
