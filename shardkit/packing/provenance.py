"""What a data set says of where its bytes come from: the annotation file, and the libraries that made them."""

import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

from shardkit.annotations.annotation_set import AnnotationSet
from shardkit.format.digest import file_digest
from shardkit.storage.files import map_file

LIBRARIES = ("av", "msgpack", "numpy", "pyarrow", "shardkit", "simplejpeg", "webdataset")
"""Packages whose versions may show in the bytes."""


def about_annotations(path: Path, annotated: AnnotationSet) -> dict[str, Any]:
    """Name, format, rows and digest of an annotation file, as the manifest has them.

    Raises:
        StorageError: It cannot be read.
    """
    return {
        "name": path.name,
        "format": annotated.format,
        "rows": annotated.row_count,
        "xxh3": file_digest(map_file(path)),
    }


def libraries() -> dict[str, str]:
    """Versions of what makes the bytes, and the machine's architecture."""
    return {name: version(name) for name in LIBRARIES} | {"machine": platform.machine()}
