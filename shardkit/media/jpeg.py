"""RGB pictures to JPEG packets and back, through libjpeg-turbo."""

from typing import Literal

import numpy as np
import numpy.typing as npt
import simplejpeg

from shardkit.errors import UsageError
from shardkit.media.errors import MediaDecodeError

Chroma = Literal["420", "444"]
CHROMAS: tuple[Chroma, ...] = ("420", "444")
_UINT8 = np.dtype(np.uint8)
Packet = bytes | bytearray | memoryview | npt.NDArray[np.uint8]


def encode_jpeg(rgb: npt.NDArray[np.uint8], *, quality: int, chroma: Chroma) -> bytes:
    """Encodes one picture.

    Args:
        rgb: uint8 [H, W, 3].
        quality: libjpeg's quality, 1 to 100.
        chroma: Chroma subsampling: `420` halves the colour both ways, `444` keeps it.

    Raises:
        UsageError: A wrong shape, type, quality or subsampling.
    """
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.size == 0:
        raise UsageError(f"a picture is uint8 [H, W, 3], not {rgb.dtype} {list(rgb.shape)}")
    if not 1 <= quality <= 100:
        raise UsageError(f"quality {quality} is not within 1 to 100")
    if chroma not in CHROMAS:
        raise UsageError(f"chroma {chroma!r} is not one of {', '.join(CHROMAS)}")
    packet: bytes = simplejpeg.encode_jpeg(
        np.ascontiguousarray(rgb), quality=quality, colorspace="RGB", colorsubsampling=chroma
    )
    return packet


def decode_jpeg_into(data: Packet, out: npt.NDArray[np.uint8]) -> None:
    """Decodes one packet into `out`, without a copy of the packet or of the picture.

    Args:
        data: A JPEG packet; any contiguous buffer.
        out: uint8 [H, W, 3], C-contiguous and writable, of the packet's size.

    Raises:
        UsageError: `out` is not such an array.
        MediaDecodeError: The packet is not a whole JPEG, or is of another size. `out` may have been written
            to.
    """
    shape, flags = out.shape, out.flags
    if out.dtype != _UINT8 or len(shape) != 3 or shape[2] != 3:
        raise UsageError(f"out is {out.dtype} {list(shape)}, expected uint8 [H, W, 3]")
    if not (flags.c_contiguous and flags.writeable):
        raise UsageError("out is not C-contiguous and writable")
    try:
        # What comes back is `out` in the picture's shape: a smaller one fills a part of it, a larger one is refused.
        decoded: tuple[int, ...] = simplejpeg.decode_jpeg(data, colorspace="RGB", buffer=out).shape
    except ValueError as exc:
        try:
            height, width, _, _ = simplejpeg.decode_jpeg_header(data)
        except ValueError:
            height, width = shape[:2]
        if height * width <= out.size // 3:
            raise MediaDecodeError(f"JPEG packet of {len(data):,} bytes cannot be decoded: {exc}") from exc
        decoded = (height, width, 3)
    if decoded != shape:
        raise MediaDecodeError(
            f"JPEG packet is {decoded[1]}x{decoded[0]}, expected {shape[1]}x{shape[0]}: "
            "it does not belong to this video, or the index is another data set's",
        )


def jpeg_size(data: Packet) -> tuple[int, int]:
    """Height and width that a packet's header tells.

    Raises:
        MediaDecodeError: It is no JPEG.
    """
    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError as exc:
        raise MediaDecodeError(f"{len(data):,} bytes are no JPEG: {exc}") from exc
    return height, width


def psnr_db(a: npt.NDArray[np.uint8], b: npt.NDArray[np.uint8]) -> float:
    """Peak signal-to-noise ratio of two pictures, or stacks of them; infinite where they are equal.

    Raises:
        UsageError: The shapes differ.
    """
    if a.shape != b.shape:
        raise UsageError(f"shapes {list(a.shape)} and {list(b.shape)} differ")
    squares = 0.0
    # Picture by picture, so that the differences stay in the cache: half the time of one large array.
    for one, other in zip(a.reshape(-1, *a.shape[-3:]), b.reshape(-1, *b.shape[-3:]), strict=True):
        difference = np.subtract(one, other, dtype=np.float32).ravel()
        squares += float(np.dot(difference, difference))
    mean_square = squares / a.size if a.size else 0.0
    return float("inf") if mean_square == 0 else float(10 * np.log10(255**2 / mean_square))
