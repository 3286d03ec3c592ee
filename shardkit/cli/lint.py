"""`shardkit lint`: what is doubtful about an annotation file, or about a data set."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from rich.console import Console

from shardkit.errors import DataError, UsageError

if TYPE_CHECKING:
    from shardkit.annotations.annotation_set import AnnotationSet
    from shardkit.annotations.request import AnnotationRequest
    from shardkit.annotations.split_lints import Finding

MOST_SHOWN = 10
"""Findings of one kind that people see."""


@dataclass(frozen=True, slots=True)
class Lint:
    """What was found, and in what."""

    path: str
    what: str
    """What it is, in one line."""
    findings: "tuple[Finding, ...]"

    def to_json(self) -> dict[str, Any]:
        """All of it, for machines."""
        return asdict(self)


def lint(path: str, request: "AnnotationRequest", *, storage_options: Mapping[str, Any] | None) -> Lint:
    """Looks at an annotation file, where the name ends like one's; else at a data set.

    Raises:
        UsageError: The file's format is not known, or an option is wrong, or of annotation files and not of data sets.
        DataError: The data set is damaged.
        StorageError: Nothing is there, or it cannot be read.
    """
    from shardkit.annotations.request import AnnotationRequest
    from shardkit.annotations.rows import SUFFIXES

    if PurePosixPath(path.partition("?")[0]).suffix.lower() in SUFFIXES:
        return _lint_file(path, request, storage_options=storage_options)
    if request != AnnotationRequest():
        raise UsageError(
            f"{path}: options say how an annotation file is read ({', '.join(SUFFIXES)}), and a data set has been read "
            "already: leave them out, or give the annotation file"
        )
    return _lint_dataset(path, storage_options=storage_options)


def _lint_file(path: str, request: "AnnotationRequest", *, storage_options: Mapping[str, Any] | None) -> Lint:
    from shardkit.annotations.labels import TwoParentsError
    from shardkit.annotations.lints import lint_annotations, lint_parents
    from shardkit.annotations.split_lints import Finding
    from shardkit.packing.annotation_file import further_file, read_annotation_file
    from shardkit.storage.locations import Location, check_options_used

    location = Location.of(path, storage_options)
    check_options_used(location, *(further_file(name, location) for name in request.files))
    try:
        annotated, _ = read_annotation_file(location, request)
    except TwoParentsError as exc:
        return Lint(path, "cannot be packed", tuple(lint_parents(exc)))
    except DataError as exc:  # it contradicts itself, such as by two names of a class
        return Lint(path, "cannot be packed", (Finding("unreadable", str(exc), ()),))
    what = (
        f"{annotated.format}, {annotated.row_count:,} rows, {len(annotated.clips):,} clips, "
        f"{len(annotated.rejects):,} rejected"
    )
    return Lint(path, what, (*_rejects(annotated), *lint_annotations(annotated)))


def _rejects(annotated: "AnnotationSet") -> "list[Finding]":
    """A finding for every reason."""
    from shardkit.annotations.split_lints import Finding

    by_reason: dict[str, list[tuple[int, str]]] = {}
    for reject in annotated.rejects:
        by_reason.setdefault(reject.reason.value, []).append((reject.row, reject.detail))
    return [
        Finding(
            "reject",
            f"{reason}: {len(rejects):,} {'row' if len(rejects) == 1 else 'rows'}; row {first_row}: {first_detail}",
            tuple(row for row, _ in rejects),
        )
        for reason, rejects in sorted(by_reason.items())
        for first_row, first_detail in rejects[:1]
    ]


def _lint_dataset(path: str, *, storage_options: Mapping[str, Any] | None) -> Lint:
    import shardkit
    from shardkit.report.lints import lint_dataset

    dataset = shardkit.open(path, storage_options=storage_options)
    what = f"data set, {len(dataset):,} clips in {len(dataset.shard_names):,} shards"
    return Lint(str(dataset.folder), what, tuple(lint_dataset(dataset.manifest, dataset.index)))


def show_lint(linted: Lint) -> None:
    """Prints what was found, kind by kind."""
    console = Console(soft_wrap=True, markup=False, highlight=False)
    console.print(linted.path, style="bold", end="")
    console.print(f"  {linted.what}")
    by_kind: dict[str, list[str]] = {}
    for finding in linted.findings:
        by_kind.setdefault(finding.kind, []).append(finding.message)
    for kind, messages in by_kind.items():
        console.print(f"{kind}: {len(messages):,}")
        for message in messages[:MOST_SHOWN]:
            console.print(f"  {message}")
        if len(messages) > MOST_SHOWN:
            console.print(f"  … {len(messages) - MOST_SHOWN:,} more; --json tells all")
    if not by_kind:
        console.print("nothing found")
