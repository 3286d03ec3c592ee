"""The coded frames of a video file in memory."""

import io

import av

from shardkit.media.errors import MediaDecodeError


def demux_packets(data: bytes) -> list[bytes]:
    """The packets of a video file's one stream, in order, without decoding.

    Raises:
        MediaDecodeError: It is not a video file, or cut off.
    """
    try:
        with av.open(io.BytesIO(data)) as container:
            return [bytes(packet) for packet in container.demux(video=0) if packet.size]
    except av.FFmpegError as exc:
        raise MediaDecodeError(f"video file of {len(data):,} bytes cannot be opened: {exc.strerror}") from exc
    except IndexError as exc:
        raise MediaDecodeError(f"video file of {len(data):,} bytes has no video stream") from exc
