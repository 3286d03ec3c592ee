"""The frames of a video that are shown at given instants.

The frame shown at an instant is the last one whose pts is not after it. Before the first frame the first one
is shown, after the last one the last is held. Frames are decoded in order, one is held at a time, and only
those that are chosen are converted; so variable frame rates, edit lists, B-frames and streams that start late
need no case of their own.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import cast

import av
import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.sidedata.sidedata import SideData
from av.sidedata.sidedata import Type as SideDataType
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from av.video.stream import VideoStream

from shardkit.errors import UsageError
from shardkit.media.errors import MediaDecodeError
from shardkit.media.frame_clock import FrameClock
from shardkit.media.geometry import (
    UPRIGHT,
    Fit,
    FramePlan,
    check_fit,
    display_size,
    orientation_from_matrix,
    plan_frames,
)
from shardkit.media.picked_frames import pick_frames
from shardkit.media.probe import HeldStream
from shardkit.media.source import (
    MediaSource,
    container_start_s,
    decode_on_one_thread,
    is_shown,
    open_source,
    packet_time_s,
    require_video,
    seek_before,
    source_name,
    tick_s,
)

TOLERANCE_S = 1e-5
"""An instant this little before a frame's pts still shows it: instants and container starts are rounded, to
µs."""
SEEK_FROM_S = 3.0
"""Up to here decoding from the beginning costs about what a seek to the keyframe before does."""
SEEK_LEADS_S = (0.5, 10.0)
"""How far before the first instant to seek. Containers index by dts, so the first try can land on a keyframe
that is shown after the instant; what no lead settles is decoded from the beginning."""

MOST_ASPECT = 100
"""A damaged pixel aspect can ask for pictures of any width: gigabytes each."""

# libswscale's bilinear filter widens when it shrinks a picture, which is what torchvision calls antialiasing.
# The colours are those of PyAV's own `to_ndarray`.
SWS_BITEXACT = 0x80000  # libswscale's; PyAV names it from 18 on
INTERPOLATION = int(Interpolation.BILINEAR) | SWS_BITEXACT


@dataclass(frozen=True, slots=True, eq=False)
class Frames:
    """The frames shown at the instants that were asked for."""

    rgb: npt.NDArray[np.uint8]
    """uint8 [T, H, W, 3], upright, in square pixels."""
    time_s: npt.NDArray[np.float64]
    """float64 [T], source time at which each frame begins to be shown: its own pts, not the instant."""
    late_start_s: float
    """How long after the first instant the stream begins; 0 where it had begun. The first frame stands in
    until then."""
    expected_count: int
    """Packets that are shown between the first and the last instant, both included."""
    decoded_count: int
    """Frames decoded between the first and the last instant. FFmpeg can drop most of a stream without an
    error: fewer than `expected_count` by more than a few says so."""

    def __repr__(self) -> str:
        count, height, width = self.rgb.shape[:3]
        return f"Frames({count} x {height}x{width}, late_start_s={self.late_start_s:.3f})"


def read_frames(
    source: MediaSource,
    instants_s: Sequence[float] | npt.NDArray[np.float64],
    *,
    size: int | None = None,
    fit: Fit = "short",
    held: HeldStream[VideoStream] | None = None,
) -> Frames:
    """Decodes the frame shown at every instant.

    Args:
        source: A local file, or one in memory.
        instants_s: Instants in source time, ascending; [T].
        size: Length of the short side in pixels; None keeps the display size.
        fit: `short` keeps the aspect, `square` keeps the centre square.
        held: The file's video packets around the instants, from `open_span`: they are not read again, and only the
            frames that are needed are decoded.

    Raises:
        UsageError: The instants are not ascending and finite, or no frame can have the size.
        UnreadableMediaError: The file cannot be opened.
        NoStreamError: The file has no video that can be decoded.
        MediaDecodeError: The decoder reported an error inside the range, or a chosen frame is corrupt.
    """
    check_fit(size, fit)
    instants = _check_instants(instants_s)
    if held is not None and len(held.shown_pts):
        picked = _picked(held, source_name(source), instants, size, fit)
        if picked is not None:
            return picked
    leads: tuple[float | None, ...] = (None,)
    if instants[0] > SEEK_FROM_S:
        leads = (*(lead for lead in SEEK_LEADS_S if lead < instants[0]), None)
    for lead_s in leads:
        with open_source(source) as container:
            stream = require_video(container, source)
            decode_on_one_thread(stream)
            zero_s = container_start_s(container)
            if lead_s is not None and not seek_before(container, stream, float(instants[0]) - lead_s + zero_s):
                continue
            canvas = _Canvas(source_name(source), stream.sample_aspect_ratio, len(instants), size, fit)
            reading = _Reading(source_name(source), instants, canvas)
            if reading.run(container, stream, zero_s, from_start=lead_s is None):
                return reading.result()
    raise AssertionError("decoding from the beginning settles every instant or raises")


def _picked(
    held: HeldStream[VideoStream], name: str, instants: npt.NDArray[np.float64], size: int | None, fit: Fit
) -> Frames | None:
    """What `read_frames` returns, where the frames' pts are known and lead to them."""
    shown_pts = held.shown_pts
    times_s: npt.NDArray[np.float64] = np.multiply(shown_pts, tick_s(held.stream), dtype=np.float64) - held.zero_s
    # The last frame whose pts is not after the instant; before the first frame, the first one.
    chosen = np.maximum(np.searchsorted(times_s, instants + TOLERANCE_S, side="right") - 1, 0)
    wanted = np.unique(shown_pts[chosen])
    canvas = _Canvas(name, held.stream.sample_aspect_ratio, len(instants), size, fit)
    picked = 0
    for frame in pick_frames(held, wanted):
        # `chosen` ascends: the instants that show a frame stand side by side.
        assert frame.pts is not None
        first, stop = np.searchsorted(shown_pts[chosen], (frame.pts, frame.pts + 1)).tolist()
        canvas.put(frame, slice(first, stop))
        picked += 1
    if picked < len(wanted):
        return None
    return Frames(
        rgb=canvas.rgb,
        time_s=times_s[chosen],
        late_start_s=max(0.0, float(times_s[chosen[0]] - instants[0])),
        expected_count=len(wanted),
        decoded_count=len(wanted),
    )


