"""CMLMetrics: exact hits of cross-modality localization, A2V (audio query, visual position) and V2A."""

import torch
from torch import Tensor

from shardkit.errors import UsageError
from shardkit.tasks.metrics.clip_metric import ClipMetric, ratio, require_count, require_shape, segment_counts
from shardkit.tasks.runs import run_begins


class CMLMetrics(ClipMetric):
    """Share of clips in which one modality's event was found in the other one, at the very segment.

    A2V: the query is the audio of the l event segments, and its position is sought among the N - l + 1 windows of the
    visual. V2A: the query is visual, the position is in the audio. A hit is the exact start (Tian et al. 2018,
    "Audio-Visual Event Localization in Unconstrained Videos"; cmm_test.py of github.com/YapengTian/AVE-ECCV18). Clips
    with 0 or N event segments leave nothing to find, and where event segments are no single run no window fits them:
    these are excluded and counted, as `shardkit.tasks.localize` does.

        a2v, v2a        share of hits; A2V: audio query, visual position
        random          mean of 1 / (N - l + 1): what guessing reaches
        position_prior  hits of the most frequent start that training clips with the same l have (the first of equals;
                        0 where none has this l): what a model reaches that looks at nothing. NaN without training clips
        clips           clips that count
        excluded_without_event, excluded_all_event, excluded_in_pieces   clips that do not

    Where audio and visual were shuffled apart, so that each direction has an `event` of its own, keep one metric a
    direction.

    Args:
        segments: N, the number of segments of a clip.
        prior: int64 [N + 1, N]: how many training clips with l event segments (first index) start at a segment
            (second), such as `train_starts` of another metric; or let `update_prior` count.

    Raises:
        UsageError: `segments` is not above 0, or a prior of another shape or type.

    Example:
        An event in the second and third of four segments; its sound found it at the second, its picture at the first:

        >>> metric = CMLMetrics(4)
        >>> event = torch.tensor([[False, True, True, False]])
        >>> metric.update_prior(event)  # of the training clips
        >>> metric.update(torch.tensor([1]), torch.tensor([0]), event)
        >>> values = metric.compute()
        >>> values["a2v"], values["v2a"], values["random"], values["position_prior"]
        (1.0, 0.0, 0.3333333333333333, 1.0)
    """

    hits_a2v: Tensor
    """Hits of audio queries at visual positions."""
    hits_v2a: Tensor
    """Hits of visual queries at audio positions."""
    starts: Tensor
    """int64 [N + 1, N]: clips that count, by number of event segments and start."""
    chance: Tensor
    """float64: sum of 1 / number of windows over them."""
    train_starts: Tensor
    """int64 [N + 1, N]: the same of training clips; `reset` keeps it."""
    excluded_without_event: Tensor
    excluded_all_event: Tensor
    excluded_in_pieces: Tensor

    def __init__(self, segments: int = 10, *, prior: Tensor | None = None) -> None:
        # What compute() returns changes with update_prior(), of which torchmetrics' cache does not know.
        super().__init__(compute_with_cache=False)
        require_count("segments", segments)
        self.segments = segments
        for name in ("hits_a2v", "hits_v2a", "excluded_without_event", "excluded_all_event", "excluded_in_pieces"):
            self._add_sum(name)
        self._add_sum("chance", dtype=torch.float64)
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

    def update_prior(self, event: Tensor, weight: Tensor | None = None, segment_count: Tensor | None = None) -> None:
        """Counts the starts of a batch of training clips; ranks may share these between them.

        Args:
            event: bool [B, N]: the event segments, as `update` takes them.
            weight: [B]; slots of weight 0 are removed.
            segment_count: int64 [B], as `update` takes it.

        Raises:
            UsageError: Another shape or type.
        """
        own = self._own_segments(event, segment_count)
        event, own = self._kept(weight, event, own)
        self.train_starts += _Spans(event, own).histogram()

    def update(
        self,
        start_a2v: Tensor,
        start_v2a: Tensor,
        event: Tensor,
        weight: Tensor | None = None,
        segment_count: Tensor | None = None,
    ) -> None:
        """Takes a batch in.

        Args:
            start_a2v: int64 [B]: the segment at which the window of the visual begins that fits the audio query best.
            start_v2a: int64 [B]: the segment at which the window of the audio begins that fits the visual query best.
                Of excluded clips both may be anything.
            event: bool [B, N]: the event segments (the target of the task `cml`).
            weight: [B]; slots of weight 0 are removed.
            segment_count: int64 [B] (`batch.segment_count`): the number of segments of each clip, in place of N.

        Raises:
            UsageError: Other shapes or types, or a start that no window of the event's length has.
        """
        own = self._own_segments(event, segment_count)
        require_shape("start_a2v", start_a2v, len(event))
        require_shape("start_v2a", start_v2a, len(event))
        start_a2v, start_v2a, event, own = self._kept(weight, start_a2v, start_v2a, event, own)
        spans = _Spans(event, own)
        for name, found in (("start_a2v", start_a2v), ("start_v2a", start_v2a)):
            outside = spans.included & ((found < 0) | (found >= spans.windows) | found.is_floating_point())
            if outside.any():
                clip = int(outside.int().argmax())
                raise UsageError(
                    f"{name} is {found[clip].item()}, {found.dtype}, where the event has {int(spans.length[clip])} of "
                    f"{int(own[clip])} segments: whole numbers from 0 to the segments without an event are needed"
                )
        self.hits_a2v += (spans.included & (start_a2v == spans.start)).sum()
        self.hits_v2a += (spans.included & (start_v2a == spans.start)).sum()
        self.starts += spans.histogram()
        self.chance += (1 / spans.windows[spans.included].double()).sum()
        self.excluded_without_event += spans.without_event.sum()
        self.excluded_all_event += spans.all_event.sum()
        self.excluded_in_pieces += spans.in_pieces.sum()

    def compute(self) -> dict[str, float]:
        """The values by the names above, over all ranks; A2V: audio query, visual position.

        Raises:
            UsageError: No clip that counts was given.
        """
        clips = self.starts.sum()
        self._require_some(clips, "clip whose event is a part of it, in one run of segments")
        prior_hits = self.starts.gather(1, self.train_starts.argmax(dim=1, keepdim=True)).sum()
        return {
            "a2v": ratio(self.hits_a2v, clips),
            "v2a": ratio(self.hits_v2a, clips),
            "random": ratio(self.chance, clips),
            "position_prior": ratio(prior_hits, clips) if self.train_starts.any() else float("nan"),
            "clips": float(clips),
            "excluded_without_event": float(self.excluded_without_event),
            "excluded_all_event": float(self.excluded_all_event),
            "excluded_in_pieces": float(self.excluded_in_pieces),
        }

    def _own_segments(self, event: Tensor, segment_count: Tensor | None) -> Tensor:
        require_shape("event", event, "B", self.segments)
        if event.dtype != torch.bool:
            raise UsageError(f"event of {event.dtype}: bool, true in the event segments, is needed")
        return segment_counts(segment_count, *event.shape)


class _Spans:
    """Where the events of a batch are, and which of them can be looked for."""

    def __init__(self, event: Tensor, own: Tensor) -> None:
        """Events bool [B, N], of clips with so many segments, int64 [B]; all fields are [B]."""
        self.segments = event.shape[1]
        self.length = event.sum(dim=1)
        self.start = event.int().argmax(dim=1)
        self.windows = own - self.length + 1
        self.without_event = self.length == 0
        self.all_event = ~self.without_event & (self.length >= own)
        self.in_pieces = ~self.all_event & (run_begins(event).sum(dim=1) > 1)
        self.included = ~(self.without_event | self.all_event | self.in_pieces)

    def histogram(self) -> Tensor:
        """int64 [N + 1, N]: number of included clips by length and start."""
        place = (self.length * self.segments + self.start)[self.included]
        shape = (self.segments + 1, self.segments)
        return torch.bincount(place, minlength=shape[0] * shape[1]).reshape(shape)
