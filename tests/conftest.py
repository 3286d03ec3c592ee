"""Packed data sets that several tests load: made once, never changed. Those who damage one take a copy of it."""

import json
import shutil
import wave
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from spelled_clips import make_spelled
from synth_media import LEAVES, Variety, synthesise

import shardkit

# On a busy machine the clock says nothing about a pure function.
settings.register_profile("no_deadline", deadline=None)
settings.load_profile("no_deadline")

CLIP_S = 2.0
RATE_HZ = 16000
FPS = 4
CLASSES = 3


def _write_tone(path: Path, *, seconds: float) -> None:
    pcm = (8000 * np.sin(np.arange(round(seconds * RATE_HZ)) * 0.2)).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes(pcm.tobytes())


def _write_table(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="session")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of 24 clips in several shards, with every kind of label.

    Clip i of 20 has two seconds of picture and sound, but every fifth only its first 1.1 s. Two more have no sound, two
    no picture. All frames are 96 by 128, four a second.
    """
    root = tmp_path_factory.mktemp("packed")
    variety = Variety(sizes=((128, 96),), frame_rates_hz=(Fraction(25),), duration_s=CLIP_S)
    media = synthesise(root / "media", clips=22, classes=LEAVES[:CLASSES], variety=variety)
    rows = []
    for number, row in enumerate(media):
        rows.append(
            {
                "id": f"clip{number:02d}",
                "media": row.file_name,
                "start_s": 0.0,
                "end_s": 1.1 if number % 5 == 4 else CLIP_S,
                "label": row.leaf.name,
                "labels": [["bright"], ["loud", "near"], []][number % 3],
                "level_1": "wind" if number % CLASSES == 0 else "string",
                "level_2": row.leaf.name,
                "events": [
                    {"start_s": 0.25, "end_s": 0.75, "class": "onset", "modality": "audio"},
                    {"start_s": 0.5, "end_s": 1.0, "class": row.leaf.name, "modality": "av"},
                ][: number % 3],
                "split": "test" if number % 4 == 3 else "train",
                "number": number,
                "note": f"note {number}",
            }
        )
    for number in (20, 21):
        _drop_sound(root / "media" / media[number].file_name)
    for number in (22, 23):
        _write_tone(root / "media" / f"tone{number}.wav", seconds=CLIP_S)
        rows.append(
            {
                "id": f"clip{number}",
                "media": f"tone{number}.wav",
                "start_s": 0.0,
                "end_s": CLIP_S,
                "label": None,
                "level_1": "wind",
                "events": [],
                "split": "train",
                "number": number,
                "note": "",
            }
        )
    out = root / "shards"
    shardkit.pack(
        _write_table(root / "table.jsonl", rows),
        media=root / "media",
        out=out,
        fps=FPS,
        size=96,
        require="any",
        shard_bytes=600_000,
        workers=2,
    )
    return out


def _drop_sound(path: Path) -> None:
    import av

    silent = path.with_suffix(".silent.mp4")
    with av.open(str(path)) as source, av.open(str(silent), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    silent.replace(path)


@pytest.fixture(scope="session")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve clips whose frames differ in size and whose sound differs in sample rate."""
    root = tmp_path_factory.mktemp("mixed")
    variety = Variety(
        sizes=((128, 96), (160, 96)), frame_rates_hz=(Fraction(25),), sample_rates_hz=(44100, 48000), duration_s=1.0
    )
    rows = synthesise(root / "media", clips=12, variety=variety)
    table = _write_table(root / "table.jsonl", [{"media": row.file_name, "label": row.leaf.name} for row in rows])
    shardkit.pack(table, media=root / "media", out=root / "shards", frames=2, size=96, audio_rate="native", workers=2)
    return root / "shards"


@pytest.fixture(scope="session")
def pack_spelled(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Packs the clips of `spelled_clips`, once for each choice of frames: `pack_spelled(fps=4)`."""
    root = tmp_path_factory.mktemp("spelled")
    table = make_spelled(root / "media")
    done: dict[str, Path] = {}

    def pack(**frames: int) -> Path:
        name = "-".join(f"{option}{value}" for option, value in frames.items())
        if name not in done:
            done[name] = root / name
            shardkit.pack(
                table,
                media=root / "media",
                out=done[name],
                size=64,
                workers=1,
                features={"rows": root / "rows"},
                **frames,
            )
        return done[name]

    return pack


@pytest.fixture(scope="session")
def spelled(pack_spelled: Callable[..., Path]) -> Path:
    """Those clips with four frames in every second: media that say what their labels must be."""
    return pack_spelled(frames_per_segment=4)


@pytest.fixture
def damaged(packed: Path, tmp_path: Path) -> Path:
    """A copy of `packed` to damage."""
    return Path(shutil.copytree(packed, tmp_path / "shards"))
