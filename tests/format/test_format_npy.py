"""Feature members: NumPy's format 1.0, written by hand so that no version of NumPy shows in the bytes."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from shardkit.errors import DataError
from shardkit.format.npy import ALIGNMENT, as_float16, decode_npy, encode_npy, npy_header, stored_values

HALVES = arrays(np.float16, array_shapes(max_dims=5, max_side=4), elements=st.floats(width=16, allow_nan=False))


@given(HALVES)
def test_numpy_reads_what_is_written(array):
    """`np.load` gives the same values, shape and type; the data begin at a multiple of 64 bytes."""
    data = encode_npy(array)
    loaded = np.load(io.BytesIO(data))
    assert loaded.dtype == np.float16
    np.testing.assert_array_equal(loaded, array)
    assert npy_header(data).data_offset % ALIGNMENT == 0


@given(HALVES)
def test_the_values_are_the_last_bytes(array):
    """A member's values are found by its shape alone."""
    member = np.frombuffer(encode_npy(array), np.uint8)
    np.testing.assert_array_equal(stored_values(member, array.shape), array)


@given(
    arrays(st.sampled_from(["<f4", ">f8", "<i2", "u1"]), array_shapes(max_side=4), elements=st.integers(0, 100)),
    st.booleans(),
)
def test_files_that_numpy_wrote_are_read(array, fortran_order):
    """Any type of number, byte order and order of dimensions."""
    file = io.BytesIO()
    np.save(file, np.asfortranarray(array) if fortran_order else array)
    np.testing.assert_array_equal(decode_npy(file.getvalue()), array)


@given(st.data())
def test_a_damaged_file_is_a_data_error_or_an_array(data):
    """Bytes that are cut off or changed end nothing, and ask for no more memory than they are."""
    file = bytearray(encode_npy(np.arange(6, dtype=np.float16).reshape(2, 3)))
    for _ in range(data.draw(st.integers(1, 4))):
        file[data.draw(st.integers(0, len(file) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = decode_npy(bytes(file[: data.draw(st.integers(0, len(file)))]))
    except DataError:
        return
    assert found.nbytes <= len(file)


@given(arrays(st.sampled_from(["f4", "f8", "i4"]), array_shapes(max_side=4), elements=st.integers(-65504, 65504)))
def test_values_are_rounded_to_the_nearest_half(array):
    """What is stored is NumPy's own conversion, in C order."""
    stored = as_float16(array.T)
    assert stored.flags.c_contiguous
    np.testing.assert_array_equal(stored, array.T.astype(np.float16))


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.array([1.0, np.nan]), "1 of 2 values are not finite"),
        (np.array([np.inf], np.float32), "not finite"),
        (np.array([3.0, -70_000.0]), "-70000 is beyond float16, whose largest is 65504"),
        (np.array([70_000]), "70000 is beyond float16"),
        (np.array(["a"]), "<U1, floats or integers are needed"),
        (np.array([1j]), "complex128"),
        (np.array([True]), "bool"),
    ],
)
def test_what_float16_cannot_hold_is_refused(array, said):
    """The message says what the array has, and what is needed."""
    with pytest.raises(DataError, match=said):
        as_float16(array)


def test_pickled_objects_are_refused():
    """A .npy file of Python objects is not unpickled."""
    file = io.BytesIO()
    np.save(file, np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="an array of object, floats or integers are needed"):
        decode_npy(file.getvalue())