def _check_instants(instants_s: Sequence[float] | npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    instants = np.asarray(instants_s, dtype=np.float64)
    if instants.ndim != 1 or len(instants) == 0:
        raise UsageError(f"instants_s has shape {instants.shape}; one instant or more in one dimension are needed")
    if not np.isfinite(instants).all() or (np.diff(instants) < 0).any():
        raise UsageError("instants_s is not finite and ascending")
    return instants


class _Canvas:
    """Where chosen frames are converted to: one array, whose shape the first of them decides."""

    def __init__(self, name: str, pixel_aspect: Fraction | None, count: int, size: int | None, fit: Fit) -> None:
        self._name = name
        self._pixel_aspect = pixel_aspect or Fraction(1)
        self._count = count
        self._size = size
        self._fit: Fit = fit
        self._reformatter = VideoReformatter()
        self.rgb: npt.NDArray[np.uint8] = np.empty((0, 0, 0, 3), np.uint8)

    def put(self, frame: VideoFrame, slots: slice) -> None:
        """Converts a frame into the slots in which it is shown."""
        plan = self._plan(frame)
        scaled = self._reformatter.reformat(
            frame,
            width=plan.scaled_width,
            height=plan.scaled_height,
            format="rgb24",
            interpolation=INTERPOLATION,
            threads=1,
        )
        self.rgb[slots] = plan.finish(np.asarray(scaled.to_ndarray(), np.uint8))

    def _plan(self, frame: VideoFrame) -> FramePlan:
        plan = self._plan_alone(frame, self._size, self._fit)
        if len(self.rgb) == 0:
            self.rgb = np.empty((self._count, plan.height, plan.width, 3), np.uint8)
        height, width = self.rgb.shape[1:3]
        if (plan.width, plan.height) == (width, height):
            return plan
        # A stream that changes its size on the way is stretched to the size it had first, as FFmpeg does.
        swap = plan.orientation.transpose
        return FramePlan(
            scaled_width=height if swap else width,
            scaled_height=width if swap else height,
            orientation=plan.orientation,
            crop_top=0,
            crop_left=0,
            width=width,
            height=height,
        )

    def _plan_alone(self, frame: VideoFrame, size: int | None, fit: Fit) -> FramePlan:
        matrix = display_matrix(frame)
        shown = display_size(frame.width, frame.height, self._pixel_aspect)
        if max(shown) > MOST_ASPECT * min(shown):
            raise MediaDecodeError(
                f"{self._name}: frames of {frame.width}x{frame.height} are to be shown at {shown[0]}x{shown[1]}; the "
                "file is damaged: leave the clip out"
            )
        return plan_frames(
            frame.width,
            frame.height,
            pixel_aspect=self._pixel_aspect,
            orientation=UPRIGHT if matrix is None else orientation_from_matrix(matrix),
            size=size,
            fit=fit,
        )


def display_matrix(frame: VideoFrame) -> npt.NDArray[np.int32] | None:
    """The frame's display matrix, 9 numbers row by row; None where it has none."""
    # PyAV's annotations take this container for a dict.
    for data in cast("Iterable[SideData]", frame.side_data):
        if data.type is SideDataType.DISPLAYMATRIX:
            return np.frombuffer(bytes(data), np.int32)
    return None


class _Reading:
    """One pass over a stream, from where it was sought to until the last instant is settled."""

    def __init__(self, name: str, instants: npt.NDArray[np.float64], canvas: _Canvas) -> None:
        self._name = name
        self._instants = instants
        self._canvas = canvas
        self._times = np.empty(len(instants), np.float64)
        self._settled = 0
        self._held: VideoFrame | None = None
        self._held_s = 0.0
        self._expected_count = 0
        self._decoded_count = 0
        self._faults: list[tuple[float, av.FFmpegError]] = []

    def run(self, container: InputContainer, stream: VideoStream, zero_s: float, *, from_start: bool) -> bool:
        """Settles every instant.

        Returns:
            False where a seek landed behind the first instant and an earlier start is needed.

        Raises:
            MediaDecodeError: The decoder reported an error inside the range, or a chosen frame is corrupt.
        """
        clock = FrameClock(stream, zero_s)
        for frame in self._decode(container, stream, zero_s):
            time_s = clock.time_s(frame)
            if self._held is None and not from_start and time_s > self._instants[0] + TOLERANCE_S:
                return False
            self._decoded_count += self._is_inside(time_s)
            if self._held is not None:
                self._settle(int(np.searchsorted(self._instants, time_s - TOLERANCE_S, side="left")))
                if self._settled == len(self._instants):
                    break
            self._held, self._held_s = frame, time_s
        if self._held is None and not from_start:
            return False
        self._check_faults()
        if self._held is None:
            raise MediaDecodeError(f"{self._name}: the video stream has no frame; leave the clip out")
        self._settle(len(self._instants))
        return True

    def result(self) -> Frames:
        """What was read, once `run` returned True."""
        return Frames(
            rgb=self._canvas.rgb,
            time_s=self._times,
            late_start_s=max(0.0, float(self._times[0] - self._instants[0])),
            expected_count=self._expected_count,
            decoded_count=self._decoded_count,
        )

    def _decode(self, container: InputContainer, stream: VideoStream, zero_s: float) -> Iterator[VideoFrame]:
        time_s = -np.inf
        ticks_s = tick_s(stream)
        try:
            for packet in container.demux(stream):
                stated_s = packet_time_s(packet, ticks_s, zero_s)
                if stated_s is not None and packet.size > 0:
                    time_s = stated_s
                    self._expected_count += is_shown(packet) and self._is_inside(time_s)
                    if packet.is_keyframe and time_s <= self._instants[0] + TOLERANCE_S:
                        # What went wrong before this keyframe does not reach the chosen frames.
                        self._faults.clear()
                try:
                    frames: Iterable[VideoFrame] = packet.decode()
                except av.FFmpegError as exc:
                    self._faults.append((time_s, exc))
                    continue
                yield from frames
        except av.FFmpegError as exc:
            raise MediaDecodeError(
                f"{self._name}: reading stopped at {time_s:.3f} s of a span up to {self._instants[-1]:.3f} s "
                f"({exc.strerror}); fetch the file again or leave the clip out",
            ) from exc

    def _is_inside(self, time_s: float) -> bool:
        return bool(self._instants[0] - TOLERANCE_S <= time_s <= self._instants[-1] + TOLERANCE_S)

    def _settle(self, count: int) -> None:
        """The held frame is what the instants up to `count` show."""
        if self._held is None or count <= self._settled:
            return
        if self._held.is_corrupt:
            raise MediaDecodeError(
                f"{self._name}: the frame at {self._held_s:.3f} s is corrupt; "
                "fetch the file again or leave the clip out",
            )
        self._canvas.put(self._held, slice(self._settled, count))
        self._times[self._settled : count] = self._held_s
        self._settled = count

    def _check_faults(self) -> None:
        for time_s, exc in self._faults:
            # Between the last keyframe before the first instant and the last instant: the chosen frames
            # depend on it.
            if time_s <= self._instants[-1] + TOLERANCE_S:
                raise MediaDecodeError(
                    f"{self._name}: the video decoder failed at {time_s:.3f} s ({exc.strerror}); "
                    "fetch the file again or leave the clip out",
                ) from exc
