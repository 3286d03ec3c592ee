"""Shapes are fixed per loader: chosen once, from the index, before the first byte of media is read."""

from typing import Literal

import numpy as np

from shardkit.errors import UsageError
from shardkit.format.index import ClipIndex
from shardkit.format.manifest import Manifest
from shardkit.loading.frame_segments import segment_frames
from shardkit.loading.plan import AudioPlan, ClipPlan, FeaturePlan, Rows, VideoPlan
from shardkit.planning.sampling import fixed_frame_count, row_count
from shardkit.planning.segments import SegmentGrid
from shardkit.planning.views import ViewRules
from shardkit.storage.locations import Location

WINDOW_SLACK = 1.1
"""A window may be this much longer than the longest clip: clips of nominally ten seconds often miss some frames of
them, and a model may want 10.24. Beyond, it is a mistake, such as milliseconds for seconds."""
WHOLE_S = 1e-6
"""A window that misses a multiple of its segments by no more than this is one: 0.1 * 3 is more than three tenths."""


def clip_plan(
    folder: Location,
    manifest: Manifest,
    index: ClipIndex,
    rows: Rows,
    *,
    modalities: tuple[str, ...],
    rules: ViewRules,
    frames: int | None = None,
    size: tuple[int, int] | None = None,
    crop: Literal["center", "random"] | None = "center",
    window_s: float | None = None,
    decoder: Literal["auto", "decord"] = "auto",
    audio_dtype: Literal["float32", "int16"] = "float32",
    verify: bool = True,
    segment_s: float | None = None,
    features: tuple[str, ...] = (),
) -> ClipPlan:
    """The plan for the clips `rows` of an index.

    Raises:
        UsageError: The clips do not fit one shape, or not the one asked for; names a clip and the remedy.
    """
    with_video = rows[index.video_bytes[rows] > 0] if "video" in modalities else rows[:0]
    with_audio = rows[index.audio_bytes[rows] > 0] if "audio" in modalities else rows[:0]
    if window_s is not None:
        _check_window(folder, index, rows, window_s)
    grid = None if segment_s is None else _grid(folder, index, rows, segment_s, window_s)
    video = audio = None
    if len(with_video):
        height, width = _frame_size(folder, index, with_video, size, crop)
        if grid is not None:
            frames = segment_frames(folder, manifest, index, with_video, grid, frames=frames)
        counts = index.frame_time_s.counts(with_video)
        video = VideoPlan(
            frames=frames or fixed_frame_count(counts, index.duration_s[with_video], window_s=window_s),
            height=height,
            width=width,
            sampling=manifest.settings["sampling"],
            codec=manifest.settings["video_codec"],
            keyint=manifest.settings.get("keyint"),
            decoder=decoder,
            size=manifest.settings.get("size"),
            fit=manifest.settings.get("fit", "short"),
        )
    if len(with_audio):
        for name, values in (
            ("sample rate", index.audio_rate_hz),
            ("number of channels", index.audio_channels),
        ):
            odd = with_audio[values[with_audio] != values[with_audio[0]]]
            if len(odd):
                raise UsageError(
                    f"{folder}: clips differ in {name}: {index.text('key', int(with_audio[0]))!r} has "
                    f"{values[with_audio[0]]}, {index.text('key', int(odd[0]))!r} has {values[odd[0]]}; "
                    "pack with --audio-rate and --audio-channels, or leave audio out of modalities",
                )
        rate_hz = int(index.audio_rate_hz[with_audio[0]])
        span_s = float(index.duration_s[with_audio].max()) if window_s is None else window_s
        if grid is not None:
            span_s = grid.span_s
        audio = AudioPlan(
            rate_hz,
            channels=int(index.audio_channels[with_audio[0]]),
            samples=max(1, round(span_s * rate_hz)),
            codec=manifest.settings["audio_codec"],
            dtype=audio_dtype,
        )
    arrays = tuple(_feature_plan(folder, manifest, index, rows, name, window_s) for name in features)
    plan = ClipPlan(video, audio, window_s, rules, verify, manifest.packed, segments=grid, features=arrays)
    _check_views(folder, index, rows, with_video, plan)
    return plan


