"""AVELMetrics: accuracy over segments of audio-visual event localization."""

from torch import Tensor

from shardkit.tasks.metrics.clip_metric import ClipMetric, class_ids, ratio, require_count, require_shape
from shardkit.taxonomy import UNKNOWN


class AVELMetrics(ClipMetric):
    """Accuracy over segments, beside what two rules reach that look at no segment.

    A segment's label is the class of the event that is both heard and seen in it, or background: C, the last one. Its
    prediction is the argmax over the C + 1 scores (the first of equals). Over all segments with a label, of all clips:

        acc                 share of right predictions, background among them: `compute_acc` of AVE (Tian et al. 2018,
                            "Audio-Visual Event Localization in Unconstrained Videos"; supervised_main.py of
                            github.com/YapengTian/AVE-ECCV18)
        always_background   share of segments that are background: acc of a model that says nothing else
        clip_class_oracle   share of segments that have the clip's class: acc of a model that knows it, and says it in
                            every segment; what is above this line was localized
        background_recall   share of the background segments that are predicted as background
        event_recall        share of the others that are predicted with their class
        segments, unknown   segments that count, and those of unknown label that do not

    Args:
        classes: C, the number of classes without background.

    Raises:
        UsageError: `classes` is not above 0.
    """

    background: Tensor
    background_hits: Tensor
    events: Tensor
    event_hits: Tensor
    oracle_hits: Tensor
    unknown: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        require_count("classes", classes)
        self.classes = classes
        for name in ("background", "background_hits", "events", "event_hits", "oracle_hits", "unknown"):
            self._add_sum(name)

    def update(self, scores: Tensor, segment_labels: Tensor, clip_class: Tensor, weight: Tensor | None = None) -> None:
        """Takes a batch in.

        Args:
            scores: Float [B, N, C + 1], background last; logits or probabilities.
            segment_labels: int64 [B, N] (`batch.segment_labels`): C for background, -100 for unknown.
            clip_class: int64 [B]: the class of the clip's label; C for a clip of background, which the oracle then says
                too. With -100 the oracle is wrong in all of the clip's segments.
            weight: [B]; slots of weight 0 are removed.

        Raises:
            UsageError: Other shapes, or a class that there is not.
        """
        require_shape("scores", scores, "B", "N", self.classes + 1)
        require_shape("segment_labels", segment_labels, *scores.shape[:2])
        require_shape("clip_class", clip_class, len(scores))
        scores, labels, clip_class = self._kept(weight, scores, segment_labels, clip_class)
        labels = class_ids("segment_labels", labels, self.classes + 1)
        clip_class = class_ids("clip_class", clip_class, self.classes + 1)
        known = labels != UNKNOWN
        background = labels == self.classes
        event = known & ~background
        hit = scores.argmax(dim=2) == labels
        self.background += background.sum()
        self.background_hits += (background & hit).sum()
        self.events += event.sum()
        self.event_hits += (event & hit).sum()
        self.oracle_hits += (known & (labels == clip_class.unsqueeze(1))).sum()
        self.unknown += (~known).sum()

    def compute(self) -> dict[str, float]:
        """The values by the names above, over all ranks.

        Raises:
            UsageError: No segment with a label was given.
        """
        segments = self.background + self.events
        self._require_some(segments, "segment with a label")
        return {
            "acc": ratio(self.background_hits + self.event_hits, segments),
            "always_background": ratio(self.background, segments),
            "clip_class_oracle": ratio(self.oracle_hits, segments),
            "background_recall": ratio(self.background_hits, self.background),
            "event_recall": ratio(self.event_hits, self.events),
            "segments": float(segments),
            "unknown": float(self.unknown),
        }
