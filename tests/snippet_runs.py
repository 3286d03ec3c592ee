"""Runs the snippets of README.md as scripts of several ranks, and tells which clips each rank was given."""

import itertools
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import shardkit

SNIPPETS = Path(__file__).parent.parent / "README.md"

MY_MODULE = """
import json, os
import torch


class MyModel(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.head = torch.nn.Linear(4, 65)

    def forward(self, video, audio):
        colours = video.float().mean(dim=(1, 3, 4)) / 255
        return self.head(torch.cat([colours, audio.abs().mean(dim=(1, 2)).unsqueeze(1)], dim=1))


steps = 0


def record(batch):
    global steps
    steps += 1
    with open(f"rank{torch.distributed.get_rank()}.jsonl", "a") as file:
        print(json.dumps([key for key, weight in zip(batch.keys, batch.weight.tolist()) if weight]), file=file)
    if steps == int(os.environ.get("DIES_AT_STEP", 0)):
        os._exit(0)
"""


def blocks(language: str) -> list[str]:
    """The code blocks of README.md in a language."""
    return re.findall(rf"```{language}\n(.*?)```", SNIPPETS.read_text("utf-8"), flags=re.DOTALL)


def snippet(marker: str, replacements: Mapping[str, str] | None = None) -> str:
    """The Python snippet that has `marker` in it, with what must be smaller or seen by the test replaced."""
    (text,) = (block for block in blocks("python") if marker in block)
    for old, new in (replacements or {}).items():
        assert old in text, old
        text = text.replace(old, new)
    return text


def run_ranks(
    folder: Path,
    command: Sequence[str],
    *,
    dies_at_step: int | None = None,
    environment: Mapping[str, str] | None = None,
) -> list[list[list[str]]]:
    """Runs a script that starts ranks; each ends on the spot when it calls `record` for the `dies_at_step`-th time.

    Returns:
        For each rank and each `record` of it, the keys of the real clips.
    """
    (folder / "my_model.py").write_text(MY_MODULE)
    for old in folder.glob("rank*.jsonl"):
        old.unlink()
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=folder,
        env=os.environ
        | {"OMP_NUM_THREADS": "1"}
        | ({"DIES_AT_STEP": str(dies_at_step)} if dies_at_step else {})
        | (environment or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        # To the end of the output: that of all ranks, which share it.
        output, _ = process.communicate(timeout=200)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    assert process.returncode == 0, output
    files = sorted(folder.glob("rank*.jsonl"))
    return [[json.loads(line) for line in file.read_text().splitlines()] for file in files]


def torchrun(ranks: int) -> list[str]:
    """What runs `train.py` on so many ranks, as README says."""
    return ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks), "train.py"]


def interleaved(ranks: Sequence[Sequence[Sequence[str]]]) -> list[str]:
    """The global order of the clips, from what each of the ranks was given step by step."""
    return [
        key
        for step in zip(*ranks, strict=True)
        for group in itertools.zip_longest(*step)
        for key in group
        if key is not None
    ]


def expected_order(source: Path, *, epochs: int) -> list[str]:
    """The keys that one rank gets of the split `train` with seed 1."""
    options = {"split": "train", "seed": 1, "modalities": ("audio",), "workers": 1, "worker_type": "thread"}
    with shardkit.loader(source, batch_size=1, **options) as loader:
        return [batch.keys[0] for _ in range(epochs) for batch in loader]
