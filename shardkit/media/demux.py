"""The coded frames of a video file in memory."""

import io

import av

from shardkit.media.errors import MediaDecodeError


def demux_packets(data: bytes) -> list[bytes]:
    """The packets of a video file's one stream, in order, without decoding.

    Raises:
        MediaDecodeError: It is not a video file.
    """
    try:
        with av.open(io.BytesIO(data)) as container:
            return [bytes(packet) for packet in container.demux(video=0) if packet.size]
    except (av.FFmpegError, IndexError) as exc:
        raise MediaDecodeError(f"the video member cannot be opened: {exc}") from exc
