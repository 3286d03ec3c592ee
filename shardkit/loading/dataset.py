"""Dataset: an opened data set, whole or a selection of its clips."""

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from shardkit.clip import EVENT_MODALITIES, Event
from shardkit.errors import CorruptShardError, DataError, StorageError, UsageError
from shardkit.format.index import SPLIT_PREFIX, ClipIndex, decode_index
from shardkit.format.manifest import INDEX_NAME, MANIFEST_NAME, Manifest
from shardkit.loading.filler import SlotFiller
from shardkit.loading.plan import BatchLayout, slot_of
from shardkit.loading.sample import Sample
from shardkit.loading.shapes import clip_plan
from shardkit.loading.where import Where, clips_where
from shardkit.planning.views import ViewRules
from shardkit.sizes import parse_size
from shardkit.storage.failures import MissingFileError, MissingStoreError
from shardkit.storage.fetching import Patience
from shardkit.storage.files import local_path, map_file
from shardkit.storage.locations import Location, PathLike, check_options_stay, check_options_used, named_shards
from shardkit.storage.near_files import NearFile, near_file
from shardkit.storage.ranges import RangeReader
from shardkit.storage.request_meter import RequestMeter
from shardkit.storage.stores import CacheSettings, ShardFile, ShardStore, open_read_folder
from shardkit.taxonomy import LabelSet


