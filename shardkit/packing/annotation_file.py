"""The annotation file of a run: read from a path or a URL, and what the manifest says of it."""

import posixpath
from collections.abc import Mapping
from typing import Any

from shardkit.annotations.annotation_set import AnnotationSet
from shardkit.annotations.reading import FormatName, read_annotations
from shardkit.packing.provenance import about_annotations
from shardkit.storage.files import map_file
from shardkit.storage.folders import open_folder
from shardkit.storage.locations import Location


def read_annotation_file(
    location: Location,
    *,
    format: FormatName,
    column: Mapping[str, str],
) -> tuple[AnnotationSet, dict[str, Any]]:
    """What an annotation file says, and what the manifest says of it.

    Raises:
        StorageError: The file is missing or cannot be read.
        UsageError: The format is unknown or not recognised, or the file lacks columns that it needs.
        DataError: The file is empty, is not text, or contradicts itself.
    """
    if location.is_local:
        annotated = read_annotations(location.path, format=format, column=column)
        return annotated, about_annotations(location.name, map_file(location.path), annotated)
    content = open_folder(location.parent).read(location.name)
    url = location.url.partition("?")[0]  # a signature behind the name is no part of it
    annotated = read_annotations(url, format=format, column=column, content=content)
    return annotated, about_annotations(posixpath.basename(url), content, annotated)
