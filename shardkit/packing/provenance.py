"""What a data set says of where its bytes come from: the annotation files, and the libraries that made them."""

import platform
import posixpath
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from shardkit.annotations.annotation_set import AnnotationSet
from shardkit.annotations.request import AnnotationRequest
from shardkit.format.digest import file_digest
from shardkit.storage.locations import URL_MARK

LIBRARIES = ("av", "msgpack", "numpy", "pyarrow", "shardkit", "simplejpeg", "webdataset")
"""Packages whose versions may show in the bytes."""


def about_annotations(
    name: str, content: bytes, annotated: AnnotationSet, request: AnnotationRequest, files: Mapping[str, bytes]
) -> dict[str, Any]:
    """Name, format, rows and digest of an annotation file and of those that belong to it, as the manifest has them.

    Args:
        name: Of the annotation file.
        content: Its bytes.
        annotated: What they say.
        request: Names the further files.
        files: The further files' bytes, by those names.
    """
    about: dict[str, Any] = {
        "name": name,
        "format": annotated.format,
        "rows": annotated.row_count,
        "xxh3": file_digest(content),
    }

    if request.duration_s is not None:
        about["duration_s"] = request.duration_s

    def said(file: str) -> dict[str, Any]:
        return {"name": name_of(file), "xxh3": file_digest(files[file])}

    if request.also:
        rows = annotated.also_rows
        about["also"] = {
            role: said(file) | ({"rows": rows[role]} if role in rows else {})
            for role, file in sorted(request.also.items())
        }
    if request.split_files:
        about["split_files"] = {
            scheme: {split: said(file) for split, file in named.items()}
            for scheme, named in request.split_files.items()
        }
    return about


def annotation_inputs(about: Mapping[str, Any], request: AnnotationRequest) -> dict[str, Any]:
    """What packed bytes depend on of annotations: digests, whatever the files are called, and how they are read."""
    inputs = {"annotations": about["xxh3"], "format": about["format"], "column": dict(request.column)}
    if request.names is not None:
        inputs["names"] = request.names
    if request.duration_s is not None:
        inputs["duration_s"] = request.duration_s
    if request.also:
        inputs["also"] = {role: said["xxh3"] for role, said in about["also"].items()}
    if request.split_files:
        # A list: the first scheme is the default one.
        inputs["split_files"] = [
            [scheme, {split: said["xxh3"] for split, said in named.items()}]
            for scheme, named in about["split_files"].items()
        ]
    return inputs


def name_of(url: str) -> str:
    """The last part of a path or a URL."""
    return posixpath.basename(without_signature(url))


def without_signature(url: str) -> str:
    """A path, or a URL without its query: a signature behind the name is no part of it."""
    return url.partition("?")[0] if URL_MARK in url else url


def libraries() -> dict[str, str]:
    """Versions of what makes the bytes, and the machine's architecture."""
    return {name: version(name) for name in LIBRARIES} | {"machine": platform.machine()}
