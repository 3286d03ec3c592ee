"""HierarchyMetrics: how right, and how wrong, predictions in a tree of classes are."""

from collections.abc import Sequence

import torch
from torch import Tensor

from shardkit.errors import UsageError
from shardkit.tasks.hierarchy import parent_map, sum_to_level
from shardkit.tasks.metrics.clip_metric import (
    ClipMetric,
    ScoreKind,
    class_ids,
    ratio,
    require_score_kind,
    require_shape,
)
from shardkit.taxonomy import UNKNOWN, Taxonomy


class HierarchyMetrics(ClipMetric):
    """Accuracy at every level, F of paths, height of mistakes, and whether levels agree.

    The tree has D levels below the root; clips have a class at each. With p(leaf) a clip's probabilities:

        LEVEL_acc           accuracy at the level of that name, over clips whose class there is known; the prediction is
                            the class with the highest sum of p over the leaves below it. Of the leaves: plain accuracy
        LEVEL_heads_acc     the same, with the argmax of the level's own scores (if `level_scores` were given)
        hP, hR, hF          Kiritchenko et al. 2006, "Learning and evaluation in the presence of class hierarchies":
                            with P and T the predicted and the true leaf and their ancestors, without the root,
                            hP = Σ|P ∩ T| / Σ|P|, hR = Σ|P ∩ T| / Σ|T|, hF = 2·hP·hR / (hP + hR); sums over clips
        mistake_severity    mean over wrong leaves of the height of the lowest common ancestor of predicted and true
                            leaf: 1 below the same parent, D where only the root is above both (Bertinetto et al. 2020,
                            "Making better mistakes"). NaN without mistakes
        path_consistency    share of clips whose predictions of all levels, by summing, are one path of the tree
        heads_path_consistency   the same of the levels' own scores (if they were given)
        clips, unknown      clips, and those of them whose leaf is unknown
        mistakes            wrong leaves
        mistakes_without_ancestor   those left out of mistake_severity, see below

    hF and the severity are those of clips whose leaf is known, and of the leaf with the highest score. Where the tree
    does not know a parent (-100):

    - the leaf's probability goes to no class of that level nor of those above;
    - ancestors that are not known are in neither P nor T;
    - a mistake has a lowest common ancestor if a known one is common, or if both paths are known up to the top;
      otherwise it counts in `mistakes_without_ancestor` only;
    - nothing contradicts such a parent: a class below it is consistent with every class above.

    Args:
        taxonomy: The tree, such as `manifest.label_set("instrument").taxonomy`.
        scores: What the leaf scores are.

    Raises:
        UsageError: Another kind of scores.

    Example:
        Lute and harp are strings, oboe is a wind. Oboe is the highest leaf, but strings have more together:

        >>> from shardkit.taxonomy import Level, Taxonomy
        >>> levels = (Level("family", ("strings", "winds")), Level("name", ("lute", "harp", "oboe")))
        >>> tree = Taxonomy(levels, parents=((0, 0, 1),))
        >>> metric = HierarchyMetrics(tree, scores="probabilities")
        >>> metric.update(torch.tensor([[0.35, 0.25, 0.4]]), torch.tensor([[0, 1]]))
        >>> values = metric.compute()
        >>> [values[name] for name in ("family_acc", "name_acc", "mistake_severity", "path_consistency")]
        [1.0, 0.0, 2.0, 0.0]
    """

    hits: Tensor
    """int64 [D]: right predictions by summing."""
    known: Tensor
    """int64 [D]: clips whose class is known."""
    head_hits: Tensor
    head_known: Tensor
    shared_nodes: Tensor
    predicted_nodes: Tensor
    true_nodes: Tensor
    mistakes: Tensor
    heights: Tensor
    mistakes_without_ancestor: Tensor
    consistent: Tensor
    clips: Tensor
    head_consistent: Tensor
    head_clips: Tensor
    paths: Tensor
    """int64 [leaves, D]: the path of every leaf."""

    def __init__(self, taxonomy: Taxonomy, *, scores: ScoreKind = "logits") -> None:
        super().__init__()
        require_score_kind(scores)
        self.taxonomy, self.score_kind = taxonomy, scores
        leaves = range(taxonomy.level_sizes[-1])
        paths = torch.tensor([taxonomy.path(taxonomy.depth - 1, leaf) for leaf in leaves])
        self.register_buffer("paths", paths, persistent=False)
        for level in range(1, taxonomy.depth):
            self.register_buffer(_parents_of(level), parent_map(taxonomy, level), persistent=False)
        for name in ("hits", "known", "head_hits", "head_known"):
            self._add_sum(name, taxonomy.depth)
        sums = ("shared_nodes", "predicted_nodes", "true_nodes", "mistakes", "heights", "mistakes_without_ancestor")
        for name in (*sums, "clips", "consistent", "head_clips", "head_consistent"):
            self._add_sum(name)

    def update(
        self,
        leaf_scores: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        level_scores: Sequence[Tensor] | None = None,
    ) -> None:
        """Takes a batch in.

        Args:
            leaf_scores: Float [B, leaves].
            target: int64 [B, D] (`batch.labels` of a hierarchy): the class at every level, -100 for unknown.
            weight: [B]; slots of weight 0 are removed.
            level_scores: Float [B, classes] for each of the D levels; only their argmax counts.

        Raises:
            UsageError: Other shapes, a class that there is not, or a target that is no path of the tree.
        """
        sizes = self.taxonomy.level_sizes
        require_shape("leaf_scores", leaf_scores, "B", sizes[-1])
        require_shape("target", target, len(leaf_scores), len(sizes))
        heads = [] if level_scores is None else list(level_scores)
        if level_scores is not None and len(heads) != len(sizes):
            raise UsageError(f"level_scores for {len(heads)} levels: the tree has {len(sizes)}")
        for level, (scores, size) in enumerate(zip(heads, sizes, strict=False)):
            require_shape(f"level_scores[{level}]", scores, len(leaf_scores), size)
        leaf_scores, target, *heads = self._kept(weight, leaf_scores, target, *heads)
        columns = [class_ids(f"target at level {level}", target[:, level], size) for level, size in enumerate(sizes)]
        target = torch.stack(columns, dim=1)
        self._require_paths(target)

        known = target != UNKNOWN
        summed = self._summed_predictions(leaf_scores)
        self.known += known.sum(dim=0)
        self.hits += (known & (summed == target)).sum(dim=0)
        self.clips += len(target)
        self.consistent += self._are_paths(summed).sum()
        self._count_nodes(leaf_scores.argmax(dim=1), target[:, -1])
        if heads:
            predicted = torch.stack([scores.argmax(dim=1) for scores in heads], dim=1)
            self.head_known += known.sum(dim=0)
            self.head_hits += (known & (predicted == target)).sum(dim=0)
            self.head_clips += len(target)
            self.head_consistent += self._are_paths(predicted).sum()

    def compute(self) -> dict[str, float]:
        """The values by the names above, over all ranks.

        Raises:
            UsageError: No clip was given.
        """
        self._require_some(self.clips, "clip")
        names = [level.name for level in self.taxonomy.levels]
        values = {
            f"{name}_acc": ratio(hits, known) for name, hits, known in zip(names, self.hits, self.known, strict=True)
        }
        if self.head_clips:
            values |= {
                f"{name}_heads_acc": ratio(hits, known)
                for name, hits, known in zip(names, self.head_hits, self.head_known, strict=True)
            }
            values["heads_path_consistency"] = ratio(self.head_consistent, self.head_clips)
        return values | {
            "hP": ratio(self.shared_nodes, self.predicted_nodes),
            "hR": ratio(self.shared_nodes, self.true_nodes),
            # 2·hP·hR / (hP + hR), which also holds where nothing is shared
            "hF": ratio(2 * self.shared_nodes, self.predicted_nodes + self.true_nodes),
            "mistake_severity": ratio(self.heights, self.mistakes - self.mistakes_without_ancestor),
            "path_consistency": ratio(self.consistent, self.clips),
            "clips": float(self.clips),
            "unknown": float(self.clips - self.known[-1]),
            "mistakes": float(self.mistakes),
            "mistakes_without_ancestor": float(self.mistakes_without_ancestor),
        }

    def _summed_predictions(self, leaf_scores: Tensor) -> Tensor:
        """int64 [B, D]: the class with the most probability below it; -100 at a level that no leaf's path reaches."""
        p = leaf_scores.double()
        if self.score_kind == "logits":
            p = p.softmax(dim=1)
        predictions = [self._highest_sum(p, level) for level in range(self.taxonomy.depth - 1)]
        return torch.stack([*predictions, leaf_scores.argmax(dim=1)], dim=1)

    def _highest_sum(self, p: Tensor, level: int) -> Tensor:
        ancestors = self.paths[:, level]
        if (ancestors == UNKNOWN).all():
            return torch.full((len(p),), UNKNOWN, device=p.device)
        return sum_to_level(p, self.taxonomy, level).argmax(dim=1)

    def _count_nodes(self, predicted: Tensor, true: Tensor) -> None:
        """Adds up the nodes of paths, and the heights of mistakes, of clips whose leaf is known; both int64 [B]."""
        known = true != UNKNOWN
        predicted_path, true_path = self.paths[predicted[known]], self.paths[true[known]]
        shared = (predicted_path == true_path) & (true_path != UNKNOWN)
        self.shared_nodes += shared.sum()
        self.predicted_nodes += (predicted_path != UNKNOWN).sum()
        self.true_nodes += (true_path != UNKNOWN).sum()

        mistake = (predicted != true)[known]
        # A path is known from the leaf up to some level: the deepest shared level is that of the lowest ancestor.
        level = torch.arange(1, self.taxonomy.depth + 1, device=shared.device)
        deepest = (shared * level).amax(dim=1)
        told = (deepest > 0) | ((predicted_path != UNKNOWN) & (true_path != UNKNOWN)).all(dim=1)
        self.mistakes += mistake.sum()
        self.mistakes_without_ancestor += (mistake & ~told).sum()
        self.heights += ((self.taxonomy.depth - deepest) * (mistake & told)).sum()

    def _are_paths(self, predicted: Tensor) -> Tensor:
        """Whether, bool [B], the classes int64 [B, D] are each the parent of the next, as far as the tree knows."""
        consistent = torch.ones(len(predicted), dtype=torch.bool, device=predicted.device)
        for level in range(1, self.taxonomy.depth):
            parent = self.get_buffer(_parents_of(level))[predicted[:, level]]
            consistent &= (parent == predicted[:, level - 1]) | (parent == UNKNOWN)
        return consistent

    def _require_paths(self, target: Tensor) -> None:
        """Checks that nothing above a known leaf differs from what the tree has there."""
        known = target[:, -1] != UNKNOWN
        path = self.paths[target[known, -1]]
        told = target[known]
        wrong = ((path != told) & (path != UNKNOWN) & (told != UNKNOWN)).any(dim=1)
        if wrong.any():
            clip = int(wrong.int().argmax())
            raise UsageError(
                f"target {told[clip].tolist()} is no path of the tree, which has {path[clip].tolist()} for that leaf: "
                "labels and taxonomy of one data set are needed"
            )


def _parents_of(level: int) -> str:
    """Name of the buffer int64 [classes] with the parents of a level's classes."""
    return f"parents_{level}"
