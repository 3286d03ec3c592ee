"""LoaderConfig: the options of a loader, checked once."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import torch

from shardkit.errors import UsageError
from shardkit.loading.batch import Batch
from shardkit.loading.batch_task import BatchTask
from shardkit.loading.where import Where, check_where
from shardkit.planning.sampling import FrameChoice
from shardkit.planning.views import ViewRules
from shardkit.storage.locations import PathLike

MODALITIES = ("video", "audio")
SHARE = (0.0, 1.0)
SECONDS = (sys.float_info.min, sys.float_info.max)
"""Above 0 and finite."""
SEGMENT_SECONDS = (1e-3, sys.float_info.max)
"""Shorter segments than a millisecond are no segments but a mistake, and would fill the memory."""


@dataclass(frozen=True, slots=True)
class LoaderConfig:
    """See `shardkit.loader`, whose keywords these are."""

    batch_size: int
    split: str | None = None
    where: Where | None = None
    modalities: tuple[str, ...] = MODALITIES
    features: tuple[str, ...] = ()
    frames: int | None = None
    frame_choice: FrameChoice = "uniform"
    size: int | tuple[int, int] | None = None
    crop: Literal["center", "random"] | None = "center"
    flip: float = 0.0
    window_s: float | None = None
    segment_s: float | None = None
    views: int | tuple[int, int] | None = None
    columns: tuple[str, ...] = ()
    shuffle: bool = True
    shuffle_shards: int | None = None
    locality: Literal["node"] | None = None
    balance: str | None = None
    seed: int = 0
    epochs: int | None = None
    drop_last: bool = False
    decoder: Literal["auto", "decord"] = "auto"
    workers: int | None = None
    worker_type: Literal["process", "thread"] = "process"
    task: BatchTask | None = None
    transform: Callable[[Batch], Any] | None = None
    on_error: Literal["raise", "skip"] = "raise"
    max_skipped: float = 0.01
    verify: bool = True
    device: torch.device | str | None = None
    timeout_s: float = 60.0
    storage_options: Mapping[str, Any] | None = field(default=None, repr=False)  # they may hold secrets
    cache_dir: PathLike | None = None
    cache_limit: int | str | None = None
    storage_timeout_s: float | None = None

    def __post_init__(self) -> None:
        for name in ("batch_size", "frames", "epochs", "workers", "shuffle_shards"):
            value = getattr(self, name)
            if name == "batch_size" or value is not None:
                _check_count(name, value)
        if self.task is not None and (isinstance(self.task, type) or not isinstance(self.task, BatchTask)):
            raise UsageError(
                f"task={self.task!r}: the name of a task, or one of shardkit.tasks such as AVEL(), is needed"
            )
        for name in ("shuffle", "drop_last", "verify"):
            # "no" out of a configuration file would be true.
            _check_choice(name, getattr(self, name), (True, False))
        if self.where is not None:
            check_where(self.where)
        if self.shuffle_shards is not None and not self.shuffle:
            raise UsageError(
                f"shuffle_shards={self.shuffle_shards} says how clips are shuffled, and shuffle=False: leave one out"
            )
        self._check_balance()
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or not 0 <= self.seed < 1 << 64:
            raise UsageError(f"seed={self.seed!r}: a whole number from 0 to 2**64 - 1 is needed")
        for side in self.frame_size or ():
            _check_count("size", side)
        _check_choice("crop", self.crop, ("center", "random", None))
        _check_choice("frame_choice", self.frame_choice, get_args(FrameChoice))
        if self.frame_choice != "uniform" and self.frames is None:
            raise UsageError(
                f"frame_choice={self.frame_choice!r} chooses among the stored frames: say how many, frames="
            )
        _check_number("flip", self.flip, SHARE, needed="a chance from 0 to 1")
        self._check_views()
        _check_choice("decoder", self.decoder, ("auto", "decord"))
        _check_choice("locality", self.locality, ("node", None))
        _check_choice("worker_type", self.worker_type, ("process", "thread"))
        _check_choice("on_error", self.on_error, ("raise", "skip"))
        if not (self.modalities or self.features) or set(self.modalities) - set(MODALITIES):
            raise UsageError(f"modalities={self.modalities!r}: some of {MODALITIES} are needed, or features")
        if len(set(self.features)) < len(self.features):
            raise UsageError(f"features={self.features!r}: each is needed once")
        if self.window_s is not None:
            _check_number("window_s", self.window_s, SECONDS, needed="a number of seconds above 0")
        if self.segment_s is not None:
            _check_number("segment_s", self.segment_s, SEGMENT_SECONDS, needed="a number of seconds from 0.001")
        if self.has_segments:
            self._check_segments()
        _check_number("timeout_s", self.timeout_s, SECONDS, needed="a number of seconds above 0")
        _check_number("max_skipped", self.max_skipped, SHARE, needed="a share from 0 to 1")
        if self.transform is not None and not callable(self.transform):
            raise UsageError(f"transform={self.transform!r}: a function of a batch is needed")
        if self.worker_type == "thread" and self.decoder == "decord" and not self.verify:
            raise UsageError(
                "decoder='decord' with verify=False in threads: decord can end the whole process on damaged bytes; "
                "use worker_type='process' or verify=True",
            )

    def _check_balance(self) -> None:
        if self.balance is None:
            return
        if not isinstance(self.balance, str):
            raise UsageError(f"balance={self.balance!r}: the name of a level or a label set is needed")
        reasons = {
            "shuffle=False": "clips are drawn, in no order that is stored" if not self.shuffle else None,
            f"shuffle_shards={self.shuffle_shards}": "rare clips are drawn again and again, wherever they are stored"
            if self.shuffle_shards is not None
            else None,
            f"locality={self.locality!r}": "a node's share of the shards would have classes of its own"
            if self.locality is not None
            else None,
        }
        for option, reason in reasons.items():
            if reason is not None:
                raise UsageError(f"balance={self.balance!r} and {option} exclude each other: {reason}; leave one out")

    @property
    def has_segments(self) -> bool:
        """Whether windows are cut into segments."""
        return self.segment_s is not None or (self.task is not None and self.task.needs_segments)

    def _check_segments(self) -> None:
        if self.views is not None:
            raise UsageError(
                f"views={self.views!r} do not go with segments: labels of segments are those of one window; leave "
                "views out, or segment_s and the task"
            )
        if self.frame_choice == "contiguous":
            raise UsageError(
                "frame_choice='contiguous' does not go with segments: neighbouring frames would all lie in one or two "
                "of them; choose 'uniform' or 'random', in shards that were packed with --frames-per-segment"
            )

    def _check_views(self) -> None:
        if self.views is None:
            return
        if not isinstance(self.views, tuple | list):
            _check_count("views", self.views)
            if self.views > 1 and not self._draws_parts():
                raise UsageError(
                    f"views={self.views}: nothing is drawn, so all views of a clip are the same; give window_s=, or "
                    "for video crop='random' with size=, flip= between 0 and 1, or frames= with frame_choice='random' "
                    "or 'contiguous'",
                )
            return
        if len(self.views) != 2:
            raise UsageError(f"views={self.views!r}: a number, or (windows, crops), is needed")
        for count in self.views:
            _check_count("views", count)
        windows, crops = self.views
        if windows > 1 and self.window_s is None and self.frame_choice == "uniform":
            raise UsageError(
                f"views={self.views!r}: {windows} windows of whole clips are all the same; give window_s=, or frames= "
                "with frame_choice='contiguous' or 'random'",
            )
        if crops > 1 and self.size is None:
            raise UsageError(f"views={self.views!r}: {crops} crops of whole frames are all the same; give size=")
        drawn = f"flip={self.flip}" if self.flip else "crop='random'" if self.crop == "random" else None
        if drawn is not None:
            raise UsageError(f"views={self.views!r} have fixed places: {drawn} does not go with them")

    def _draws_parts(self) -> bool:
        """Whether independent views of a clip can differ."""
        if self.window_s is not None:
            return True
        crops = self.crop == "random" and self.size is not None
        return "video" in self.modalities and (crops or 0 < self.flip < 1 or self.frame_choice != "uniform")

    @property
    def rules(self) -> ViewRules:
        """How the views of a clip are drawn."""
        independent, grid = (
            (self.views, None) if self.views is None or isinstance(self.views, int) else (None, self.views)
        )
        return ViewRules(
            seed=self.seed,
            random_window=self.shuffle or independent is not None,
            random_crop=self.crop == "random",
            frame_choice=self.frame_choice,
            flip=self.flip,
            independent=independent,
            grid=None if grid is None else (grid[0], grid[1]),
        )

    @property
    def frame_size(self) -> tuple[int, int] | None:
        """(height, width) of the frames asked for."""
        if self.size is None:
            return None
        if isinstance(self.size, tuple | list):
            if len(self.size) != 2:
                raise UsageError(f"size={self.size!r}: one number, or (height, width), is needed")
            return (self.size[0], self.size[1])
        return (self.size, self.size)


def _check_count(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UsageError(f"{name}={value!r}: a whole number of at least 1 is needed")


def _check_number(name: str, value: Any, bounds: tuple[float, float], *, needed: str) -> None:
    # True would mirror every clip, which nobody means by it.
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (is_number and bounds[0] <= value <= bounds[1]):
        raise UsageError(f"{name}={value!r}: {needed} is needed")


def _check_choice(name: str, value: Any, choices: tuple[Any, ...]) -> None:
    if value not in choices:
        raise UsageError(f"{name}={value!r}: one of {', '.join(map(repr, choices))} is needed")
