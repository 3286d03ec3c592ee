"""KEY.wav: PCM s16 in a canonical WAV file, where the samples of other people's lie, and the digests of seconds."""

import io
import struct
import wave
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from shardkit.format.digest import xxh3

WAV_HEADER_BYTES = 44
"""RIFF + fmt + data headers; the samples begin here."""

SAMPLE_BYTES = 2


def encode_wav(pcm: npt.NDArray[np.int16], *, rate_hz: int) -> bytes:
    """A WAV file of int16 [S, C] samples."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(pcm.shape[1])
        file.setsampwidth(SAMPLE_BYTES)
        file.setframerate(rate_hz)
        file.writeframes(np.ascontiguousarray(pcm, dtype="<i2").tobytes())
    data = buffer.getvalue()
    assert len(data) == WAV_HEADER_BYTES + pcm.size * SAMPLE_BYTES
    return data


class PcmWav(NamedTuple):
    """A WAV file of plain PCM s16."""

    rate_hz: int
    channels: int
    data_offset: int
    """Place of the first sample in the file."""
    samples: int
    """Of each channel."""


_TAG_PCM, _TAG_EXTENSIBLE = 1, 0xFFFE
_EXTENSIBLE_PCM = b"\x01\x00\x00\x00\x00\x00\x10\x00\x80\x00\x00\xaa\x00\x38\x9b\x71"
"""KSDATAFORMAT_SUBTYPE_PCM, as it stands behind a `fmt ` chunk of 16 bytes, a size, the bits and the channel mask."""


def pcm_wav(data: bytes | memoryview) -> PcmWav | None:
    """What a WAV file of plain PCM s16 says of its samples; None where it is another file, or not all there."""
    if bytes(data[:4]) != b"RIFF" or bytes(data[8:12]) != b"WAVE":
        return None
    about: tuple[int, int] | None = None
    place = 12
    while place + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, place)
        place += 8
        if name == b"data":
            if about is None or place + size > len(data):
                return None
            rate_hz, channels = about
            return PcmWav(rate_hz, channels, place, size // (channels * SAMPLE_BYTES))
        if name == b"fmt ":
            about = _plain_pcm(bytes(data[place : place + size]))
        place += size + size % 2
    return None


def _plain_pcm(chunk: bytes) -> tuple[int, int] | None:
    """Rate and channels of a `fmt ` chunk that says PCM s16."""
    if len(chunk) < 16:
        return None
    tag, channels, rate_hz, _, frame_bytes, bits = struct.unpack_from("<HHIIHH", chunk)
    is_pcm = tag == _TAG_PCM or (tag == _TAG_EXTENSIBLE and chunk[24:40] == _EXTENSIBLE_PCM)
    is_s16 = bits == 8 * SAMPLE_BYTES and frame_bytes == channels * SAMPLE_BYTES
    return (rate_hz, channels) if is_pcm and is_s16 and channels and rate_hz else None


def second_digests(
    wav: bytes | memoryview,
    *,
    rate_hz: int,
    channels: int,
    data_offset: int = WAV_HEADER_BYTES,
    samples: int | None = None,
) -> list[int]:
    """xxh3 of every second of a WAV file's samples; the last one may be shorter.

    Args:
        wav: The file.
        rate_hz: Of the samples.
        channels: Of the samples.
        data_offset: Place of the first sample.
        samples: Of each channel; None: all to the file's end.
    """
    frame_bytes = channels * SAMPLE_BYTES
    end = len(wav) if samples is None else data_offset + samples * frame_bytes
    pcm, second_bytes = memoryview(wav)[data_offset:end], rate_hz * frame_bytes
    return [xxh3(pcm[start : start + second_bytes]) for start in range(0, len(pcm), second_bytes)]
