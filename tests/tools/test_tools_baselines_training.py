"""The training script: it stops and goes on, on one rank or two, for each task."""

import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import shardkit
from tools.baselines import checkpoints
from tools.baselines.config import read_config
from tools.baselines.experiments import CONFIGS
from tools.baselines.ranks import Ranks
from tools.baselines.train import train

ROOT = Path(__file__).parents[2]
ONE_RANK = Ranks(0, 1, torch.device("cpu"))
FUSION = {
    "kind": "clip",
    "audio": {"kind": "audio_cnn", "dim": 8, "channels": 4},
    "visual": {"kind": "visual_cnn", "dim": 8, "channels": 4},
}
SCRIPT = """
import os, signal, sys, torch
from pathlib import Path
from tools.baselines.ranks import joined_ranks
from tools.baselines.train import train
from tools.baselines.config import read_config

def say(line):
    print(line, flush=True)
    if {last!r} and {last!r} in line:
        os.kill(os.getpid(), signal.SIGKILL)

torch.set_num_threads(1)
with joined_ranks(cpu=True) as ranks:
    train(read_config(Path({config!r})), data=Path({data!r}), ranks=ranks, seeds=[3], out={out}, say=say,
          print_steps=1, checkpoint_steps=2)
"""


@pytest.fixture(autouse=True)
def _one_thread():
    """Losses depend on the number of threads, and other processes are compared with."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def fusion_config(folder, *, batch_size=8, dropout=0.5):
    """A file with a small model of the fusion data, two epochs of five steps in all."""
    path = folder / f"fusion{batch_size}.yaml"
    path.write_text(
        "name: small\ndata: fusion/shards\ntask: {name: classification, level: level_4}\n"
        f"model: {{kind: clip, audio: {FUSION['audio']}, visual: {FUSION['visual']},\n"
        f"  head: {{kind: concatenation, hidden: 8, dropout: {dropout}}}}}\n"
        "optimisation: {epochs: 2, learning_rate: 0.01}\n"
        f"loader: {{batch_size: {batch_size}, workers: 1, worker_type: thread}}\n"
    )
    return path


def lines_of(config, data, *, out=None, resume=False):
    """What a run in this process says."""
    lines = []
    options = {"print_steps": 1, "checkpoint_steps": 2, "say": lines.append}
    train(read_config(config), data=data, ranks=ONE_RANK, seeds=[3], out=out, resume=resume, **options)
    return [line for line in lines if "waiting" not in line]


def start(config, data, *, out=None, last="", environment=None):
    """The same in a process of its own, which kills itself as it says `last`."""
    script = SCRIPT.format(config=str(config), data=str(data), out=f"Path({str(out)!r})" if out else None, last=last)
    return subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | (environment or {}),
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_run_that_is_killed_goes_on_with_the_losses_that_it_would_have_had(baseline_data, tmp_path):
    """After kill -9 in the middle of an epoch, all that a resumed run prints is what an undisturbed one prints."""
    data, config = baseline_data("fusion"), fusion_config(tmp_path)
    with start(config, data, out=tmp_path / "out", last="epoch 0 step 4 ") as process:
        undisturbed = lines_of(config, data)
        killed = process.stdout.read().splitlines()
    assert process.returncode == -signal.SIGKILL
    resumed = lines_of(config, data, out=tmp_path / "out", resume=True)
    assert "after step 2, in epoch 0" in resumed[0]
    assert killed == undisturbed[: len(killed)]
    assert resumed[1:] == undisturbed[-len(resumed) + 1 :]
    assert "epoch 0 step 3 loss" in resumed[1]


def test_two_ranks_train_as_one_with_twice_the_batch(baseline_data, tmp_path):
    """Losses of an epoch on two gloo ranks are those of one rank whose batch is as large as theirs together."""
    data = baseline_data("fusion")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    config = fusion_config(tmp_path, batch_size=4, dropout=0.0)
    first, second = (
        start(config, data, last="step 5 ", environment=environment | {"RANK": rank, "LOCAL_RANK": rank})
        for rank in "01"
    )
    with first, second:
        try:
            alone = losses_of(lines_of(fusion_config(tmp_path, dropout=0.0), data))
            together = losses_of(first.stdout.read().splitlines())
        finally:
            first.kill()
            second.kill()
    assert len(together) == 5
    assert together == pytest.approx(alone[:5], rel=1e-4)


def losses_of(lines):
    """The losses in lines that tell one."""
    return [float(line.split()[-1]) for line in lines if "loss" in line]


@pytest.mark.parametrize("name", ["fusion-permuted", "avel-full", "avel-weak", "cml"])
def test_each_task_is_trained_and_tested(baseline_data, tmp_path, name):
    """A configuration of the experiments runs end to end on a few clips, and gives every metric that is claimed."""
    data = baseline_data(name.partition("-")[0])
    config = read_config(CONFIGS / f"{name}.yaml", epochs=1)
    (outcome,) = train(config, data=data, ranks=ONE_RANK, seeds=[0], out=tmp_path, say=lambda _line: None)
    expected = {"fusion": {"acc"}, "avel": {"acc", "clip_class_oracle"}, "cml": {"a2v", "v2a", "random"}}
    assert set(outcome.tests) == set(config.tests)
    for values in outcome.tests.values():
        assert values.keys() >= expected[name.partition("-")[0]]
    assert 0 <= outcome.wait_share <= 1


@pytest.fixture(scope="module")
def ave_features(tmp_path_factory):
    """Where a data set `ave` has features of the shapes that AVE's authors published, and no media."""
    root, draw = tmp_path_factory.mktemp("features"), np.random.default_rng(0)
    shapes, rows = {"vggish": (10, 128), "vgg19": (10, 7, 7, 512)}, []
    for number in range(12):
        event = {"start_s": 2, "end_s": 6, "class": "Bark", "modality": "av"}
        row = {"id": f"clip{number}", "start_s": 0, "end_s": 10, "label": "Bark", "events": [event]}
        rows.append(json.dumps(row | {"split": ("train", "val", "test")[number % 3]}))
        for name, shape in shapes.items():
            (root / name).mkdir(exist_ok=True)
            np.save(root / name / f"clip{number}.npy", draw.normal(size=shape).astype(np.float16))
    (root / "table.jsonl").write_text("\n".join(rows))
    shardkit.pack(root / "table.jsonl", out=root / "ave", features={name: root / name for name in shapes}, workers=1)
    return root


