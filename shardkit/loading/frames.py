"""FrameFiller: the frames of a clip's views, from their packets in the shard to their places in a slot.

Every stored frame that any view wants is read, checked and decoded once.
"""

from collections.abc import Iterable, Sequence
from functools import partial
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from shardkit.errors import DataError
from shardkit.format.index import ClipIndex
from shardkit.loading.frame_codecs import FrameCodec
from shardkit.loading.frame_places import Cut, FramePlaces, wanted_frames
from shardkit.loading.plan import Bytes, Slot, VideoPlan
from shardkit.planning.sampling import FrameSampling, choose_frames, frames_inside
from shardkit.planning.segments import SegmentGrid
from shardkit.planning.views import View, ViewRules


class FramePart:
    """One clip's frames on their way into a slot."""

    member = "video"
    __slots__ = (
        "_codec",
        "_counts",
        "_cuts",
        "_digests",
        "_frames",
        "_places",
        "_row",
        "_size",
        "_times_s",
        "into",
        "ranges",
    )

    def __init__(
        self,
        row: int,
        cuts: list[Cut],
        counts: list[int],
        *,
        times_s: npt.NDArray[np.float64],
        size: tuple[int, int],
        codec: FrameCodec,
    ) -> None:
        self._row = row
        self._cuts = cuts
        self._counts = counts
        self._times_s = times_s
        self._size = size
        self._codec = codec
        self._frames = wanted_frames(cuts)
        self.ranges, self._digests = codec.ranges(row, self._frames)
        self.into: list[Bytes] = []

    def place(self, slot: Slot) -> None:
        """Writes which frames are shown and when they were; from here on it is known where they go."""
        slot["frame_count"][...] = self._counts
        for place, cut in zip(slot["frame_times_s"], self._cuts, strict=True):
            place[...] = self._times_s[cut.frames]
        height, width = self._size
        self._places = FramePlaces(slot["video"], self._cuts, self._frames, height=height, width=width)
        self.into = self._codec.destinations(self._places)

    def pieces(self, data: Sequence[Bytes]) -> Iterable[tuple[Bytes, int, int]]:
        """What is checked: bytes, their digest, their place in the shard."""
        return zip(data, self._digests, (offset for offset, _ in self.ranges), strict=True)

    def fill(self, data: Sequence[Bytes]) -> None:
        """Decodes the frames into the slot."""
        self._codec.decode(self._row, data, self._places)
        self._places.finish()


class FrameFiller:
    """Makes the frame parts of one clip after another."""

    def __init__(
        self,
        index: ClipIndex,
        plan: VideoPlan,
        rules: ViewRules,
        codec: FrameCodec,
        *,
        segments: SegmentGrid | None = None,
    ) -> None:
        """Makes a filler; with `segments`, every one has as many frames as another, and they are its own."""
        self._index = index
        self._plan = plan
        self._rules = rules
        self._codec = codec
        self._segments = segments
        self._choose = partial(choose_frames, choice=rules.frame_choice, drawn=rules.drawn_frames)
        self._sampling = None if plan.sampling is None else FrameSampling.from_json(plan.sampling)

    def part(self, row: int, views: Sequence[View], windows_s: Sequence[tuple[float, float]]) -> FramePart:
        """The part that brings the frames of a clip's views."""
        index, plan = self._index, self._plan
        height, width = int(index.height[row]), int(index.width[row])
        whole = (height, width) == (plan.height, plan.width)
        cuts, counts = [], []
        for view, (chosen, count) in zip(views, self._chosen(row, views, windows_s), strict=True):
            top, left = (0, 0) if whole else self._rules.crop_of(view, height, width, plan.height, plan.width)
            cuts.append(Cut(chosen, top, left, view.flip))
            counts.append(count)
        return FramePart(
            row, cuts, counts, times_s=index.frame_time_s.row(row), size=(height, width), codec=self._codec
        )

    def _chosen(
        self, row: int, views: Sequence[View], windows_s: Sequence[tuple[float, float]]
    ) -> list[tuple[list[int], int]]:
        """The stored frames that each view shows, T of them, and how many of these are real."""
        wanted, grid = self._plan.frames, self._segments
        if grid is None:
            inside = self._inside(row, windows_s)
            return [
                self._choose(first, end, count=wanted, share=view.frames)
                for view, (first, end) in zip(views, inside, strict=True)
            ]
        instants_s, duration_s = self._instants_s(row), float(self._index.duration_s[row])
        chosen = []
        for view, (start_s, _) in zip(views, windows_s, strict=True):
            real = int(grid.real(np.float64(duration_s), np.float64(start_s)))
            bounds = grid.frame_bounds(instants_s, start_s, real)
            frames = [
                frame
                for first, end in pairwise(bounds)
                for frame in self._choose(first, end, count=wanted // grid.count, share=view.frames)[0]
            ]
            chosen.append((frames + frames[-1:] * (wanted - len(frames)), len(frames)))
        return chosen

    def _inside(self, row: int, windows_s: Sequence[tuple[float, float]]) -> list[tuple[int, int]]:
        """First and last + 1 of the stored frames in each window."""
        duration_s = float(self._index.duration_s[row])
        if all(window_s == (0.0, duration_s) for window_s in windows_s):
            return [(0, len(self._index.frame_time_s.row(row)))] * len(windows_s)
        instants_s = self._instants_s(row)
        return [frames_inside(instants_s, *window_s) for window_s in windows_s]

    def _instants_s(self, row: int) -> npt.NDArray[np.float64]:
        """When the stored frames of a clip stand for what is seen."""
        times_s: npt.NDArray[np.float64] = self._index.frame_time_s.row(row)
        # A picture is shown from its time on, a sampled frame stands for what is around its instant.
        if self._sampling is None:
            return times_s
        instants_s = self._sampling.instants(float(self._index.duration_s[row]))
        if len(instants_s) != len(times_s):
            raise DataError(f"{len(times_s)} frames in the index, its sampling says {len(instants_s)}")
        return instants_s
