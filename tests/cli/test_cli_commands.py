"""What the commands print, for people and for machines."""

import json

import pytest
from command_line import run

import shardkit


def test_pack_says_what_was_packed_and_what_was_not(packed):
    """Counts, the output's own name, reasons, and where each reject is explained."""
    out, said = packed
    assert "packed 5 of 10 clips" in said
    assert "bad_id 1, missing_media 1, no_audio 1, too_short 1, unreadable 1" in said
    assert f"{out}/rejects.jsonl" in said


def test_pack_json_is_one_object_for_machines(material, tmp_path):
    """With --json nothing else is printed, on neither stream."""
    said = run(*material.arguments, "--out", tmp_path / "out", "--json")
    report = json.loads(said.stdout)
    assert (report["rows"], report["packed"], report["fresh"]) == (10, 5, 8)
    assert sum(report["rejected"].values()) == 5
    assert said.stderr == ""


def test_resume_of_a_finished_run_says_that_nothing_was_left_to_do(material, packed):
    """The user learns that the data set was complete before."""
    said = run(*material.arguments, "--out", packed[0], "--resume")
    assert said.returncode == 0, said.stderr
    assert "by earlier runs; nothing was left to do" in said.stdout


def test_info_shows_the_same_numbers_to_people_and_machines(packed):
    """Clips, classes by level, rejects and settings; the path is printed as it is, brackets and all."""
    out, _ = packed
    numbers = json.loads(run("info", out, "--json").stdout)
    said = run("info", out).stdout
    assert numbers["clips"] == numbers["with_video"] == numbers["with_audio"] == 5
    assert sum(numbers["classes"]["instrument"]["level_4"].values()) == 5
    assert sum(numbers["rejects"].values()) == 5
    assert numbers["settings"]["size"] == 64
    for shown in (str(out), "5 clips", "instrument: level_4", "Accordion", "size 64", "bad_id 1"):
        assert shown in said


def test_info_of_some_shards_counts_what_is_in_them(material, tmp_path):
    """A pattern names clips, as where they are loaded: shards, sizes, splits and classes are theirs."""
    out = tmp_path / "out"
    assert run(*material.arguments, "--out", out, "--shard-size", "100KB").returncode == 0
    pattern = f"{out}/clips-00000{{3,5}}.tar"
    numbers, whole = (json.loads(run("info", where, "--json").stdout) for where in (pattern, out))
    ds = shardkit.open(pattern)
    assert 0 < numbers["clips"] == numbers["with_audio"] == len(ds) < whole["clips"] == 5
    assert numbers["hours"] * 3600 == pytest.approx(ds.table.column("duration_s").to_numpy().sum())
    assert (numbers["shards"], numbers["size_bytes"]) == (
        2,
        sum((out / f"clips-00000{number}.tar").stat().st_size for number in (3, 5)),
    )
    assert sum(numbers["splits"].values()) == len(ds)
    assert sum(numbers["classes"]["instrument"]["level_4"].values()) == len(ds)
    assert numbers["digest"] == whole["digest"]


def test_relabel_says_how_many_clips_have_new_labels(material, packed, tmp_path):
    """Clips that the file does not name and rows that name no clip are counted."""
    out = tmp_path / "out"
    assert run(*material.arguments, "--out", out).returncode == 0
    header, *rows = material.annotations.read_text().splitlines()
    (tmp_path / "new.csv").write_text("\n".join([header, *rows[: len(rows) // 2]]) + "\n")
    report = json.loads(run("relabel", out, tmp_path / "new.csv", "--json").stdout)
    assert report["relabelled"] + report["unnamed"] == 5
    assert report["relabelled"] + report["unused"] + report["unread"] == 5
    said = run("relabel", out, material.annotations, "--split", "60/40")
    assert "relabelled 5 clips; the msg members in the tars stay as they were packed" in said.stdout
    assert "belong to no packed clip" in said.stdout


def test_version_is_printed():
    """`--version` prints name and number."""
    import shardkit as package

    assert run("--version").stdout == f"shardkit {package.__version__}\n"
