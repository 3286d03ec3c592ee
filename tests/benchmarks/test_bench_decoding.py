"""What peers decode with gives shardkit's own pixels, so that none is slowed down or let off."""

import numpy as np
import pytest

import shardkit
from benchmarks.loaders.cases import Decoder
from benchmarks.loaders.decoding import ClipDecoder, jpeg_packets, spread
from benchmarks.loaders.prepare import BenchFolder
from benchmarks.loaders.scale import TINY
from shardkit.media.demux import demux_packets


def test_packets_are_found_without_a_demuxer(bench_folder: BenchFolder):
    """The search for JPEG markers finds the packets that FFmpeg's demuxer finds."""
    for place in bench_folder.places("square"):
        member, _ = place.read()
        assert [bytes(packet) for packet in jpeg_packets(member)] == demux_packets(member)


@pytest.mark.parametrize("decoder", ["turbo", "decord"])
def test_larger_frames_are_cropped_to_their_middle(bench_folder: BenchFolder, decoder: Decoder):
    """Members with more than the side wanted are decoded whole and cropped as shardkit crops."""
    make = ClipDecoder(TINY, decoder)
    with shardkit.loader(
        bench_folder.packed("short"),
        batch_size=TINY.clips,
        size=TINY.side,
        shuffle=False,
        workers=1,
        decoder="auto" if decoder == "turbo" else "decord",
    ) as loader:
        batch = next(iter(loader))
        for place, own_video, own_audio in zip(bench_folder.places("short"), batch.video, batch.audio, strict=True):
            video, audio = place.read()
            into = np.empty((TINY.frames, TINY.side, TINY.side, 3), np.uint8)
            make.video_into(video, into)
            np.testing.assert_array_equal(into.transpose(0, 3, 1, 2), own_video.numpy())
            np.testing.assert_array_equal(make.video(video), into)
            np.testing.assert_array_equal(make.audio(audio), own_audio.numpy())


def test_frames_are_spread_over_middles_of_equal_parts():
    """Sixteen of three hundred frames: the ones shown in the middle of each sixteenth."""
    assert spread(300, 16)[:3] == [9, 28, 46]
    assert spread(300, 16)[-1] == 290
    assert spread(16, 16) == list(range(16))