@pytest.mark.parametrize("name", ["ave-weak", "ave-avdln"])
def test_configurations_of_ave_train_on_its_features(ave_features, name):
    """Those of the authors run on arrays of the authors' shapes, without a picture or a sound."""
    config = read_config(CONFIGS.parent / "papers" / f"{name}.yaml", epochs=1)
    config = replace(
        config, task=replace(config.task, label=None), loader={**config.loader, "batch_size": 4, "workers": 1}
    )
    (outcome,) = train(config, data=ave_features, ranks=ONE_RANK, seeds=[0], say=lambda _line: None)
    assert outcome.best_epoch == 0


def test_a_finished_seed_is_not_trained_again(baseline_data, tmp_path):
    """With `resume` its outcome is read, to the last digit."""
    data, config = baseline_data("fusion"), read_config(fusion_config(tmp_path), epochs=1)
    options = {"data": data, "ranks": ONE_RANK, "seeds": [0], "out": tmp_path}
    first = train(config, say=lambda _line: None, **options)
    lines = []
    assert train(config, say=lines.append, resume=True, **options) == first
    assert lines == []


def test_a_checkpoint_that_cannot_be_written_leaves_the_last_one(tmp_path):
    """What is saved takes the old one's place only once it is whole."""
    path = tmp_path / "last.pt"
    checkpoints.save(path, {"step": 1})
    with pytest.raises(Exception, match="pickle"):
        checkpoints.save(path, {"step": 2, "cannot": (number for number in range(3))})
    assert checkpoints.load(path) == {"step": 1}
