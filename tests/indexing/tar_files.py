"""Tars as others write them, and what is in them."""

import io
import json
import tarfile
import wave
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
import torch

FAST = {"frames": 4, "size": 64, "audio_rate": 8000, "workers": 1}
"""Settings under which small clips are indexed quickly."""


def write_tar(path: Path, members: Iterable[tuple[str, bytes]], *, format: int = tarfile.USTAR_FORMAT) -> Path:
    """Writes a tar of (name, data)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=format) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def wav(pcm: np.ndarray, *, rate_hz: int) -> bytes:
    """int16 [S, C] as a WAV file."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(pcm.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(pcm.astype("<i2").tobytes())
    return buffer.getvalue()


def noise(*, seconds: float, rate_hz: int, channels: int = 1, seed: int = 0) -> np.ndarray:
    """int16 [S, C]."""
    shape = (round(seconds * rate_hz), channels)
    return np.random.default_rng(seed).integers(-9000, 9000, shape).astype(np.int16)


def jpeg(number: int, *, height: int = 48, width: int = 64) -> bytes:
    """A picture whose brightness tells its number, up to 9."""
    return simplejpeg.encode_jpeg(np.full((height, width, 3), 20 + 25 * number, np.uint8), quality=95)


def numbers(video: np.ndarray) -> list[int]:
    """The numbers of pictures, uint8 [T, 3, H, W]."""
    return [round((frame.mean() - 20) / 25) for frame in video]


def labels(ds: Any, name: str) -> list[list[int]]:
    """Class ids of every clip in a label set."""
    (label_set,) = (each for each in ds.label_sets if each.name == name)
    if label_set.kind == "multi":
        return [ds.index.label_lists(label_set).row(row).tolist() for row in ds.rows]
    return ds.index.labels(label_set)[ds.rows].tolist()


def rejects(out: Path) -> list[dict]:
    """The lines of a data set's `rejects.jsonl`."""
    return [json.loads(line) for line in (out / "rejects.jsonl").read_text("utf-8").splitlines()]


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by its path in it."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def copies(loader: Any) -> list[tuple[list[str], dict[str, np.ndarray]]]:
    """Keys and arrays of one iteration's batches, copied out of memory that is used again."""
    return [
        (
            list(batch.keys),
            {name: value.numpy().copy() for name, value in batch.as_dict().items() if torch.is_tensor(value)},
        )
        for batch in loader
    ]
