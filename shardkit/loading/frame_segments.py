"""Frames that are stratified over segments: each segment of a window shows as many, and they are its own.

What a segment is said to show must be seen in it. So whoever asks for segments is refused frames that are spread over
the clip some other way.
"""

import numpy as np

from shardkit.errors import UsageError
from shardkit.format.index import ClipIndex, ragged_places
from shardkit.format.manifest import Manifest
from shardkit.loading.plan import Rows
from shardkit.planning.sampling import FrameSampling
from shardkit.planning.segments import SegmentGrid
from shardkit.storage.locations import Location

DEFAULT_SEGMENT_S = 1.0
"""As AVE, AVVP and FGAVE have them."""
CLIPS_AT_ONCE = 1 << 16
"""Ten million indexed clips of 80 frames take half a minute, and in a loop over clips three."""


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
    for first in range(0, len(rows), CLIPS_AT_ONCE):
        some = rows[first : first + CLIPS_AT_ONCE]
        durations_s = index.duration_s[some]
        if sampling is None:
            places, counts = ragged_places(index.frame_time_s.offsets, some)
            instants_s = index.frame_time_s.values[places]
        else:
            each = [sampling.instants(duration_s) for duration_s in durations_s.tolist()]
            instants_s, counts = np.concatenate(each), np.array([len(instants) for instants in each])
        least, greatest = grid.frame_counts(instants_s, counts, durations_s)
        place = int(least.argmin())
        fewest.append((int(least[place]), int(some[place])))
        most.append(int(greatest.max()))
    return min(fewest), max(most)


def _sampling(manifest: Manifest) -> FrameSampling | None:
    stored = manifest.settings.get("sampling")
    return None if stored is None else FrameSampling.from_json(stored)
