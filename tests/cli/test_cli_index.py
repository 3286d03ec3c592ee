"""`shardkit index` at the command line."""

import io
import json
import signal
import subprocess
import sys
import tarfile
import time

import fsspec
import pytest
from buckets import s3  # noqa: F401 - a fixture
from command_line import run
from watching import children, is_running, wait_until


@pytest.fixture(scope="module")
def tars(material, tmp_path_factory):
    """Two tars with a good clip each, and one that is no clip."""
    folder = tmp_path_factory.mktemp("ta[r]s")
    good = sorted(path for path in material.media.iterdir() if path.suffix == ".mp4" and path.stat().st_size > 60_000)
    for shard, path in enumerate(good[:2]):
        with tarfile.open(folder / f"train-{shard:03d}.tar", "w") as tar:
            for name, data in (
                (f"{shard}.mp4", path.read_bytes()),
                (f"{shard}.json", json.dumps({"label": "ab"[shard]}).encode()),
                ("bad.mp4", b"no media"),
            ):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return folder


SMALL = ("--frames", "2", "--size", "64", "--workers", "1", "--label", "sound=json.label")


def test_index_says_what_was_indexed_and_what_was_not(tars, tmp_path):
    """Counts, labels, splits, where rejects are explained; with --json one object; info shows where the tars are."""
    out = tmp_path / "out"
    said = run("index", f"{tars}/train-{{000..001}}.tar", "--out", out, *SMALL)
    assert said.returncode == 0, said.stderr
    for shown in (
        "indexed 2 of 4 samples",
        "label sets: sound",
        "splits: train 2",
        "rejected: unreadable 2",
        f"{out}/rejects.jsonl",
    ):
        assert shown in said.stdout
    again = run("index", tars, "--out", out, *SMALL, "--overwrite", "--json")
    assert (json.loads(again.stdout)["indexed"], again.stderr) == (2, "")
    info = run("info", out)
    assert f"indexed, not packed; its tars are in {tars}" in info.stdout
    assert "sound: sound" in info.stdout


def test_compressed_tars_beside_others_are_counted(tars, tmp_path):
    """Clips could not be read out of their middle: how many are passed over is said and reported."""
    folder = tmp_path / "tars"
    folder.mkdir()
    (folder / "a.tar").write_bytes((tars / "train-000.tar").read_bytes())
    for name in ("b.tar.gz", "sub/c.tgz", "d.tar.zst", "a.tar.md5"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"")
    said = run("index", folder, *SMALL)
    assert said.returncode == 0, said.stderr
    assert "compressed tars passed over: 3; decompress them, and index again" in said.stdout
    assert json.loads(run("index", folder, *SMALL, "--overwrite", "--json").stdout)["compressed"] == 3
    assert "passed over" not in run("index", folder / "a.tar", *SMALL, "--overwrite").stdout


def test_relabel_of_an_index_speaks_of_no_msg_members(tars, tmp_path):
    """Tars of others have none."""
    out = tmp_path / "out"
    assert run("index", tars, "--out", out, *SMALL).returncode == 0
    (tmp_path / "new.csv").write_text("id,label\n0,new\n")
    said = run("relabel", out, tmp_path / "new.csv")
    assert said.returncode == 0, said.stderr
    assert said.stdout.splitlines()[0] == "relabelled 1 clips"


def test_index_of_a_bucket_with_its_options(s3, tars, tmp_path):  # noqa: F811
    """Tars at a URL, the index on a disk: written, and shown, with the same options."""
    s3.bucket("plain")
    fsspec.filesystem("s3", **s3.options).pipe_file("plain/tars/train-000.tar", (tars / "train-000.tar").read_bytes())
    said = run("index", "s3://plain/tars", "--out", tmp_path / "out", *SMALL, *s3.arguments)
    assert said.returncode == 0, said.stderr
    assert "indexed 1 of 2 samples" in said.stdout
    info = run("info", tmp_path / "out", *s3.arguments)
    assert "indexed, not packed; its tars are in s3://plain/tars" in info.stdout
    wrong = run("index", "s3://none/tars", "--out", tmp_path / "wrong", *SMALL, *s3.arguments)
    assert (wrong.returncode, len(wrong.stderr.splitlines())) == (1, 1)
    assert "s3://none/tars: not found" in wrong.stderr


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--label", "sound"), 2, ("--label sound", "NAME=json.FIELD")),
        (("--label", "sound=label"), 2, ("sound=label", "NAME=json.FIELD")),
        (("--image-fps", "2"), 2, ("image_fps=2.0 is for pictures",)),
        (("--classes", "nowhere.txt"), 1, ("nowhere.txt: No such file",)),
        (("--audio-rate", "fast"), 2, ("--audio-rate fast",)),
        (("--max-rejects", "0.1", "--frames", "2", "--size", "64"), 3, ("2 of 4 samples", "--max-rejects 0.1")),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_what_cannot_be_is_one_line(tars, tmp_path, options, code, words):
    """An exit code, a message with a remedy, no traceback."""
    said = run("index", tars, "--out", tmp_path / "out", *options)
    assert said.returncode == code
    assert said.stderr.startswith("error: ")
    assert len(said.stderr.splitlines()) == 1
    assert all(word in said.stderr for word in words), said.stderr


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_that_is_told_to_end_says_how_to_go_on_and_leaves_nothing(material, tmp_path, sent, code):
    """Ctrl-C or a scheduler's SIGTERM in the first tar: its exit code, no traceback, no process, no folder."""
    video = max(material.media.glob("*.mp4"), key=lambda path: path.stat().st_size)
    tars, out = tmp_path / "tars", tmp_path / "out"
    tars.mkdir()
    with tarfile.open(tars / "a.tar", "w") as tar:
        for place in range(400):
            tar.add(video, f"{place:03d}.mp4")
    command = [sys.executable, "-m", "shardkit", "index", tars, "--out", out, *SMALL]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    wait_until((out / ".indexing/plan.json").exists)
    workers = wait_until(lambda: children(process.pid))
    time.sleep(0.5)  # they are at work
    process.send_signal(sent)
    _, said = process.communicate(timeout=100)
    assert process.returncode == code, said
    assert "the same command with --resume goes on" in said
    assert "Traceback" not in said
    wait_until(lambda: not any(map(is_running, workers)))
    assert not out.exists()


def test_bench_of_indexed_tars_says_that_threads_do_not_do(tars, tmp_path):
    """The reason, and what does."""
    assert run("index", tars, "--out", tmp_path / "out", *SMALL).returncode == 0
    said = run("bench", tmp_path / "out", "--worker-type", "thread", "--seconds", "0.2")
    assert said.returncode == 2
    assert "worker_type='process'" in said.stderr
    said = run("bench", tmp_path / "out", "--batch-size", "2", "--seconds", "0.2", "--workers", "1", "--json", "-")
    assert said.returncode == 0, said.stderr
