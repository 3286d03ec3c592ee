"""Loader: batches of clips in a reproducible order, resumable at any batch."""

import hashlib
import logging
import time
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from shardkit.clip import UNKNOWN_EVENTS
from shardkit.cores import usable_cores
from shardkit.errors import (
    CorruptShardError,
    DataError,
    ShardkitError,
    TooManyRejectsError,
    UsageError,
    WorkerError,
)
from shardkit.loading.balance import Balance
from shardkit.loading.batch import Batch
from shardkit.loading.collate import NO_CLIP, Collator
from shardkit.loading.config import LoaderConfig
from shardkit.loading.dataset import Dataset, open_dataset
from shardkit.loading.device import Copier, Copy, device_copier, is_cuda
from shardkit.loading.engine import Engine
from shardkit.loading.frame_segments import default_segment_s
from shardkit.loading.one_thread import OneThread
from shardkit.loading.ranks import Ranks, local_world_size, node_count, resolve_ranks
from shardkit.loading.reports import Fault
from shardkit.loading.ring import AHEAD_BUFFERS
from shardkit.loading.shapes import clip_plan
from shardkit.loading.stats import LoaderStats, Meter
from shardkit.planning.balance import BalancedOrder
from shardkit.planning.order import ORDER_VERSION, EpochOrder
from shardkit.planning.state import LoaderState, check_fingerprint, fingerprint
from shardkit.planning.steps import after_step, loss_scale, rank_on_nodes, rank_positions, step_count, weights
from shardkit.storage.locations import PathLike

_log = logging.getLogger("shardkit")
_Answer = TypeVar("_Answer")

NO_BUFFER = -1
MIN_SKIPPED = 8
"""Bad clips that on_error='skip' always bears, however small the data set is."""
SKIPPABLE = (DataError, WorkerError)
"""Faults of a clip: its bytes, or what they do to a worker. A shard that cannot be read is no clip's fault."""


class _Staged(NamedTuple):
    """A batch that is ready for the loop, or on its way to the device."""

    step: "_Step"
    batch: Batch | Copy
    clips: int
    """Those with weight 1."""


@dataclass(frozen=True, slots=True)
class _Step:
    """One batch on its way through the workers."""

    number: int
    """The engine's."""
    epoch: int
    delivered: int
    """Positions delivered before it, over all ranks."""
    rows: npt.NDArray[np.int64]
    positions: npt.NDArray[np.int64]
    weight: npt.NDArray[np.float32]
    buffer: int = NO_BUFFER


class _Iteration(Iterator[Batch]):
    """The batches of one iteration, for one thread at a time."""

    __slots__ = ("_batches", "_one_thread")

    def __init__(self, batches: Generator[Batch, None, None], one_thread: OneThread) -> None:
        self._batches = batches
        self._one_thread = one_thread

    def __next__(self) -> Batch:
        with self._one_thread:
            self._one_thread.took_batch()
            return next(self._batches)

    def close(self) -> None:
        """Ends it: the next one may be another thread's."""
        with self._one_thread:
            self._batches.close()


