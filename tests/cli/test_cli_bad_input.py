"""Bad input at the command line: an exit code, one message with file and remedy, never a traceback."""

import shutil
import subprocess

import pytest
from command_line import run

from shardkit.cli import main

FAILED, USAGE, REJECTS = 1, 2, 3


def assert_refused(said, code, *words):
    """It ended with this code, said these words, and showed no traceback."""
    assert said.returncode == code, said.stderr
    assert "Traceback" not in said.stderr
    assert said.stderr.startswith(("error: ", "Usage: "))
    for word in words:
        assert str(word) in said.stderr
    assert said.stdout == ""


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--column", "id"), ("--column id", "id=ytid")),
        (("--column", "id=nowhere"), ("nowhere",)),
        (("--column", "id=a", "--column", "id=b"), ("--column id=b", "given twice")),
        (("--split", "80/30"), ("80/30", "add up to 110")),
        (("--split", "half"), ("half", "80/10/10")),
        (("--split", "50/50", "--split-group", "nowhere"), ("nowhere", "id, media")),
        (("--split", "50/50", "--stratify", "nowhere"), ("nowhere", "level_4")),
        (("--stratify", "level_4"), ("level_4", "shares")),
        (("--audio-rate", "fast"), ("--audio-rate fast", "native")),
        (("--audio-rate", "3"), ("audio_rate=3", "1000")),
        (("--audio-channels", "6"), ("audio_channels=6",)),
        (("--frames", "0"), ("0", "positive")),
        (("--frames", "4", "--fps", "2"), ("exclude each other",)),
        (("--size", "8"), ("size=8", "16")),
        (("--quality", "101"), ("quality=101",)),
        (("--shard-size", "big"), ("'big'", "512MB")),
        (("--shard-size", "0"), ("shard_size=0",)),
        (("--workers", "0"), ("workers=0",)),
        (("--clip-timeout", "0"), ("clip_timeout=0",)),
        (("--clip-timeout", "inf"), ("clip_timeout=inf",)),
        (("--max-rejects", "1.5"), ("max_rejects=1.5",)),
        (("--name", "a/b"), ("name='a/b'",)),
        (("--resume", "--overwrite"), ("resume", "overwrite")),
        (("--chroma", "411"), ("--chroma", "411")),
        (("--no-such-option",), ("--no-such-option",)),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_wrong_option_is_named_with_what_is_right(material, tmp_path, monkeypatch, capsys, options, words):
    """Exit code 2; the message has the option's value and what would do; no folder is made."""
    command = ("pack", material.annotations, "--media", material.media, "--out", tmp_path / "out", *options)
    monkeypatch.setattr("sys.argv", ["shardkit", *map(str, command)])
    with pytest.raises(SystemExit) as ended:
        main()
    printed = capsys.readouterr()
    said = subprocess.CompletedProcess(command, ended.value.code, printed.out, printed.err)
    assert_refused(said, USAGE, *words)
    assert not (tmp_path / "out").exists()


def test_missing_annotation_file_is_named(material, tmp_path):
    """A mistyped path is the message's first word."""
    said = run("pack", tmp_path / "no.csv", "--media", material.media, "--out", tmp_path / "out")
    assert_refused(said, FAILED, tmp_path / "no.csv", "check the path")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", ("empty",)),
        ("colour,shape\nred,round\n", ("colour", "shape", "ytid", "--column")),
    ],
)
def test_annotation_file_that_is_none_is_described(material, tmp_path, content, words):
    """An empty file and one with other columns: the message shows what was found and what is needed."""
    path = tmp_path / "table.csv"
    path.write_text(content)
    said = run("pack", path, "--media", material.media, "--out", tmp_path / "out")
    assert said.returncode in (FAILED, USAGE)
    assert_refused(said, said.returncode, path, *words)


def test_missing_media_folder_is_named(material, tmp_path):
    """The folder is named before anything is written."""
    said = run("pack", material.annotations, "--media", tmp_path / "no", "--out", tmp_path / "out")
    assert_refused(said, FAILED, tmp_path / "no", "media folder")
    assert not (tmp_path / "out").exists()


def test_server_that_cannot_be_reached_is_named(material, tmp_path):
    """Media at an address where nobody answers: named with what to check, and no folder is made."""
    url = "http://127.0.0.1:1/clips"
    said = run("pack", material.annotations, "--media", url, "--out", tmp_path / "out")
    assert_refused(said, FAILED, url, "check the network")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("below", ["file/out", "file"])
