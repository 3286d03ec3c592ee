"""CMLMetrics: exact hits of cross-modality localization, A2V (audio query, visual position) and V2A."""

import torch
from torch import Tensor

from shardkit.errors import UsageError
from shardkit.tasks.metrics.clip_metric import ClipMetric, ratio, require_count, require_shape


class CMLMetrics(ClipMetric):
    """Share of clips in which one modality's event was found in the other one, at the very segment.

    A2V: the query is the audio of the l event segments, and its position is sought among the N - l + 1 windows of the
    visual. V2A: the query is visual, the position is in the audio. A hit is the exact start (Tian et al. 2018,
    "Audio-Visual Event Localization in Unconstrained Videos"; cmm_test.py of github.com/YapengTian/AVE-ECCV18). As
    there, the start is the first event segment, also where event segments are scattered. Clips with 0 or N event
    segments leave nothing to find: they are excluded and counted.

        a2v, v2a        share of hits; A2V: audio query, visual position
        random          mean of 1 / (N - l + 1): what guessing reaches
        position_prior  hits of the most frequent start that training clips with the same l have (the first of equals;
                        0 where none has this l): what a model reaches that looks at nothing. NaN without training clips
        clips           clips that count
        excluded_without_event, excluded_all_event   clips with 0 and with N event segments

    Where audio and visual were shuffled apart, each direction has a truth of its own (A2V the visual's, V2A the
    audio's): keep one metric a direction.

    Args:
        segments: N, the number of segments of a clip.
        prior: int64 [N + 1, N]: how many training clips with l event segments (first index) start at a segment
            (second), such as `train_starts` of another metric; or let `update_prior` count.

    Raises:
        UsageError: `segments` is not above 0, or a prior of another shape or type.
    """

    hits_a2v: Tensor
    """Hits of audio queries at visual positions."""
    hits_v2a: Tensor
    """Hits of visual queries at audio positions."""
    starts: Tensor
    """int64 [N + 1, N]: clips that count, by number of event segments and start."""
    train_starts: Tensor
    """int64 [N + 1, N]: the same of training clips; `reset` keeps it."""
    excluded_without_event: Tensor
    excluded_all_event: Tensor

    def __init__(self, segments: int = 10, *, prior: Tensor | None = None) -> None:
        # What compute() returns changes with update_prior(), of which torchmetrics' cache does not know.
        super().__init__(compute_with_cache=False)
        require_count("segments", segments)
        self.segments = segments
        for name in ("hits_a2v", "hits_v2a", "excluded_without_event", "excluded_all_event"):
            self._add_sum(name)
        self._add_sum("starts", segments + 1, segments)
        self._add_sum("train_starts", segments + 1, segments)
        if prior is not None:
            require_shape("prior", prior, segments + 1, segments)
            if prior.dtype != torch.int64:
                raise UsageError(f"prior of {prior.dtype}: numbers of clips (int64) are needed, not shares of them")
            self.train_starts += prior.to(self.device)

    def reset(self) -> None:
        """Forgets the clips that were evaluated; the training clips stay."""
        train_starts = self.train_starts
        super().reset()
        self.train_starts = train_starts

    def update_prior(self, event: Tensor, weight: Tensor | None = None) -> None:
        """Counts the starts of a batch of training clips; ranks may share these between them.

        Args:
            event: bool [B, N]: the event segments, as `update` takes them.
            weight: [B]; slots of weight 0 are removed.

        Raises:
            UsageError: Another shape or type.
        """
        self._require_event(event)
        (event,) = self._kept(weight, event)
        length, start = _length_and_start(event)
        self.train_starts += self._histogram(length, start, self._included(length))

    def update(self, start_a2v: Tensor, start_v2a: Tensor, event: Tensor, weight: Tensor | None = None) -> None:
        """Takes a batch in.

        Args:
            start_a2v: int64 [B]: the segment at which the window of the visual begins that fits the audio query best.
            start_v2a: int64 [B]: the segment at which the window of the audio begins that fits the visual query best.
                Of excluded clips both may be anything.
            event: bool [B, N]: the event segments (the target of the task `cml`).
            weight: [B]; slots of weight 0 are removed.

        Raises:
            UsageError: Other shapes or types, or a start that no window of the event's length has.
        """
        self._require_event(event)
        require_shape("start_a2v", start_a2v, len(event))
        require_shape("start_v2a", start_v2a, len(event))
        start_a2v, start_v2a, event = self._kept(weight, start_a2v, start_v2a, event)
        length, start = _length_and_start(event)
        included = self._included(length)
        for name, found in (("start_a2v", start_a2v), ("start_v2a", start_v2a)):
            outside = included & ((found < 0) | (found > self.segments - length) | found.is_floating_point())
            if outside.any():
                clip = int(outside.int().argmax())
                raise UsageError(
                    f"{name} is {found[clip].item()}, {found.dtype}, where the event has {int(length[clip])} of "
                    f"{self.segments} segments: whole numbers from 0 to the segments without an event are needed"
                )
        self.hits_a2v += (included & (start_a2v == start)).sum()
        self.hits_v2a += (included & (start_v2a == start)).sum()
        self.starts += self._histogram(length, start, included)
        self.excluded_without_event += (length == 0).sum()
        self.excluded_all_event += (length == self.segments).sum()

    def compute(self) -> dict[str, float]:
        """The values by the names above, over all ranks; A2V: audio query, visual position.

        Raises:
            UsageError: No clip with 1 to N - 1 event segments was given.
        """
        clips = self.starts.sum()
        self._require_some(clips, f"clip with 1 to {self.segments - 1} event segments")
        windows = self.segments + 1 - torch.arange(self.segments + 1, device=self.starts.device)
        prior_hits = self.starts.gather(1, self.train_starts.argmax(dim=1, keepdim=True)).sum()
        return {
            "a2v": ratio(self.hits_a2v, clips),
            "v2a": ratio(self.hits_v2a, clips),
            "random": ratio((self.starts.sum(dim=1).double() / windows).sum(), clips),
            "position_prior": ratio(prior_hits, clips) if self.train_starts.any() else float("nan"),
            "clips": float(clips),
            "excluded_without_event": float(self.excluded_without_event),
            "excluded_all_event": float(self.excluded_all_event),
        }

    def _require_event(self, event: Tensor) -> None:
        require_shape("event", event, "B", self.segments)
        if event.dtype != torch.bool:
            raise UsageError(f"event of {event.dtype}: bool, true in the event segments, is needed")

    def _included(self, length: Tensor) -> Tensor:
        return (length > 0) & (length < self.segments)

    def _histogram(self, length: Tensor, start: Tensor, included: Tensor) -> Tensor:
        """int64 [N + 1, N]: number of included clips by length and start."""
        place = (length * self.segments + start)[included]
        shape = (self.segments + 1, self.segments)
        return torch.bincount(place, minlength=shape[0] * shape[1]).reshape(shape)


def _length_and_start(event: Tensor) -> tuple[Tensor, Tensor]:
    """int64 [B], twice: number of event segments, and the first of them (0 without any)."""
    return event.sum(dim=1), event.int().argmax(dim=1)
