"""KEY.NAME.npy: a clip's array of one feature, float16 in NumPy's format 1.0. Pure: from arrays to bytes and back.

The header is written here and not by NumPy, whose versions leave different room in it.
"""

import math
import struct
from collections.abc import Sequence
from io import BytesIO
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from shardkit.errors import DataError

_MAGIC = b"\x93NUMPY\x01\x00"
_LENGTH = struct.Struct("<H")
ALIGNMENT = 64
"""The data begin at a multiple of this."""
ITEM_BYTES = 2
LARGEST = float(np.finfo(np.float16).max)


class NpyHeader(NamedTuple):
    """What the beginning of a .npy file says."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran_order: bool
    data_offset: int


def as_float16(array: npt.NDArray[Any]) -> npt.NDArray[np.float16]:
    """Numbers as they are stored: rounded to the nearest float16, in C order.

    Raises:
        DataError: They are no real numbers, one of them is not finite, or is beyond float16.
    """
    _check_numbers(array.dtype)
    if not np.isfinite(array).all():
        raise DataError(f"{np.count_nonzero(~np.isfinite(array))} of {array.size} values are not finite")
    with np.errstate(over="ignore"):
        halves = np.ascontiguousarray(array, dtype="<f2")
    if not np.isfinite(halves).all():
        largest = array.flat[np.argmax(np.abs(array.astype(np.float64)))]
        raise DataError(f"the value {largest:g} is beyond float16, whose largest is {LARGEST:g}: scale the feature")
    return halves


def _check_numbers(dtype: np.dtype[Any]) -> None:
    if dtype.kind not in "fiu":
        raise DataError(f"an array of {dtype}, floats or integers are needed")


def encode_npy(array: npt.NDArray[np.float16]) -> bytes:
    """The file of a float16 array in C order; the same bytes with every version of NumPy."""
    shape = f"({', '.join(map(str, array.shape))}{',' if array.ndim == 1 else ''})"
    said = f"{{'descr': '<f2', 'fortran_order': False, 'shape': {shape}, }}"
    start = len(_MAGIC) + _LENGTH.size
    length = -(-(start + len(said) + 1) // ALIGNMENT) * ALIGNMENT - start
    return _MAGIC + _LENGTH.pack(length) + f"{said:<{length - 1}}\n".encode() + array.astype("<f2").tobytes()


def npy_header(data: bytes) -> NpyHeader:
    """What a .npy file says of its array, of which no more than the beginning is needed.

    Raises:
        DataError: It is no .npy file of numbers.
    """
    file = BytesIO(data)
    try:
        version = np.lib.format.read_magic(file)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, fortran_order, dtype = read(file)
    except Exception as exc:  # the header is a Python literal, and a damaged one raises nearly anything
        raise DataError(f"not a .npy file of numbers: {exc}") from exc
    if any(side < 0 for side in shape):
        raise DataError(f"not a .npy file of numbers: its header says shape {shape}")
    _check_numbers(dtype)
    return NpyHeader(shape, dtype, fortran_order, file.tell())


def decode_npy(data: bytes) -> npt.NDArray[Any]:
    """The array of a .npy file, read-only.

    Raises:
        DataError: It is no .npy file of numbers, or less or more of one than its header says.
    """
    header = npy_header(data)
    wanted = math.prod(header.shape) * header.dtype.itemsize
    if not wanted:
        raise DataError(f"an empty array (shape {header.shape})")
    if len(data) - header.data_offset != wanted:
        raise DataError(
            f"{len(data) - header.data_offset:,} bytes of data, its header says {wanted:,} (shape {header.shape})"
        )
    flat = np.frombuffer(data, header.dtype, offset=header.data_offset)
    return flat.reshape(header.shape, order="F" if header.fortran_order else "C")


def stored_bytes(shape: Sequence[int]) -> int:
    """What the values of a float16 array take."""
    return math.prod(shape) * ITEM_BYTES


def stored_values(member: npt.NDArray[np.uint8], shape: Sequence[int]) -> npt.NDArray[np.float16]:
    """The array of a member as `encode_npy` wrote it: the last of its bytes.

    Args:
        member: uint8 [size], the whole file.
        shape: Of its array.
    """
    return member[len(member) - stored_bytes(shape) :].view("<f2").reshape(shape)
