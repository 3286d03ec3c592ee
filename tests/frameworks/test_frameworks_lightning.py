"""The loader under Lightning's Trainer, on one process and on two."""

import lightning
import pytest
import torch
from small_loaders import real_keys, small_loader
from snippet_runs import expected_order, interleaved, run_ranks, snippet

import shardkit

# Lightning 2.6 uses a part of torch's pytree that torch 2.13 is about to drop.
pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")

STEPS = 5
"""Steps of an epoch: 24 clips in batches of 5."""

QUIET = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


class _Listener(lightning.LightningModule):
    """Trains a little and writes down which clips it was given."""

    def __init__(self):
        super().__init__()
        self.head = torch.nn.Linear(1, 3)
        self.trained = []
        self.validated = []

    def training_step(self, batch, _):
        self.trained.append(real_keys(batch))
        loss = self.head(batch.audio.abs().mean(dim=(1, 2)).unsqueeze(1)).square().mean(dim=1)
        return (loss * batch.weight).sum() * batch.loss_scale

    def validation_step(self, batch, _):
        self.validated.append(real_keys(batch))
        clips = int(batch.weight.sum())
        self.log("number", (batch.columns["number"] * batch.weight).sum() / max(1, clips), batch_size=clips)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)


class _Keeper(lightning.Callback):
    """Saves a checkpoint wherever one can be."""

    def __init__(self, folder):
        self.folder = folder

    def on_train_batch_end(self, trainer, *_):
        self._save(trainer, "batch")

    def on_validation_end(self, trainer, *_):
        if not trainer.sanity_checking:
            self._save(trainer, "validation")

    def on_train_epoch_end(self, trainer, *_):
        self._save(trainer, "epoch")

    def _save(self, trainer, place):
        trainer.save_checkpoint(self.folder / f"{place}-{trainer.global_step}.ckpt")


def _fit(source, *, checkpoint=None, **options):
    """The module after two epochs of training, or the rest of them after `checkpoint`."""
    module = _Listener()
    trainer = lightning.Trainer(
        accelerator="cpu",
        **(QUIET | {"max_epochs": 2, "val_check_interval": 2} | options),
    )
    with (
        small_loader(source) as train,
        small_loader(source, columns=("number",), split="test", batch_size=4, shuffle=False) as test,
    ):
        trainer.fit(module, train, test, ckpt_path=checkpoint, weights_only=True)
    return module, trainer


@pytest.fixture(scope="module")
def kept(packed, tmp_path_factory):
    """A folder of checkpoints of two epochs, and the clips of their ten steps."""
    folder = tmp_path_factory.mktemp("checkpoints")
    module, _ = _fit(packed, callbacks=[_Keeper(folder)])
    return folder, module.trained


@pytest.fixture(scope="module")
def epochs(packed):
    """The clips of the ten steps of two epochs, by the loader alone."""
    with small_loader(packed) as loader:
        return [real_keys(batch) for _ in range(2) for batch in loader]


def test_fit_goes_through_the_loaders_epochs(kept, epochs):
    """Two epochs of fit are the loader's epochs 0 and 1, batch by batch."""
    assert kept[1] == epochs


@pytest.mark.parametrize(
    "place",
    [*(f"batch-{step}" for step in range(1, 2 * STEPS + 1)), "validation-2", "validation-4", "epoch-5", "epoch-10"],
)
def test_fit_goes_on_where_the_checkpoint_was_saved(packed, kept, epochs, place):
    """From a checkpoint after any batch, in a validation or at an epoch's end: the steps that follow, and no other."""
    folder, _ = kept
    module, _ = _fit(packed, checkpoint=folder / f"{place}.ckpt")
    assert module.trained == epochs[int(place.partition("-")[2]) :]


def test_a_metric_counts_real_clips_once(packed):
    """A mean that is logged with batch_size=the real clips is the mean over the split, whose last batch is padded."""
    module, trainer = _fit(packed, max_epochs=1, val_check_interval=1.0, num_sanity_val_steps=0)
    assert [len(keys) for keys in module.validated] == [4, 1]
    assert trainer.callback_metrics["number"] == pytest.approx((3 + 7 + 11 + 15 + 19) / 5)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_batches_come_whole(packed, epochs, precision):
    """A module gets the loader's Batch, moved to its device, also under mixed precision."""
    module, _ = _fit(packed, max_steps=1, precision=precision, limit_val_batches=0)
    assert module.trained == epochs[:1]


class _OfDictionaries(lightning.LightningModule):
    """Trains a little on batches that are dictionaries, and writes down the type of their sound."""

    def __init__(self):
        super().__init__()
        self.head = torch.nn.Linear(1, 3)
        self.dtypes = []

    def training_step(self, batch, _):
        self.dtypes.append(batch["audio"].dtype)
        return self.head(batch["audio"].abs().mean(dim=(1, 2)).unsqueeze(1)).square().mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)


def test_batches_as_dictionaries_are_rewritten(packed):
    """precision="bf16-true" casts batches, and can where transform=Batch.as_dict makes dictionaries of them."""
    module = _OfDictionaries()
    trainer = lightning.Trainer(accelerator="cpu", max_steps=1, precision="bf16-true", **QUIET)
    with small_loader(packed, transform=shardkit.Batch.as_dict) as train:
        trainer.fit(module, train)
    assert module.dtypes == [torch.bfloat16]


@pytest.mark.slow
def test_two_ranks_share_the_epochs_and_resume(packed, tmp_path):
    """README's script under DDP gives each clip once an epoch to one rank, also when it dies and is run again."""
    text = snippet(
        "import lightning",
        {
            '"shards"': repr(str(packed)),
            'split="val"': 'split="test"',
            '"batch_size": 16, "frames": 8, "size": 224': '"batch_size": 2, "frames": 2, "size": 64',
            '["instrument"][:, 3]': '["label"][:, 0]',
            "max_epochs=10": 'max_epochs=2, accelerator="cpu", devices=2, strategy="ddp", logger=False',
            "every_n_train_steps=500": "every_n_train_steps=2",
            "import MyModel": "import MyModel, record",
            "return self.losses(batch).sum() *": "record(batch)\n        return self.losses(batch).sum() *",
        },
    )
    # Of the five clips to validate, the second step of two times two has one: none for rank 1.
    metrics = 'assert trainer.callback_metrics["val_loss"].isfinite()\n'
    (tmp_path / "train.py").write_text(text + metrics)
    first = run_ranks(tmp_path, ["train.py"], dies_at_step=4)
    second = run_ranks(tmp_path, ["train.py"])
    saved = [steps[:2] for steps in first]
    assert interleaved(saved) + interleaved(second) == expected_order(packed, epochs=2)
