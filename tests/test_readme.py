"""What README.md shows is run as it stands."""

import os
import re
import subprocess
import sys
from pathlib import Path

import torch
from synth_media import synthesise

import shardkit

ROOT = Path(__file__).parent.parent
MODEL = """
import torch


class MyModel(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.head = torch.nn.Linear(4, 65)

    def forward(self, video, audio):
        colours = video.float().mean(dim=(1, 3, 4)) / 255
        return self.head(torch.cat([colours, audio.abs().mean(dim=(1, 2)).unsqueeze(1)], dim=1))


"""


def _blocks(language: str) -> list[str]:
    text = (ROOT / "README.md").read_text("utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def test_the_training_loop_trains_on_two_ranks_and_resumes(tmp_path):
    """README's DDP loop runs under torchrun, saves its state, and a second run goes on from it."""
    synthesise(tmp_path / "videos", clips=24, annotations=tmp_path / "AVO-65.csv")
    (pack,) = (line for block in _blocks("sh") for line in block.splitlines() if line.startswith("shardkit pack"))
    subprocess.run([sys.executable, "-m", *pack.split()], cwd=tmp_path, check=True)
    train = len(shardkit.open(tmp_path / "shards").select(split="train"))
    (loop,) = (block for block in _blocks("python") if "init_process_group" in block)
    # Small enough to be quick: two epochs, and a checkpoint at every other batch.
    loop = (
        loop.replace("range(10)", "range(2)")
        .replace("batch_size=16", "batch_size=2")
        .replace("% 500 == 499", "% 2 == 1")
    )
    (tmp_path / "train.py").write_text(MODEL + loop)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "train.py"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}

    states = []
    for _ in range(2):
        subprocess.run(command, cwd=tmp_path, env=environment, check=True, timeout=100)
        states.append(torch.load(tmp_path / "last.pt")["loader"])

    # Of an epoch's batches of 2 on 2 ranks, the last checkpoint is after the last even one.
    assert 12 < train < 24
    saved = min(train, -(-train // 4) // 2 * 8)
    assert states[0]["delivered"] == states[1]["delivered"] == saved
    assert states[0]["epoch"] == 1
    # A state at an epoch's end is followed by two more epochs, one inside an epoch by its rest and another.
    assert states[1]["epoch"] == (3 if saved == train else 2)


def test_the_training_loop_is_short():
    """The loop that README promises is a full one in about 25 lines."""
    (loop,) = (block for block in _blocks("python") if "init_process_group" in block)
    assert len(loop.splitlines()) <= 25
