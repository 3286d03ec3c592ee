"""The real clips beside the repository; where they are missing, the tests that want them skip and say so."""

from pathlib import Path

import pytest

CLIPS = Path(__file__).resolve().parents[2] / "shared" / "data" / "clips"
UNREADABLE = {
    "androidx__sample_malformed_free_box.mp4",
    "phpffmpeg__WrongFile.mp4",
    "streamio__broken.mp4",
    "streamio__empty.flv",
}
BROKEN = {"androidx__invalid-bitstream.webm", "decord__corrupted.mp4"}
NO_VIDEO = {"androidx__sample_audio_only_15s.mp4"}
NO_AUDIO = {
    "androidx__bear-vp9-odd-dimensions.webm",
    "androidx__sample_missing_stsd.mp4",
    "androidx__sample_vvc.mp4",
    "tmh__VP9-tractor.webm",
    "torchcodec__h265_10bits.mp4",
}

needs_clips = pytest.mark.skipif(not CLIPS.is_dir(), reason="the real clips are not at ../shared/data/clips")


def names(*, without: set[str]) -> list[str]:
    """Names of the real clips, for parametrised tests."""
    if not CLIPS.is_dir():
        return []
    return sorted(path.name for path in CLIPS.iterdir() if path.name not in without)
