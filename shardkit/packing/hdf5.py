"""HDF5 files, for reading: the one place that knows h5py, which is an extra."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from shardkit.errors import DataError, StorageError, UsageError
from shardkit.storage.files import storage_errors


@contextmanager
def open_hdf5(path: Path) -> Iterator[Any]:
    """An `h5py.File`, open for reading.

    Raises:
        UsageError: h5py is not installed.
        StorageError: The file is missing or cannot be read.
        DataError: It is no HDF5 file.
    """
    try:
        import h5py  # noqa: PLC0415 - an extra
    except ImportError as exc:
        raise UsageError(f"{path}: HDF5 files need the package h5py: pip install 'shardkit[h5]'") from exc
    with storage_errors(path), path.open("rb"):
        pass  # what the system says of it is clearer than what HDF5 says
    try:
        # It is only read, and network disks may know no locks.
        file = h5py.File(path, "r", locking=False)
    except OSError as exc:
        raise DataError(f"{path}: not a readable HDF5 file ({exc}); check the file, or copy it again") from exc
    with file:
        yield file


def hdf5_dataset(file: Any, name: str) -> Any:
    """The `h5py.Dataset` of a name.

    Raises:
        DataError: The file has none of that name; those that it has are named.
    """
    import h5py  # noqa: PLC0415 - an extra

    found = file.get(name)
    if isinstance(found, h5py.Dataset):
        return found
    names: list[str] = []
    file.visititems(lambda each, item: names.append(each) if isinstance(item, h5py.Dataset) else None)
    raise DataError(f"{file.filename}: no dataset {name!r}; it has {', '.join(map(repr, names)) or 'none'}")


def hdf5_row(dataset: Any, row: int) -> Any:
    """Row `row` of a dataset: an array, which is all that is read.

    Raises:
        StorageError: It cannot be read.
    """
    try:
        return dataset[row]
    except OSError as exc:
        raise StorageError(
            f"{dataset.file.filename}:{dataset.name}, row {row + 1}: cannot be read ({exc}); the file or its disk is "
            "damaged: copy it again"
        ) from exc
