"""FrameFiller: the frames of a clip's views, from their packets in the shard to their places in a slot.

Every stored frame that any view wants is read, checked and decoded once.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from shardkit.errors import DataError
from shardkit.format.index import ClipIndex
from shardkit.loading.frame_codecs import FrameCodec
from shardkit.loading.frame_places import Cut, FramePlaces, wanted_frames
from shardkit.loading.plan import Bytes, Slot, VideoPlan
from shardkit.planning.sampling import FrameSampling, choose_frames, frames_inside
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

    def __init__(self, index: ClipIndex, plan: VideoPlan, rules: ViewRules, codec: FrameCodec) -> None:
        self._index = index
        self._plan = plan
        self._rules = rules
        self._codec = codec
        self._sampling = None if plan.sampling is None else FrameSampling.from_json(plan.sampling)

    def part(self, row: int, views: Sequence[View], windows_s: Sequence[tuple[float, float]]) -> FramePart:
        """The part that brings the frames of a clip's views."""
        index, plan = self._index, self._plan
        height, width = int(index.height[row]), int(index.width[row])
        whole = (height, width) == (plan.height, plan.width)
        cuts, counts = [], []
        for view, (first, end) in zip(views, self._inside(row, windows_s), strict=True):
            chosen, count = choose_frames(
                first,
                end,
                count=plan.frames,
                choice=self._rules.frame_choice,
                share=view.frames,
                drawn=self._rules.drawn_frames,
            )
            top, left = (0, 0) if whole else self._rules.crop_of(view, height, width, plan.height, plan.width)
            cuts.append(Cut(chosen, top, left, view.flip))
            counts.append(count)
        return FramePart(
            row, cuts, counts, times_s=index.frame_time_s.row(row), size=(height, width), codec=self._codec
        )

    def _inside(self, row: int, windows_s: Sequence[tuple[float, float]]) -> list[tuple[int, int]]:
        """First and last + 1 of the stored frames in each window."""
        index = self._index
        times_s = index.frame_time_s.row(row)
        stored = len(times_s)
        duration_s = float(index.duration_s[row])
        if all(window_s == (0.0, duration_s) for window_s in windows_s):
            return [(0, stored)] * len(windows_s)
        # A picture is shown from its time on, a sampled frame stands for what is around its instant.
        instants_s = times_s if self._sampling is None else self._sampling.instants(duration_s)
        if len(instants_s) != stored:
            raise DataError(f"{stored} frames in the index, its sampling says {len(instants_s)}")
        return [frames_inside(instants_s, *window_s) for window_s in windows_s]
