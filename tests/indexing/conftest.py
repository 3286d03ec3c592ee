"""A little to index."""

import json
from fractions import Fraction
from pathlib import Path

import pytest
from synth_media import LEAVES, Variety, synthesise
from tar_files import FAST, write_tar

import shardkit


@pytest.fixture(scope="session")
def videos(tmp_path_factory) -> dict[str, bytes]:
    """Nine MP4s of 1.5 s with sound, 128 by 96 or 96 by 128, by name."""
    folder = tmp_path_factory.mktemp("videos")
    variety = Variety(sizes=((128, 96), (96, 128)), frame_rates_hz=(Fraction(10),), duration_s=1.5)
    rows = synthesise(folder, clips=9, classes=LEAVES[:3], variety=variety, workers=2)
    return {f"clip{place}": (folder / row.file_name).read_bytes() for place, row in enumerate(rows)}


@pytest.fixture(scope="session")
def tars(videos, tmp_path_factory) -> Path:
    """Three tars of three videos with labels, in a folder."""
    folder = tmp_path_factory.mktemp("tars")
    keys = list(videos)
    for shard in range(3):
        members = []
        for place in range(3 * shard, 3 * shard + 3):
            about = {"label": ("oboe", "bell")[place % 2], "take": place}
            members += [
                (f"{keys[place]}.cls", str(place % 3).encode()),
                (f"{keys[place]}.json", json.dumps(about).encode()),
                (f"{keys[place]}.mp4", videos[keys[place]]),
            ]
        write_tar(folder / f"set-{shard:03d}.tar", members)
    return folder


@pytest.fixture(scope="session")
def indexed(tars, tmp_path_factory) -> Path:
    """The index of those tars, in a folder of its own; never changed."""
    out = tmp_path_factory.mktemp("indexed") / "index"
    shardkit.index(tars, out=out, label={"sound": "json.label"}, **FAST)
    return out
