"""A taxonomy as tensors, for hierarchical losses: which class is below which, and probabilities summed upwards."""

import torch

from shardkit.errors import UsageError
from shardkit.taxonomy import UNKNOWN, Taxonomy


def parent_map(taxonomy: Taxonomy, level: int | str) -> torch.Tensor:
    """The class one level up of every class of a level: `parent_map(tree, "level_4")[ids]` are ids of `level_3`.

    Args:
        taxonomy: The tree, such as that of `dataset.label_sets[0].taxonomy`.
        level: The lower of the two levels, by name or number; -1 is the deepest.

    Returns:
        int64 [C_level]; UNKNOWN (-100, which PyTorch's losses leave out) where no clip has told the parent.

    Raises:
        UsageError: There is no such level, or it is the top one.
    """
    depth = taxonomy.level(level)
    if depth == 0:
        raise UsageError(
            f"level {taxonomy.levels[0].name!r} is the top one: its classes have no parents; ask a level below it"
        )
    return torch.tensor(taxonomy.parents[depth - 1], dtype=torch.int64)


def ancestor_mask(taxonomy: Taxonomy, level: int | str) -> torch.Tensor:
    """Which class of a level each leaf is below.

    Args:
        taxonomy: The tree.
        level: By name or number; at the deepest level each leaf is below itself.

    Returns:
        bool [C_leaf, C_level], one true in a row; none where the leaf's ancestor is not known.

    Raises:
        UsageError: There is no such level.
    """
    depth = taxonomy.level(level)
    ancestors = torch.tensor(taxonomy.ancestors_at(depth), dtype=torch.int64)
    return ancestors[:, None] == torch.arange(taxonomy.level_sizes[depth])


def sum_to_level(leaf_probabilities: torch.Tensor, taxonomy: Taxonomy, level: int | str) -> torch.Tensor:
    """Probabilities of a level's classes: each the sum over the leaves below it; differentiable.

    Args:
        leaf_probabilities: float [..., C_leaf]; probabilities, not logits.
        taxonomy: The tree.
        level: By name or number.

    Returns:
        float [..., C_level], of the same dtype and device. What leaves with an unknown ancestor have is in no sum.

    Raises:
        UsageError: There is no such level, or the last dimension is not of the leaves.

    Example:
        >>> import torch
        >>> from shardkit import Taxonomy
        >>> from shardkit.taxonomy import Level
        >>> families, leaves = Level("family", ("wind", "string")), Level("leaf", ("flute", "harp", "oboe"))
        >>> tree = Taxonomy((families, leaves), ((0, 1, 0),))
        >>> sum_to_level(torch.tensor([[0.25, 0.5, 0.25]]), tree, "family")
        tensor([[0.5000, 0.5000]])
    """
    leaves = taxonomy.level_sizes[-1]
    if leaf_probabilities.shape[-1:] != (leaves,):
        raise UsageError(
            f"probabilities of shape {tuple(leaf_probabilities.shape)}: the last dimension is needed to be the "
            f"{leaves} classes of {taxonomy.levels[-1].name!r}"
        )
    depth = taxonomy.level(level)
    ancestors = torch.tensor(taxonomy.ancestors_at(depth), dtype=torch.int64, device=leaf_probabilities.device)
    known = ancestors != UNKNOWN
    sums = leaf_probabilities.new_zeros((*leaf_probabilities.shape[:-1], taxonomy.level_sizes[depth]))
    return sums.index_add(-1, ancestors[known], leaf_probabilities[..., known])
