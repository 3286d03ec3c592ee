"""Batches out of filled slots: what stands in the index comes beside what the workers wrote."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import torch

from shardkit.clip import BACKGROUND, UNKNOWN_EVENTS
from shardkit.errors import UsageError
from shardkit.format.index import ragged_places, rows_with
from shardkit.loading.batch import Batch, Events
from shardkit.loading.dataset import Dataset
from shardkit.loading.plan import VIEW_FIELDS, FeaturePlan, Rows
from shardkit.planning.sampling import clip_events
from shardkit.planning.segments import EventColumns, SegmentGrid, event_targets, grid_labels
from shardkit.taxonomy import UNKNOWN

Slots = Mapping[str, npt.NDArray[Any]]

NO_CLIP = -1
"""Row of a slot for which there is no clip: none in the whole batch could be loaded."""


class Collator:
    """Makes batches of one data set; its per-clip work is NumPy's."""

    def __init__(
        self,
        dataset: Dataset,
        columns: tuple[str, ...],
        *,
        views: int | None,
        segments: SegmentGrid | None = None,
        features: Sequence[FeaturePlan] = (),
    ) -> None:
        unknown = set(columns).difference(dataset.manifest.columns)
        if unknown:
            raise UsageError(
                f"{dataset.folder}: no column {min(unknown)!r}; the annotation file had "
                f"{', '.join(dataset.manifest.columns) or 'no other columns'}",
            )
        self._dataset = dataset
        self._columns = columns
        self._views = views
        self._segments = segments
        self._features = [(feature.name, feature.field) for feature in features]
        self._with_views = frozenset((*VIEW_FIELDS, *(field for _, field in self._features)))
        flags = dataset.index.batch.column("flags")
        self._background = rows_with(flags, pc.equal(flags.values, BACKGROUND))
        # Of no event class nothing is known. Without segments nobody asks.
        has_events = bool(dataset.manifest.event_classes)
        self._unknown = {
            modality: rows_with(flags, pc.equal(flags.values, flag)) | (not has_events)
            for modality, flag in (UNKNOWN_EVENTS.items() if segments is not None else ())
        }
        self._numeric = {name: _is_numeric(dataset.index.column(name)) for name in columns}
        index = dataset.index
        # Once: what Arrow needs for a view is more than what a batch takes out of it.
        self._ids = {of.name: index.labels(of) for of in dataset.label_sets if of.kind != "multi"}
        self._id_lists = {of.name: index.label_lists(of) for of in dataset.label_sets if of.kind == "multi"}

    def batch(
        self,
        slots: Slots,
        rows: Rows,
        *,
        weight: npt.NDArray[np.float32],
        loss_scale: float,
        epoch: int,
        positions: npt.NDArray[np.int64],
    ) -> Batch:
        """A batch over filled slots.

        Args:
            slots: Arrays [B, …] by field; `video`, `audio` and features are handed on, the others copied.
            rows: int64 [B]: row of the index, or NO_CLIP.
            weight: float32 [B].
            loss_scale: See Batch.
            epoch: Of the order.
            positions: int64 [B], in it.
        """
        there = rows != NO_CLIP
        safe = np.where(there, rows, 0)
        events = self._events(safe, there, slots["window_s"])
        if self._views is None:
            slots = {name: array[:, 0] if name in self._with_views else array for name, array in slots.items()}
        small: dict[str, Any] = {
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
            video=torch.from_numpy(slots["video"]).movedim(-1, -3) if "video" in slots else None,
            audio=torch.from_numpy(slots["audio"]) if "audio" in slots else None,
            labels=self._labels(safe, there),
            events=events,
            weight=torch.from_numpy(weight),
            loss_scale=loss_scale,
            epoch=epoch,
            positions=torch.from_numpy(positions),
            background=torch.from_numpy(self._background[safe] & there),
            keys=keys if there.all() else [key if real else "" for key, real in zip(keys, there, strict=True)],
            columns={name: self._column(name, safe, there) for name in self._columns},
            features={name: torch.from_numpy(slots[field]) for name, field in self._features},
            **small,
            **({} if self._segments is None else self._of_segments(self._segments, safe, there, slots["window_s"])),
        )

    def _labels(self, rows: Rows, there: npt.NDArray[np.bool_]) -> dict[str, torch.Tensor]:
        labels = {}
        for label_set in self._dataset.label_sets:
            if label_set.kind == "multi":
                lists = self._id_lists[label_set.name]
                present = np.zeros((len(rows), len(label_set.leaf.classes)), dtype=np.uint8)
                places, counts = ragged_places(lists.offsets, rows)
                present[np.repeat(np.arange(len(rows)), counts), lists.values[places]] = 1
                present[~there] = 0
                labels[label_set.name] = torch.from_numpy(present)
            else:
                ids = self._ids[label_set.name][rows].astype(np.int64)
                ids[~there] = UNKNOWN
                labels[label_set.name] = torch.from_numpy(ids)
        return labels

    def _events(self, rows: Rows, there: npt.NDArray[np.bool_], windows_s: npt.NDArray[np.float64]) -> Events:
        """Of every view's window, view after view of clip after clip; `windows_s` is [B, V, 2]."""
        index = self._dataset.index
        views = windows_s.shape[1]
        which, counts = ragged_places(index.event_offsets, np.repeat(rows, views))
        if not len(which):
            # Many data sets have none, and what follows is half of the work for a batch.
            no_s, none = torch.empty(0, dtype=torch.float64), torch.empty(0, dtype=torch.int64)
            offsets = torch.zeros(len(counts) + 1, dtype=torch.int64)
            return Events(start_s=no_s, end_s=no_s, class_id=none, modality=none, offsets=offsets)
        of_view = np.repeat(np.arange(len(counts)), counts)
        t0, t1 = windows_s.reshape(-1, 2)[of_view].T
        kept, start_s, end_s = clip_events(index.event_start_s[which], index.event_end_s[which], t0, t1)
        kept_of = of_view[kept]
        real = np.repeat(there, views)[kept_of]
        which, kept_of = which[kept][real], kept_of[real]
        return Events(
            start_s=torch.from_numpy(start_s[real]),
            end_s=torch.from_numpy(end_s[real]),
            class_id=torch.from_numpy(index.event_class_id[which].astype(np.int64)),
            modality=torch.from_numpy(index.event_modality[which].astype(np.int64)),
            offsets=torch.from_numpy(np.searchsorted(kept_of, np.arange(len(counts) + 1))),
        )

    def _of_segments(
        self,
        grid: SegmentGrid,
        rows: Rows,
        there: npt.NDArray[np.bool_],
        windows_s: npt.NDArray[np.float64],
    ) -> dict[str, Any]:
        """The batch's fields that say what is in its segments; `windows_s` is [B, 2]."""
        index = self._dataset.index
        which, counts = ragged_places(index.event_offsets, rows)
        columns = EventColumns(
            index.event_start_s[which],
            index.event_end_s[which],
            index.event_class_id[which].astype(np.int64),
            index.event_modality[which].astype(np.int64),
            np.repeat(np.arange(len(rows)), counts),
        )
        durations_s, starts_s = index.duration_s[rows], windows_s[:, 0]
        classes = len(self._dataset.manifest.event_classes)
        target = event_targets(grid, columns, durations_s, starts_s, classes=classes)
        for marks in target:
            marks[~there] = False
        real = np.where(there, grid.real(durations_s, starts_s), 0)
        both = target.av
        unknown = {modality: of[rows] & there for modality, of in self._unknown.items()}
        unknown["av"] = unknown["audio"] | unknown["visual"]
        targets, labels = {}, grid_labels(both, real)
        for name, marks in (("audio", target.audio), ("visual", target.visual), ("av", both)):
            values = marks.astype(np.float32)
            values[unknown[name]] = UNKNOWN
            targets[name] = torch.from_numpy(values)
        labels[unknown["av"]] = UNKNOWN
        return {
            "segment_s": grid.segment_s,
            "segment_count": torch.from_numpy(real),
            "segment_targets": targets,
            "segment_labels": torch.from_numpy(labels),
        }

    def knows_events(self) -> bool:
        """Whether of any selected clip it is known what is heard or seen in it, and when; with segments only."""
        rows = self._dataset.rows
        return not bool(np.all([unknown[rows] for unknown in self._unknown.values()]))

    def _column(self, name: str, rows: Rows, there: npt.NDArray[np.bool_]) -> Any:
        values = self._dataset.index.column(name).take(pa.array(rows))
        if self._numeric[name]:
            return torch.from_numpy(np.where(there, values.to_numpy(zero_copy_only=False), 0))
        return [value if real else None for value, real in zip(values.to_pylist(), there, strict=True)]


def _is_numeric(column: pa.Array) -> bool:
    """Decided for the whole column: what a batch holds must not depend on which clips are in it."""
    return not column.null_count and (pa.types.is_integer(column.type) or pa.types.is_floating(column.type))
