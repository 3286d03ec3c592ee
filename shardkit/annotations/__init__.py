"""Annotation files, read into clips and label sets: nothing here touches media."""

from shardkit.annotations.annotation_set import AnnotationSet
from shardkit.annotations.lints import lint_annotations, lint_parents
from shardkit.annotations.reading import read_annotations
from shardkit.annotations.request import AnnotationRequest, FormatName, LevelNames
from shardkit.annotations.split_lints import Finding

__all__ = [
    "AnnotationRequest",
    "AnnotationSet",
    "Finding",
    "FormatName",
    "LevelNames",
    "lint_annotations",
    "lint_parents",
    "read_annotations",
]
