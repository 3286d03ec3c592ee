"""Background: event-free media beside the annotated clips, each file a clip for training.

Weakly supervised localization of events on AVE (Tian et al., ECCV 2018) trains with videos without events beside the
annotated ones: clip labels alone do not say what background is.
"""

import json
import posixpath
import statistics
from collections.abc import Sequence
from typing import Any

from shardkit.annotations.annotation_set import AnnotationSet
from shardkit.clip import BACKGROUND, Clip, Reason, Reject
from shardkit.format.digest import file_digest
from shardkit.packing.shard_plan import TYPICAL_CLIP_S
from shardkit.packing.sources import Located, cut_stems, media_files
from shardkit.storage.locations import Location
from shardkit.taxonomy import UNKNOWN, LabelSet

BACKGROUND_SPLIT = "train"


def find_background(folder: Location, annotations: AnnotationSet) -> tuple[list[Located], list[Reject], dict[str, Any]]:
    """A clip of every media file below a folder, by path; rejects; and what the manifest says of the files.

    A clip begins where its file does, and is as long as the annotated clips are (their median, ten seconds where they
    name no ends), or as its file, if that is shorter. A file that is named as media of an annotated clip is no
    background: it would bring a source of another split into training.

    Raises:
        StorageError: The folder is missing or cannot be read.
    """
    files = media_files(folder)
    longest_s = _typical_s(annotations.clips)
    clips = background_clips([path for path, _ in files], annotations)
    ids = {clip.id for clip in clips}
    annotated = {stem for clip in annotations.clips for stem in _stems(clip) if stem in ids}
    located, rejects = [], []
    for clip, (path, size_bytes) in zip(clips, files, strict=True):
        if clip.id in annotated:
            detail = (
                f"{path} is named as media of an annotated clip, and background has no events: take it out of the "
                "background folder"
            )
            rejects.append(Reject(clip.row, clip.id, Reason.DUPLICATE, detail, path))
        else:
            located.append(Located(clip, path, 0.0, longest_s, size_bytes))
    return located, rejects, {"files": len(files), "xxh3": file_digest(json.dumps(files).encode())}


def background_clips(paths: Sequence[str], annotations: AnnotationSet) -> list[Clip]:
    """The clips of files of a background folder, beside those of an annotation file: training clips in every split."""
    labels = {label_set.name: unknown_ids(label_set) for label_set in annotations.label_sets}
    splits = {name: BACKGROUND_SPLIT for name, known in annotations.split_sets.items() if BACKGROUND_SPLIT in known}
    return [
        Clip(
            row=0,
            id=_stem(path),
            media=path,
            labels=labels,
            split=BACKGROUND_SPLIT,
            splits=splits,
            flags=(BACKGROUND,),
        )
        for path in paths
    ]


def unknown_ids(label_set: LabelSet) -> tuple[int, ...]:
    """The ids of a clip of which a label set says nothing."""
    return () if label_set.kind == "multi" else (UNKNOWN,) * label_set.depth


def _stems(clip: Clip) -> list[str]:
    """Stems of the files that an annotated clip may be cut from."""
    return [clip.id, *cut_stems(clip), *([] if clip.media is None else [_stem(clip.media)])]


def _stem(path: str) -> str:
    return posixpath.splitext(posixpath.basename(path))[0]


def _typical_s(clips: Sequence[Clip]) -> float:
    spans_s = [clip.end_s - (clip.start_s or 0.0) for clip in clips if clip.end_s is not None]
    # Whole microseconds: 40.3 - 30.3 is 9.999999999999996.
    return round(statistics.median(spans_s), 6) if spans_s else TYPICAL_CLIP_S
