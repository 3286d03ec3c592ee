"""What a run is: a YAML file, checked once."""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeVar

from shardkit.errors import UsageError

_Made = TypeVar("_Made")


@dataclass(frozen=True, slots=True)
class TaskChoice:
    """Of `shardkit.loader`: what batches are for."""

    name: Literal["classification", "avel", "cml"]
    supervision: Literal["full", "weak"] = "full"
    label: str | None = None
    level: str | int | None = None

    def __post_init__(self) -> None:
        if self.name not in ("classification", "avel", "cml"):
            raise UsageError(f"task {self.name!r}: there are baselines for 'classification', 'avel' and 'cml'")


@dataclass(frozen=True, slots=True)
class Optimisation:
    """AdamW, with a warm-up and a cosine down to nothing."""

    epochs: int
    learning_rate: float
    weight_decay: float = 0.01
    warmup_epochs: float = 1.0
    clip_norm: float = 5.0
    """Gradients are not longer than that."""
    margin: float = 2.0
    """Of the contrastive loss, task `cml`."""


@dataclass(frozen=True, slots=True)
class Config:
    """One experiment."""

    name: str
    data: str
    """Folder of the shards, below `--data`."""
    task: TaskChoice
    model: Mapping[str, Any]
    """What `models.build` takes."""
    optimisation: Optimisation
    loader: Mapping[str, Any]
    """Keywords of `shardkit.loader`, `batch_size` among them."""
    train_loader: Mapping[str, Any] = field(default_factory=dict)
    """More of them for training: augmentation."""
    permute_labels: bool = False
    """Clips to train on get each other's labels: what is then right in the test is luck."""
    tests: Sequence[Literal["test", "audio_swapped"]] = ("test",)
    """Evaluations of the test clips: as they are, and with each one's sound at another one's picture."""
    note: str = ""
    """What a reader must know, such as that it was not trained here."""

    def __post_init__(self) -> None:
        if unknown := set(self.tests) - {"test", "audio_swapped"}:
            raise UsageError(f"tests: {min(unknown)!r}; there are 'test' and 'audio_swapped'")


def read_config(path: Path, **changes: Any) -> Config:
    """The configuration in a YAML file.

    Args:
        path: The file.
        changes: Other values for keys of `optimisation`.

    Raises:
        UsageError: It is no YAML, or has keys that there are not, or lacks some.
    """
    import yaml  # noqa: PLC0415 - of the extra `baselines`

    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, yaml.YAMLError) as exc:
        raise UsageError(f"{path}: {exc}") from exc
    values = dict(_mapping(content, f"{path}"))
    values["task"] = _made(TaskChoice, values.get("task"), f"{path}: task")
    optimisation = {**_mapping(values.get("optimisation"), f"{path}: optimisation"), **changes}
    values["optimisation"] = _made(Optimisation, optimisation, f"{path}: optimisation")
    return _made(Config, values, f"{path}")


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise UsageError(f"{where}: {value!r}, expected keys and values")
    return value


def _made(kind: type[_Made], value: Any, where: str) -> _Made:
    values = _mapping(value, where)
    known = {f.name: f.default is MISSING and f.default_factory is MISSING for f in fields(kind)}  # type: ignore[arg-type]
    if unknown := sorted(set(values) - set(known)):
        raise UsageError(f"{where}: no key {unknown[0]!r}; there are {', '.join(known)}")
    if missing := [name for name, needed in known.items() if needed and name not in values]:
        raise UsageError(f"{where}: {missing[0]!r} is missing")
    return kind(**values)
