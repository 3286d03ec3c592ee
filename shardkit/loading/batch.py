"""Batch: what the training loop gets."""

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor

from shardkit.errors import UsageError
from shardkit.loading.segments_view import SegmentsView, segments_view


@dataclass(frozen=True, slots=True)
class Events:
    """Labelled intervals of a batch's clips as columns: clip i's are offsets[i] to offsets[i + 1].

    With V views a clip, those of view v of clip i are offsets[i * V + v] to offsets[i * V + v + 1].
    """

    start_s: Tensor
    """float64 [E]: seconds from the window's start, clipped to the window."""
    end_s: Tensor
    """float64 [E]."""
    class_id: Tensor
    """int64 [E]: place in the data set's event classes."""
    modality: Tensor
    """int64 [E]: place in shardkit.EVENT_MODALITIES (audio, visual, av)."""
    offsets: Tensor
    """int64 [B + 1], or [B * V + 1]."""


@dataclass(frozen=True, slots=True)
class Batch:
    """B clips. `video`, `audio` and `features` lie in memory that is used again once all are gone: clone what you keep.

    With `views`, `video`, `audio`, `features`, `window_s`, `frame_times_s`, `frame_count` and `audio_samples` have
    another dimension after the first: [B, V, …].
    """

    video: Tensor | None
    """uint8 [B, T, 3, H, W], RGB; a view of [B, T, H, W, 3] memory. None unless asked for, and where no clip of the
    whole selection has a picture."""
    audio: Tensor | None
    """float32 [B, C, S] in [-1, 1]. None unless asked for, and where no clip of the whole selection has sound."""
    labels: dict[str, Tensor]
    """Label set to int64 [B, depth] class ids (-100 unknown), or uint8 [B, classes] for `multi`."""
    events: Events
    window_s: Tensor
    """float64 [B, 2]: start and end of the window, in seconds from the clip's start."""
    frame_times_s: Tensor
    """float64 [B, T]: true time of each frame, in seconds from the clip's start."""
    frame_count: Tensor
    """int64 [B]: frames before the last one is repeated."""
    audio_samples: Tensor
    """int64 [B]: samples before zeros are padded."""
    has_video: Tensor
    """bool [B]."""
    has_audio: Tensor
    """bool [B]."""
    background: Tensor
    """bool [B]: clips that are known to have no event (flag `background`)."""
    weight: Tensor
    """float32 [B]: 1 for a real clip, 0 for padding and for clips that could not be loaded."""
    loss_scale: float
    """World size ÷ real clips in the global batch: `(loss * weight).sum() * loss_scale` averages right under DDP. Clips
    that were skipped as damaged count as real where there are several ranks: none knows of the others' damage."""
    epoch: int
    positions: Tensor
    """int64 [B]: places of the clips in the epoch's order; draws that hang on these two can be repeated."""
    keys: list[str]
    columns: dict[str, Any]
    """Annotation columns that were asked for: a Tensor [B] where all clips of the data set have a number, else a list
    with None for what is missing."""
    features: dict[str, Tensor] = field(default_factory=dict)
    """Feature name to float32 [B, …]: arrays that were packed with the clips, such as `vggish` [B, 10, 128]; zeros for
    a clip that has none."""
    segment_s: float | None = None
    """Length of a segment in seconds; None without segments."""
    segment_count: Tensor | None = None
    """int64 [B]: of the N segments of the window, those that lie in the clip; None without segments."""
    segment_targets: dict[str, Tensor] = field(default_factory=dict)
    """Modality (`audio`, `visual`, and `av` for both at once) to float32 [B, N, C]: 1 where an event of the class is
    heard, seen, or both; there is no background column. -100 in all of a clip of which that is not known."""
    segment_labels: Tensor | None = None
    """int64 [B, N]: class of the event that is both heard and seen, C (the last one) for background, -100 behind the
    clip's end and where it is not known. The lowest class where there are several."""
    segment_source: dict[str, Tensor] = field(default_factory=dict)
    """`audio` and `visual` to int64 [B, N, 2]: which clip (place in the batch) and which of its segments each segment
    was before `shardkit.tasks.SegmentShuffle` moved it; empty where it moved nothing."""
    target: Tensor | None = None
    """What the loader's `task` trains and evaluates against; see there."""

    def segments_view(self, context_s: float | None = None) -> SegmentsView:
        """Video and audio segment by segment: views of the batch's memory, where they can be.

        N segments of T frames have K = T / N frames each. Of S samples, N * segment_s seconds, a segment has
        floor(S / N), and segment k begins at sample floor(k * S / N): where N does not divide S, the one sample
        between some neighbours belongs to neither. The sample rate is S / (N * segment_s), whatever the audio has been
        resampled to.

        Args:
            context_s: Length of each segment's sound, around its middle, such as VGGish's 0.96 s: L = round(context_s *
                rate) samples from the one nearest to (k + 1/2) * S / N - L / 2 on, with zeros beyond both ends of the
                window. None: the segment's own.

        Raises:
            UsageError: The batch has no segments, or has views, or frames that do not divide among segments.
        """
        if self.segment_count is None or self.segment_labels is None or self.segment_s is None:
            raise UsageError("this batch has no segments: give the loader segment_s=, or a task that needs them")
        return segments_view(
            self.video,
            self.audio,
            segments=self.segment_labels.shape[1],
            segment_s=self.segment_s,
            context_s=context_s,
        )

    def __len__(self) -> int:
        return len(self.keys)

    def __repr__(self) -> str:
        return f"Batch({', '.join(f'{f.name}={_described(getattr(self, f.name))}' for f in fields(self))})"

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> "Batch":
        """The batch with all its tensors on `device`."""

        def move(value: Any) -> Any:
            if isinstance(value, Tensor):
                return value.to(device, non_blocking=non_blocking)
            if isinstance(value, dict):
                return {name: move(item) for name, item in value.items()}
            if isinstance(value, Events):
                return _mapped(value, move)
            return value

        moved: Batch = _mapped(self, move)
        return moved

    def tensors(self) -> list[Tensor]:
        """All of its tensors."""
        held: list[Any] = []
        for whole in (self, self.events):
            for value in (getattr(whole, f.name) for f in fields(whole)):
                held += value.values() if isinstance(value, dict) else [value]
        return [value for value in held if isinstance(value, Tensor)]

    def as_dict(self) -> dict[str, Any]:
        """The fields by name, for code that wants a dictionary; `events` becomes one too."""
        content = {f.name: getattr(self, f.name) for f in fields(self)}
        content["events"] = {f.name: getattr(self.events, f.name) for f in fields(self.events)}
        return content


def _mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    return replace(value, **{f.name: change(getattr(value, f.name)) for f in fields(value)})


def _described(value: object) -> str:
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_described(item)}" for name, item in value.items()) + "}"
    if isinstance(value, Events):
        return f"{len(value.start_s)}"
    return f"{len(value)} strings" if isinstance(value, list) else repr(value)
