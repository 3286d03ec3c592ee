"""Coded bytes on their way into a decoder."""

from typing import Any

import numpy as np
import numpy.typing as npt
from av.packet import Packet

from shardkit.media.errors import MediaDecodeError

Coded = bytes | bytearray | memoryview | npt.NDArray[np.uint8]
"""Bytes of a packet; any contiguous buffer."""


def padded_packet(data: Coded) -> "Packet[Any]":
    """A packet with a copy of the bytes, and behind them the zeros that FFmpeg's decoders may read.

    `Packet(data)` borrows the caller's memory, behind which anything can stand.

    Raises:
        MediaDecodeError: There are no bytes; to a decoder, an empty packet means the end.
    """
    if not len(data):
        raise MediaDecodeError("a packet without bytes; the index is another data set's")
    packet: Packet[Any] = Packet(len(data))
    packet.update(data)  # type: ignore[arg-type] # any buffer, says its text
    return packet
