"""SegmentShuffle: the segments of a batch in another order, their labels with them.

What a model makes of sound and picture that do not belong together, FGAVE asks of cross-modality localization. It
published no code: this is a reading of its text, and not comparable with its table.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from shardkit.errors import UsageError
from shardkit.planning.segment_moves import drawn_groups, moves_across, moves_within, unmoved
from shardkit.planning.segments import TargetGrid, event_runs, grid_labels
from shardkit.taxonomy import UNKNOWN

if TYPE_CHECKING:
    from shardkit.loading.batch import Batch, Events

Shuffled = Literal["audio", "visual", "both_same", "both_independent"]
Scope = Literal["within", "across"]
Pool = Literal["all", "same_action", "same_material"]
POOL_LABELS: Mapping[str, str] = {"same_action": "action", "same_material": "material"}
"""Label set that a pool goes by unless another is named: FGAVE's."""
STREAMS = ("audio", "visual")


class SegmentShuffle:
    """Exchanges segments of sound, of picture, or of both; called with a batch, as a loader's `transform`.

    A pure function of (seed, `batch.epoch`, `batch.positions`): a run that resumes sees the same shuffles, and within
    clips the same clip is shuffled alike whichever batch it is in. Segments behind a clip's end, and clips of weight 0,
    stay where they are; across clips, those without sound keep out of a shuffle of sounds, and those without picture
    out of one of pictures.

    The batch that comes back has moved `audio` and `video` (fresh memory), `frame_times_s`, features and
    `segment_targets`; `segment_source` says where each segment comes from. `segment_labels` and `segment_targets["av"]`
    are what is now heard and seen at once, and `events` are read off the grid again. `labels` of clips stay. `target`
    is None: a loader sets it anew with its task; else call `loader.task(batch)`. `moved` carries anything else along.

    Args:
        modality: `audio`, `visual`, both in the `both_same` order, so that what belongs together stays together, or
            each in an order of its own (`both_independent`).
        scope: `within` each clip, or `across` the clips of the batch.
        pool: Of `across`: among `all` clips; among those of the `same_action`, which is the same class of label set
            `action`; or of the `same_material`: clips that share a class of label set `material`, where one with
            several is in the pool of one of them, drawn.
        label: Label set that the pool goes by instead: `event` of AVE, say. Of a hierarchy the deepest level counts.
        features: Modality of the features that have a row a segment: `{"vggish": "audio"}`; None for one that is to
            stay as it is. Features that have N rows must be named.
        seed: Of the shuffles.

    Raises:
        UsageError: An option is wrong.

    Example:
        >>> shuffle = SegmentShuffle("both_independent", seed=1)
        >>> loader = shardkit.loader("shards", batch_size=16, task="cml", transform=shuffle)  # doctest: +SKIP
    """

    def __init__(
        self,
        modality: Shuffled,
        *,
        scope: Scope = "within",
        pool: Pool = "all",
        label: str | None = None,
        features: Mapping[str, Literal["audio", "visual"] | None] | None = None,
        seed: int = 0,
    ) -> None:
        for name, value, choices in (
            ("modality", modality, get_args(Shuffled)),
            ("scope", scope, get_args(Scope)),
            ("pool", pool, get_args(Pool)),
        ):
            if value not in choices:
                raise UsageError(f"{name}={value!r}: one of {', '.join(map(repr, choices))} is needed")
        if scope == "within" and (pool != "all" or label is not None):
            raise UsageError(f"pool={pool!r}, label={label!r}: segments that stay within their clip have no pool")
        if pool == "all" and label is not None:
            raise UsageError(f"label={label!r} with pool='all': say which pool goes by it, 'same_action' say")
        for name, of in (features or {}).items():
            if of not in (*STREAMS, None):
                raise UsageError(f"features: {name!r} is of {of!r}; 'audio', 'visual' or None is needed")
        self.modality, self.scope, self.pool, self.seed = modality, scope, pool, seed
        self.label = POOL_LABELS.get(pool) if label is None else label
        self.features = dict(features or {})

    def __repr__(self) -> str:
        return f"SegmentShuffle({self.modality!r}, scope={self.scope!r}, pool={self.pool!r}, seed={self.seed})"

    def __call__(self, batch: "Batch") -> "Batch":
        """The batch with its segments moved; see the class.

        Raises:
            UsageError: It has no segments, or does not divide into them; or has no such label set; or a feature with a
                row a segment is not named.
        """
        if batch.segment_labels is None or batch.segment_count is None or batch.segment_s is None:
            raise UsageError("this batch has no segments: give the loader segment_s=, or a task that needs them")
        segments = batch.segment_labels.shape[1]
        self._check_features(batch, segments)
        source = {
            name: torch.from_numpy(moves).to(batch.segment_labels.device)
            for name, moves in self._sources(batch, segments).items()
        }
        moves_audio, moves_visual = self.modality != "visual", self.modality != "audio"
        changed: dict[str, Any] = {}
        if moves_audio and batch.audio is not None:
            changed |= _sound(batch, batch.audio, source["audio"])
        if moves_visual and batch.video is not None:
            changed |= _pictures(batch, batch.video, source["visual"])
        targets = {name: moved(batch.segment_targets[name], source[name]) for name in STREAMS}
        is_unknown = (targets["audio"] < 0) | (targets["visual"] < 0)
        targets["av"] = (targets["audio"] * targets["visual"]).masked_fill(is_unknown, UNKNOWN)
        grid = TargetGrid(*(targets[name].cpu().numpy() > 0 for name in STREAMS))
        labels = grid_labels(grid.av, batch.segment_count.cpu().numpy())
        labels[is_unknown.any(dim=2).cpu().numpy()] = UNKNOWN
        return replace(
            batch,
            **changed,
            features={
                name: values if (of := self.features.get(name)) is None else moved(values, source[of])
                for name, values in batch.features.items()
            },
            segment_source=source,
            segment_targets=targets,
            segment_labels=torch.from_numpy(labels).to(batch.segment_labels.device),
            events=_events(batch.events, grid, batch.segment_s),
            target=None,
        )

    def _sources(self, batch: "Batch", segments: int) -> dict[str, np.ndarray[Any, np.dtype[np.int64]]]:
        """Clip and segment that comes to each place, of both modalities: int64 [B, N, 2]."""
        assert batch.segment_count is not None
        real, positions = batch.segment_count.cpu().numpy(), batch.positions.cpu().numpy()
        movable = {name: self._movable(batch, name) for name in STREAMS}
        if self.modality == "both_same":
            movable = dict.fromkeys(STREAMS, movable["audio"] & movable["visual"])
        groups = self._groups(batch)
        source = {}
        for place, name in enumerate(STREAMS):
            options = {
                "segments": segments,
                "seed": self.seed,
                "epoch": batch.epoch,
                "stream": 0 if self.modality == "both_same" else place,
            }
            if self.modality not in (name, "both_same", "both_independent"):
                source[name] = unmoved(len(batch), segments)
            elif self.scope == "within":
                source[name] = moves_within(real, positions, movable[name], **options)
            else:
                source[name] = moves_across(real, positions, movable[name], groups, **options)
        return source

    def _movable(self, batch: "Batch", name: str) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """The clips whose segments of a modality take part, bool [B]."""
        there = batch.weight > 0
        media, has = (batch.audio, batch.has_audio) if name == "audio" else (batch.video, batch.has_video)
        if self.scope == "across" and media is not None:
            there = there & has
        movable: np.ndarray[Any, np.dtype[np.bool_]] = there.cpu().numpy()
        return movable

    def _groups(self, batch: "Batch") -> np.ndarray[Any, np.dtype[np.int64]]:
        """int64 [B]: the clips that exchange segments have a number in common."""
        if self.label is None:
            return np.zeros(len(batch), dtype=np.int64)
        if self.label not in batch.labels:
            raise UsageError(
                f"pool={self.pool!r} goes by label set {self.label!r}, and there are "
                f"{', '.join(map(repr, batch.labels)) or 'none'}: name one with label="
            )
        labels = batch.labels[self.label].cpu().numpy()
        if labels.dtype == np.uint8:
            positions = batch.positions.cpu().numpy()
            return drawn_groups(labels > 0, positions, seed=self.seed, epoch=batch.epoch)
        ids = labels[:, -1]
        return np.where(ids == UNKNOWN, -1 - np.arange(len(ids)), ids)

    def _check_features(self, batch: "Batch", segments: int) -> None:
        for name, of in self.features.items():
            if name not in batch.features:
                raise UsageError(f"features: no feature {name!r}; there are {', '.join(batch.features) or 'none'}")
            shape = list(batch.features[name].shape)
            if of is not None and shape[1:2] != [segments]:
                raise UsageError(
                    f"features: {name!r} is {shape}: it does not have a row for each of {segments} segments"
                )
        for name, values in batch.features.items():
            if name not in self.features and values.dim() > 2 and values.shape[1] == segments:
                raise UsageError(
                    f"feature {name!r} has a row a segment: say which modality it follows, "
                    f"features={{{name!r}: 'audio'}}, or None for neither"
                )


