"""Annotation files, read into clips and label sets: nothing here touches media."""

from shardkit.annotations.annotation_set import AnnotationSet
from shardkit.annotations.reading import FormatName, read_annotations

__all__ = ["AnnotationSet", "FormatName", "read_annotations"]