def test_output_that_cannot_be_written_is_named(material, tmp_path, below):
    """A file that stands where the output's folder would be: named, and still there."""
    (tmp_path / "file").write_text("in the way")
    said = run(*material.arguments, "--out", tmp_path / below)
    assert_refused(said, FAILED, tmp_path / below, "folder")
    assert (tmp_path / "file").read_text() == "in the way"


def test_output_where_no_folder_can_be_made_is_named(material):
    """A place that refuses folders is named, with what to check."""
    assert_refused(run(*material.arguments, "--out", "/proc/shards"), FAILED, "/proc/shards", "check")


def test_full_disk_loses_nothing_and_resume_goes_on(material, packed, tmp_path):
    """When the disk is full the run says so; with room made, --resume comes to the same bytes."""
    disk = tmp_path / "disk"
    disk.mkdir()
    try:
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True, text=True, check=False
        )
    except OSError as exc:
        pytest.skip(f"no small disk can be made here: {exc}")
    if mounted.returncode:
        pytest.skip(f"no small disk can be made here: {mounted.stderr.strip()}")
    try:
        out = disk / "shards"
        said = run(*material.arguments, "--out", out)
        assert_refused(said, FAILED, out, "No space left", "--resume")
        assert not (out / "dataset.json").exists()
        assert not list(out.rglob("*.tmp"))
        done = {path.name: path.read_bytes() for path in out.glob("*.tar")}
        assert done
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True, capture_output=True)
        assert run(*material.arguments, "--out", out, "--resume").returncode == 0
        expected = {path.name: path.read_bytes() for path in packed[0].iterdir()}
        assert {path.name: path.read_bytes() for path in out.iterdir()} == expected
        assert done.items() <= expected.items()
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True, capture_output=True)


def test_too_many_rejects_end_with_code_3_and_an_explanation(material, tmp_path):
    """The message has the counts by reason and the way on; there is no data set, and nothing yet to resume."""
    said = run(*material.arguments, "--out", tmp_path / "out", "--max-rejects", "0.1")
    assert_refused(said, REJECTS, "of 10 rows", "--max-rejects 0.1", "bad_id 1", "rejects.jsonl", "allow more")
    assert "--resume" not in said.stderr
    assert not (tmp_path / "out/dataset.json").exists()


def test_nothing_that_can_be_packed_ends_with_code_3_and_leaves_the_reasons(tmp_path):
    """Files that are no media: how many rows, why, and where each is named; no shard, and no word of --resume."""
    media, table, out = tmp_path / "media", tmp_path / "table.csv", tmp_path / "out"
    media.mkdir()
    (media / "a.mp4").write_text("no media")
    table.write_text("id,media\na,a.mp4\nb,b.mp4\n")
    said = run("pack", table, "--media", media, "--out", out, "--workers", "1")
    assert_refused(said, REJECTS, "none of 2 rows", "unreadable 1", "missing_media 1", f"{out}/rejects.jsonl")
    assert "--resume" not in said.stderr
    assert [path.name for path in out.iterdir()] == ["rejects.jsonl"]


def test_output_that_is_there_is_refused_with_the_ways_on(material, packed):
    """Nothing is overwritten unasked."""
    assert_refused(run(*material.arguments, "--out", packed[0]), USAGE, packed[0], "--overwrite")


@pytest.mark.parametrize("command", ["info", "relabel"])
def test_path_without_a_data_set_is_named(material, tmp_path, command):
    """Both commands that read a data set say that there is none."""
    more = (material.annotations,) if command == "relabel" else ()
    said = run(command, tmp_path, *more)
    assert said.returncode in (FAILED, USAGE)
    assert_refused(said, said.returncode, tmp_path, "no data", "--resume")


def test_damaged_manifest_is_named(packed, tmp_path):
    """An edited manifest is not believed; the message names it and says what changes labels properly."""
    damaged = shutil.copytree(packed[0], tmp_path / "damaged")
    manifest = damaged / "dataset.json"
    manifest.write_text(manifest.read_text().replace('"clips": 5', '"clips": 6', 1))
    assert_refused(run("info", damaged), FAILED, manifest, "digest", "relabel")
