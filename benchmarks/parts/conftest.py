"""Data sets for the benchmarks of parts: made anew, because files that were just written lie in the page cache."""

import csv
from pathlib import Path
from typing import Any

import pytest
from synth_media import synthesise

import shardkit
from shardkit.loading.dataset import Dataset

CLIPS = 16
MOST_TIMES = 20


def pytest_benchmark_update_json(output_json: dict[str, Any]) -> None:
    """Keeps what the stored figures are read for: not each of thousands of times, nor the name of the machine."""
    output_json["machine_info"].pop("node", None)
    output_json["commit_info"] = {name: output_json["commit_info"].get(name) for name in ("id", "dirty")}
    for measured in output_json["benchmarks"]:
        if len(measured["stats"].get("data", ())) > MOST_TIMES:
            del measured["stats"]["data"]


@pytest.fixture(scope="session")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of clips with two annotation files: `annotations.csv`, and `often.csv` with four clips of each file."""
    folder = tmp_path_factory.mktemp("media")
    rows = synthesise(folder, clips=CLIPS)
    for name, labels in (("annotations.csv", ("",)), ("often.csv", ("", "2", "3", "4"))):
        with (folder / name).open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("media", "label"))
            writer.writerows((row.file_name, row.leaf.name + suffix) for suffix in labels for row in rows)
    return folder


def _packed(annotations: Path, out: Path, **options) -> Dataset:
    shardkit.pack(annotations, media=annotations.parent, out=out, fit="square", **options)
    return shardkit.open(out)


@pytest.fixture(scope="session")
def usual(media: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """16 frames of 224 x 224 as JPEG, ten seconds of 16 kHz."""
    return _packed(media / "annotations.csv", tmp_path_factory.mktemp("usual") / "shards", size=224)


@pytest.fixture(scope="session")
def free(media: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Raw frames of 16 x 16 and sound at 1 kHz: nothing to decode, and next to nothing to read."""
    out = tmp_path_factory.mktemp("free") / "shards"
    return _packed(media / "often.csv", out, size=16, audio_rate=1000, video_codec="raw")
