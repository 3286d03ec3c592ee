"""The folder that a benchmark works in: clips, packed sets, and the copies that peers read."""

import functools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import shardkit
from benchmarks.loaders.cases import Stored
from benchmarks.loaders.clips import MANIFEST, MEDIA, make_clips
from benchmarks.loaders.scale import Scale

_RAW_SHARD_FACTOR = 8
"""Raw frames are about this much larger than JPEG; as many shards are to come of them."""


@dataclass(frozen=True, slots=True)
class ClipPlace:
    """Where a packed clip's members lie, for those that do not read tars."""

    key: str
    label: int
    shard: str
    video: tuple[int, int]
    """Offset and size in bytes."""
    audio: tuple[int, int]

    def read(self) -> tuple[bytes, bytes]:
        """The video and the audio member."""
        file = _descriptor(self.shard)
        return os.pread(file, self.video[1], self.video[0]), os.pread(file, self.audio[1], self.audio[0])


@functools.cache
def _descriptor(path: str) -> int:
    """Opened once a process, as any reader would."""
    return os.open(path, os.O_RDONLY)


@dataclass(frozen=True, slots=True)
class BenchFolder:
    """Where everything lies; what is missing is made."""

    root: Path

    @property
    def media(self) -> Path:
        """The source files."""
        return self.root / MEDIA

    def packed(self, stored: Stored) -> Path:
        """A packed data set."""
        return self.root / stored

    def shards(self, stored: Stored) -> list[Path]:
        """Its tars."""
        return sorted(self.packed(stored).glob("*.tar"))

    def copy(self, peer: str, stored: Stored) -> Path:
        """What one peer reads, made of the packed set's members."""
        return self.root / f"{peer}-{stored}"

    def places(self, stored: Stored) -> list[ClipPlace]:
        """All clips, in the order of the index."""
        dataset = shardkit.open(self.packed(stored))
        index = dataset.index
        (label_set,) = dataset.label_sets
        columns = (
            index.labels(label_set)[:, 0].tolist(),
            [str(self.packed(stored) / dataset.shard_names[shard]) for shard in index.shard],
            zip(index.video_offset.tolist(), index.video_bytes.tolist(), strict=True),
            zip(index.audio_offset.tolist(), index.audio_bytes.tolist(), strict=True),
        )
        return [ClipPlace(*values) for values in zip(dataset.keys, *columns, strict=True)]

    def make_copy(self, peer: str, stored: Stored, write: Callable[[Path], None]) -> Path:
        """Lets `write` fill the folder of a peer's copy, unless it is there."""
        return self.make_once(self.copy(peer, stored).name, write)

    def make_once(self, name: str, write: Callable[[Path], None]) -> Path:
        """Lets `write` fill a folder, unless it is there; a broken-off one is made anew."""
        folder = self.root / name
        if not folder.exists():
            unfinished = folder.with_name(folder.name + ".unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir()
            write(unfinished)
            unfinished.rename(folder)
        return folder


def make_packed(folder: BenchFolder, scale: Scale, stored: Stored, *, workers: int | None = None) -> Path:
    """Makes the clips and one packed set of them, unless they are there.

    Raises:
        SystemExit: Packing failed, or left a clip out; or what is there has another number of clips.
    """
    out = folder.packed(stored)
    # The manifest comes last: with it the set is whole.
    if (out / "dataset.json").exists():
        if (there := len(shardkit.open(out))) != scale.clips:
            raise SystemExit(f"{out} holds {there:,} clips, not {scale.clips:,}: work in another folder (--data)")
        return out
    make_clips(folder.root, scale.clips, scale.form, workers=workers)
    shapes = {"short": (scale.short, "short"), "thin": (scale.thin, "square")}
    size, fit = shapes.get(stored, (scale.side, "square"))
    codec = {"raw": "raw", "thin": "raw", "h264": "h264"}.get(stored, "mjpeg")
    shard_bytes = scale.shard_bytes * (_RAW_SHARD_FACTOR if stored == "raw" else 1)
    command = [
        *(sys.executable, "-m", "shardkit", "pack", folder.root / MANIFEST, "--media", folder.media, "--out", out),
        *("--frames", scale.frames, "--audio-rate", scale.audio_rate_hz, "--shard-size", shard_bytes),
        *("--size", size, "--fit", fit, "--video-codec", codec),
        *("--workers", workers or len(os.sched_getaffinity(0)), "--overwrite", "--json"),
    ]
    done = subprocess.run([str(part) for part in command], check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"packing {out} failed:\n{done.stderr}{done.stdout}")
    outcome = json.loads(done.stdout)
    if outcome["packed"] != scale.clips:
        raise SystemExit(f"{outcome['packed']} of {scale.clips} clips were packed into {out}; see its rejects.jsonl")
    return out


def read_once(folders: Iterable[Path]) -> int:
    """Reads every file below `folders`, so that it comes into the page cache; returns the bytes."""
    size_bytes = 0
    memory = bytearray(1 << 22)
    for path in sorted({path for folder in folders for path in folder.rglob("*") if path.is_file()}):
        with path.open("rb", buffering=0) as file:
            while count := file.readinto(memory):
                size_bytes += count
    return size_bytes
