"""`shardkit stats`: a split's mean and standard deviation, and what to paste into the training script."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import shardkit
from shardkit.cli.run_display import LINE_EVERY_S

if TYPE_CHECKING:
    from shardkit.loading.batch import Batch
    from shardkit.loading.dataset import Dataset
    from shardkit.loading.loader import Loader
    from shardkit.transforms.dataset_statistics import Statistics
    from shardkit.transforms.frontends import FrontEnd, FrontEndName

DEFAULT_FRONT_END: "FrontEndName" = "ast"
BATCH_SIZE = 8
DIGITS = 4


@dataclass(frozen=True, slots=True)
class MeasuredStatistics:
    """Statistics, and what they are of."""

    path: str
    split: str | None
    where: str | None
    frontend: "FrontEndName | None"
    """None: of the frames."""
    sample_rate_hz: int | None
    numbers: "Statistics"

    @property
    def call(self) -> str:
        """What makes the normalisation of these numbers, as Python."""
        mean = [round(value, DIGITS) for value in self.numbers.mean]
        std = [round(value, DIGITS) for value in self.numbers.std]
        if self.frontend is None:
            return f"shardkit.transforms.Normalize(mean={tuple(mean)}, std={tuple(std)})"
        return (
            f'shardkit.transforms.frontend("{self.frontend}", sample_rate_hz={self.sample_rate_hz}, '
            f"mean={mean[0]}, std={std[0]})"
        )

    def to_json(self) -> dict[str, Any]:
        """The numbers in full, and the call."""
        return {
            "path": self.path,
            "split": self.split,
            "where": self.where,
            "modality": "video" if self.frontend is None else "audio",
            "frontend": self.frontend,
            "sample_rate_hz": self.sample_rate_hz,
            **self.numbers.to_json(),
            "call": self.call,
        }


def measure_statistics(
    path: str,
    *,
    split: str | None,
    where: str | None,
    modality: Literal["audio", "video"],
    frontend: "FrontEndName | None",
    size: int | None,
    workers: int | None,
    storage_options: dict[str, Any] | None,
    quiet: bool,
) -> MeasuredStatistics:
    """Computes them, with the progress on standard error.

    Args:
        path: A data set.
        split: Of this split only.
        where: Of the clips only for which this condition holds.
        modality: What they are of.
        frontend: Of `audio`: whose features; None is DEFAULT_FRONT_END.
        size: Of `video`: height and width that frames are cropped to; None needs frames of one size.
        workers: As in `shardkit.loader`.
        storage_options: As in `shardkit.open`.
        quiet: Without the progress.

    Raises:
        UsageError: An option is wrong or of the other modality, or there is nothing to take the mean of.
        DataError: A clip is damaged.
        StorageError: The data set cannot be read.
    """
    if modality == "video" and frontend is not None:
        raise shardkit.UsageError(_other("--frontend", frontend, of="audio", this=modality))
    if modality == "audio" and size is not None:
        raise shardkit.UsageError(_other("--size", size, of="video", this=modality))
    dataset = shardkit.open(path, storage_options=storage_options)
    dataset = dataset.select(split=split, where=where)
    if not len(dataset):
        raise shardkit.UsageError(f"{path}: no clip is chosen, so there is nothing to take the mean of")
    rate_hz = front = None
    if modality == "audio":
        frontend = frontend or DEFAULT_FRONT_END
        rate_hz = _sample_rate_hz(dataset)
        front = _front_end(frontend, rate_hz, quiet=quiet)
    loader = shardkit.loader(
        dataset,
        batch_size=min(BATCH_SIZE, len(dataset)),
        modalities=(modality,),
        size=size,
        crop="center",
        shuffle=False,
        workers=workers,
    )
    with loader:
        numbers = shardkit.transforms.statistics(_watched(loader, quiet=quiet), frontend=front)
    return MeasuredStatistics(path, split, where, frontend, rate_hz, numbers)


def _other(option: str, value: object, *, of: str, this: str) -> str:
    return f"{option} {value} is for --modality {of}, and this is {this}: leave it out, or choose {of}"


def show_statistics(measured: MeasuredStatistics) -> None:
    """Prints the numbers and the call."""
    numbers = measured.numbers
    of = "frames in [0, 1], red green blue" if measured.frontend is None else f"features of {measured.frontend}"
    chosen = measured.path if measured.split is None else f"{measured.path}, split {measured.split}"
    chosen += "" if measured.where is None else f", {measured.where}"
    typer.echo(f"{chosen}: {of}, {numbers.clips:,} clips, {numbers.frames:,} frames")
    typer.echo(f"mean  {'  '.join(f'{value:.{DIGITS}f}' for value in numbers.mean)}")
    typer.echo(f"std   {'  '.join(f'{value:.{DIGITS}f}' for value in numbers.std)}")
    typer.echo(measured.call)


def _sample_rate_hz(dataset: "Dataset") -> int:
    """Of the first clip that has sound: the loader refuses clips that differ."""
    index = dataset.index
    with_sound = dataset.rows[index.audio_bytes[dataset.rows] > 0]
    if not len(with_sound):
        raise shardkit.UsageError(f"{dataset.folder}: no clip here has sound; --modality video is what there is")
    return int(index.audio_rate_hz[with_sound[0]])


def _front_end(name: "FrontEndName", rate_hz: int, *, quiet: bool) -> "FrontEnd":
    """The front end for audio of this rate.

    Raises:
        UsageError: It takes another; the message names those that take this one.
    """
    from shardkit.transforms.frontends import FrontEndName

    try:
        with _notes(quiet=quiet):
            return shardkit.transforms.frontend(name, sample_rate_hz=rate_hz)
    except shardkit.UsageError as exc:
        fitting = []
        for other in get_args(FrontEndName):
            with suppress(shardkit.UsageError), _notes(quiet=True):
                fitting.append(shardkit.transforms.frontend(other, sample_rate_hz=rate_hz).name)
        if not fitting:
            raise
        raise shardkit.UsageError(f"{exc}; front ends for {rate_hz} Hz: {', '.join(fitting)}") from exc


@contextmanager
def _notes(*, quiet: bool) -> Iterator[None]:
    """What the library warns of while it makes a front end, that torchaudio is used in part, is a note to users."""
    logger = logging.getLogger("shardkit")
    handler = logging.NullHandler() if quiet else logging.StreamHandler()
    handler.setFormatter(logging.Formatter("note: %(message)s"))
    logger.addHandler(handler)
    propagated, logger.propagate = logger.propagate, False
    try:
        yield
    finally:
        logger.propagate = propagated
        logger.removeHandler(handler)


def _watched(loader: "Loader", *, quiet: bool) -> "Iterator[Batch]":
    """The loader's batches; on a terminal a bar says how far it is, elsewhere a line now and then."""
    console = Console(stderr=True, quiet=quiet)
    clips = len(loader.dataset)
    if console.is_terminal and not quiet:
        columns = (TextColumn("measuring"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task("measuring", total=clips)
            for batch in loader:
                yield batch
                bar.advance(task, len(batch))
        return
    next_line_s = time.monotonic() + LINE_EVERY_S
    for number, batch in enumerate(loader, start=1):
        yield batch
        if time.monotonic() >= next_line_s:
            next_line_s = time.monotonic() + LINE_EVERY_S
            console.print(f"{min(number * loader.config.batch_size, clips)} of {clips} clips")
