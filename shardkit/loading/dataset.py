"""Dataset: an opened data set, whole or a selection of its clips."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from shardkit.clip import EVENT_MODALITIES, Event
from shardkit.errors import CorruptShardError, DataError, StorageError, UsageError
from shardkit.format.index import ClipIndex, decode_index
from shardkit.format.manifest import INDEX_NAME, MANIFEST_NAME, Manifest
from shardkit.loading.filler import SlotFiller
from shardkit.loading.plan import BatchLayout, slot_of
from shardkit.loading.sample import Sample
from shardkit.loading.shapes import clip_plan
from shardkit.planning.views import ViewRules
from shardkit.storage.files import local_path, map_file, read_bytes
from shardkit.storage.shards import ShardReader
from shardkit.taxonomy import LabelSet


class Dataset:
    """Clips of a packed data set: what they are, and random access to them.

    Attributes:
        folder: The folder that holds the data set.
        manifest: Settings, label sets, shards.
        index: Columns of all clips of the data set.
        rows: int64 [N], the rows of the index that are selected, ascending.
    """

    def __init__(self, folder: Path, manifest: Manifest, index: ClipIndex, rows: npt.NDArray[np.int64]) -> None:
        self.folder = folder
        self.manifest = manifest
        self.index = index
        self.rows = rows

    def __reduce__(self) -> tuple[Any, ...]:
        # The index is mapped again where the copy goes, and not sent along.
        return _reopened, (self.folder, self.manifest.digest(), self.rows)

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
        keys: Iterable[str] | None = None,
        mask: npt.NDArray[np.bool_] | Sequence[bool] | None = None,
    ) -> "Dataset":
        """The clips that fit every condition given.

        Args:
            split: Name of a split; "" is the clips without one.
            keys: Keys of clips; each must be there.
            mask: One truth value a clip of this selection.

        Raises:
            UsageError: An unknown split or key, or a mask of another length.

        Example:
            >>> train = ds.select(split="train")  # doctest: +SKIP
        """
        keep = np.ones(len(self), dtype=np.bool_)
        if split is not None:
            known = sorted(self.manifest.splits)
            if split not in known:
                raise UsageError(f"{self.folder}: no split {split!r}; the data set has {', '.join(map(repr, known))}")
            keep &= pc.equal(self.index.batch.column("split"), split).to_numpy(zero_copy_only=False)[self.rows]
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
        return Dataset(self.folder, self.manifest, self.index, self.rows[keep])

    def __getitem__(self, which: int | str) -> Sample:
        """One clip, decoded, by its place in this selection or by its key.

        Raises:
            IndexError: No such place.
            TypeError: Neither a place nor a key.
            KeyError: No such key.
            DataError: The clip's bytes are damaged.
            StorageError: The shard cannot be read.
        """
        row = self._row(which)
        one = np.array([row], dtype=np.int64)
        modalities = tuple(
            name for name, sizes in (("video", self.index.video_bytes), ("audio", self.index.audio_bytes)) if sizes[row]
        )
        rules = ViewRules(seed=0)
        plan = clip_plan(self.folder, self.manifest, self.index, one, modalities=modalities, rules=rules)
        layout = BatchLayout.of(plan, 1)
        slot = slot_of(layout.views(np.zeros(layout.size_bytes, dtype=np.uint8)), 0)
        # A reader of its own: threads may ask at once, and no descriptor stays open.
        with self.reader() as reader:
            filler = SlotFiller(self.index, reader, plan)
            filler.fill(filler.prepare(slot, row=row, position=0, epoch=0))
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

    def reader(self) -> ShardReader:
        """A new reader of the shards."""
        return ShardReader(self.folder, self.shard_names)

    def is_replaced(self) -> bool:
        """Whether its folder holds other shards by now, or no data set; new labels for the same shards do not count."""
        path = self.folder / MANIFEST_NAME
        try:
            now = Manifest.from_bytes(read_bytes(path), path=str(path))
        except StorageError as exc:
            return isinstance(exc.__cause__, FileNotFoundError)  # else its disk is at fault
        except DataError:
            return True
        return now.shards != self.manifest.shards

    def where(self, row: int) -> str:
        """Shard and clip of an index row, for messages."""
        shard = self.folder / self.shard_names[int(self.index.shard[row])]
        return f"{shard}, clip {self.index.text('key', row)!r}"


def _reopened(folder: Path, digest: str, rows: npt.NDArray[np.int64]) -> Dataset:
    dataset = open_dataset(folder)
    if dataset.manifest.digest() != digest:
        raise DataError(f"{folder}: the data set was replaced since it was opened; open it again")
    return Dataset(folder, dataset.manifest, dataset.index, rows)


def open_dataset(path: str | os.PathLike[str]) -> Dataset:
    """Opens a packed data set: reads its manifest and maps its index.

    Args:
        path: The folder that `shardkit pack` wrote, or its `dataset.json`.

    Raises:
        StorageError: Nothing there, or it cannot be read.
        DataError: It is not a data set, is of another format version, or manifest and index do not fit together.

    Example:
        >>> ds = shardkit.open("shards")  # doctest: +SKIP
        >>> ds[0].video.shape  # doctest: +SKIP
        (16, 3, 256, 341)
    """
    folder = local_path(path).absolute()  # it is read later, and the current folder may change
    if folder.name == MANIFEST_NAME:
        folder = folder.parent
    if folder.is_dir() and not (folder / MANIFEST_NAME).exists():
        raise DataError(
            f"{folder}: no {MANIFEST_NAME}, so no data set: packing writes it last; finish with "
            "`shardkit pack … --resume`, or check the path",
        )
    manifest = Manifest.from_bytes(read_bytes(folder / MANIFEST_NAME), path=str(folder / MANIFEST_NAME))
    index_path = folder / INDEX_NAME
    index = decode_index(map_file(index_path), path=str(index_path), digest=manifest.index.xxh3)
    known = (index.shard >= 0) & (index.shard < len(manifest.shards))
    if len(index) != manifest.clip_count or not known.all():
        raise CorruptShardError(f"{index_path}: its clips or shards are not those of {MANIFEST_NAME}; pack again")
    return Dataset(folder, manifest, index, np.arange(len(index), dtype=np.int64))
