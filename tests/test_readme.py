"""What README.md shows is run as it stands."""

import shutil
import subprocess
import sys
import types

import pytest
import torch
from snippet_runs import blocks, expected_order, interleaved, run_ranks, snippet, torchrun
from synth_media import synthesise

import shardkit


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where README's `shardkit pack` has packed a data set into `shards`."""
    root = tmp_path_factory.mktemp("readme")
    synthesise(root / "videos", clips=24, annotations=root / "AVO-65.csv")
    subprocess.run([sys.executable, "-m", *pack_commands()[0].split()], cwd=root, check=True)
    return root


def pack_commands() -> list[str]:
    """The lines that begin with `shardkit pack`."""
    return [line for block in blocks("sh") for line in block.splitlines() if line.startswith("shardkit pack")]


def test_the_jobs_of_an_array_come_to_one_data_set(folder, tmp_path):
    """README's command for a part, for two of them, and the one that finishes."""
    part, finish = (line.split("  #")[0].replace("shards/", f"{tmp_path}/out") for line in pack_commands()[1:3])
    for number in "12":
        job = part.replace("$SLURM_ARRAY_TASK_ID/16", f"{number}/2")
        subprocess.run([sys.executable, "-m", *job.split()], cwd=folder, check=True)
    subprocess.run([sys.executable, "-m", *finish.split()], cwd=folder, check=True)
    assert len(shardkit.open(tmp_path / "out")) == len(shardkit.open(folder / "shards"))


@pytest.mark.slow
def test_the_training_loop_trains_as_many_epochs_as_it_says(folder):
    """README's DDP loop gives each clip once an epoch to one rank, also when it is stopped three times.

    Once in the middle of an epoch, to go on with one rank; once after an epoch's end, which is no 500th step; and once
    between an epoch's last step, which is one, and the epoch's end.
    """
    text = snippet(
        "init_process_group",
        {
            ", 10)": ", 3)",
            "batch_size=16, frames=8": "batch_size=2, frames=2",
            "step % 500 == 499": "step % 2 == 1",
            "        batch = batch.to(": "        record(batch)\n        batch = batch.to(",
            "\n    if dist.get_rank() == 0:": "\n    if dist.get_rank() == 0 and 'STOPS_EARLY' not in os.environ:",
        },
    )
    (folder / "train.py").write_text("from my_model import MyModel, record\n" + text)
    order = expected_order(folder / "shards", epochs=3)
    clips = len(order) // 3
    steps_left = -(-(clips - 8) // 2)  # of batches of 2 on one rank, after two of batches of 2 on two
    steps = -(-clips // 2)
    assert steps % 2 == 0  # the third run's last step is saved
    first = run_ranks(folder, torchrun(2), dies_at_step=4)
    second = run_ranks(folder, torchrun(1), dies_at_step=steps_left + 1)
    third = run_ranks(folder, torchrun(1), dies_at_step=steps + 1, environment={"STOPS_EARLY": "1"})
    fourth = run_ranks(folder, torchrun(2))
    kept = [[rank[:2] for rank in first], [second[0][:steps_left]], [third[0][:steps]], fourth]
    assert [key for ranks in kept for key in interleaved(ranks)] == order


def test_the_training_loop_is_short():
    """The loop that README promises is a full one in about 25 lines."""
    assert len(snippet("init_process_group").splitlines()) <= 25


def test_the_transforms_of_the_snippet_run_on_batches(folder):
    """README's transforms turn batches, the padded last one too, into frames, features and targets of those shapes."""
    text = snippet("from shardkit import transforms")
    options = {"split": "train", "batch_size": 7, "frames": 2, "size": 240, "seed": 1, "worker_type": "thread"}
    with shardkit.loader(folder / "shards", **options) as loader:
        assert len(loader.dataset) % 7
        names = {"torch": torch, "device": torch.device("cpu"), "loader": loader}
        exec(text, names)
    assert names["frames"].shape == (7, 2, 3, 224, 224)
    assert names["features"].shape == (7, 998, 128)
    torch.testing.assert_close(names["targets"].sum(dim=1), torch.ones(7))
    assert all(names[name].isfinite().all() for name in ("frames", "features", "targets"))


class Localizer(torch.nn.Module):
    """Scores of every second, from its mean colour and loudness."""

    def __init__(self, scores):
        super().__init__()
        self.head = torch.nn.Linear(4, scores)

    def forward(self, video, audio):
        """Scores [B, N, C] of frames [B, N, K, 3, H, W] and samples [B, N, 1, S]."""
        colours = video.float().mean(dim=(2, 4, 5)) / 255
        return self.head(torch.cat([colours, audio.abs().mean(dim=3)], dim=2))


def test_the_localization_loop_trains_and_is_measured_on_ave(folder, tmp_path, monkeypatch, capsys):
    """README's AVEL loop runs on AVE's annotations as they are written, and prints a metric for every epoch."""
    rows = []
    for number, video in enumerate(sorted((folder / "videos").glob("*.mp4"))[:4]):
        id = f"-video_{number:04d}"
        shutil.copy(video, tmp_path / f"{id}.mp4")
        rows.append(f"{('Bark', 'Goat')[number % 2]}&{id}&good&{number}&{number + 5}")
    (tmp_path / "Annotations.txt").write_text("\n".join(rows))
    splits = {"train": rows[:2], "val": rows[2:]}
    files = {name: tmp_path / f"{name}Set.txt" for name in splits}
    for name, lines in splits.items():
        files[name].write_text("\n".join(lines))
    shardkit.pack(
        tmp_path / "Annotations.txt",
        media=tmp_path,
        out=tmp_path / "ave",
        frames_per_segment=2,
        size=64,
        split_files={"ave": files},
        workers=2,
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "my_model", types.SimpleNamespace(Localizer=Localizer))
    exec(snippet("AVELMetrics", {"(classes + 1), 10": "(classes + 1), 2", '"batch_size": 16': '"batch_size": 2'}), {})
    epochs = capsys.readouterr().out.splitlines()
    assert len(epochs) == 2
    assert all("'always_background': 0.5" in epoch for epoch in epochs)