def moved(values: Tensor, source: Tensor) -> Tensor:
    """What belongs to segments, [B, N, ...], as `SegmentShuffle` moved them: fresh memory.

    Args:
        values: Of the batch as it was before.
        source: int64 [B, N, 2], of `batch.segment_source`.

    Example:
        >>> values = torch.tensor([[5, 6], [7, 8]])
        >>> moved(values, torch.tensor([[[0, 1], [1, 0]], [[0, 0], [1, 1]]])).tolist()
        [[6, 7], [5, 8]]
    """
    return values[source[..., 0], source[..., 1]]


def _sound(batch: "Batch", audio: Tensor, source: Tensor) -> dict[str, Any]:
    segments = source.shape[1]
    if audio.dim() != 3 or audio.shape[2] % segments:
        raise UsageError(
            f"audio {list(audio.shape)} does not divide into {segments} equal segments of [B, C, S]: pack with an "
            "--audio-rate of which a segment holds a whole number of samples, such as 16000"
        )
    size = audio.shape[2] // segments
    pieces = moved(audio.reshape(*audio.shape[:2], segments, size).movedim(2, 1), source)
    assert batch.segment_count is not None
    # The zeros behind the sound of a last, short segment may be anywhere now.
    samples = torch.maximum(batch.audio_samples, batch.segment_count * size)
    return {
        "audio": pieces.movedim(1, 2).flatten(2),
        "audio_samples": samples.where(batch.audio_samples > 0, batch.audio_samples),
    }


