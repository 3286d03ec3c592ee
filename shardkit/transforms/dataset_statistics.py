"""Mean and standard deviation of what a model sees of a data set: the numbers that its inputs are normalised by."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from shardkit.errors import UsageError
from shardkit.transforms.frontends import FrontEnd
from shardkit.transforms.moments import Moments
from shardkit.transforms.waveforms import per_clip

if TYPE_CHECKING:
    from shardkit.loading.batch import Batch


@dataclass(frozen=True, slots=True)
class Statistics:
    """Mean and standard deviation of a data set's features or pixels."""

    clips: int
    """That had any; each view of a clip is one."""
    frames: int
    """Of features (VGGish: patches), or of pictures."""
    mean: tuple[float, ...]
    """One number for features, three (red, green, blue in [0, 1]) for pictures."""
    std: tuple[float, ...]
    """Likewise; of the values themselves, divided by their number."""

    def to_json(self) -> dict[str, Any]:
        """The numbers as plain values."""
        return asdict(self)


def statistics(batches: "Iterable[Batch]", *, frontend: FrontEnd | None = None) -> Statistics:
    """Mean and standard deviation over the real part of batches, in one pass.

    Clips of weight 0 do not count, nor do repeated frames and padded audio.

    Args:
        batches: Such as a loader with `shuffle=False`.
        frontend: Of its features, before normalisation; None: of the pictures.

    Returns:
        What `frontend(mean=…, std=…)` or `Normalize(mean, std)` take.

    Raises:
        UsageError: The batches have nothing of the kind.

    Example:
        >>> loader = shardkit.loader("shards", split="train", batch_size=16, shuffle=False)  # doctest: +SKIP
        >>> front = shardkit.transforms.frontend("ast", sample_rate_hz=16000)  # doctest: +SKIP
        >>> numbers = shardkit.transforms.statistics(loader, frontend=front)  # doctest: +SKIP
    """
    moments = Moments(1 if frontend is not None else 3)
    clips = frames = 0
    for batch in batches:
        if frontend is not None:
            for features in _real_features(batch, frontend):
                moments.add(features.reshape(1, -1))
                clips, frames = clips + 1, frames + len(features)
        else:
            for pictures in _real_pictures(batch):
                moments.add(pictures.transpose(0, 1).flatten(1) / 255)
                clips, frames = clips + 1, frames + len(pictures)
    if not moments.count:
        raise UsageError(
            f"none of these clips has {'a whole frame of sound' if frontend is not None else 'a picture'}: there is "
            "nothing to take the mean of"
        )
    return Statistics(clips, frames, tuple(moments.mean.tolist()), tuple(moments.std.tolist()))


@torch.no_grad()
def _real_features(batch: "Batch", frontend: FrontEnd) -> list[Tensor]:
    """The real frames [n, mels] (VGGish: patches) of each clip that counts and has any."""
    if batch.audio is None:
        return []
    # Batches are as long as the longest clip of the data set: a second of silence behind what there is will do.
    stop = int(batch.audio_samples.max()) + frontend.sample_rate_hz
    features = frontend.features(batch.audio[..., :stop], batch.audio_samples)
    counts = frontend.frame_count(batch.audio_samples)
    return _first(features, counts, batch.has_audio & (batch.weight > 0))


def _real_pictures(batch: "Batch") -> list[Tensor]:
    """The real frames uint8 [n, 3, H, W] of each clip that counts and has any."""
    if batch.video is None:
        return []
    return _first(batch.video, batch.frame_count, batch.has_video & (batch.weight > 0))


def _first(values: Tensor, counts: Tensor, keep: Tensor) -> list[Tensor]:
    """The first counts[i] of values[i], for clips (and each of their views) that count and have any.

    Args:
        values: [B, n, ...], or [B, V, n, ...].
        counts: int64 [B], or [B, V].
        keep: bool [B].
    """
    counts = torch.where(per_clip(keep, counts.shape), counts, 0)
    clips = values.flatten(0, counts.dim() - 1)
    return [clip[:count] for clip, count in zip(clips, counts.flatten().tolist(), strict=True) if count]
