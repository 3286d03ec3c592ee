"""SlotFiller: one clip from its shard into a slot: plan, place, read, check, decode."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Any, Protocol

from shardkit.errors import CorruptShardError, DataError, StorageError
from shardkit.format.digest import xxh3
from shardkit.format.index import ClipIndex
from shardkit.loading.features import FeatureFiller
from shardkit.loading.frame_codecs import frame_codec
from shardkit.loading.frames import FrameFiller
from shardkit.loading.plan import Bytes, ClipPlan, Slot
from shardkit.loading.sound import sound_filler
from shardkit.loading.tally import Tally
from shardkit.planning.sampling import place_window
from shardkit.planning.views import View
from shardkit.storage.ranges import RangeReader


class Part(Protocol):
    """What a clip's slot gets from one member: frames, samples, or the array of a feature."""

    member: str
    """What messages call it."""
    ranges: list[tuple[int, int]]
    """(offset in the shard, size) of what must be read; ascending where shardkit wrote the shard."""
    into: list[Bytes]
    """Where each is read to; none where that is left to the reader, or before it is placed."""

    def place(self, slot: Slot) -> None:
        """Takes its place in a slot, and writes there what is known without the bytes."""

    def pieces(self, data: Sequence[Bytes]) -> Iterable[tuple[Bytes, int, int]]:
        """What is checked of the ranges' bytes: bytes, their digest, their place in the shard."""

    def fill(self, data: Sequence[Bytes]) -> None:
        """Decodes the ranges' bytes into the slot."""


Read = dict[Part, list[Bytes]]
"""What was read of each part: a range each."""


@dataclass(slots=True)
class Planned:
    """A clip of which all is known but its bytes."""

    row: int
    windows_s: list[tuple[float, float]]
    frames: Part | None
    sound: Part | None
    features: list[Part | None]
    """One for each feature that is loaded; None where the clip has no array."""
    parts: list[Part]
    """All of these that are there, in the order in which they are read."""
    slot: Slot | None = None
    """Where it goes; None before it is placed."""
    begun: Any = None
    """What the reader wants back of what it has begun to read of it."""

    @property
    def ranges(self) -> list[tuple[int, int]]:
        """(offset in the shard, size) of all that is read of it."""
        return [place for part in self.parts for place in part.ranges]


