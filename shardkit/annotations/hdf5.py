"""HDF5 files of splits: the rows that AVE's authors put into train, val and test."""

import io
from typing import Any

from shardkit.errors import DataError, UsageError

DATASET = "order"
"""Name of the dataset in AVE's files: 0-based numbers of rows of its annotations."""


def read_order(name: str, content: bytes) -> list[int]:
    """The row numbers in a file of AVE's kind, as they stand there: from 0 on.

    Args:
        name: The file, for messages.
        content: Its bytes.

    Raises:
        UsageError: h5py is not installed.
        DataError: It is no HDF5 file, or has no list of whole numbers called `order`.
    """
    try:
        import h5py  # noqa: PLC0415 - an extra
    except ImportError as exc:
        raise UsageError(f"{name}: HDF5 files need the package h5py: pip install 'shardkit[h5]'") from exc
    try:
        with h5py.File(io.BytesIO(content), "r") as file:
            found = file.get(DATASET)
            if not isinstance(found, h5py.Dataset):
                has = ", ".join(map(repr, file)) or "none"
                raise DataError(f"{name}: no dataset {DATASET!r}, expected row numbers under that name; it has {has}")
            values: Any = found[()]
    except (OSError, RuntimeError) as exc:
        raise DataError(f"{name}: not a readable HDF5 file ({exc}); check the file, or copy it again") from exc
    if getattr(values, "dtype", None) is None or values.dtype.kind not in "iu":
        kind = getattr(values, "dtype", type(values).__name__)
        raise DataError(f"{name}: dataset {DATASET!r} is of {kind}, expected whole numbers: 0-based rows")
    if values.size != max(values.shape, default=0):
        raise DataError(
            f"{name}: dataset {DATASET!r} has the shape {values.shape}, expected one row number after another"
        )
    return [int(value) for value in values.ravel()]
