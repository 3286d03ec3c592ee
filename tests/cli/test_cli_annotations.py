"""Annotation files with company: what `pack` and `relabel` take on the command line."""

import shutil

import pytest
from command_line import SMALL, WRONG_USE, assert_one_line, run

import shardkit


@pytest.fixture(scope="module")
def ave(material, packed, tmp_path_factory):
    """A folder with AVE's annotations of one video, and a list of its clips; ids begin with a dash."""
    folder = tmp_path_factory.mktemp("ave")
    good = material.media / shardkit.open(packed[0]).table["source"][0].as_py()
    (folder / "media").mkdir()
    shutil.copy(good, folder / "media" / "-aaaaaaaaaa.mp4")
    (folder / "-Annotations.txt").write_text("Bark&-aaaaaaaaaa&good&0&10\nGoat&-aaaaaaaaaa&good&0&5\n")
    (folder / "ids.txt").write_text("-aaaaaaaaaa_0\n")
    return folder


def test_split_files_and_ids_that_begin_with_a_dash(ave, tmp_path):
    """An annotation file whose name begins with a dash stands behind `--`; named splits are packed, and relabelled."""
    out, listed = tmp_path / "shards", ave / "ids.txt"
    arguments = ("--media", ave / "media", "--out", out, "--split-file", f"ave:train={listed}", *SMALL)
    said = run("pack", *arguments, "--", ave / "-Annotations.txt")
    assert said.returncode == 0, said.stderr
    assert shardkit.open(out).manifest.split_sets == {"ave": {"": 1, "train": 1}}
    said = run("relabel", out, "--split-file", f"mine:a={listed}", "--", ave / "-Annotations.txt")
    assert said.returncode == 0, said.stderr
    assert shardkit.open(out).manifest.split_sets == {"mine": {"": 1, "a": 1}, "ave": {"": 1, "train": 1}}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--split-file", "train=a.h5"), ("--split-file train=a.h5", "SCHEME:SPLIT=FILE")),
        (("--split-file", "a:b=c.h5", "--split-file", "a:b=d.h5"), ("a:b is given twice",)),
        (("--also", "audio.csv"), ("--also audio.csv", "ROLE=FILE")),
    ],
)
def test_what_does_not_fit_is_one_line(ave, tmp_path, options, words):
    """A wrong option says what is needed, before anything is packed."""
    said = run("pack", ave / "-Annotations.txt", "--media", ave / "media", "--out", tmp_path / "shards", *options)
    assert_one_line(said, *words, code=WRONG_USE)
    assert not (tmp_path / "shards").exists()
