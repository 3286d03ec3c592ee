"""KEY.msg: a clip's labels, events and provenance in msgpack, self-contained, for plain WebDataset readers.

shardkit itself reads the index and never needs it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgpack

from shardkit.format.record import Record
from shardkit.taxonomy import UNKNOWN, LabelSet


def encode_message(
    record: Record,
    *,
    label_sets: Sequence[LabelSet],
    event_classes: Sequence[str],
    video_codec: str,
    audio_codec: str,
    feature_shapes: Mapping[str, tuple[int, ...]] | None = None,
) -> bytes:
    """The msgpack map of a clip: names beside ids, so that no other file is needed to read it."""
    message: dict[str, Any] = {
        "key": record.key,
        "source_id": record.source_id,
        "source": record.source,
        "source_start_s": record.source_start_s,
        "duration_s": record.duration_s,
        "split": record.split,
        "labels": {s.name: _named(s, record.labels[s.name]) for s in label_sets if s.name in record.labels},
        "events": [
            {
                "start_s": event.start_s,
                "end_s": event.end_s,
                "class_id": event.class_id,
                "class": event_classes[event.class_id],
                "modality": event.modality,
            }
            for event in record.events
        ],
        "flags": list(record.flags),
        "columns": dict(record.columns),
    }
    if record.splits:
        message["splits"] = dict(record.splits)
    if record.video is not None:
        message["video"] = {
            "codec": video_codec,
            "height": record.video.height,
            "width": record.video.width,
            "frame_time_s": list(record.video.frame_time_s),
        }
    if record.audio is not None:
        message["audio"] = {
            "codec": audio_codec,
            "rate_hz": record.audio.rate_hz,
            "channels": record.audio.channels,
            "samples": record.audio.samples,
        }
    if feature_shapes:
        message["features"] = {name: {"shape": list(shape)} for name, shape in feature_shapes.items()}
    packed: bytes = msgpack.packb(message)
    return packed


def _named(label_set: LabelSet, ids: tuple[int, ...]) -> dict[str, Any]:
    levels = label_set.levels if label_set.kind == "hierarchy" else label_set.levels * len(ids)
    names = [
        None if class_id == UNKNOWN else level.classes[class_id] for level, class_id in zip(levels, ids, strict=True)
    ]
    return {"kind": label_set.kind, "ids": list(ids), "names": names}
