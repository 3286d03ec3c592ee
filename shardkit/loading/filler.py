"""SlotFiller: one clip from its shard into a slot: read, check, decode."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from shardkit.errors import CorruptShardError, DataError, StorageError
from shardkit.format.digest import xxh3
from shardkit.format.index import ClipIndex
from shardkit.format.wav import SAMPLE_BYTES
from shardkit.loading.plan import AudioPlan, ClipPlan, VideoPlan
from shardkit.media.jpeg import decode_jpeg_into
from shardkit.planning.sampling import choose_frames, draw_crop, draw_window
from shardkit.storage.shards import ShardReader

PCM_SCALE = np.float32(1 / 32768)
"""int16 to [-1, 1)."""

Slot = Mapping[str, npt.NDArray[Any]]
"""The arrays of one slot, by field."""


class SlotFiller:
    """Fills slots as a plan says; has its own reader and scratch memory, so one belongs to one thread."""

    def __init__(self, index: ClipIndex, reader: ShardReader, plan: ClipPlan) -> None:
        self._index = index
        self._reader = reader
        self._plan = plan
        self._sampling = plan.sampling()
        self._frame: npt.NDArray[np.uint8] = np.empty((0, 0, 3), dtype=np.uint8)

    def fill(self, slot: Slot, *, row: int, position: int, epoch: int) -> None:
        """Writes clip `row` into `slot`: every byte of it, whatever the slot held before.

        Raises:
            DataError: The clip's bytes are not what was packed, or cannot be decoded.
            StorageError: The shard cannot be read.
        """
        index, plan = self._index, self._plan
        duration_s = float(index.duration_s[row])
        start_s, end_s = 0.0, duration_s
        if plan.window_s is not None:
            start_s, end_s = draw_window(
                duration_s, plan.window_s, seed=plan.seed, epoch=epoch, position=position, random=plan.random
            )
        slot["window_s"][...] = (start_s, end_s)
        frames = first_sample = samples = 0
        chosen: npt.NDArray[np.int64] = np.empty(0, dtype=np.int64)
        ranges: list[tuple[int, int]] = []
        if plan.video is not None and index.video_bytes[row]:
            chosen, frames = self._choose(plan.video, row, start_s, end_s)
            ranges += self._video_ranges(plan.video, row, chosen)
        audio_at = len(ranges)
        seconds = slice(0, 0)
        if plan.audio is not None and index.audio_bytes[row]:
            first_sample = round(start_s * plan.audio.rate_hz)
            samples = max(0, min(plan.audio.samples, int(index.audio_samples[row]) - first_sample))
            if samples:
                rate_hz = plan.audio.rate_hz
                seconds = slice(first_sample // rate_hz, -(-(first_sample + samples) // rate_hz))
            ranges += self._audio_ranges(plan.audio, row, seconds)
        data = self._read(row, ranges)
        slot["frame_count"][...] = frames
        slot["audio_samples"][...] = samples
        slot["has_video"][...] = frames > 0
        slot["has_audio"][...] = bool(plan.audio is not None and index.audio_bytes[row])
        if plan.video is not None:
            self._fill_video(slot, plan.video, row, position, epoch, chosen, frames, data[:audio_at])
        if plan.audio is not None:
            self._fill_audio(slot["audio"], plan.audio, row, first_sample, samples, seconds, data[audio_at:])

    def _read(self, row: int, ranges: list[tuple[int, int]]) -> list[npt.NDArray[np.uint8]]:
        try:
            return self._reader.read(int(self._index.shard[row]), ranges)
        except (CorruptShardError, StorageError) as exc:
            raise type(exc)(f"clip {self._index.text('key', row)!r}: {exc}") from exc

    def _choose(self, video: VideoPlan, row: int, start_s: float, end_s: float) -> tuple[npt.NDArray[np.int64], int]:
        assert self._sampling is not None
        instants_s = self._sampling.instants(float(self._index.duration_s[row]))
        stored = int(self._index.packet_bytes.offsets[row + 1] - self._index.packet_bytes.offsets[row])
        if len(instants_s) != stored:
            raise CorruptShardError(
                f"{self.where(row)}: {stored} frames in the index, its sampling says {len(instants_s)}; pack again"
            )
        return choose_frames(instants_s, start_s, end_s, count=video.frames)

    def _video_ranges(self, video: VideoPlan, row: int, chosen: npt.NDArray[np.int64]) -> list[tuple[int, int]]:
        index = self._index
        member = int(index.video_offset[row])
        if video.decoder == "decord":
            return [(member, int(index.video_bytes[row]))]
        # Repeated frames are read once; `chosen` ascends.
        offsets, sizes = index.packet_offset.row(row), index.packet_bytes.row(row)
        return [(member + int(offsets[frame]), int(sizes[frame])) for frame in _distinct(chosen)]

    def _audio_ranges(self, audio: AudioPlan, row: int, seconds: slice) -> list[tuple[int, int]]:
        second_bytes = audio.rate_hz * audio.channels * SAMPLE_BYTES
        first = int(self._index.audio_offset[row]) + int(self._index.audio_data_offset[row])
        total = int(self._index.audio_samples[row]) * audio.channels * SAMPLE_BYTES
        return [
            (first + second * second_bytes, min(second_bytes, total - second * second_bytes))
            for second in range(seconds.start, seconds.stop)
        ]

    def _fill_video(
        self,
        slot: Slot,
        video: VideoPlan,
        row: int,
        position: int,
        epoch: int,
        chosen: npt.NDArray[np.int64],
        frames: int,
        packets: list[npt.NDArray[np.uint8]],
    ) -> None:
        out = slot["video"]
        if not frames:
            out[...] = 0
            slot["frame_times_s"][...] = 0
            return
        slot["frame_times_s"][...] = self._index.frame_time_s.row(row)[chosen]
        height, width = int(self._index.height[row]), int(self._index.width[row])
        top, left = draw_crop(
            height,
            width,
            video.height,
            video.width,
            seed=self._plan.seed,
            epoch=epoch,
            position=position,
            random=video.crop == "random",
        )
        crop = (slice(top, top + video.height), slice(left, left + video.width))
        whole = (height, width) == (video.height, video.width)
        if video.decoder == "decord":
            self._fill_by_decord(out, row, chosen, packets[0], None if whole else crop)
            return
        digests = self._index.packet_xxh3.row(row)
        previous = -1
        packet = iter(packets)
        for place, frame in enumerate(chosen.tolist()):
            if frame == previous:
                out[place] = out[place - 1]
                continue
            data = next(packet)
            self._check(data, digests[frame], row, "video", lambda f=frame: int(self._index.packet_offset.row(row)[f]))
            if whole:
                self._decode(data, out[place], row, frame)
            else:
                # libjpeg-turbo wants contiguous rows: decode beside, then copy the crop.
                if self._frame.shape != (height, width, 3):
                    self._frame = np.empty((height, width, 3), dtype=np.uint8)
                self._decode(data, self._frame, row, frame)
                out[place] = self._frame[crop]
            previous = frame

    def _decode(self, data: npt.NDArray[np.uint8], out: npt.NDArray[np.uint8], row: int, frame: int) -> None:
        try:
            decode_jpeg_into(data, out)
        except DataError as exc:
            raise DataError(f"{self.where(row)}, frame {frame}: {exc}; pack the clip again") from exc

    def _fill_by_decord(
        self,
        out: npt.NDArray[np.uint8],
        row: int,
        chosen: npt.NDArray[np.int64],
        data: npt.NDArray[np.uint8],
        crop: tuple[slice, slice] | None,
    ) -> None:
        from shardkit.media.decord_video import decode_video  # noqa: PLC0415 - 0.1 s that only this path pays

        self._check(data, self._index.video_xxh3[row], row, "video", lambda: 0)
        try:
            if crop is None:
                decode_video(data.tobytes(), chosen.tolist(), out=out)
                return
            shape = (len(chosen), int(self._index.height[row]), int(self._index.width[row]), 3)
            frames = np.empty(shape, dtype=np.uint8)
            decode_video(data.tobytes(), chosen.tolist(), out=frames)
            out[...] = frames[:, crop[0], crop[1]]
        except DataError as exc:
            raise DataError(f"{self.where(row)}: {exc}; pack the clip again") from exc

    def _fill_audio(
        self,
        out: npt.NDArray[np.float32],
        audio: AudioPlan,
        row: int,
        first_sample: int,
        samples: int,
        seconds: slice,
        data: list[npt.NDArray[np.uint8]],
    ) -> None:
        digests = self._index.second_xxh3.row(row)
        second_samples = audio.rate_hz
        for second, block in zip(range(seconds.start, seconds.stop), data, strict=True):
            self._check(
                block,
                digests[second],
                row,
                "audio",
                lambda s=second: (
                    int(self._index.audio_data_offset[row]) + s * second_samples * audio.channels * SAMPLE_BYTES
                ),
            )
            pcm = block.view("<i2").reshape(-1, audio.channels)
            start = second * second_samples - first_sample
            skip = max(0, -start)
            place = max(0, start)
            count = min(len(pcm) - skip, samples - place)
            np.multiply(pcm[skip : skip + count].T, PCM_SCALE, out=out[:, place : place + count])
        out[:, samples:] = 0

    def _check(self, data: npt.NDArray[np.uint8], digest: Any, row: int, member: str, offset: Any) -> None:
        if not self._plan.verify:
            return
        found = xxh3(data)
        if found != digest:
            at = int(getattr(self._index, f"{member}_offset")[row]) + offset()
            raise CorruptShardError(
                f"{self.where(row)}, {member} at byte {at:,}: xxh3 is {found:016x}, index says {int(digest):016x}; "
                "the shard is damaged: copy it again or pack again",
            )

    def where(self, row: int) -> str:
        """Shard and clip of an index row, for messages."""
        return f"{self._reader.name(int(self._index.shard[row]))}, clip {self._index.text('key', row)!r}"


def _distinct(ascending: npt.NDArray[np.int64]) -> list[int]:
    return list(dict.fromkeys(ascending.tolist()))