class SlotFiller:
    """Fills slots as a plan says; has its own reader and scratch memory, so one belongs to one thread.

    A clip is planned, begun, placed, read and filled, each in a call of its own. Bytes from afar are asked for
    before there is a slot for them, it is known what a worker waits for, and a run of clips is placed at once: Python
    takes three times as long behind a decoder that has swept the caches (100 µs a clip instead of 30).

    Attributes:
        tally: What it has done so far, and how long each stage took.
    """

    def __init__(self, index: ClipIndex, reader: RangeReader, plan: ClipPlan) -> None:
        self._index = index
        self._reader = reader
        self._plan = plan
        self._frames = self._sound = None
        if plan.video is not None:
            codec = frame_codec(index, plan.video)
            self._frames = FrameFiller(index, plan.video, plan.rules, codec, segments=plan.segments)
        if plan.audio is not None:
            self._sound = sound_filler(index, plan.audio, verify=plan.verify)
        self._features = [FeatureFiller(index, feature) for feature in plan.features]
        self.tally = Tally()

    def plan(self, *, row: int, position: int, epoch: int) -> Planned:
        """What the index says of clip `row`: windows, frames, seconds, and where their bytes are.

        Raises:
            DataError: The index contradicts itself.
        """
        try:
            return self._planned(row, position, epoch)
        except DataError as exc:
            raise self._named(row, exc) from exc

    def _planned(self, row: int, position: int, epoch: int) -> Planned:
        index = self._index
        views = self._plan.rules.views(epoch=epoch, position=position)
        windows_s = self._windows_s(row, views)
        frames = sound = None
        if self._frames is not None and index.video_bytes[row]:
            frames = self._frames.part(row, views, windows_s)
        if self._sound is not None and index.audio_bytes[row]:
            sound = self._sound.part(row, windows_s)
        features: list[Part | None] = [feature.part(row, windows_s) for feature in self._features]
        parts: list[Part] = [part for part in (frames, sound, *features) if part is not None]
        parts.sort(key=lambda part: part.ranges[:1])
        return Planned(row, windows_s, frames, sound, features, parts)

    def begin(self, clips: Sequence[Planned]) -> None:
        """Begins to read what was planned, where the reader can do that ahead."""
        begun = self._reader.begin([(int(self._index.shard[clip.row]), clip.ranges) for clip in clips])
        for clip, its in zip(clips, begun, strict=True):
            clip.begun = its

    def forget(self, clip: Planned) -> None:
        """Gives up what was begun of a clip."""
        self._reader.forget(clip.begun)

    def place(self, clip: Planned, slot: Slot) -> None:
        """Writes into `slot` what is known of a planned clip without its bytes."""
        slot["window_s"][...] = clip.windows_s
        slot["has_video"][...] = clip.frames is not None
        slot["has_audio"][...] = clip.sound is not None
        for part in clip.parts:
            part.place(slot)
        # What has a place of its own comes last.
        clip.parts.sort(key=lambda part: bool(part.into))
        clip.slot = slot

    def read(self, clip: Planned) -> Read:
        """The bytes of a placed clip, checked.

        Raises:
            CorruptShardError: They are not what was packed.
            StorageError: The shard cannot be read.
        """
        began_ns = perf_counter_ns()
        data = self._read(clip)
        read_ns = perf_counter_ns()
        if self._plan.verify:
            try:
                self._check(clip, data)
            except CorruptShardError:
                # Perhaps a copy is damaged, or what came over the network.
                shard, ranges, into = self._wanted(clip)
                anew = self._reader.read_anew(shard, ranges, into)
                if anew is None:
                    raise
                data = _by_part(clip, ranges, anew)
                self._check(clip, data)
        tally = self.tally
        # Once, where picture and sound come out of the same member.
        tally.read_bytes += sum(size for _, size in set(clip.ranges))
        tally.read_ns += read_ns - began_ns
        tally.check_ns += perf_counter_ns() - read_ns
        return data

    def fill(self, clip: Planned, data: Read) -> None:
        """Fills the slot of a placed clip: all of it is written then, whatever it held before.

        Raises:
            DataError: The bytes cannot be decoded.
        """
        try:
            self._fill(clip, data)
        except DataError as exc:
            raise self._named(clip.row, exc) from exc

    def _named(self, row: int, error: DataError) -> DataError:
        again = "pack the clip again" if self._plan.packed else "leave the clip out, or index its tar again"
        return DataError(f"{self.where(row)}: {error}; {again}")

    def _fill(self, clip: Planned, data: Read) -> None:
        slot, frames, sound, tally = clip.slot, clip.frames, clip.sound, self.tally
        assert slot is not None
        began_ns = perf_counter_ns()
        # Sound first: frames would sweep it out of the cache.
        if sound is not None:
            sound.fill(data[sound])
        elif self._sound is not None:
            for name in ("audio", "audio_samples"):
                slot[name][...] = 0
        audio_ns = perf_counter_ns()
        for filler, part in zip(self._features, clip.features, strict=True):
            if part is None:
                slot[filler.plan.field][...] = 0
            else:
                part.fill(data[part])
        if frames is not None:
            frames.fill(data[frames])
        elif self._frames is not None:
            for name in ("video", "frame_times_s", "frame_count"):
                slot[name][...] = 0
        tally.clips += 1
        tally.audio_ns += audio_ns - began_ns
        tally.decode_ns += perf_counter_ns() - audio_ns

    def _windows_s(self, row: int, views: Sequence[View]) -> list[tuple[float, float]]:
        duration_s, window_s = float(self._index.duration_s[row]), self._plan.window_s
        if window_s is None:
            return [(0.0, duration_s)] * len(views)
        grid, rules = self._plan.segments, self._plan.rules
        if grid is not None:
            return [grid.place(duration_s, share=view.window, drawn=rules.random_window) for view in views]
        return [place_window(duration_s, window_s, share=view.window) for view in views]

    def _wanted(self, clip: Planned) -> tuple[int, list[tuple[int, int]], list[Bytes]]:
        """Shard, ranges and places of a clip's bytes; the ranges ascend, or are read to places of their own."""
        shard, into = int(self._index.shard[clip.row]), [memory for part in clip.parts for memory in part.into]
        # Where others wrote the tar, pictures and sound lie in any order, and a video may be wanted for both.
        return shard, clip.ranges if self._plan.packed else sorted(set(clip.ranges)), into

    def _read(self, clip: Planned) -> Read:
        try:
            shard, ranges, into = self._wanted(clip)
            return _by_part(clip, ranges, self._reader.read(shard, ranges, into, begun=clip.begun))
        except (CorruptShardError, StorageError) as exc:
            raise type(exc)(f"clip {self._index.text('key', clip.row)!r}: {exc}") from exc

    def _check(self, clip: Planned, data: Read) -> None:
        for part in clip.parts:
            for piece, digest, offset in part.pieces(data[part]):
                found = xxh3(piece)
                if found != digest:
                    raise CorruptShardError(
                        f"{self.where(clip.row)}, {part.member} at byte {offset:,}: xxh3 is {found:016x}, index says "
                        f"{digest:016x}; the shard is damaged: copy it again, or pack or index again",
                    )

    def where(self, row: int) -> str:
        """Shard and clip of an index row, for messages."""
        return f"{self._reader.name(int(self._index.shard[row]))}, clip {self._index.text('key', row)!r}"


def _by_part(clip: Planned, ranges: list[tuple[int, int]], read: list[Bytes]) -> Read:
    """What was read, for each part of a clip."""
    found = dict(zip(ranges, read, strict=True))
    return {part: [found[place] for place in part.ranges] for part in clip.parts}