class Loader:
    """Iterates over batches; made by `shardkit.loader`. One process, one thread, one iteration at a time.

    Iterating again gives the next epoch once one is finished, and the same epoch again after it was abandoned.
    """

    batch_sampler: None = None
    """None as in DataLoader(batch_size=None): Lightning asks for it wherever there is a `sampler`."""

    def __init__(
        self,
        source: Dataset | PathLike | Sequence[PathLike],
        config: LoaderConfig,
        *,
        make_copier: Callable[[torch.device | str | None, npt.NDArray[np.uint8]], Copier | None] = device_copier,
    ) -> None:
        """Opens the data set and plans its order; `make_copier` is for tests on machines without a GPU."""
        self.config = config
        if config.device is not None:
            _check_device(config.device)
        self._make_copier = make_copier
        dataset = _opened(source, config)
        chosen = config.split is not None or config.where is not None
        self.dataset = dataset.select(split=config.split, where=config.where) if chosen else dataset
        if not dataset.manifest.packed:
            _check_unpacked(dataset, config)
        if not len(self.dataset):
            selection = "selection" if config.split is None else f"split {config.split!r}"
            fitting = "" if config.where is None else f" for which {config.where}"
            raise UsageError(f"{self.dataset.folder}: no clips in this {selection}{fitting}: nothing to load")
        self.task = None if config.task is None else config.task.bind(dataset.manifest)
        """Sets the targets; bound to the data set, so that `loader.task.classes` says what theirs are."""
        self._plan = clip_plan(
            self.dataset.folder,
            self.dataset.manifest,
            self.dataset.index,
            self.dataset.rows,
            modalities=config.modalities,
            frames=config.frames,
            size=config.frame_size,
            crop=config.crop,
            window_s=config.window_s,
            rules=config.rules,
            decoder=config.decoder,
            audio_dtype="int16" if is_cuda(config.device) else "float32",
            verify=config.verify,
            segment_s=(config.segment_s or default_segment_s(dataset.manifest)) if config.has_segments else None,
            features=config.features,
        )
        if self._plan.video is None and self._plan.audio is None and not self._plan.features:
            there = self.dataset.manifest.features
            hint = f"; ask for features={there!r}" if there else ""
            raise UsageError(f"{self.dataset.folder}: no clip has {' or '.join(config.modalities)}{hint}")
        self._balance = None if config.balance is None else Balance.of(self.dataset, config.balance)
        self._order: EpochOrder | BalancedOrder | None = None
        self._order_epoch = -1
        self._nodes = 1 if config.locality is None else node_count()
        self._wanted: tuple[int, int] | None = None
        """Epoch and window whose shards a cache was last asked to keep."""
        self._collator = Collator(
            self.dataset,
            config.columns,
            views=config.rules.count,
            segments=self._plan.segments,
            features=self._plan.features,
        )
        wants_events = self.task is not None and self.task.needs_events and self._plan.segments is not None
        if wants_events and not self._collator.knows_events():
            raise UsageError(
                f"{self.dataset.folder}: of no clip in this selection it is known when its events are (flags "
                f"{' and '.join(UNKNOWN_EVENTS.values())}): choose other clips, pack the file that has the events, or "
                "train with supervision='weak'"
            )
        self._fingerprint = fingerprint(
            order_version=ORDER_VERSION,
            dataset_digest=self.dataset.manifest.digest(),
            clip_count=len(self.dataset),
            window_shards=self._order_of(0).window_shards,
            selection_digest=hashlib.blake2b(self.dataset.rows.tobytes(), digest_size=16).hexdigest(),
            shuffle=config.shuffle,
            nodes=self._nodes,
            balance=None if self._balance is None else self._balance.name,
        )
        self._epoch = 0
        self._delivered = 0
        self._pin: int | None = None
        """The epoch that `set_epoch` asked for."""
        self._resuming = False
        self._begun = False
        """Whether the current iteration has asked for a batch, and has not ended."""
        self._iterations = 0
        self._current: int | None = None
        """The iteration that gets batches; None before the first and after close()."""
        self._ranks: Ranks | None = None
        self._engine: Engine | None = None
        self._stop: weakref.finalize[Any, Loader] | None = None
        self._meter = Meter.started()
        self._ended_stats: LoaderStats | None = None
        """The last of the workers that were ended."""
        self._one_thread = OneThread()
        self._warned_of_padding = False
        self._skipped = 0
        self._planned: deque[_Step] = deque()
        """Steps that workers may read ahead for, and that have no buffer yet."""
        self._waiting: deque[_Step] = deque()
        """Steps with a buffer that is being filled."""
        self._staged: deque[_Staged] = deque()
        self._copier: Copier | None = None

    def __repr__(self) -> str:
        return (
            f"Loader({self.dataset!r}, batch_size={self.config.batch_size}, epoch={self._epoch}, "
            f"delivered={self._delivered}, {'running' if self._engine else 'not started'})"
        )

    def __getstate__(self) -> dict[str, Any]:
        if self._engine is not None:
            raise TypeError("a loader with workers cannot be copied or pickled: make one where it is to be used")
        return self.__dict__.copy()

    def __len__(self) -> int:
        """Batches that one iteration over whole epochs gives to each rank."""
        # Not what an earlier call found: trainers ask before and after they set up torch.distributed.
        global_batch = self.config.batch_size * resolve_ranks().world
        steps = step_count(len(self.dataset), delivered=0, global_batch=global_batch, drop_last=self.config.drop_last)
        return steps * (self.config.epochs or 1)

    @property
    def skipped(self) -> int:
        """Clips of this rank that could not be loaded in the current epoch (on_error='skip')."""
        return self._skipped

    @property
    def sampler(self) -> "Loader":
        """The loader itself: trainers look for the `set_epoch` of a loader's sampler."""
        return self

    def stats(self) -> LoaderStats:
        """What workers and loop did since the workers started, and what holds them up.

        Before the first iteration nothing, and after `close()` what they had done by then: counters start anew with the
        next workers.

        Example:
            >>> before = loader.stats()  # doctest: +SKIP
            >>> ...  # an epoch
            >>> print(loader.stats().since(before).verdict)  # doctest: +SKIP
        """
        engine = self._engine
        if engine is not None:
            return self._stats_of(engine)
        return self._ended_stats or LoaderStats.of_nothing(batch_size=self.config.batch_size)

    def _stats_of(self, engine: Engine) -> LoaderStats:
        meter = self._meter
        now_s = time.monotonic()
        usage = engine.usage()
        return LoaderStats(
            at_s=now_s,
            began_s=meter.began_s,
            seconds=now_s - meter.began_s,
            batch_size=self.config.batch_size,
            batches=meter.batches,
            clips=meter.clips,
            consumer_wait_s=meter.wait_s,
            start_wait_s=meter.start_wait_s,
            collate_s=meter.collate_s,
            ready_batches=meter.ready,
            workers=engine.workers,
            replaced_workers=engine.replaced,
            worker_cpu_s=engine.gone_cpu_s + sum(process.cpu_s for process in usage),
            keeper_cpu_s=engine.keeper_cpu_s(),
            tally=engine.tally(),
            storage=engine.meter(),
            ring_bytes=engine.ring.region.size_bytes,
            worker_private_bytes=tuple(process.private_bytes for process in usage),
        )

    def set_epoch(self, epoch: int) -> None:
        """Pins the epoch of the next iterations, as DistributedSampler does; one that is under way goes on.

        Raises:
            UsageError: Not a whole number of at least 0.
        """
        if isinstance(epoch, bool) or not isinstance(epoch, int) or epoch < 0:
            raise UsageError(f"epoch={epoch!r}: a whole number of at least 0 is needed")
        self._pin = epoch
        if not self._begun:
            self._settle()

    def state_dict(self) -> dict[str, Any]:
        """The place in the order after the last batch returned: the same on all ranks, for any later world size."""
        return LoaderState(
            seed=self.config.seed,
            epoch=self._epoch,
            delivered=self._delivered,
            fingerprint=self._fingerprint,
        ).to_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on after the batch at which `state_dict` was taken; a finished epoch is followed by the next.

        The next iteration does. Called in a loop over the loader, it ends that loop after the batch it is on, as if the
        epoch were over: start another one.

        Raises:
            UsageError: The state is of another data set, selection, seed or order; names what differs.
        """
        loaded = LoaderState.from_dict(state)
        check_fingerprint(loaded, self._fingerprint)
        if loaded.seed != self.config.seed:
            raise UsageError(
                f"the state was saved with seed={loaded.seed}, this loader has seed={self.config.seed}, so that clips "
                f"come in another order; make the loader with seed={loaded.seed}",
            )
        if loaded.delivered > len(self.dataset):
            raise UsageError(f"loader state: {loaded.delivered} of {len(self.dataset)} clips delivered; it was edited")
        if self._begun:
            self._current = None  # one that has not begun starts from here
        self._epoch, self._delivered = loaded.epoch, loaded.delivered
        self._resuming = True
        self._pin = None

    def __iter__(self) -> Iterator[Batch]:
        """Starts an iteration and ends the one before.

        Yields:
            Batch, or what `transform` makes of it.

        Raises:
            DataError: A clip is damaged (on_error='raise'), or too many are (on_error='skip'); or the data set was
                replaced.
            StorageError: A shard cannot be read.
            WorkerError: Workers cannot be started.
            UsageError: WORLD_SIZE says that there are several ranks, and torch.distributed is not initialised; or
                another thread iterates over this loader; or there is not the memory for its batches.
        """
        with self._one_thread:
            if self._begun:
                self._one_thread.check_last()
            return self._new_iteration()

    def _new_iteration(self) -> Iterator[Batch]:
        self._iterations += 1
        iteration = self._current = self._iterations
        self._begun = False
        self._settle()
        self._ranks = resolve_ranks()
        if not self._resuming and (self._pin is not None or self._steps_left(self._delivered)):
            self._delivered = 0
        if not self._steps_left(0):
            raise UsageError(
                f"drop_last drops all {len(self.dataset)} clips: they do not fill one batch of "
                f"{self._global_batch()} over all ranks; use a smaller batch_size or drop_last=False",
            )
        self._warn_of_padding()
        return _Iteration(self._iterate(iteration), self._one_thread)

    def _warn_of_padding(self) -> None:
        clips, world = len(self.dataset), self._resolved().world
        if self._global_batch() <= clips or self._warned_of_padding:
            return
        self._warned_of_padding = True
        ranks = "" if world == 1 else f" on each of {world} ranks"
        warnings.warn(
            f"batch_size={self.config.batch_size}{ranks} is more than the {clips} clips there are: the rest of each "
            "batch is padding (weight 0), which takes memory, and time to decode; "
            f"batch_size={-(-clips // world)} holds all of them",
            UserWarning,
            stacklevel=4,  # the loop over the loader
        )

    def _iterate(self, iteration: int) -> Generator[Batch, None, None]:
        # A generator runs from its first `next` on, and by then another iteration may be under way.
        if not self._is_current(iteration):
            return
        engine = self._started()
        self._abandon()
        # Only now is the epoch settled: Lightning calls iter() twice, and set_epoch() after it.
        self._begun, self._resuming = True, False
        if not self._steps_left(self._delivered) and self._pin is None:
            self._advance()
        # Passes end at multiples of `epochs`, so that a resumed one ends where it would have.
        epochs = self.config.epochs or 1
        plan = self._steps(self._epoch, (self._epoch // epochs + 1) * epochs)
        self._skipped = 0
        is_first = True
        try:
            while True:
                asked_s = time.monotonic()
                self._submit(engine, plan)
                if not self._staged and not self._waiting:
                    self._advance()
                    return
                step = self._staged[0].step if self._staged else self._waiting[0]
                self._meter.ready += min(AHEAD_BUFFERS, self._ask(engine.filled) + len(self._staged))
                waits_s = time.monotonic()
                faults = [] if self._staged else self._wait(engine, step)
                waited_s = time.monotonic() - waits_s
                if step.epoch != self._epoch:
                    self._epoch, self._delivered, self._skipped = step.epoch, 0, 0
                if not self._staged:
                    self._stage(engine, faults)
                if self._copier is not None and self._waiting and engine.is_good(self._waiting[0].number):
                    # The next one is copied while the loop works on this one.
                    self._stage(engine, self._wait(engine, self._waiting[0]))
                if is_first:
                    self._meter.start_wait_s += waited_s
                    is_first = False
                # Without a name: the generator's frame would hold the batch as long as the loop's body runs.
                yield self._metered(self._staged.popleft(), asked_s, waited_s)
                if not self._goes_on(engine, iteration):
                    return
        except (Exception, GeneratorExit):
            raise
        except BaseException:
            # Ctrl-C comes between any two steps, and may have torn the books of buffers and runs: start anew.
            self.close()
            raise
        finally:
            if self._current == iteration:
                self._begun = False
                self._abandon()

    def _metered(self, staged: _Staged, asked_s: float, waited_s: float) -> Any:
        content = self._delivery(staged)
        meter = self._meter
        meter.batches += 1
        meter.clips += staged.clips
        meter.wait_s += waited_s
        meter.collate_s += time.monotonic() - asked_s - waited_s
        return content

    def _goes_on(self, engine: Engine, iteration: int) -> bool:
        if not engine.is_own():
            raise UsageError("this process is a fork of the one that iterates here; call iter() for batches of its own")
        return self._is_current(iteration)

    def _is_current(self, iteration: int) -> bool:
        """False after close() and load_state_dict(), which end an iteration; so does another, but never quietly."""
        if self._current not in (iteration, None):
            raise UsageError(
                "another iteration over this loader has ended this one, in the middle of its epoch; "
                "for two loops at once make two loaders",
            )
        return self._current == iteration

    def _wait(self, engine: Engine, step: _Step) -> list[Fault]:
        return self._ask(lambda: engine.wait(step.number))

    def _ask(self, question: Callable[[], _Answer]) -> _Answer:
        """Asks the engine something that only workers can answer."""
        try:
            return question()
        except ShardkitError as exc:
            # It has lost workers for good, or they cannot work; the next iteration starts anew.
            self.close()
            self._check_not_replaced(exc)
            raise

    def _abandon(self) -> None:
        """Takes back what an iteration that did not end has under way."""
        if self._engine is not None and (self._waiting or self._planned):
            try:
                self._engine.cancel()
            except BaseException:
                self.close()
                raise
            for step in self._waiting:
                self._engine.ring.give_back(step.buffer)
        self._planned.clear()
        self._waiting.clear()
        self._staged.clear()

    def _advance(self) -> None:
        """A finished epoch is followed by the next; where `set_epoch` holds it, it stays finished."""
        if self._pin is None:
            self._epoch += 1
            self._delivered = 0

    def _settle(self) -> None:
        """Goes to the start of the epoch that is pinned, unless it is there already, perhaps in its middle."""
        if self._pin is not None and self._pin != self._epoch:
            self._epoch, self._delivered, self._resuming = self._pin, 0, False

    def _steps(self, first_epoch: int, stop_epoch: int) -> Iterator[tuple[int, int]]:
        """(epoch, delivered before) of every step of the iteration."""
        for epoch in range(first_epoch, stop_epoch):
            delivered = self._delivered if epoch == first_epoch else 0
            for _ in range(self._steps_left(delivered)):
                yield epoch, delivered
                delivered = after_step(len(self.dataset), delivered=delivered, global_batch=self._global_batch())

    def _submit(self, engine: Engine, plan: Iterator[tuple[int, int]]) -> None:
        """Hands steps to the workers: with a buffer where one is free, and some without, to read ahead for."""
        try:
            while (buffer := engine.ring.take()) is not None:
                if not self._planned and not self._plan_step(engine, plan):
                    engine.ring.give_back(buffer)
                    break
                step = replace(self._planned.popleft(), buffer=buffer)
                self._waiting.append(step)
                engine.assign(step.number, buffer)
                engine.wake()
            planned = len(self._planned)
            while len(self._planned) < engine.lookahead_steps and self._plan_step(engine, plan):
                pass
            if len(self._planned) > planned:
                engine.wake()
        except BaseException:
            self.close()  # a buffer that is neither free nor waited for would be lost
            raise

    def _plan_step(self, engine: Engine, plan: Iterator[tuple[int, int]]) -> bool:
        """Plans one more step; False where there is none."""
        planned = next(plan, None)
        if planned is None:
            return False
        epoch, delivered = planned
        ranks, order = self._resolved(), self._order_of(epoch)
        rank = rank_on_nodes(ranks.rank, world=ranks.world, nodes=self._nodes, delivered=delivered)
        positions = rank_positions(delivered, rank=rank, world=ranks.world, batch_size=self.config.batch_size)
        rows = self.dataset.rows[order.take(positions)]
        first = int(positions[0])
        # Padding is taken from the epoch's beginning, which is no reason to fetch its first shards again.
        if self.dataset.store.keeps_copies and first < len(self.dataset):
            window = order.window_of(first)
            if self._wanted != (epoch, window):
                self._wanted = epoch, window
                engine.want(order.shards_from(first))
        number = engine.plan(rows=rows, positions=positions, epoch=epoch)
        weight = weights(positions, len(self.dataset))
        self._planned.append(_Step(number, epoch, delivered, rows, positions, weight))
        return True

    def _stage(self, engine: Engine, faults: list[Fault]) -> None:
        """Makes the batch of the step that was waited for, and starts to copy it to a CUDA device."""
        step = self._waiting.popleft()
        batch = self._batch(engine, step, faults)
        clips = int(batch.weight.numpy().sum())
        self._staged.append(_Staged(step, batch if self._copier is None else self._copier.start(batch), clips))

    def _delivery(self, staged: _Staged) -> Any:
        """What the loop's body gets; counted as delivered before it runs: a state taken there is past this batch."""
        step, batch = staged.step, staged.batch
        if isinstance(batch, Copy):
            assert self._copier is not None
            batch = self._copier.finish(batch)
        elif self.config.device is not None:
            batch = batch.to(self.config.device)
        content = batch if self.config.transform is None else self.config.transform(batch)
        if self.task is not None and isinstance(content, Batch) and content.target is None:
            content = self.task(content)  # what moved segments has no target for them
        self._delivered = after_step(len(self.dataset), delivered=step.delivered, global_batch=self._global_batch())
        return content

    def _batch(self, engine: Engine, step: _Step, faults: list[Fault]) -> Batch:
        rows, weight = step.rows.copy(), step.weight.copy()
        world = self._resolved().world
        try:
            self._repair(engine.ring.views(step.buffer), rows, weight, faults)
        except BaseException:
            engine.ring.give_back(step.buffer)
            raise
        if world == 1:
            scale = 1 / max(1.0, float(weight.sum()))
        else:
            # What other ranks skip is not known here.
            scale = loss_scale(
                len(self.dataset), delivered=step.delivered, world=world, batch_size=self.config.batch_size
            )
        batch = self._collator.batch(
            engine.ring.lease(step.buffer),
            rows,
            weight=weight,
            loss_scale=scale,
            epoch=step.epoch,
            positions=step.positions,
        )
        return batch if self.task is None else self.task(batch)

    def _repair(
        self,
        slots: Mapping[str, npt.NDArray[Any]],
        rows: npt.NDArray[np.int64],
        weight: npt.NDArray[np.float32],
        faults: list[Fault],
    ) -> None:
        """Gives slots that could not be filled weight 0 and a copy of a good clip."""
        if not faults:
            return
        errors = [fault.error() for fault in faults]
        unskippable = [error for error in errors if not isinstance(error, SKIPPABLE)]
        if self.config.on_error == "raise" or unskippable or not self._skipped:
            self._check_not_replaced(errors[0])  # of an epoch's skipped clips with the first: it reads a file
        if self.config.on_error == "raise" or unskippable:
            raise (unskippable or errors)[0]
        bad = {fault.slot for fault in faults}
        self._skipped += sum(int(weight[slot]) for slot in bad)
        for fault in faults:
            _log.warning("skipped: %s", fault.message)
        allowed = max(MIN_SKIPPED, self.config.max_skipped * len(self.dataset) / self._resolved().world)
        if self._skipped > allowed:
            raise TooManyRejectsError(
                f"{self._skipped} clips of epoch {self._epoch} could not be loaded, more than max_skipped="
                f"{self.config.max_skipped:g} allows; the last one: {faults[-1].message}",
            )
        good = next((slot for slot in range(len(rows)) if slot not in bad), None)
        for slot in bad:
            weight[slot] = 0
            rows[slot] = NO_CLIP if good is None else rows[good]
            for array in slots.values():
                array[slot] = 0 if good is None else array[good]

    def _check_not_replaced(self, error: ShardkitError) -> None:
        """Raises what lies behind an error where another data set stands in the folder by now."""
        if self.dataset.is_replaced():
            raise CorruptShardError(
                f"{self.dataset.folder}: the data set was replaced while it is being loaded; start the loader anew",
            ) from error

    def _started(self) -> Engine:
        if self._engine is None or not self._engine.is_own():
            self._planned.clear()
            self._waiting.clear()
            self._staged.clear()
            engine = Engine(
                self.dataset,
                self._plan,
                batch_size=self.config.batch_size,
                workers=self.config.workers or _default_workers(),
                processes=self.config.worker_type == "process",
                timeout_s=self.config.timeout_s,
            )
            try:
                copier = self._make_copier(self.config.device, engine.ring.region.array)
            except BaseException:
                engine.close()
                raise
            self._engine, self._copier, self._meter = engine, copier, Meter.started()
            self._wanted = None
            self._stop = weakref.finalize(self, _end, engine, copier)
        return self._engine

    def _order_of(self, epoch: int) -> EpochOrder | BalancedOrder:
        if self._order is None or self._order_epoch != epoch:
            seed = self.config.seed
            self._order = (
                EpochOrder(
                    self.dataset.index.shard[self.dataset.rows],
                    seed=seed,
                    epoch=epoch,
                    window_shards=self.config.shuffle_shards,
                    nodes=self._nodes,
                    shuffle=self.config.shuffle,
                )
                if self._balance is None
                else BalancedOrder(self._balance.weights, seed=seed, epoch=epoch)
            )
            self._order_epoch = epoch
        return self._order

    def _resolved(self) -> Ranks:
        if self._ranks is None:
            self._ranks = resolve_ranks()
        return self._ranks

    def _global_batch(self) -> int:
        return self.config.batch_size * self._resolved().world

    def _steps_left(self, delivered: int) -> int:
        return step_count(
            len(self.dataset),
            delivered=delivered,
            global_batch=self._global_batch(),
            drop_last=self.config.drop_last,
        )

    def close(self) -> None:
        """Ends the workers; the next iteration starts them anew. Batches that are held stay valid.

        Where another thread is being given a batch, it gets that one; then its iteration ends.
        """
        with self._one_thread.interrupted():
            self._close()

    def _close(self) -> None:
        stop, engine = self._stop, self._engine
        self._current = self._engine = self._copier = self._stop = None
        self._begun = False
        self._planned.clear()
        self._waiting.clear()
        self._staged.clear()
        try:
            if engine is not None and engine.is_own():
                self._ended_stats = self._stats_of(engine)
        finally:
            if stop is not None:
                stop()

    def __enter__(self) -> "Loader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _opened(source: Dataset | PathLike | Sequence[PathLike], config: LoaderConfig) -> Dataset:
    names = ("storage_options", "cache_dir", "cache_limit", "storage_timeout_s")
    ways = {name: value for name in names if (value := getattr(config, name)) is not None}
    if not isinstance(source, Dataset):
        return open_dataset(source, **ways)
    if ways:
        raise UsageError(
            f"{next(iter(ways))} says how a data set is opened, and this one is open: give it to shardkit.open"
        )
    return source


