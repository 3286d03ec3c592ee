"""The annotation file of a run and those that belong to it, read from paths or URLs, and what the manifest says."""

from typing import Any

from shardkit.annotations.annotation_set import AnnotationSet
from shardkit.annotations.reading import read_annotations
from shardkit.annotations.request import AnnotationRequest
from shardkit.annotations.rows import read_content
from shardkit.packing.keys import clip_keys
from shardkit.packing.provenance import about_annotations, name_of, without_signature
from shardkit.storage.folders import open_folder
from shardkit.storage.locations import Location


def read_annotation_file(location: Location, request: AnnotationRequest) -> tuple[AnnotationSet, dict[str, Any]]:
    """What an annotation file and its further files say, and what the manifest says of them.

    Raises:
        StorageError: A file is missing or cannot be read.
        UsageError: The format is unknown or not recognised, an option is of another format, a file that is needed is
            not named, or the file lacks columns that it needs.
        DataError: A file is empty, is not text, or contradicts itself or another one.
    """
    content = _content(location)
    files = {name: _content(further_file(name, location)) for name in request.files}
    annotated = read_annotations(
        without_signature(location.url), request, content=content, files=files, keys_of=clip_keys
    )
    return annotated, about_annotations(name_of(location.url), content, annotated, request, files)


def further_file(name: str, annotations: Location) -> Location:
    """Where a file lies that belongs to the annotation file; it has the same storage options."""
    return Location.of(name, annotations.storage_options)


def _content(location: Location) -> bytes:
    if location.is_local:
        return read_content(location.path)
    return open_folder(location.parent).read(location.name)
