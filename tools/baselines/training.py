"""One run: a configuration and a seed to a trained model and what it reaches; stoppable at any time."""

import math
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

import shardkit
from shardkit.errors import UsageError
from shardkit.loading.batch import Batch
from shardkit.loading.loader import Loader
from shardkit.tasks import AVEL
from shardkit.tasks import Classification as ClassificationTask
from tools.baselines import checkpoints
from tools.baselines.config import Config, TaskChoice
from tools.baselines.models.build import build
from tools.baselines.objectives import Classification, CrossModality, Localization, Objective
from tools.baselines.ranks import Ranks

if TYPE_CHECKING:
    from torchmetrics import Metric

Values = dict[str, float]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to."""

    seed: int
    tests: dict[str, Values]
    """Evaluation to its metrics, by the weights that were best on `val`."""
    best_epoch: int
    best_score: float
    """On `val`."""
    train_s: float
    """In the loop over training batches, over all sittings."""
    wait_s: float
    """The part of it in which the loop waited for batches."""
    start_wait_s: float
    """The part of that for the first batch of an epoch, when nothing can have been loaded ahead."""

    @property
    def wait_share(self) -> float:
        """Of the training time."""
        return self.wait_s / self.train_s if self.train_s else 0.0

    @property
    def waiting(self) -> str:
        """The same as a sentence."""
        first = self.start_wait_s / self.train_s if self.train_s else 0.0
        return (
            f"{self.wait_share:.1%} of {self.train_s:.1f} s of training spent waiting for batches, "
            f"{first:.1%} for the first ones of its epochs"
        )


@dataclass(slots=True)
class _Progress:
    """What a checkpoint holds beside weights and states."""

    epoch: int = 0
    step: int = 0
    """Over all epochs."""
    best_epoch: int = -1
    best_score: float = -math.inf
    train_s: float = 0.0
    wait_s: float = 0.0
    start_wait_s: float = 0.0


@dataclass(slots=True)
class Run:
    """A run under way.

    Args:
        config: What is trained.
        data: Folder that `config.data` lies in.
        seed: Of weights, order and dropout.
        ranks: Which of them this is.
        folder: Where `last.pt` is kept; None keeps nothing.
        checkpoint_steps: Steps from one checkpoint to the next; one more after each epoch.
        print_steps: Steps from one printed loss to the next.
        say: What is told of each line, on the first rank.
    """

    config: Config
    data: Path
    seed: int
    ranks: Ranks
    folder: Path | None = None
    checkpoint_steps: int = 100
    print_steps: int = 10
    say: Callable[[str], None] = print

    model: nn.Module = field(init=False)
    parallel: nn.Module = field(init=False)
    """The model, or what averages its gradients over ranks."""
    objective: Objective = field(init=False)
    optimiser: torch.optim.Optimizer = field(init=False)
    schedule: torch.optim.lr_scheduler.LRScheduler = field(init=False)
    best: dict[str, Tensor] = field(init=False)
    progress: _Progress = field(init=False)
    loaders: dict[str, Loader] = field(init=False)

    def outcome(self, *, resume: bool = False) -> Outcome:
        """Trains, and tests.

        Args:
            resume: Goes on from `last.pt`, if it is there.

        Raises:
            ShardkitError: The data cannot be loaded, or do not fit the configuration.
        """
        torch.manual_seed(self.seed)
        with ExitStack() as open_loaders:
            self.loaders = {}
            for split in ("train", "val"):
                self.loaders[split] = open_loaders.enter_context(self._loader(split))
            self._build()
            if resume and self.folder is not None and (state := checkpoints.load(self.folder / "last.pt")):
                self._restore(state)
                self._say(f"goes on after step {self.progress.step}, in epoch {self.progress.epoch}")
            while self.progress.epoch < self.config.optimisation.epochs:
                self._train_epoch()
                self._choose(self._evaluated(self.loaders["val"]))
                self.progress.epoch += 1
                self._save()
        self.model.load_state_dict(self.best)
        if isinstance(self.objective, CrossModality):
            with self._loader("train", shuffle=False) as loader:
                for batch in loader:
                    self.objective.see_training(batch)
        tests = {}
        for name in self.config.tests:
            with self._loader("test", swapped_audio if name == "audio_swapped" else None) as loader:
                tests[name] = self._evaluated(loader)
            self._say(f"{name}: {_listed(tests[name])}")
        progress = self.progress
        outcome = Outcome(
            self.seed,
            tests,
            progress.best_epoch,
            progress.best_score,
            progress.train_s,
            progress.wait_s,
            progress.start_wait_s,
        )
        self._say(outcome.waiting)
        return outcome

    def _say(self, text: str) -> None:
        if self.ranks.is_first:
            self.say(f"{self.config.name} seed {self.seed}: {text}")

    def _loader(self, split: str, transform: Callable[[Batch], Batch] | None = None, **changes: Any) -> Loader:
        is_train = split == "train"
        task = self.config.task
        dataset = shardkit.open(self.data / self.config.data)
        if is_train and self.config.permute_labels:
            transform = _permuted(dataset.select(split=split), task, seed=self.seed)
        chosen = {"label": task.label, "level": task.level, "supervision": task.supervision}
        options = {
            "shuffle": is_train,
            **{name: value for name, value in chosen.items() if value is not None},
            "device": self.ranks.device if self.ranks.device.type == "cuda" else None,
            **self.config.loader,
            **(self.config.train_loader if is_train else {}),
            **changes,
        }
        return shardkit.loader(dataset, split=split, seed=self.seed, task=task.name, transform=transform, **options)

    def _build(self) -> None:
        config, train = self.config, self.loaders["train"]
        options = config.optimisation
        classes = len(train.task.classes)
        self.model = build(config.model, classes=classes).to(self.ranks.device)
        self.parallel = DistributedDataParallel(self.model) if self.ranks.world > 1 else self.model
        self.best = {name: value.clone() for name, value in self.model.state_dict().items()}
        self.objective = _objective(config, train, classes)
        self.optimiser = torch.optim.AdamW(
            self.model.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay
        )
        warmup, total = max(1.0, options.warmup_epochs * len(train)), options.epochs * len(train)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimiser,
            lambda step: min((step + 1) / warmup, 0.5 * (1 + math.cos(math.pi * min(1.0, step / total)))),
        )
        self.progress = _Progress()
        # Same weights on all ranks, not the same dropout.
        torch.manual_seed((self.seed << 16) + self.ranks.rank)

    def _output(self, batch: Batch) -> Any:
        on_gpu = self.ranks.device.type == "cuda"
        with torch.autocast("cuda", dtype=torch.bfloat16, enabled=on_gpu):
            return self.parallel(batch)

    def _train_epoch(self) -> None:
        loader, progress = self.loaders["train"], self.progress
        self.parallel.train()
        before, began_s = loader.stats(), time.perf_counter()
        earlier = (progress.train_s, progress.wait_s, progress.start_wait_s)
        loader.set_epoch(progress.epoch)
        left = self._steps_left()
        for batch in loader:
            losses = self.objective.losses(self._output(batch), batch)
            loss = (losses * batch.weight).sum() * batch.loss_scale
            self.optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), self.config.optimisation.clip_norm)
            self.optimiser.step()
            self.schedule.step()
            progress.step += 1
            left -= 1
            if progress.step % self.print_steps == 0:
                # repr: all digits, so that runs can be compared.
                self._say(f"epoch {progress.epoch} step {progress.step} loss {self.ranks.mean(loss)!r}")
            stats = loader.stats().since(before) if left == 0 or progress.step % self.checkpoint_steps == 0 else None
            if stats is not None:
                progress.train_s = earlier[0] + time.perf_counter() - began_s
                progress.wait_s = earlier[1] + stats.consumer_wait_s
                progress.start_wait_s = earlier[2] + stats.start_wait_s
            # After the last step comes the evaluation, and the checkpoint after that.
            if left and progress.step % self.checkpoint_steps == 0:
                self._save()

    def _steps_left(self) -> int:
        """Of the epoch, which may have begun with another number of ranks."""
        loader = self.loaders["train"]
        clips = len(loader.dataset) - loader.state_dict()["delivered"]
        steps, rest = divmod(clips, loader.config.batch_size * self.ranks.world)
        return steps + (rest > 0 and not loader.config.drop_last)

    @torch.no_grad()
    def _evaluated(self, loader: Loader) -> Values:
        self.parallel.eval()
        metric: Metric | None = None
        for batch in loader:
            if metric is None:
                metric = self.objective.metric(batch).to(self.ranks.device)
            self.objective.update(metric, self._output(batch), batch)
        assert metric is not None, "a loader has a batch at least"
        values: Values = metric.compute()
        return values

    def _choose(self, values: Values) -> None:
        score = self.objective.score(values)
        if score > self.progress.best_score:
            self.progress.best_score, self.progress.best_epoch = score, self.progress.epoch
            self.best = {name: value.clone() for name, value in self.model.state_dict().items()}
        self._say(f"epoch {self.progress.epoch} val {_listed(values)}")

    def _save(self) -> None:
        if self.folder is None:
            return
        devices = [torch.get_rng_state()]
        if self.ranks.device.type == "cuda":
            devices.append(torch.cuda.get_rng_state(self.ranks.device))
        random = self.ranks.gathered(devices)
        if self.ranks.is_first:
            state = {
                "seed": self.seed,
                "progress": {name: getattr(self.progress, name) for name in self.progress.__slots__},
                "model": self.model.state_dict(),
                "best": self.best,
                "optimiser": self.optimiser.state_dict(),
                "schedule": self.schedule.state_dict(),
                "loader": self.loaders["train"].state_dict(),
                "random": random,
            }
            checkpoints.save(self.folder / "last.pt", state)

    def _restore(self, state: Mapping[str, Any]) -> None:
        self.progress = _Progress(**state["progress"])
        self.model.load_state_dict(state["model"])
        self.best = {name: value.to(self.ranks.device) for name, value in state["best"].items()}
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])
        self.loaders["train"].load_state_dict(state["loader"])
        # With more ranks than there were, those that are new draw as they began.
        if self.ranks.rank < len(state["random"]):
            own = state["random"][self.ranks.rank]
            torch.set_rng_state(own[0])
            if self.ranks.device.type == "cuda":
                torch.cuda.set_rng_state(own[-1], self.ranks.device)


def swapped_audio(batch: Batch) -> Batch:
    """The batch with the sound of each clip at its neighbour's picture: what is left is what needs no sound."""
    if batch.audio is None:
        raise UsageError("tests: audio_swapped swaps sounds, and this configuration loads none: leave it out")
    return replace(batch, audio=batch.audio.roll(1, dims=0))