class Dataset:
    """Clips of a data set: what they are, and random access to them.

    Attributes:
        store: Where its files are, and how they are read.
        manifest: Settings, label sets, shards.
        index: Columns of all clips of the data set.
        index_file: Where the index lies on this machine.
        rows: int64 [N], the rows of the index that are selected, ascending.
    """

    def __init__(
        self,
        store: ShardStore,
        manifest: Manifest,
        index: ClipIndex,
        rows: npt.NDArray[np.int64],
        *,
        index_file: NearFile,
    ) -> None:
        self.store = store
        self.manifest = manifest
        self.index = index
        self.index_file = index_file
        self.rows = rows

    @property
    def folder(self) -> Location:
        """The folder that holds the data set: a path or a URL."""
        return self.store.home.location

    def __reduce__(self) -> tuple[Any, ...]:
        # The index is mapped again where the copy goes, and not sent along.
        return _reopened, (self.store, self.manifest.digest(), self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        sets = ", ".join(f"{s.name} ({s.kind}, {len(s.leaf.classes)} classes)" for s in self.label_sets)
        hours = float(self.index.duration_s[self.rows].sum()) / 3600
        return f"Dataset({str(self.folder)!r}, {len(self):,} clips, {hours:.2f} h, labels: {sets or 'none'})"

    @property
    def label_sets(self) -> tuple[LabelSet, ...]:
        """The named ways in which clips are labelled."""
        return self.manifest.label_sets

    @property
    def shard_names(self) -> tuple[str, ...]:
        """Names of the shards by number."""
        return tuple(shard.name for shard in self.manifest.shards)

    @property
    def table(self) -> pa.Table:
        """The index rows of the selected clips as an Arrow table."""
        return pa.Table.from_batches([self.index.batch]).take(pa.array(self.rows))

    @property
    def keys(self) -> list[str]:
        """The selected clips' keys."""
        return self.index.keys(self.rows)

    def select(
        self,
        *,
        split: str | None = None,
        where: Where | None = None,
        keys: Iterable[str] | None = None,
        mask: npt.NDArray[np.bool_] | Sequence[bool] | None = None,
    ) -> "Dataset":
        """The clips that fit every condition given.

        Args:
            split: Name of a split, or `SCHEME:NAME` of a named division into splits; "" is the clips without one.
            where: A condition on what the index says, such as `level_4 == "Violin" and duration_s > 5`, or an
                expression of pyarrow.compute over the same names; nothing but the index is read. Labels are compared
                with a class's name or id (`"Speech" in labels` where a clip has several), flags like
                `"silent" not in flags`, other columns of the annotation file, named divisions into splits and columns
                of the index by their names. A clip for which a value is not known fits `== None` only.
            keys: Keys of clips; each must be there.
            mask: One truth value a clip of this selection.

        Raises:
            UsageError: An unknown split or key, a condition that is none or names what there is not, or a mask of
                another length.

        Example:
            >>> train = ds.select(split="train")  # doctest: +SKIP
        """
        keep = np.ones(len(self), dtype=np.bool_)
        if split is not None:
            column, name = self._split_column(split)
            keep &= pc.equal(self.index.batch.column(column), name).to_numpy(zero_copy_only=False)[self.rows]
        if where is not None:
            try:
                keep &= clips_where(where, self.manifest, self.index)[self.rows]
            except UsageError as exc:
                raise UsageError(f"{self.folder}: {exc}") from exc
        if keys is not None:
            here = self.index.batch.column("key").take(pa.array(self.rows))
            wanted = pa.array(keys, here.type)
            unknown = wanted.filter(pc.invert(pc.is_in(wanted, here)))
            if len(unknown):
                raise UsageError(f"{self.folder}: no clip {unknown[0].as_py()!r} here; {len(unknown)} keys are unknown")
            keep &= pc.is_in(here, wanted).to_numpy(zero_copy_only=False)
        if mask is not None:
            chosen = np.asarray(mask, dtype=np.bool_)
            if chosen.shape != keep.shape:
                raise UsageError(f"a mask of shape {chosen.shape} for {len(self)} clips")
            keep &= chosen
        return self._with_rows(self.rows[keep])

    def _split_column(self, split: str) -> tuple[str, str]:
        """The column of the index that holds a split, and its name there."""
        manifest = self.manifest
        if split in manifest.splits:
            return "split", split
        scheme, colon, name = split.partition(":")
        if colon and scheme in manifest.split_sets and name in ("", *manifest.split_sets[scheme]):
            return SPLIT_PREFIX + scheme, name
        known = {"the data set": manifest.splits, **manifest.split_sets}
        there = "; ".join(f"{who} has {', '.join(map(repr, sorted(splits)))}" for who, splits in known.items())
        remedy = f"; for a named one write {next(iter(manifest.split_sets))}:NAME" if manifest.split_sets else ""
        raise UsageError(f"{self.folder}: no split {split!r}; {there}{remedy}")

    def _with_rows(self, rows: npt.NDArray[np.int64]) -> "Dataset":
        return Dataset(self.store, self.manifest, self.index, rows, index_file=self.index_file)

    def __getitem__(self, which: int | str) -> Sample:
        """One clip, decoded, by its place in this selection or by its key.

        Raises:
            IndexError: No such place.
            TypeError: Neither a place nor a key.
            KeyError: No such key.
            DataError: The clip's bytes are damaged.
            StorageError: The shard cannot be read.
            WorkerError: Of a data set that was indexed: decoding the clip takes a minute, or ends the process that does
                it, which is one of its own for each clip, since nobody vouches for the bytes.
        """
        row = self._row(which)
        one = np.array([row], dtype=np.int64)
        modalities = tuple(
            name for name, sizes in (("video", self.index.video_bytes), ("audio", self.index.audio_bytes)) if sizes[row]
        )
        rules = ViewRules(seed=0)
        features = tuple(name for name in self.manifest.features if self.index.feature(name).size_bytes[row])
        plan = clip_plan(
            self.folder, self.manifest, self.index, one, modalities=modalities, rules=rules, features=features
        )
        layout = BatchLayout.of(plan, 1)
        if self.manifest.packed:
            slot = slot_of(layout.views(np.zeros(layout.size_bytes, dtype=np.uint8)), 0)
            # A reader of its own: threads may ask at once, and no descriptor stays open.
            with closing(self.reader()) as reader:
                filler = SlotFiller(self.index, reader, plan)
                clip = filler.plan(row=row, position=0, epoch=0)
                filler.place(clip, slot)
                filler.fill(clip, filler.read(clip))
        else:
            from shardkit.loading.apart import load_apart  # noqa: PLC0415 - the engine knows this module

            slot = slot_of(load_apart(self, plan, row), 0)
        index = self.index
        events = slice(int(index.event_offsets[row]), int(index.event_offsets[row + 1]))
        return Sample(
            key=index.text("key", row),
            video=slot["video"][0].transpose(0, 3, 1, 2) if "video" in slot else None,
            audio=slot["audio"][0][:, : int(slot["audio_samples"][0])] if "audio" in slot else None,
            audio_rate_hz=int(index.audio_rate_hz[row]),
            frame_times_s=slot["frame_times_s"][0],
            labels={label_set.name: self._labels(label_set, row) for label_set in self.label_sets},
            events=tuple(
                Event(float(start_s), float(end_s), int(class_id), EVENT_MODALITIES[modality])
                for start_s, end_s, class_id, modality in zip(
                    index.event_start_s[events],
                    index.event_end_s[events],
                    index.event_class_id[events],
                    index.event_modality[events],
                    strict=True,
                )
            ),
            duration_s=float(index.duration_s[row]),
            split=index.text("split", row),
            source=index.text("source", row),
            flags=tuple(index.batch.column("flags")[row].as_py()),
            columns={name: index.column(name)[row].as_py() for name in self.manifest.columns},
            features={feature.name: slot[feature.field][0] for feature in plan.features},
        )

    def _row(self, which: int | str) -> int:
        if isinstance(which, str):
            row = int(pc.index(self.index.batch.column("key"), pa.scalar(which, pa.large_string())).as_py())
            place = int(np.searchsorted(self.rows, row))
            if row < 0 or place == len(self) or self.rows[place] != row:
                raise KeyError(which)
            return row
        if not isinstance(which, int | np.integer):
            raise TypeError(f"a place or a key is needed, not {which!r}; select() makes selections")
        if not -len(self) <= which < len(self):
            raise IndexError(f"clip {which} of {len(self)}")
        return int(self.rows[which])

    def _labels(self, label_set: LabelSet, row: int) -> npt.NDArray[Any]:
        multi = label_set.kind == "multi"
        stored = self.index.label_lists(label_set).row(row) if multi else self.index.labels(label_set)[row]
        ids: npt.NDArray[np.int64] = stored.astype(np.int64)
        return ids

    def reader(self, *, meter: RequestMeter | None = None) -> RangeReader:
        """A new reader of the shards; `meter` counts its requests."""
        return self.store.reader(meter=meter)

    def is_replaced(self) -> bool:
        """Whether its folder holds other shards by now, or no data set; new labels for the same shards do not count."""
        try:
            now = _read_manifest(self.store)
        except MissingFileError:
            return True
        except StorageError:
            return False  # its disk or server is at fault
        except DataError:
            return True
        return now.shards != self.manifest.shards

    def where(self, row: int) -> str:
        """Shard and clip of an index row, for messages."""
        shard = self.store.base.location.child(self.shard_names[int(self.index.shard[row])])
        return f"{shard}, clip {self.index.text('key', row)!r}"


def _reopened(store: ShardStore, digest: str, rows: npt.NDArray[np.int64]) -> Dataset:
    dataset = _opened(store)
    if dataset.manifest.digest() != digest:
        raise DataError(f"{store.home.location}: the data set was replaced since it was opened; open it again")
    return Dataset(dataset.store, dataset.manifest, dataset.index, rows, index_file=dataset.index_file)


def open_dataset(
    path: PathLike | Sequence[PathLike],
    *,
    storage_options: Mapping[str, Any] | None = None,
    cache_dir: PathLike | None = None,
    cache_limit: int | str | None = None,
    storage_timeout_s: float = 120.0,
) -> Dataset:
    """Opens a packed data set: reads its manifest and maps its index, which is copied to this machine first if need be.

    Args:
        path: The folder that `shardkit pack` wrote, as a path or as a URL that fsspec knows; or some of its tars, as a
            list or a pattern such as `shards/clips-{000000..000003}.tar`, for their clips only.
        storage_options: Keywords of the fsspec file system that serves the URL.
        cache_dir: Folder on this machine where whole shards are kept, for data that comes over a network; shared by all
            that use it. Without it, each clip is fetched when it is needed, every epoch.
        cache_limit: Bytes that it may hold at most, such as `"200GB"`; None is as much as the disk does.
        storage_timeout_s: How long a read over the network is tried again and again before it is an error, parts of the
            index among them; the manifest, which tells whether the address is right, has 20 s. Up to 64 MB are asked
            for at a time, so a slower link than 0.6 MB/s needs more than 120 s.

    Raises:
        StorageError: Nothing there, or it cannot be read.
        DataError: It is not a data set, is of another format version, or manifest and index do not fit together.
        UsageError: An option is wrong, or a shard is named that the data set does not have.

    Example:
        >>> ds = shardkit.open("shards")  # doctest: +SKIP
        >>> ds[0].video.shape  # doctest: +SKIP
        (16, 3, 256, 341)
        >>> ds = shardkit.open("s3://bucket/shards", storage_options={"anon": True})  # doctest: +SKIP
    """
    named = named_shards(path, storage_options, known=(MANIFEST_NAME, INDEX_NAME))
    if not (math.isfinite(storage_timeout_s) and storage_timeout_s > 0):
        raise UsageError(f"storage_timeout_s={storage_timeout_s!r}: a number of seconds above 0 is needed")
    home = open_read_folder(named.folder, probe=MANIFEST_NAME)
    store = ShardStore(
        home,
        home,
        cache=_cache_settings(cache_dir, cache_limit),
        patience=Patience(deadline_s=storage_timeout_s),
    )
    dataset = _opened(store)
    _check_room(dataset)
    if named.shards is None:
        return dataset
    numbers = {name: number for number, name in enumerate(dataset.shard_names)}
    if unknown := [name for name in named.shards if name not in numbers]:
        raise UsageError(
            f"{store.home.location}: no shard {unknown[0]!r} in {MANIFEST_NAME}; check the names "
            "(of patterns, only braces as in clips-{000000..000003}.tar are understood)"
        )
    wanted = np.array([numbers[name] for name in named.shards])
    return dataset.select(mask=np.isin(dataset.index.shard, wanted))


def _cache_settings(cache_dir: PathLike | None, cache_limit: int | str | None) -> CacheSettings | None:
    if cache_dir is None:
        if cache_limit is not None:
            raise UsageError(f"cache_limit={cache_limit!r} says how large a cache may be: give cache_dir too")
        return None
    if not os.fspath(cache_dir):
        raise UsageError("cache_dir='': a folder is needed; None goes without a cache")
    limit_bytes = parse_size(cache_limit) if isinstance(cache_limit, str) else cache_limit
    if limit_bytes is not None and limit_bytes < 1:
        raise UsageError(f"cache_limit={cache_limit!r}: a size of at least one byte is needed, such as '200GB'")
    return CacheSettings(str(local_path(cache_dir).absolute()), limit_bytes)


def _check_room(dataset: Dataset) -> None:
    """Raises UsageError where a cache would stay empty without a word."""
    store = dataset.store
    limit_bytes = store.cache.limit_bytes if store.cache and store.is_far else None
    largest = max(store.shards, key=lambda shard: shard.size_bytes, default=None)
    if limit_bytes is None or largest is None:
        return
    # Its copy lies there too, as long as the data set is used.
    index_bytes = dataset.manifest.index.size_bytes if store.home.is_far else 0
    if largest.size_bytes + index_bytes > limit_bytes:
        beside = f" beside {INDEX_NAME} with {index_bytes:,}" if index_bytes else ""
        raise UsageError(
            f"{store.base.location}: cache_limit is {limit_bytes:,} bytes, and {largest.name} alone has "
            f"{largest.size_bytes:,}{beside}: whole shards are kept; choose a larger one, or leave cache_dir out"
        )


def _read_manifest(store: ShardStore) -> Manifest:
    return Manifest.from_bytes(store.home.read(MANIFEST_NAME), path=store.home.location.child(MANIFEST_NAME))


def _opened(store: ShardStore) -> Dataset:
    try:
        manifest = _read_manifest(store)
    except MissingStoreError:
        raise
    except MissingFileError as exc:
        if store.home.location.is_local and not store.home.location.path.is_dir():
            raise
        raise DataError(
            f"{store.home.location}: no {MANIFEST_NAME}, so no data set: packing writes it last; finish with "
            "`shardkit pack … --resume`, make one of a plain WebDataset with `shardkit index`, or check the path",
        ) from exc
    base = store.home
    if manifest.base is not None:
        location = Location.of(manifest.base, store.home.location.storage_options)
        probe = manifest.shards[0].name if manifest.shards else MANIFEST_NAME
        check_options_used(store.home.location, location)
        check_options_stay(store.home.location, location)
        base = open_read_folder(location, probe=probe)
    else:
        check_options_used(store.home.location)
    store = replace(store, base=base, shards=tuple(ShardFile(s.name, s.size_bytes, s.xxh3) for s in manifest.shards))
    info, index_path = manifest.index, store.home.location.child(INDEX_NAME)
    index_file = near_file(store, INDEX_NAME, size_bytes=info.size_bytes, digest=info.xxh3)
    # A copy was checked when it was made, by whichever process of this machine made it.
    digest = None if index_file.held is not None else info.xxh3
    index = decode_index(map_file(index_file.path), path=index_path, digest=digest)
    known = (index.shard >= 0) & (index.shard < len(manifest.shards))
    if len(index) != manifest.clip_count or not known.all():
        raise CorruptShardError(f"{index_path}: its clips or shards are not those of {MANIFEST_NAME}; pack again")
    return Dataset(store, manifest, index, np.arange(len(index), dtype=np.int64), index_file=index_file)
