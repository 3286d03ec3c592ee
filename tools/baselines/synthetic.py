"""The four synthetic data sets: scripts, annotations, media, packed as a user would pack them.

    fusion    twenty leaves of AVO-65, four under each of its roots: the sound names the root, the picture which of the
              four; the same four pictures under every root, so that either alone leaves a guess
    avel      ten classes of AVE; in each clip an event of three to seven seconds, heard and seen; elsewhere it is only
              heard, only seen, or neither, a third each; `background` clips have no second of an event
    cml       an event of three seconds of ten; elsewhere sound and picture are of two other classes: neither of them
              alone says where the event is, only that they agree does
    spelled   an event of one second of ten; sound and picture say which second it is, exactly

A data set that lies there already, made from the same recipe, is left as it is.
"""

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

import shardkit
from shardkit.annotations.avo65_classes import INSTRUMENTS
from tools.baselines.synthetic_media import SIDE, Script, write_media

Name = Literal["fusion", "avel", "cml", "spelled"]
NAMES: tuple[Name, ...] = ("fusion", "avel", "cml", "spelled")

LEAVES = (
    *((27, (0, 0, 0)), (35, (0, 0, 0)), (61, (0, 0, 0)), (44, (0, 1, 2))),
    *((55, (1, 2, 3)), (50, (1, 2, 3)), (8, (1, 2, 3)), (46, (1, 2, 3))),
    *((38, (2, 3, 5)), (62, (2, 4, 6)), (11, (2, 4, 6)), (32, (2, 4, 7))),
    *((0, (3, 5, 8)), (24, (3, 6, 9)), (42, (3, 6, 10)), (59, (3, 6, 11))),
    *((21, (4, 7, 12)), (30, (4, 8, 13)), (53, (4, 9, 14)), (49, (4, 10, 15))),
)
"""Id on level 4 and on those above, of four leaves under each of the five roots, as AVO-65 has them."""
MEMBERS = 4
FUSION_S = 2.0
EVENTS = (
    "Church bell",
    "Male speech, man speaking",
    "Bark",
    "Fixed-wing aircraft, airplane",
    "Race car, auto racing",
    "Female speech, woman speaking",
    "Helicopter",
    "Violin, fiddle",
    "Flute",
    "Ukulele",
)
"""The first ten classes of AVE's annotation file."""
SECONDS = 10
CML_EVENT_S = 3


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many clips a data set has."""

    train: int
    val: int
    test: int
    background: int = 0
    """More clips to train on, without an event."""


SIZES: dict[Name, Sizes] = {
    "fusion": Sizes(train=800, val=100, test=400),
    "avel": Sizes(train=500, val=100, test=300, background=200),
    "cml": Sizes(train=400, val=100, test=400),
    "spelled": Sizes(train=0, val=0, test=200),
}
VERSION = 1
"""Counts up when the same sizes and seed would give other clips."""


def make(name: Name, folder: Path, *, sizes: Sizes | None = None, seed: int = 0, workers: int | None = None) -> Path:
    """Makes and packs a data set, unless it is there.

    Args:
        name: Which.
        folder: `folder / name` is where it goes.
        sizes: None: `SIZES[name]`.
        seed: Of all that is drawn.
        workers: Processes, one a CPU where it is None.

    Returns:
        Where the shards are.
    """
    sizes = sizes or SIZES[name]
    home = folder / name
    recipe, shards = home / "recipe.json", home / "shards"
    wanted = {"version": VERSION, "seed": seed, **asdict(sizes)}
    if recipe.is_file() and json.loads(recipe.read_text("utf-8")) == wanted:
        return shards
    shutil.rmtree(home, ignore_errors=True)
    draw = np.random.default_rng([seed, NAMES.index(name)])
    clips = [clip for split in ("train", "val", "test") for clip in _clips(name, split, getattr(sizes, split), draw)]
    background = list(_background(sizes.background, draw))
    write_media(home / "media", [script for script, _ in clips], seed=seed, workers=workers)
    write_media(home / "background", background, seed=seed + 1, workers=workers)
    rows = [row for _, row in clips]
    if name == "fusion":
        annotations = _write_avo65(home / "AVO-65.csv", rows)
    else:
        annotations = home / "annotations.jsonl"
        annotations.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    shardkit.pack(
        annotations,
        media=home / "media",
        out=shards,
        size=SIDE,
        fit="square",
        workers=workers,
        **({"frames": 4} if name == "fusion" else {"frames_per_segment": 1}),
        **({"background": home / "background"} if background else {}),
        max_rejects=0.0,
    )
    shutil.rmtree(home / "media")
    shutil.rmtree(home / "background")
    recipe.write_text(json.dumps(wanted), "utf-8")  # last: what is there without it is made anew
    return shards


def _clips(name: Name, split: str, count: int, draw: np.random.Generator) -> Iterator[tuple[Script, dict[str, Any]]]:
    """Scripts and annotation rows, classes in turn."""
    for number in range(count):
        id = f"{split}_{number:05d}"
        if name == "fusion":
            leaf = number % len(LEAVES)
            # Pictures of one hue, and tones as far apart as can be.
            script = Script(_youtube_id(id), (2 * (leaf // MEMBERS),), (leaf % MEMBERS,), FUSION_S, frames_per_cell=8)
            yield script, {"id": script.name, "leaf": leaf, "split": split}
            continue
        event = number % len(EVENTS)
        if name == "avel":
            script, start, stop = _avel(id, event, draw)
        elif name == "cml":
            script, start, stop = _cml(id, event, draw)
        else:
            start = int(draw.integers(SECONDS))
            script, stop = Script(id, tuple(range(SECONDS)), tuple(range(SECONDS)), spelled=True), start + 1
        yield script, _row(script, EVENTS[event], start, stop, split)


def _row(script: Script, event: str, start: int, stop: int, split: str) -> dict[str, Any]:
    return {
        "id": script.name,
        "media": f"{script.name}.mkv",
        "start_s": 0,
        "end_s": SECONDS,
        "label": event,
        "events": [{"start_s": start, "end_s": stop, "class": event, "modality": "av"}],
        "split": split,
    }


def _avel(id: str, event: int, draw: np.random.Generator) -> tuple[Script, int, int]:
    length = int(draw.integers(3, 8))  # five seconds on average: half of all seconds are background
    start = int(draw.integers(SECONDS - length + 1))
    return Script(id, *_with_background(event, range(start, start + length), draw)), start, start + length


def _with_background(
    event: int, seconds: range, draw: np.random.Generator
) -> tuple[tuple[int | None, ...], tuple[int | None, ...]]:
    """Sounds and pictures of a clip whose event is heard and seen in `seconds`, and never both elsewhere."""
    sounds: list[int | None] = []
    pictures: list[int | None] = []
    for second in range(SECONDS):
        kind = 0 if second in seconds else int(draw.integers(1, 4))
        sounds.append(event if kind in (0, 1) else None)
        pictures.append(event if kind in (0, 2) else None)
    return tuple(sounds), tuple(pictures)


def _cml(id: str, event: int, draw: np.random.Generator) -> tuple[Script, int, int]:
    start = int(draw.integers(SECONDS - CML_EVENT_S + 1))
    others = [other for other in range(len(EVENTS)) if other != event]
    seconds = [
        (event, event) if start <= second < start + CML_EVENT_S else draw.choice(others, 2, replace=False).tolist()
        for second in range(SECONDS)
    ]
    script = Script(id, tuple(sound for sound, _ in seconds), tuple(picture for _, picture in seconds))
    return script, start, start + CML_EVENT_S


def _background(count: int, draw: np.random.Generator) -> Iterator[Script]:
    for number in range(count):
        yield Script(f"background_{number:05d}", *_with_background(number % len(EVENTS), range(0), draw))


def _youtube_id(id: str) -> str:
    """Eleven characters that end in `id`'s last ones: `--train00012`."""
    return id.replace("_", "")[-11:].rjust(11, "-")


def _write_avo65(path: Path, rows: list[dict[str, Any]]) -> Path:
    """The columns of AVO-65's released file, and `end_time` and `split`, which it lacks."""
    lines = ["ytid,start_time,end_time,name,level_1,lebel_2,level_3,level_4,split"]
    for row in rows:
        leaf, above = LEAVES[row["leaf"]]
        levels = ",".join(map(str, (*above, leaf)))
        lines.append(f"{row['id']}.mkv,0,{FUSION_S:g},{INSTRUMENTS[leaf]},{levels},{row['split']}")
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path
