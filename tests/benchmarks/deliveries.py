"""Runs a contestant in a process of its own, as the benchmark does, and hands back all that it delivered.

As a script: reads a JSON list of [contestant, folder, decoder, set-up, file], writes each epoch to its file.
"""

import json
import os
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from benchmarks.loaders.cases import Decoder
from benchmarks.loaders.contestants import contestant
from benchmarks.loaders.contestants.contract import Setup, Work
from benchmarks.loaders.prepare import BenchFolder
from benchmarks.loaders.rounds import REPOSITORY
from benchmarks.loaders.scale import TINY

BATCHES = TINY.clips // TINY.batch_size


@dataclass(frozen=True)
class Epoch:
    """As many batches as an epoch has, as arrays over clips."""

    keys: list[str]
    labels: np.ndarray
    video: np.ndarray
    audio: np.ndarray

    def by_key(self, key: str) -> tuple[np.ndarray, np.ndarray, int]:
        """Frames, sound and label of a clip."""
        place = self.keys.index(key)
        return self.video[place], self.audio[place], int(self.labels[place])


def delivered(name: str, folder: BenchFolder, wanted: list[tuple[Decoder, Setup]]) -> list[Epoch]:
    """One epoch with each decoder and set-up."""
    found = contestant(name)
    if found.prepare:
        found.prepare(folder, TINY, "square")
    files = [str(folder.root / f"{name}-{number}.npz") for number in range(len(wanted))]
    request = [
        [name, str(folder.root), decoder, [setup.workers, setup.mode], file]
        for (decoder, setup), file in zip(wanted, files, strict=True)
    ]
    done = subprocess.run(
        [sys.executable, __file__],
        input=json.dumps(request),
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)} | (found.environment(folder) if found.environment else {}),
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    epochs = []
    for file in files:
        with np.load(file) as stored:
            epochs.append(Epoch(stored["keys"].tolist(), stored["labels"], stored["video"], stored["audio"]))
    return epochs


def _write(name: str, root: str, decoder: Decoder, setup: list, file: str) -> None:
    found = contestant(name)
    # Those that promise no epochs are taken from their endless stream, as when they are measured.
    epochs = 1 if found.exact_epochs else None
    work = Work(BenchFolder(Path(root)), TINY, "square", decoder, Setup(*setup), epochs=epochs)
    parts = []
    with closing(found.stream(work)) as stream:
        for batch in stream if epochs else islice(stream, BATCHES):
            batch.check(TINY)
            parts.append(
                (batch.keys, batch.labels.numpy().copy(), batch.video.numpy().copy(), batch.audio.numpy().copy())
            )
    names = ("keys", "labels", "video", "audio")
    np.savez(
        file, **{name: np.concatenate(column) for name, column in zip(names, zip(*parts, strict=True), strict=True)}
    )


if __name__ == "__main__":
    for entry in json.load(sys.stdin):
        _write(*entry)
    sys.stderr.flush()
    # As the benchmark's processes: exit handlers of many native libraries are not what is tested.
    os._exit(0)
