"""HDF5 files, for reading: the one place that knows h5py, which is an extra."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from shardkit.errors import DataError, StorageError, UsageError


@contextmanager
def open_hdf5(source: Path | BinaryIO, name: str) -> Iterator[Any]:
    """An `h5py.File`, open for reading.

    Args:
        source: Path of the file, or its bytes as a file.
        name: For messages.

    Raises:
        UsageError: h5py is not installed.
        DataError: It is no HDF5 file.
    """
    try:
        import h5py  # noqa: PLC0415 - an extra
    except ImportError as exc:
        raise UsageError(f"{name}: HDF5 files need the package h5py: pip install 'shardkit[h5]'") from exc
    try:
        # It is only read, and network disks may know no locks.
        file = h5py.File(source, "r", locking=False if isinstance(source, Path) else None)
    except (OSError, RuntimeError) as exc:
        raise DataError(f"{name}: not a readable HDF5 file ({exc}); check the file, or copy it again") from exc
    with file:
        yield file


def hdf5_dataset(file: Any, dataset: str, *, name: str) -> Any:
    """An `h5py.Dataset` of a file that is called `name`.

    Raises:
        DataError: The file has none of that name; those that it has are named.
    """
    import h5py  # noqa: PLC0415 - an extra

    found = file.get(dataset)
    if isinstance(found, h5py.Dataset):
        return found
    names: list[str] = []
    file.visititems(lambda each, item: names.append(each) if isinstance(item, h5py.Dataset) else None)
    raise DataError(f"{name}: no dataset {dataset!r}; it has {', '.join(map(repr, names)) or 'none'}")


def hdf5_values(dataset: Any, at: Any, *, name: str) -> Any:
    """Values of a dataset: `at` is a row's number, or `()` for all; nothing else is read.

    Raises:
        StorageError: They cannot be read.
    """
    try:
        return dataset[at]
    except (OSError, RuntimeError) as exc:
        row = "" if at == () else f", row {at + 1}"
        raise StorageError(
            f"{name}:{dataset.name}{row}: cannot be read ({exc}); the file or its disk is damaged: copy it again"
        ) from exc
