"""When decoded frames are shown, also where their container keeps no usable pts."""

from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from shardkit.media.source import tick_s


class FrameClock:
    """Gives every decoded frame, in output order, the source time at which it is shown.

    The rule is FFmpeg's best-effort timestamp: a frame's pts, unless pts have run backwards more often than
    dts have, as they do in AVI files with B-frames, which store no pts. A frame with neither follows the one
    before it. Time never runs backwards.
    """

    def __init__(self, stream: VideoStream, zero_s: float) -> None:
        self._tick_s = tick_s(stream)
        self._zero_s = zero_s
        self._frame_s = 1.0 / float(stream.average_rate) if stream.average_rate else 0.0
        self._last_pts: int | None = None
        self._last_dts: int | None = None
        self._faulty_pts_count = 0
        self._faulty_dts_count = 0
        self._last_s: float | None = None

    def time_s(self, frame: VideoFrame) -> float:
        """Source time of the next frame."""
        ticks = self._best_effort(frame.pts, frame.dts)
        if ticks is None:
            time_s = 0.0 if self._last_s is None else self._last_s + (frame.duration * self._tick_s or self._frame_s)
        else:
            time_s = ticks * self._tick_s - self._zero_s
        if self._last_s is not None:
            time_s = max(time_s, self._last_s)
        self._last_s = time_s
        return time_s

    def _best_effort(self, pts: int | None, dts: int | None) -> int | None:
        if dts is not None:
            self._faulty_dts_count += self._last_dts is not None and dts <= self._last_dts
            self._last_dts = dts
        elif pts is not None:
            self._last_dts = pts
        if pts is not None:
            self._faulty_pts_count += self._last_pts is not None and pts <= self._last_pts
            self._last_pts = pts
        elif dts is not None:
            self._last_pts = dts
        if pts is not None and (dts is None or self._faulty_pts_count <= self._faulty_dts_count):
            return pts
        return dts
