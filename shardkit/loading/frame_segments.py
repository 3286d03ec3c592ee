"""Frames that are stratified over segments: each segment of a window shows as many, and they are its own.

What a segment is said to show must be seen in it. So whoever asks for segments is refused frames that are spread over
the clip some other way.
"""

import numpy as np
import numpy.typing as npt

from shardkit.errors import UsageError
from shardkit.format.index import ClipIndex
from shardkit.format.manifest import Manifest
from shardkit.loading.plan import Rows
from shardkit.planning.sampling import FrameSampling, whole_segments
from shardkit.planning.segments import SegmentGrid
from shardkit.storage.locations import Location

DEFAULT_SEGMENT_S = 1.0
"""As AVE, AVVP and FGAVE have them."""


def default_segment_s(manifest: Manifest) -> float:
    """The length of segments where none is asked for: that by which frames were packed, else a second."""
    sampling = _sampling(manifest)
    return DEFAULT_SEGMENT_S if sampling is None or sampling.segment_s is None else sampling.segment_s


def segment_frames(
    folder: Location, manifest: Manifest, index: ClipIndex, rows: Rows, grid: SegmentGrid, *, frames: int | None
) -> int:
    """T: as many frames for every one of the N segments.

    Args:
        folder: For messages.
        manifest: Says how frames were sampled.
        index: Of all clips.
        rows: Clips with frames.
        grid: Their segments.
        frames: T as asked for; None takes all that are stored.

    Raises:
        UsageError: T is no multiple of N, or segments do not have as many frames each; names a clip and the remedy.
    """
    count = grid.count
    if frames is not None and frames % count:
        raise UsageError(
            f"{folder}: frames={frames} do not divide evenly among {count} segments of {grid.segment_s:g} s; ask for "
            f"as many of each, frames=N*K, such as frames={max(1, frames // count) * count}"
        )
    (fewest, row), most = _fewest_and_most(manifest, index, rows, grid)
    wanted = most if frames is None else frames // count
    if fewest >= wanted:
        return wanted * count
    pack = f"pack with --frames-per-segment {wanted}"
    if grid.segment_s != DEFAULT_SEGMENT_S:
        pack += f" --segment {grid.segment_s:g}"
    ask = f"ask for frames={fewest * count} (frames=N*K, N={count}), or " if fewest else ""
    raise UsageError(
        f"{folder}: frames are not spread over segments of {grid.segment_s:g} s: each is to show {wanted} of its own, "
        f"and clip {index.text('key', row)!r} has one with {fewest}; {ask}{pack}"
    )


def _fewest_and_most(
    manifest: Manifest, index: ClipIndex, rows: Rows, grid: SegmentGrid
) -> tuple[tuple[int, int], int]:
    """The fewest frames that a segment of any clip stores, and that clip's row; the most that any does."""
    sampling = _sampling(manifest)
    if sampling is not None and sampling.segment_s == grid.segment_s:
        return (int(sampling.value), int(rows[0])), int(sampling.value)
    if sampling is not None:
        # Instants hang on a clip's length alone: one clip of each will do.
        _, firsts = np.unique(index.duration_s[rows], return_index=True)
        rows = rows[firsts]
    fewest, most = [], []
    for row in rows.tolist():
        duration_s = float(index.duration_s[row])
        instants_s = index.frame_time_s.row(row) if sampling is None else sampling.instants(duration_s)
        counts = _counts(instants_s, duration_s, grid)
        fewest.append((int(counts.min()), row))
        most.append(int(counts.max()))
    return min(fewest), max(most)


def _counts(instants_s: npt.NDArray[np.float64], duration_s: float, grid: SegmentGrid) -> npt.NDArray[np.int64]:
    """How many frames each segment of a clip stores."""
    own = int(whole_segments(np.float64(duration_s), grid.segment_s))
    return np.diff(grid.frame_bounds(instants_s, 0.0, own))


def _sampling(manifest: Manifest) -> FrameSampling | None:
    stored = manifest.settings.get("sampling")
    return None if stored is None else FrameSampling.from_json(stored)
