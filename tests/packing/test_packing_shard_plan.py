"""The shard plan: about the size that was asked for, whatever single rows say."""

import time

import pytest

from shardkit.clip import Clip
from shardkit.packing.settings import PackSettings, Raw
from shardkit.packing.shard_plan import Candidate, ShardPlan, plan_shards
from shardkit.packing.sources import Located
from shardkit.planning.sampling import FrameSampling

COUNT, FPS = FrameSampling.count(16), FrameSampling.fps(2)


def plan(spans_s: list[float | None], sampling: FrameSampling = FPS) -> ShardPlan:
    """The plan of clips with these ends."""
    candidates = [
        Candidate(f"k{row}", "", Located(Clip(row=row, id=f"k{row}"), f"k{row}.mp4", 0.0, end_s))
        for row, end_s in enumerate(spans_s)
    ]
    return plan_shards(candidates, PackSettings(sampling, shard_bytes=10_000_000), name="clips")


@pytest.mark.parametrize("sampling", [COUNT, FPS, FrameSampling.per_segment(2)])
def test_one_wild_end_does_not_change_the_layout(sampling):
    """An end in another unit is its row's fault; the other clips go into shards as ever."""
    usual = plan([10.0] * 99, sampling)
    assert usual.shard_clips > 1
    assert plan([10.0] * 98 + [9e8], sampling).shard_clips == usual.shard_clips


@pytest.mark.parametrize("sampling", [FPS, FrameSampling.fps(4000), FrameSampling.per_segment(1000, 1e-3)])
def test_absurd_lengths_are_planned_in_no_time(sampling):
    """Where every clip claims to last for decades, nothing as long as that is made."""
    began_s = time.monotonic()
    assert plan([9e8] * 10, sampling).shard_clips == 1
    assert time.monotonic() - began_s < 20


def test_an_odd_size_is_planned_as_what_is_stored():
    """Raw frames of a short side of 65 are stored with 64: as many clips go into a shard, and fewer with 66."""
    clips = [Candidate(f"k{n}", "", Located(Clip(row=n, id=f"k{n}"), f"k{n}.mp4", 0.0, 10.0)) for n in range(10)]

    def shard_clips(size: int) -> int:
        settings = PackSettings(COUNT, size=size, video=Raw(), shard_bytes=1_000_000_000)
        return plan_shards(clips, settings, name="clips").shard_clips

    assert shard_clips(65) == shard_clips(64) > shard_clips(66)


def test_longer_clips_are_fewer_in_a_shard():
    """The estimate follows the frames and the sound of the usual clip."""
    short, long, unknown = (plan([end_s] * 10).shard_clips for end_s in (5.0, 20.0, None))
    assert short > unknown > long
    assert plan([5.0] * 10, COUNT).shard_clips < short
    assert unknown == plan([10.0] * 10).shard_clips
