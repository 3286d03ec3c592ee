"""Data sets for the benchmarks of parts: made anew, because files that were just written lie in the page cache."""

import csv
from pathlib import Path

import pytest
from synth_media import synthesise

import shardkit
from shardkit.loading.dataset import Dataset

CLIPS = 16


@pytest.fixture(scope="session")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of clips with their annotation file, `annotations.csv`."""
    folder = tmp_path_factory.mktemp("media")
    rows = synthesise(folder, clips=CLIPS)
    with (folder / "annotations.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("media", "label"))
        writer.writerows((row.file_name, row.leaf.name) for row in rows)
    return folder


def _packed(media: Path, out: Path, **options) -> Dataset:
    shardkit.pack(media / "annotations.csv", media=media, out=out, fit="square", **options)
    return shardkit.open(out)


@pytest.fixture(scope="session")
def usual(media: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """16 frames of 224 x 224 as JPEG, ten seconds of 16 kHz."""
    return _packed(media, tmp_path_factory.mktemp("usual") / "shards", size=224)


@pytest.fixture(scope="session")
def free(media: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Raw frames of 16 x 16 and sound at 1 kHz: nothing to decode, and next to nothing to read."""
    return _packed(media, tmp_path_factory.mktemp("free") / "shards", size=16, audio_rate=1000, video_codec="raw")
