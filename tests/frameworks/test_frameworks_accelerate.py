"""The loader beside Accelerate, on one process and on two."""

import accelerate
import pytest
import torch
from accelerate.state import AcceleratorState, GradientState
from accelerate.utils import send_to_device
from small_loaders import real_keys, small_loader
from snippet_runs import expected_order, interleaved, run_ranks, snippet, torchrun

import shardkit


@pytest.fixture
def accelerator():
    """An Accelerator on the CPU; what it keeps for the whole process is forgotten afterwards."""
    yield accelerate.Accelerator(cpu=True)
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


def test_prepare_hands_the_loader_back(packed, accelerator):
    """Prepare() of a loader is the loader itself: nothing is sharded twice."""
    with small_loader(packed) as loader:
        assert accelerator.prepare(loader) is loader


def test_a_batch_is_sent_to_a_device_whole(packed, accelerator):
    """send_to_device() moves all tensors of a Batch, which stays one."""
    with small_loader(packed) as loader:
        moved = send_to_device(next(iter(loader)), torch.device("meta"))
    assert isinstance(moved, shardkit.Batch)
    assert moved.audio.device.type == moved.events.start_s.device.type == "meta"


@pytest.mark.parametrize("step", range(6))
def test_a_registered_loader_goes_on_where_it_was_saved(packed, accelerator, tmp_path, step):
    """save_state() after any batch, load_state() into another loader: the batches that follow, and the next epoch."""
    with small_loader(packed) as loader:
        epochs = [real_keys(batch) for _ in range(2) for batch in loader]
    with small_loader(packed) as loader:
        accelerator.register_for_checkpointing(loader)
        for _ in zip(range(step), loader, strict=False):
            pass
        accelerator.save_state(tmp_path / "checkpoint")
    with small_loader(packed) as loader:
        accelerator._custom_objects[:] = [loader]
        accelerator.load_state(tmp_path / "checkpoint")
        rest = [real_keys(batch) for batch in loader]
        assert rest == (epochs[step:5] or epochs[5:])


@pytest.mark.slow
def test_two_ranks_share_the_epochs_and_resume(packed, tmp_path):
    """README's script on two ranks gives each clip once an epoch to one of them, also when it dies and is run again.

    It dies in the middle of an epoch, and after an epoch's end, which is no 500th step.
    """
    text = snippet(
        "import os, accelerate",
        {
            '"shards"': repr(str(packed)),
            "batch_size=16, frames=8, size=224": "batch_size=2, frames=2, size=64",
            '["instrument"][:, 3]': '["label"][:, 0]',
            ", 10)": ", 2)",
            "step % 500 == 499": "step % 2 == 1",
            "import MyModel": "import MyModel, record",
            "        batch = batch.to(": "        record(batch)\n        batch = batch.to(",
        },
    )
    # Of the 19 clips of the split, the last step of two times two has three.
    metrics = "logits, weight = accelerator.gather((logits, batch.weight))\nassert len(logits[weight > 0]) == 3\n"
    (tmp_path / "train.py").write_text(text + metrics)
    on_cpu = {"ACCELERATE_USE_CPU": "1"}
    first = run_ranks(tmp_path, torchrun(2), dies_at_step=4, environment=on_cpu)
    second = run_ranks(tmp_path, torchrun(2), dies_at_step=4, environment=on_cpu)
    third = run_ranks(tmp_path, torchrun(2), environment=on_cpu)
    # Five steps an epoch: two are saved of the first run, the second has the other three.
    kept = [[rank[:2] for rank in first], [rank[:3] for rank in second], third]
    assert [key for ranks in kept for key in interleaved(ranks)] == expected_order(packed, epochs=2)
