"""ShardTask: one shard from candidates to tar and receipt. The unit of work of every engine.

Its bytes depend on the task and on what is common to a run's shards, not on where, when and beside what it is packed.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from shardkit.clip import Reason, Reject
from shardkit.errors import StorageError
from shardkit.format.message import encode_message
from shardkit.format.npy import encode_npy
from shardkit.format.record import Record
from shardkit.packing.clip_media import PackedMedia
from shardkit.packing.features import NPY_SUFFIX, BadArrayError, FeatureReader, FeatureSource
from shardkit.packing.isolation import IsolatedWorkers
from shardkit.packing.settings import PackSettings
from shardkit.packing.shard_files import PackedSample, write_receipt, write_shard
from shardkit.packing.shard_plan import Candidate
from shardkit.packing.sources import Located
from shardkit.storage.folders import Folder
from shardkit.storage.locations import Location
from shardkit.taxonomy import LabelSet

Answers = Iterator[tuple[Candidate, dict[str, Any]]]
OnClips = Callable[[int, tuple[Reject, ...]], None]
"""Is told of clips that are done, how many and which of them were rejected; what it raises ends the run."""


@dataclass(frozen=True, slots=True)
class ShardTask:
    """A shard to pack."""

    number: int
    name: str
    """Of its tar."""
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True)
class Common:
    """What all shards of a run have in common."""

    settings: PackSettings
    schema: pa.Schema
    """Of the index."""
    label_sets: tuple[LabelSet, ...]
    event_classes: tuple[str, ...]
    plan_digest: str
    libraries: Mapping[str, str]
    """Versions of what makes the bytes."""
    media: Location | None
    background: Location | None
    features: tuple[FeatureSource, ...]
    out: Location
    clip_timeout_s: float

    def isolated_workers(self, workers: int) -> IsolatedWorkers:
        """Processes that decode and encode clips for these shards."""
        return IsolatedWorkers(
            self.settings,
            workers=workers,
            clip_timeout_s=self.clip_timeout_s,
            media=self.media,
            background=self.background,
        )

    def local_path(self, located: Located) -> Path | None:
        """Where a clip's file is; None where it is behind a URL, or there is none."""
        folder = self.background if located.is_background else self.media
        if folder is None or located.path is None or not folder.is_local:
            return None
        return folder.path / located.path

    def requests(self, task: ShardTask) -> Iterator[tuple[Candidate, dict[str, Any]]]:
        """What to ask workers for a shard, in its order: for the clips that have media."""
        for candidate in task.candidates:
            located = candidate.located
            if located.path is None:
                continue
            yield (
                candidate,
                {
                    "path": str(self.local_path(located) or located.path),
                    "is_background": located.is_background,
                    "start_s": located.start_s,
                    "end_s": located.end_s,
                    "size_bytes": located.size_bytes,
                },
            )


def pack_shard(task: ShardTask, common: Common, answers: Answers, output: Folder, on_clips: OnClips) -> None:
    """Packs a shard: its tar, then its receipt.

    Args:
        task: Which.
        common: What it shares with others.
        answers: Workers' answers to `common.requests(task)`, and maybe to others after them.
        output: The output folder.
        on_clips: Is told of each clip.

    Raises:
        StorageError: A source cannot be fetched, or the shard cannot be written.
    """
    rejects: list[Reject] = []
    with FeatureReader(common.features) as features:
        samples = _samples(task, common, answers, features, rejects, on_clips)
        info, placed = write_shard(output, task.name, samples, shard=task.number)
    write_receipt(output, info, placed, rejects, schema=common.schema, plan_digest=common.plan_digest)


def _samples(
    task: ShardTask,
    common: Common,
    answers: Answers,
    features: FeatureReader,
    rejects: list[Reject],
    on_clips: OnClips,
) -> Iterator[PackedSample]:
    """The shard's samples; rejects go aside."""
    for candidate in task.candidates:
        found = _content(candidate, answers, features)
        if isinstance(found, Reject):
            rejects.append(found)
            on_clips(1, (found,))
            continue
        media, arrays = found
        record = _record(candidate, media)
        shapes = {name: array.shape for name, array in arrays.items()}
        message = encode_message(
            record,
            label_sets=common.label_sets,
            event_classes=common.event_classes,
            video_codec=common.settings.video.codec,
            audio_codec=common.settings.audio_codec,
            feature_shapes=shapes,
        )
        members = {**media.members, "msg": message}
        members |= {f"{name}{NPY_SUFFIX}": encode_npy(array) for name, array in arrays.items()}
        yield PackedSample(record, members, shapes)
        on_clips(1, ())


def _content(
    candidate: Candidate, answers: Answers, features: FeatureReader
) -> tuple[PackedMedia, dict[str, npt.NDArray[np.float16]]] | Reject:
    """A clip's media and its arrays, or why it is rejected."""
    clip, path = candidate.clip, candidate.located.path
    if path is None:
        media = _without_media(candidate)
    else:
        _, answer = next(answers)
        if "storage_error" in answer:
            raise StorageError(answer["storage_error"])
        if "reason" in answer:
            return Reject(clip.row, clip.id, Reason(answer["reason"]), answer["detail"], path)
        media = PackedMedia.from_wire(answer)
    try:
        return media, features.read(candidate.arrays)
    except BadArrayError as exc:
        return Reject(clip.row, clip.id, Reason.BAD_FEATURE, str(exc), path)


def _without_media(candidate: Candidate) -> PackedMedia:
    """What stands for the media of a clip that has none: the span that the annotation names."""
    located = candidate.located
    start_s = located.start_s or 0.0
    assert located.end_s is not None
    # Whole microseconds: 40.3 - 30.3 is 9.999999999999996.
    return PackedMedia(start_s, round(located.end_s - start_s, 6), video=None, audio=None, members={}, flags=())


def _record(candidate: Candidate, media: PackedMedia) -> Record:
    clip = candidate.clip
    return Record(
        key=candidate.key,
        row=clip.row,
        source_id=clip.id,
        source=candidate.located.path or "",
        source_start_s=media.start_s,
        duration_s=media.duration_s,
        split=candidate.split,
        video=media.video,
        audio=media.audio,
        labels=clip.labels,
        events=clip.events,
        flags=tuple(sorted({*media.flags, *clip.flags})),
        columns=clip.columns,
        splits=clip.splits,
    )
