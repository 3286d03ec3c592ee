"""Lints: what is doubtful about an annotation file and its splits, though it can be read."""

from dataclasses import dataclass

from shardkit.annotations.annotation_set import AnnotationSet

DEFAULT_SCHEME = "split"
"""Name of the annotation file's own division into splits, as the index calls it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a person should look at."""

    kind: str
    """What sort of thing, such as `leak`: clips of one source stand in several splits."""
    message: str
    rows: tuple[int, ...]
    """Of the annotation file, ascending, from 1 on; none where it is not about rows."""


def lint_annotations(annotated: AnnotationSet) -> list[Finding]:
    """The sources whose clips stand in several splits."""
    rows_of: dict[str, dict[str, list[int]]] = {}
    for clip in annotated.clips:
        if clip.split:
            rows_of.setdefault(clip.id, {}).setdefault(clip.split, []).append(clip.row)
    return [
        Finding(
            "leak",
            f"{DEFAULT_SCHEME}: source {source!r} is in {' and in '.join(map(repr, by_split))}",
            tuple(sorted(row for rows in by_split.values() for row in rows)),
        )
        for source, by_split in rows_of.items()
        if len(by_split) > 1
    ]
