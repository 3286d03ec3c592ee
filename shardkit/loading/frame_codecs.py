"""How stored frames become pixels: one class a codec, behind one interface. Each belongs to one worker."""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from shardkit.errors import DataError
from shardkit.format.index import ClipIndex
from shardkit.loading.frame_places import FramePlaces
from shardkit.loading.plan import Bytes, VideoPlan
from shardkit.media.jpeg import decode_jpeg_into


class FrameCodec(Protocol):
    """Knows which bytes of a clip hold frames, and decodes them."""

    def ranges(self, row: int, frames: list[int]) -> tuple[list[tuple[int, int]], list[int]]:
        """What must be read for stored `frames`.

        Args:
            row: Of the index.
            frames: Ascending, each once.

        Returns:
            (offset in the shard, size) of each range, ascending; and its digest.
        """

    def destinations(self, places: FramePlaces) -> list[Bytes]:
        """Where the ranges are to be read to, one each; none where that is left to the reader."""

    def decode(self, row: int, data: Sequence[Bytes], places: FramePlaces) -> None:
        """Decodes `places.frames` out of what was read.

        Raises:
            DataError: It cannot be decoded.
        """


def frame_codec(index: ClipIndex, plan: VideoPlan) -> FrameCodec:
    """The codec that a plan asks for."""
    if plan.codec == "source":
        from shardkit.loading.source_frames import SourceFrames  # noqa: PLC0415 - FFmpeg is loaded where it is needed

        return SourceFrames(index, plan)
    if plan.decoder == "decord":
        return Decord(index)
    if plan.codec == "raw":
        return Raw(index)
    if plan.codec == "h264":
        assert plan.keyint is not None
        return H264(index, plan.keyint)
    return Mjpeg(index)


class _Codec:
    """What codecs share: bytes are read to where the reader likes, and there is memory for frames beside the slot."""

    def __init__(self, index: ClipIndex) -> None:
        self._index = index
        self._scratch: Bytes = np.empty((0, 0, 3), dtype=np.uint8)

    def destinations(self, places: FramePlaces) -> list[Bytes]:  # noqa: ARG002
        """See FrameCodec."""
        return []

    def _beside(self, row: int, *count: int) -> Bytes:
        """Memory of the stored frames' size, used again: uint8 [*count, H, W, 3]."""
        shape = (*count, int(self._index.height[row]), int(self._index.width[row]), 3)
        if self._scratch.shape != shape:
            self._scratch = np.empty(shape, dtype=np.uint8)
        return self._scratch

    def _decode_all(self, row: int, places: FramePlaces, decode: Callable[[Bytes], None]) -> None:
        """Lets `decode` write all frames at once, to their places or beside them."""
        if places.direct is not None:
            decode(places.direct)
            return
        out = self._beside(row, len(places.frames))
        decode(out)
        for frame, pixels in zip(places.frames, out, strict=True):
            places.put(frame, pixels)


class _Packets(_Codec):
    """Frames that are read packet by packet."""

    def ranges(self, row: int, frames: list[int]) -> tuple[list[tuple[int, int]], list[int]]:
        """See FrameCodec."""
        index = self._index
        member = int(index.video_offset[row])
        offsets = index.packet_offset.row(row).tolist()
        sizes = index.packet_bytes.row(row).tolist()
        digests = index.packet_xxh3.row(row).tolist()
        return [(member + offsets[frame], sizes[frame]) for frame in frames], [digests[frame] for frame in frames]


class Mjpeg(_Packets):
    """JPEG packets through libjpeg-turbo, which wants contiguous memory: the slot itself, or one frame beside it."""

    def decode(self, row: int, data: Sequence[Bytes], places: FramePlaces) -> None:
        """See FrameCodec."""
        direct = places.direct
        beside = self._beside(row) if direct is None else None
        for place, (frame, packet) in enumerate(zip(places.frames, data, strict=True)):
            pixels = beside if direct is None else direct[place]
            assert pixels is not None
            try:
                decode_jpeg_into(packet, pixels)
            except DataError as exc:
                raise DataError(f"frame {frame}: {exc}") from exc
            if direct is None:
                places.put(frame, pixels)


class Raw(_Packets):
    """Packets that are the pixels: read straight into the slot."""

    def destinations(self, places: FramePlaces) -> list[Bytes]:
        """See FrameCodec."""
        return [] if places.direct is None else [frame.reshape(-1) for frame in places.direct]

    def decode(self, row: int, data: Sequence[Bytes], places: FramePlaces) -> None:
        """See FrameCodec."""
        shape = (int(self._index.height[row]), int(self._index.width[row]), 3)
        if places.direct is None:
            for frame, packet in zip(places.frames, data, strict=True):
                places.put(frame, packet.reshape(shape))


class H264(_Packets):
    """H.264 packets from the keyframe on, without their container.

    No frame after the last wanted one is read, and damaged bytes are an error where decord may crash.
    """

    def __init__(self, index: ClipIndex, keyint: int) -> None:
        from shardkit.media.h264 import H264Decoder  # noqa: PLC0415 - FFmpeg is loaded where it is needed

        super().__init__(index)
        self._keyint = keyint
        self._decoder = H264Decoder()

    def _needed(self, frames: list[int]) -> list[int]:
        """The wanted frames and those that they refer to: from the keyframe before them on."""
        keyint = self._keyint
        return sorted({needed for frame in frames for needed in range(frame - frame % keyint, frame + 1)})

    def ranges(self, row: int, frames: list[int]) -> tuple[list[tuple[int, int]], list[int]]:
        """See FrameCodec."""
        return super().ranges(row, self._needed(frames))

    def decode(self, row: int, data: Sequence[Bytes], places: FramePlaces) -> None:
        """See FrameCodec."""
        wanted = set(places.frames)
        shown = [frame in wanted for frame in self._needed(places.frames)]
        self._decode_all(row, places, lambda out: self._decoder.decode(data, shown, out=out))


class Decord(_Codec):
    """Whole video members through decord, whatever their codec."""

    def ranges(self, row: int, frames: list[int]) -> tuple[list[tuple[int, int]], list[int]]:  # noqa: ARG002
        """See FrameCodec."""
        index = self._index
        return [(int(index.video_offset[row]), int(index.video_bytes[row]))], [int(index.video_xxh3[row])]

    def decode(self, row: int, data: Sequence[Bytes], places: FramePlaces) -> None:
        """See FrameCodec."""
        from shardkit.media.decord_video import decode_video  # noqa: PLC0415 - 0.1 s that only this path pays

        self._decode_all(row, places, lambda out: decode_video(data[0].data, places.frames, out=out))