def _pictures(batch: "Batch", video: Tensor, source: Tensor) -> dict[str, Any]:
    segments = source.shape[1]
    if video.dim() != 5 or video.shape[1] % segments:
        raise UsageError(f"video {list(video.shape)} does not divide into {segments} segments of [B, T, 3, H, W]")
    # Memory stays [B, T, H, W, 3].
    per_segment = (len(video), segments, video.shape[1] // segments)
    frames = video.movedim(-3, -1)
    pieces = moved(frames.reshape(*per_segment, *frames.shape[2:]), source)
    return {
        "video": pieces.flatten(1, 2).movedim(-1, -3),
        "frame_times_s": moved(batch.frame_times_s.reshape(per_segment), source).flatten(1),
    }


def _events(events: "Events", grid: TargetGrid, segment_s: float) -> "Events":
    """The events that the grid says."""
    runs = event_runs(grid, segment_s=segment_s)
    columns = {
        "start_s": runs.start_s,
        "end_s": runs.end_s,
        "class_id": runs.class_id,
        "modality": runs.modality,
        "offsets": np.searchsorted(runs.clip, np.arange(len(grid.audio) + 1)),
    }
    device = events.offsets.device
    return replace(events, **{name: torch.from_numpy(values).to(device) for name, values in columns.items()})