def _feature_plan(
    folder: Location, manifest: Manifest, index: ClipIndex, rows: Rows, name: str, window_s: float | None
) -> FeaturePlan:
    """A window is cut out of arrays of several dimensions: the first is time."""
    if name not in manifest.features:
        there = ", ".join(manifest.features) or "none"
        raise UsageError(f"{folder}: no feature {name!r}; the data set has {there}: pack it with --features")
    columns = index.feature(name)
    with_feature = rows[columns.size_bytes[rows] > 0]
    if not len(with_feature):
        raise UsageError(f"{folder}: no clip of this selection has the feature {name!r}; leave it out")
    ranks = columns.shape.counts(with_feature)
    values, first = columns.shape.values, columns.shape.row(int(with_feature[0]))
    odd = np.flatnonzero(ranks != len(first))
    if not len(odd):
        shapes = values[columns.shape.offsets[with_feature][:, None] + np.arange(len(first))]
        odd = np.flatnonzero((shapes != first).any(axis=1))
    if len(odd):
        described = " and ".join(
            f"{tuple(columns.shape.row(row).tolist())} of {index.text('key', row)!r}"
            for row in (int(with_feature[0]), int(with_feature[odd[0]]))
        )
        raise UsageError(
            f"{folder}: arrays of the feature {name!r} differ in shape: {described}; select clips of one shape, or "
            "leave the feature out"
        )
    shape = tuple(first.tolist())
    if window_s is None or len(shape) == 1:
        return FeaturePlan(name, shape)
    return FeaturePlan(name, shape, row_count(shape[0], window_s, longest_s=float(index.duration_s[rows].max())))


def _check_views(folder: Location, index: ClipIndex, rows: Rows, with_video: Rows, plan: ClipPlan) -> None:
    """Views of which all are the same are a mistake; the options may draw what no clip has room for."""
    rules, video = plan.rules, plan.video
    if (rules.count or 1) == 1:
        return
    windows = plan.window_s is not None and bool((index.duration_s[rows] > plan.window_s).any())
    frames = crops = mirrored = False
    if video is not None:
        counts = index.frame_time_s.counts(with_video)
        frames = rules.frame_choice != "uniform" and bool((counts > video.frames).any())
        crops = bool(((index.height[with_video] > video.height) | (index.width[with_video] > video.width)).any())
        mirrored = 0 < rules.flip < 1
    if rules.grid is not None:
        same = (rules.grid[0] > 1 and not (windows or frames)) or (rules.grid[1] > 1 and not crops)
    else:
        same = not (windows or frames or (rules.random_crop and crops) or mirrored)
    if same:
        raise UsageError(
            f"{folder}: views={rules.grid or rules.independent}: all views of a clip would be the same, since no clip "
            "has room for another; choose a shorter window_s, a smaller size, or fewer frames",
        )


def _grid(folder: Location, index: ClipIndex, rows: Rows, segment_s: float, window_s: float | None) -> SegmentGrid:
    """The segments of every window; of the longest clip where no window is asked for."""
    grid = SegmentGrid.over(float(index.duration_s[rows].max()) if window_s is None else window_s, segment_s)
    if window_s is not None and abs(grid.span_s - window_s) > WHOLE_S:
        raise UsageError(
            f"{folder}: window_s={window_s:g} is no multiple of segment_s={segment_s:g}, and windows hold whole "
            f"segments: choose {grid.span_s:g}, say"
        )
    return grid


def _check_window(folder: Location, index: ClipIndex, rows: Rows, window_s: float) -> None:
    longest = int(rows[np.argmax(index.duration_s[rows])])
    longest_s = float(index.duration_s[longest])
    if window_s > longest_s * WINDOW_SLACK:
        raise UsageError(
            f"{folder}: window_s={window_s:g} is longer than every clip: the longest is {index.text('key', longest)!r} "
            f"with {longest_s:.6g} s, and the rest of each window would be padding; choose a shorter one, or leave "
            "window_s out for whole clips",
        )


def _frame_size(
    folder: Location,
    index: ClipIndex,
    rows: Rows,
    size: tuple[int, int] | None,
    crop: Literal["center", "random"] | None,
) -> tuple[int, int]:
    heights, widths = index.height[rows], index.width[rows]

    def described(place: int) -> str:
        return f"{index.text('key', int(rows[place]))!r} has {heights[place]}×{widths[place]}"  # noqa: RUF001

    if size is None:
        odd = np.flatnonzero((heights != heights[0]) | (widths != widths[0]))
        if len(odd):
            side = min(int(heights.min()), int(widths.min()))
            raise UsageError(
                f"{folder}: frames differ in size (height×width): {described(0)}, {described(int(odd[0]))}; "  # noqa: RUF001
                f"crop to one size (size={side}, --size {side}), or pack with --fit square",
            )
        return int(heights[0]), int(widths[0])
    small = np.flatnonzero((heights < size[0]) | (widths < size[1]))
    if len(small):
        raise UsageError(
            f"{folder}: size={size} is larger than stored frames: {described(int(small[0]))}; "
            "choose a smaller size, or pack with a larger --size",
        )
    odd = np.flatnonzero((heights != size[0]) | (widths != size[1]))
    if crop is None and len(odd):
        raise UsageError(
            f"{folder}: size={size} without a crop, but {described(int(odd[0]))}; pass crop='center' or 'random'",
        )
    return size
