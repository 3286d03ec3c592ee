"""SlotFiller: one clip from its shard into a slot: prepare, read, check, decode."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Protocol

from shardkit.errors import CorruptShardError, DataError, StorageError
from shardkit.format.digest import xxh3
from shardkit.format.index import ClipIndex
from shardkit.loading.frame_codecs import frame_codec
from shardkit.loading.frames import FrameFiller
from shardkit.loading.plan import Bytes, ClipPlan, Slot
from shardkit.loading.sound import SoundFiller
from shardkit.loading.tally import Tally
from shardkit.planning.sampling import place_window
from shardkit.planning.views import View
from shardkit.storage.shards import ShardReader


class Part(Protocol):
    """What a clip's slot gets from one member: frames or samples."""

    ranges: list[tuple[int, int]]
    """(offset in the shard, size) of what must be read, ascending."""
    into: list[Bytes]
    """Where each is read to; none where that is left to the reader."""

    def pieces(self, data: Sequence[Bytes]) -> Iterable[tuple[Bytes, int, int]]:
        """What is checked of the ranges' bytes: bytes, their digest, their place in the shard."""

    def fill(self, data: Sequence[Bytes]) -> None:
        """Decodes the ranges' bytes into the slot."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A clip of which all is known but its bytes."""

    row: int
    slot: Slot
    frames: Part | None
    sound: Part | None
    parts: list[Part]
    """Those two, where they are, in the order in which they are read."""


class SlotFiller:
    """Fills slots as a plan says; has its own reader and scratch memory, so one belongs to one thread.

    A clip is prepared and filled in two calls, so that a run of clips can be prepared at once: Python takes three times
    as long behind a decoder that has swept the caches (100 µs a clip instead of 30).

    Attributes:
        tally: What it has done so far, and how long each stage took.
    """

    def __init__(self, index: ClipIndex, reader: ShardReader, plan: ClipPlan) -> None:
        self._index = index
        self._reader = reader
        self._plan = plan
        self._frames = self._sound = None
        if plan.video is not None:
            self._frames = FrameFiller(index, plan.video, plan.rules, frame_codec(index, plan.video))
        if plan.audio is not None:
            self._sound = SoundFiller(index, plan.audio, verify=plan.verify)
        self.tally = Tally()

    def prepare(self, slot: Slot, *, row: int, position: int, epoch: int) -> Prepared:
        """Writes into `slot` what the index says of clip `row`: windows, times, counts; reads nothing.

        Raises:
            DataError: The index contradicts itself.
        """
        try:
            return self._prepared(slot, row, position, epoch)
        except DataError as exc:
            raise self._named(row, exc) from exc

    def _prepared(self, slot: Slot, row: int, position: int, epoch: int) -> Prepared:
        index = self._index
        views = self._plan.rules.views(epoch=epoch, position=position)
        windows_s = self._windows_s(row, views)
        slot["window_s"][...] = windows_s
        frames = sound = None
        if self._frames is not None and index.video_bytes[row]:
            frames = self._frames.part(slot, row, views, windows_s)
        if self._sound is not None and index.audio_bytes[row]:
            sound = self._sound.part(slot, row, windows_s)
        slot["has_video"][...] = frames is not None
        slot["has_audio"][...] = sound is not None
        # In the order of the file, and what has a place of its own last.
        parts: list[Part] = [part for part in (frames, sound) if part is not None]
        parts.sort(key=lambda part: (bool(part.into), part.ranges[:1]))
        return Prepared(row, slot, frames, sound, parts)

    def fill(self, clip: Prepared) -> None:
        """Fills what was prepared: all of its slot is written then, whatever it held before.

        Raises:
            DataError: The clip's bytes are not what was packed, or cannot be decoded.
            StorageError: The shard cannot be read.
        """
        try:
            self._fill(clip)
        except CorruptShardError:
            raise
        except DataError as exc:
            raise self._named(clip.row, exc) from exc

    def _named(self, row: int, error: DataError) -> DataError:
        return DataError(f"{self.where(row)}: {error}; pack the clip again")

    def _fill(self, clip: Prepared) -> None:
        row, slot, frames, sound, parts, tally = clip.row, clip.slot, clip.frames, clip.sound, clip.parts, self.tally
        began_ns = perf_counter_ns()
        data = self._read(row, parts)
        read_ns = perf_counter_ns()
        if self._plan.verify:
            for part in parts:
                self._check(row, "video" if part is frames else "audio", part.pieces(data[part]))
        checked_ns = perf_counter_ns()
        # Sound first: frames would sweep it out of the cache.
        if sound is not None:
            sound.fill(data[sound])
        elif self._sound is not None:
            for name in ("audio", "audio_samples"):
                slot[name][...] = 0
        audio_ns = perf_counter_ns()
        if frames is not None:
            frames.fill(data[frames])
        elif self._frames is not None:
            for name in ("video", "frame_times_s", "frame_count"):
                slot[name][...] = 0
        tally.clips += 1
        tally.read_bytes += sum(size for part in parts for _, size in part.ranges)
        tally.read_ns += read_ns - began_ns
        tally.check_ns += checked_ns - read_ns
        tally.audio_ns += audio_ns - checked_ns
        tally.decode_ns += perf_counter_ns() - audio_ns

    def _windows_s(self, row: int, views: Sequence[View]) -> list[tuple[float, float]]:
        duration_s, window_s = float(self._index.duration_s[row]), self._plan.window_s
        if window_s is None:
            return [(0.0, duration_s)] * len(views)
        return [place_window(duration_s, window_s, share=view.window) for view in views]

    def _read(self, row: int, parts: Sequence[Part]) -> dict[Part, list[Bytes]]:
        try:
            read = self._reader.read(
                int(self._index.shard[row]),
                [place for part in parts for place in part.ranges],
                [memory for part in parts for memory in part.into],
            )
        except (CorruptShardError, StorageError) as exc:
            raise type(exc)(f"clip {self._index.text('key', row)!r}: {exc}") from exc
        data = {}
        for part in parts:
            data[part], read = read[: len(part.ranges)], read[len(part.ranges) :]
        return data

    def _check(self, row: int, member: str, pieces: Iterable[tuple[Bytes, int, int]]) -> None:
        for data, digest, offset in pieces:
            found = xxh3(data)
            if found != digest:
                raise CorruptShardError(
                    f"{self.where(row)}, {member} at byte {offset:,}: xxh3 is {found:016x}, index says {digest:016x}; "
                    "the shard is damaged: copy it again or pack again",
                )

    def where(self, row: int) -> str:
        """Shard and clip of an index row, for messages."""
        return f"{self._reader.name(int(self._index.shard[row]))}, clip {self._index.text('key', row)!r}"
