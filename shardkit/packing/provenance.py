"""What a data set says of where its bytes come from: the annotation file, and the libraries that made them."""

import platform
from importlib.metadata import version
from typing import Any

from shardkit.annotations.annotation_set import AnnotationSet
from shardkit.format.digest import file_digest

LIBRARIES = ("av", "msgpack", "numpy", "pyarrow", "shardkit", "simplejpeg", "webdataset")
"""Packages whose versions may show in the bytes."""


def about_annotations(name: str, content: Any, annotated: AnnotationSet) -> dict[str, Any]:
    """Name, format, rows and digest of an annotation file, as the manifest has them."""
    return {
        "name": name,
        "format": annotated.format,
        "rows": annotated.row_count,
        "xxh3": file_digest(content),
    }


def libraries() -> dict[str, str]:
    """Versions of what makes the bytes, and the machine's architecture."""
    return {name: version(name) for name in LIBRARIES} | {"machine": platform.machine()}
