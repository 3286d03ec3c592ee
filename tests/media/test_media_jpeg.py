"""jpeg: pictures to packets and back."""

import numpy as np
import pytest

from shardkit.errors import UsageError
from shardkit.media.errors import MediaDecodeError
from shardkit.media.jpeg import decode_jpeg_into, encode_jpeg, psnr_db


@pytest.fixture
def picture():
    """RGB [48, 80, 3]: smooth gradients, as photographs have."""
    y, x = np.mgrid[0:48, 0:80]
    return np.stack([3 * x, 5 * y, x + y], 2).astype(np.uint8)


@pytest.mark.parametrize("chroma", ["420", "444"])
@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview, lambda b: np.frombuffer(b, np.uint8)])
def test_packet_decodes_into_the_given_array(picture, chroma, wrap):
    """Any contiguous buffer decodes into the array that is given, near to what was encoded."""
    out = np.zeros((3, *picture.shape), np.uint8)
    decode_jpeg_into(wrap(encode_jpeg(picture, quality=92, chroma=chroma)), out[1])
    assert psnr_db(out[1], picture) > 35
    assert not out[0].any()
    assert not out[2].any()


def test_same_picture_gives_the_same_bytes(picture):
    """Encoding is deterministic, also for a view that is not contiguous."""
    packets = {encode_jpeg(view, quality=90, chroma="420") for view in (picture, picture.copy(), picture[::-1][::-1])}
    assert len(packets) == 1


def test_other_size_is_named(picture):
    """A packet of another size than `out`, smaller or larger, raises MediaDecodeError with both."""
    packet = encode_jpeg(picture, quality=90, chroma="420")
    for shape in ((47, 80, 3), (80, 48, 3), (96, 160, 3)):
        with pytest.raises(MediaDecodeError, match=f"80x48, expected {shape[1]}x{shape[0]}"):
            decode_jpeg_into(packet, np.zeros(shape, np.uint8))


@pytest.mark.parametrize("spoil", [lambda p: b"", lambda p: p[:40], lambda p: p[: len(p) // 2], lambda p: b"x" * 500])
def test_bad_packet_is_a_decode_error(picture, spoil):
    """Empty, cut and foreign bytes raise MediaDecodeError."""
    packet = spoil(encode_jpeg(picture, quality=90, chroma="420"))
    with pytest.raises(MediaDecodeError):
        decode_jpeg_into(packet, np.zeros(picture.shape, np.uint8))


def test_out_must_be_plain_memory(picture):
    """A strided, read-only or wrongly typed `out` is the caller's fault."""
    packet = encode_jpeg(picture, quality=90, chroma="420")
    frozen = np.zeros(picture.shape, np.uint8)
    frozen.flags.writeable = False
    for out in (np.zeros((48, 160, 3), np.uint8)[:, ::2], frozen, np.zeros(picture.shape, np.float32)):
        with pytest.raises(UsageError):
            decode_jpeg_into(packet, out)


@pytest.mark.parametrize("options", [{"quality": 0}, {"quality": 101}, {"chroma": "411"}])
def test_impossible_settings_are_the_callers_fault(picture, options):
    """Quality outside 1 to 100 and an unknown subsampling raise UsageError."""
    with pytest.raises(UsageError):
        encode_jpeg(picture, **({"quality": 90, "chroma": "420"} | options))


def test_psnr_is_that_of_its_definition(picture):
    """Equal pictures are infinitely alike, an error of 1 is 48.13 dB, one of 255 is 0 dB."""
    assert psnr_db(picture, picture) == float("inf")
    assert psnr_db(np.zeros((4, 4, 3), np.uint8), np.ones((4, 4, 3), np.uint8)) == pytest.approx(48.13, abs=0.01)
    assert psnr_db(np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 255, np.uint8)) == 0.0
