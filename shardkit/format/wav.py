"""KEY.wav: PCM s16 in a canonical WAV file, and the digests of its seconds."""

import io
import wave

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


def second_digests(wav: bytes, *, rate_hz: int, channels: int) -> list[int]:
    """xxh3 of every second of a WAV file's samples; the last one may be shorter."""
    second_bytes = rate_hz * channels * SAMPLE_BYTES
    samples = memoryview(wav)[WAV_HEADER_BYTES:]
    return [xxh3(samples[start : start + second_bytes]) for start in range(0, len(samples), second_bytes)]
