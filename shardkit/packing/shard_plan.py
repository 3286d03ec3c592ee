"""ShardPlan: which clip goes into which shard, decided before the first clip is decoded.

So a shard's bytes do not depend on what happened to other shards, on the number of workers, or on restarts.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from shardkit.clip import Clip
from shardkit.format.digest import FileHasher
from shardkit.packing.settings import H264, Mjpeg, PackSettings
from shardkit.packing.sources import Located
from shardkit.planning.hashing import Domain, counter_hash
from shardkit.planning.sampling import FrameSampling

TYPICAL_CLIP_S = 10.0
"""Length assumed of clips whose annotation names no end."""
TYPICAL_ASPECT = 1.5
"""Between 4:3 and 16:9."""
JPEG_BYTES_PER_PIXEL = {"420": 0.19, "444": 0.24}
"""Of JPEG at quality 90 on real clips; see benchmarks/README.md."""
H264_BYTES_PER_PIXEL = 0.1
"""At the factor 13, on the same clips."""
RAW_BYTES_PER_PIXEL = 3
FLAC_SHARE = 0.45
"""Of PCM, on the sound of the same clips."""
MEMBER_OVERHEAD_BYTES = 6000
"""Tar headers, the MP4's tables and the msgpack member of a clip."""


class ArrayAt(NamedTuple):
    """Where a clip's array of a feature lies."""

    feature: str
    place: str | int
    """Name of a .npy file, or row of an HDF5 dataset, from 0 on."""
    size_bytes: int | None = None
    """Of the .npy file."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A clip that has what it must have, ready to be packed."""

    key: str
    split: str
    located: Located
    arrays: tuple[ArrayAt, ...] = ()

    @property
    def clip(self) -> Clip:
        """The annotated clip."""
        return self.located.clip


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """Candidates in shard order, and how many go into a shard."""

    name: str
    candidates: tuple[Candidate, ...]
    shard_clips: int

    @property
    def shard_count(self) -> int:
        """Number of shards."""
        return -(-len(self.candidates) // self.shard_clips)

    def shard_name(self, shard: int) -> str:
        """File name of a shard."""
        return f"{self.name}-{shard:06d}.tar"

    @property
    def shard_names(self) -> list[str]:
        """File names of all shards."""
        return [self.shard_name(shard) for shard in range(self.shard_count)]

    def shard(self, shard: int) -> tuple[Candidate, ...]:
        """The candidates of a shard."""
        return self.candidates[shard * self.shard_clips : (shard + 1) * self.shard_clips]

    def digest(self, settings: PackSettings, inputs: Mapping[str, Any]) -> str:
        """Names everything that decides the output's bytes; what a resumed run must agree in.

        Args:
            settings: The media settings.
            inputs: What else the bytes depend on: libraries, the annotation file and how it is read.
        """
        # Piece by piece: of ten million candidates one JSON text would take gigabytes.
        hasher = FileHasher()
        hasher.update(_json([self.name, self.shard_clips, settings.to_json(), inputs]))
        for each in self.candidates:
            file = each.located
            media = [file.path, file.size_bytes, file.start_s, file.end_s, file.is_background]
            hasher.update(_json([each.key, each.split, *media, each.arrays]))
        return str(hasher.hexdigest())


def _json(content: list[Any]) -> bytes:
    return json.dumps(content, sort_keys=True).encode()


def plan_shards(
    candidates: Sequence[Candidate], settings: PackSettings, *, name: str, feature_bytes: int = 0
) -> ShardPlan:
    """Shuffles candidates over shards of about `settings.shard_bytes`; each clip has `feature_bytes` of features."""
    numbers = np.arange(len(candidates), dtype=np.uint64)
    order = np.argsort(counter_hash(settings.seed, Domain.PACKING, counters=numbers), kind="stable")
    shuffled = tuple(candidates[place] for place in order.tolist())
    clip_bytes = feature_bytes + MEMBER_OVERHEAD_BYTES
    if with_media := sum(candidate.located.path is not None for candidate in candidates):
        clip_bytes += _media_bytes(candidates, settings) * with_media // len(candidates)
    return ShardPlan(name, shuffled, max(1, settings.shard_bytes // clip_bytes))


def _media_bytes(candidates: Sequence[Candidate], settings: PackSettings) -> int:
    """About what the media of a packed clip take: enough to aim at a shard size, and the same on every machine."""
    spans_s = [c.located.end_s - (c.located.start_s or 0.0) for c in candidates if c.located.end_s is not None]
    # Not the mean: one end in milliseconds would put every clip into a shard of its own.
    duration_s = float(np.median(spans_s)) if spans_s else TYPICAL_CLIP_S
    area = settings.frame_size**2 * (1 if settings.fit == "square" else TYPICAL_ASPECT)
    frame_bytes = area * _bytes_per_pixel(settings)
    audio_bytes = duration_s * (settings.audio_rate_hz or 44100) * settings.audio_channels * 2
    if settings.audio_codec == "flac":
        audio_bytes *= FLAC_SHARE
    return int(_estimated_frames(settings.sampling, duration_s) * frame_bytes + audio_bytes)


def _bytes_per_pixel(settings: PackSettings) -> float:
    video = settings.video
    if isinstance(video, Mjpeg):
        # libjpeg's files grow by 7 % a step towards quality 100, and shrink by half as much below 90.
        return JPEG_BYTES_PER_PIXEL[video.chroma] * (1.07 if video.quality > 90 else 1.03) ** (video.quality - 90)
    if isinstance(video, H264):
        # x264's shrink by 10 % a step.
        return H264_BYTES_PER_PIXEL * 0.9 ** (video.crf - 13)
    return RAW_BYTES_PER_PIXEL


def _estimated_frames(sampling: FrameSampling, duration_s: float) -> float:
    """About how many instants a clip has; nothing is made that grows with their number."""
    if sampling.mode == "count":
        return sampling.value
    return max(1.0, duration_s / (sampling.segment_s or 1.0) * sampling.value)
