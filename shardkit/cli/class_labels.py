"""`shardkit info --class-labels`: the classes of a level, for tools that read AudioSet's list of classes."""

from collections.abc import Sequence

from shardkit.errors import UsageError
from shardkit.report.class_tree import class_labels_csv
from shardkit.storage.files import local_path, write_named
from shardkit.taxonomy import LabelSet, find_level


def write_class_labels(path: str, label_sets: Sequence[LabelSet], level: str | None) -> None:
    """Writes a level's classes as `class_labels_indices.csv`.

    Args:
        path: The file.
        label_sets: Of the data set.
        level: A level's name, or a label set's; None: the only label set's deepest level.

    Raises:
        UsageError: There is no such level, or none is said where there are several.
        StorageError: The file cannot be written.
    """
    if level is None:
        if len(label_sets) != 1:
            names = ", ".join(label_set.name for label_set in label_sets)
            raise UsageError(f"--class-labels {path}: say which with --level; label sets: {names or 'none'}")
        level = label_sets[0].name
    try:
        label_set, depth = find_level(label_sets, level)
    except UsageError as exc:
        raise UsageError(f"--level {exc}") from exc
    write_named(local_path(path), class_labels_csv(label_set.levels[depth]).encode())