def _objective(config: Config, train: Loader, classes: int) -> Objective:
    task, manifest = config.task, train.dataset.manifest
    if task.name == "classification":
        return Classification(classes, multilabel=train.task.level is None)
    if task.name == "cml":
        return CrossModality(margin=config.optimisation.margin)
    known = AVEL("weak", task.label).bind(manifest)
    return Localization(classes, weak=task.supervision == "weak", clip_class=known.clip_class)


def _permuted(dataset: shardkit.Dataset, task: TaskChoice, *, seed: int) -> Callable[[Batch], Batch]:
    """Gives every clip the class of another one, the same one in every epoch."""
    bound = ClassificationTask(task.label, task.level).bind(dataset.manifest)
    (label_set,) = (one for one in dataset.label_sets if one.name == bound.label)
    ids = dataset.index.labels(label_set)[dataset.rows, bound.level].astype(np.int64)
    target_of = dict(zip(dataset.keys, spread_permutation(ids, seed=seed).tolist(), strict=True))
    return lambda batch: replace(batch, target=batch.target.new_tensor([target_of[key] for key in batch.keys]))


def spread_permutation(ids: NDArray[np.int64], *, seed: int) -> NDArray[np.int64]:
    """The same class ids in another order, in which the clips of each class have all classes as often as can be.

    Any other permutation leaves each class a commonest label. What tells classes apart learns these, and is then right
    or wrong in whole classes: with 20 of them chance would be 5 % give or take 5.

    Args:
        ids: int64 [N].
        seed: Of the order.
    """
    draw = np.random.default_rng([seed, 1])
    by_class = np.lexsort((draw.random(len(ids)), ids))
    rank = np.empty_like(ids)  # of each clip in its class
    rank[by_class] = np.arange(len(ids)) - np.searchsorted(ids[by_class], ids[by_class])
    # All classes once, then all once more, …: dealt to the clips of the first class, then of the second.
    in_turns = np.lexsort((draw.random(len(ids)), rank))
    permuted = np.empty_like(ids)
    permuted[by_class] = ids[in_turns]
    return permuted


def _listed(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in values.items())