def _end(engine: Engine, copier: Copier | None) -> None:
    try:
        if copier is not None and engine.is_own():
            copier.close()
    finally:
        engine.close()


def _check_device(device: torch.device | str) -> None:
    name = repr(str(device))
    try:
        torch.empty(0, device=device)
    except NotImplementedError as exc:
        raise UsageError(f"device={name} cannot be used here: this PyTorch has no such device") from exc
    except (RuntimeError, AssertionError, TypeError, ImportError) as exc:
        raise UsageError(f"device={name} cannot be used here: {str(exc).splitlines()[0]}") from exc
    if torch.device(device).type == "meta":
        raise UsageError(f"device={name} holds no values, so batches there would be empty; leave device out")


def _check_unpacked(dataset: Dataset, config: LoaderConfig) -> None:
    """Refuses what goes only with bytes that shardkit wrote."""
    if config.worker_type == "thread":
        raise UsageError(
            f"{dataset.folder}: worker_type='thread', but these shards were indexed, not packed, so nobody vouches for "
            "their bytes, and damaged ones can end the process that decodes them: use worker_type='process'"
        )
    if config.decoder == "decord":
        raise UsageError(
            f"{dataset.folder}: decoder='decord' is for packed frames, these shards were indexed: use decoder='auto'"
        )


def _default_workers() -> int:
    """This rank's share of the cores, less one for the training loop where that leaves two or more."""
    share = int(usable_cores() / local_world_size())
    # On two cores one worker loads half of what two do whenever the loop waits.
    return max(1, min(2, share), share - 1)
