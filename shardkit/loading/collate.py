"""Batches out of filled slots: what stands in the index comes beside what the workers wrote."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from shardkit.errors import UsageError
from shardkit.loading.batch import Batch, Events
from shardkit.loading.dataset import Dataset
from shardkit.planning.sampling import clip_events
from shardkit.taxonomy import UNKNOWN

Rows = npt.NDArray[np.int64]
Slots = Mapping[str, npt.NDArray[Any]]

NO_CLIP = -1
"""Row of a slot for which there is no clip: none in the whole batch could be loaded."""


class Collator:
    """Makes batches of one data set; its per-clip work is NumPy's."""

    def __init__(self, dataset: Dataset, columns: tuple[str, ...]) -> None:
        unknown = set(columns).difference(dataset.manifest.columns)
        if unknown:
            raise UsageError(
                f"{dataset.folder}: no column {min(unknown)!r}; the annotation file had "
                f"{', '.join(dataset.manifest.columns) or 'no other columns'}",
            )
        self._dataset = dataset
        self._columns = columns
        self._numeric = {name: _is_numeric(dataset.index.column(name)) for name in columns}
        self._has_events = len(dataset.index.event_start_s) > 0

    def batch(self, slots: Slots, rows: Rows, *, weight: npt.NDArray[np.float32], loss_scale: float) -> Batch:
        """A batch over filled slots.

        Args:
            slots: Arrays [B, …] by field; `video` and `audio` are handed on, the others copied.
            rows: int64 [B]: row of the index, or NO_CLIP.
            weight: float32 [B].
            loss_scale: See Batch.
        """
        there = rows != NO_CLIP
        safe = np.where(there, rows, 0)
        small = {
            name: torch.from_numpy(slots[name].copy())
            for name in (
                "window_s",
                "frame_times_s",
                "frame_count",
                "audio_samples",
                "has_video",
                "has_audio",
            )
        }
        keys = self._dataset.index.keys(safe)
        return Batch(
            video=torch.from_numpy(slots["video"]).permute(0, 1, 4, 2, 3) if "video" in slots else None,
            audio=torch.from_numpy(slots["audio"]) if "audio" in slots else None,
            labels=self._labels(safe, there),
            events=self._events(safe, there, slots["window_s"]),
            weight=torch.from_numpy(weight),
            loss_scale=loss_scale,
            keys=keys if there.all() else [key if real else "" for key, real in zip(keys, there, strict=True)],
            columns={name: self._column(name, safe, there) for name in self._columns},
            **small,
        )

    def _labels(self, rows: Rows, there: npt.NDArray[np.bool_]) -> dict[str, torch.Tensor]:
        labels = {}
        for label_set in self._dataset.label_sets:
            if label_set.kind == "multi":
                lists = self._dataset.index.label_lists(label_set)
                present = np.zeros((len(rows), len(label_set.leaf.classes)), dtype=np.uint8)
                for place in np.flatnonzero(there):
                    present[place, lists.row(rows[place])] = 1
                labels[label_set.name] = torch.from_numpy(present)
            else:
                ids = self._dataset.index.labels(label_set)[rows].astype(np.int64)
                ids[~there] = UNKNOWN
                labels[label_set.name] = torch.from_numpy(ids)
        return labels

    def _events(self, rows: Rows, there: npt.NDArray[np.bool_], windows_s: npt.NDArray[np.float64]) -> Events:
        index = self._dataset.index
        starts: list[npt.NDArray[Any]] = [np.empty(0)]
        ends: list[npt.NDArray[Any]] = [np.empty(0)]
        taken: list[npt.NDArray[np.int64]] = [np.empty(0, dtype=np.int64)]
        offsets = np.zeros(len(rows) + 1, dtype=np.int64)
        if self._has_events:
            for place in np.flatnonzero(there):
                first, stop = index.event_offsets[rows[place]], index.event_offsets[rows[place] + 1]
                kept, start_s, end_s = clip_events(
                    index.event_start_s[first:stop], index.event_end_s[first:stop], *windows_s[place]
                )
                starts.append(start_s)
                ends.append(end_s)
                taken.append(first + np.flatnonzero(kept))
                offsets[place + 1] = len(start_s)
        which = np.concatenate(taken)
        return Events(
            start_s=torch.from_numpy(np.concatenate(starts)),
            end_s=torch.from_numpy(np.concatenate(ends)),
            class_id=torch.from_numpy(index.event_class_id[which].astype(np.int64)),
            modality=torch.from_numpy(index.event_modality[which].astype(np.int64)),
            offsets=torch.from_numpy(np.cumsum(offsets)),
        )

    def _column(self, name: str, rows: Rows, there: npt.NDArray[np.bool_]) -> Any:
        values = self._dataset.index.column(name).take(pa.array(rows))
        if self._numeric[name]:
            return torch.from_numpy(np.where(there, values.to_numpy(zero_copy_only=False), 0))
        return [value if real else None for value, real in zip(values.to_pylist(), there, strict=True)]


def _is_numeric(column: pa.Array) -> bool:
    """Decided for the whole column: what a batch holds must not depend on which clips are in it."""
    return not column.null_count and (pa.types.is_integer(column.type) or pa.types.is_floating(column.type))
