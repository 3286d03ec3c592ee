"""Small synthesised media and what packing makes of them, shared by the tests of packing."""

import csv
from dataclasses import dataclass
from pathlib import Path

import pytest
from buckets import s3  # noqa: F401 - a fixture
from pack_runs import SMALL, VARIETY, contents
from synth_media import Row, synthesise

import shardkit
from shardkit.packing.outcome import PackReport

SPAN_S = 2.0


@dataclass(frozen=True)
class Material:
    """Media, and two annotation files that name them."""

    media: Path
    annotations: Path
    """In the style of AVO-65, faults included."""
    rows: list[Row]
    """What the annotation file says; `fault` says what is wrong with which row."""
    table: Path
    """48 spans of two seconds of the good files, with labels, splits and another column."""


@dataclass(frozen=True)
class Packed:
    """A data set, what packing said of it, and its files."""

    out: Path
    report: PackReport
    contents: dict[str, bytes]


@pytest.fixture(scope="session")
def material(tmp_path_factory):
    """Twelve good clips and one of every fault."""
    folder = tmp_path_factory.mktemp("material")
    media, annotations, table = folder / "media", folder / "clips.csv", folder / "spans.csv"
    rows = synthesise(media, clips=12, faults=True, variety=VARIETY, annotations=annotations, workers=1)
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("id", "media", "start_s", "end_s", "label", "split", "take"))
        for place, row in enumerate(row for row in rows if row.fault is None):
            for start_s in (0.0, 2.5, 5.03, 8.0):
                split = ("train", "test")[place % 3 == 0]
                name = Path(row.file_name).stem
                writer.writerow((name, row.file_name, start_s, start_s + SPAN_S, row.leaf.name, split, place))
    return Material(media, annotations, rows, table)


@pytest.fixture(scope="session")
def packed(material, tmp_path_factory):
    """The annotation file in AVO-65's style, packed."""
    out = tmp_path_factory.mktemp("packed") / "shards"
    report = shardkit.pack(material.annotations, media=material.media, out=out, workers=2, **SMALL)
    return Packed(out, report, contents(out))


@pytest.fixture(scope="session")
def undisturbed(material, tmp_path_factory):
    """The table packed by one worker, without a disturbance: what every other run must come to."""
    out = tmp_path_factory.mktemp("undisturbed") / "shards"
    report = shardkit.pack(material.table, media=material.media, out=out, workers=1, **SMALL)
    return Packed(out, report, contents(out))
