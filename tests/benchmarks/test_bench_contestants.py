"""Every contestant delivers the same clips, so that rates can be compared."""

from importlib.util import find_spec

import numpy as np
import pytest
from deliveries import Epoch, delivered

from benchmarks.loaders.cases import PEERS
from benchmarks.loaders.contestants import contestant
from benchmarks.loaders.contestants.contract import Setup
from benchmarks.loaders.prepare import BenchFolder
from benchmarks.loaders.scale import TINY

MODULES = {
    "webdataset": "webdataset",
    "litdata": "litdata",
    "energon": "megatron.energon",
    "spdl": "spdl.io",
    "spdl-tuned": "spdl.io",
}
TWO = Setup(2)
SPDL_SETUPS = [Setup(2, "threads"), Setup(2, "subprocess")]
SETUPS = {"spdl": SPDL_SETUPS, "spdl-tuned": SPDL_SETUPS}


@pytest.fixture(scope="module")
def own(bench_folder: BenchFolder) -> dict[str, Epoch]:
    """What shardkit delivers, by decoder."""
    epochs = delivered("shardkit", bench_folder, [("turbo", TWO), ("decord", TWO)])
    return dict(zip(("turbo", "decord"), epochs, strict=True))


def skip_without(name: str) -> None:
    """Skips the test where a peer's package is missing."""
    module = MODULES.get(name)
    if module and (find_spec(module.partition(".")[0]) is None or find_spec(module) is None):
        pytest.skip(f"{name} is not installed: pip install '.[bench]', and litdata with --no-deps")


def assert_same_clips(found: Epoch, expected: Epoch, *, exactly_once: bool) -> None:
    """Frames, sound and labels are equal to the bit."""
    if exactly_once:
        assert sorted(found.keys) == sorted(expected.keys)
    assert found.keys
    for key in found.keys:
        video, audio, label = found.by_key(key)
        own_video, own_audio, own_label = expected.by_key(key)
        assert label == own_label
        np.testing.assert_array_equal(video, own_video)
        np.testing.assert_array_equal(audio, own_audio)


def test_shardkit_delivers_every_clip_once_with_either_decoder(own: dict[str, Epoch], bench_folder: BenchFolder):
    """An epoch has every packed clip once; decord's pixels are libjpeg-turbo's but for rounding and chroma."""
    labels = {place.key: place.label for place in bench_folder.places("square")}
    for epoch in own.values():
        assert dict(zip(epoch.keys, epoch.labels.tolist(), strict=True)) == labels
        assert len(epoch.keys) == TINY.clips
    for key in labels:
        turbo, decord = (own[decoder].by_key(key)[0].astype(int) for decoder in ("turbo", "decord"))
        assert np.abs(turbo - decord).mean() < 3


@pytest.mark.parametrize("name", [*PEERS, "spdl-tuned"])
def test_peers_deliver_what_shardkit_delivers(name: str, own: dict[str, Epoch], bench_folder: BenchFolder):
    """With the same decoder a peer's frames, sound and labels are those of shardkit, to the bit, in every set-up."""
    skip_without(name)
    exactly_once = contestant(name).exact_epochs
    wanted = [(decoder, setup) for decoder in ("decord", "turbo") for setup in SETUPS.get(name, [TWO])]
    for (decoder, _), epoch in zip(wanted, delivered(name, bench_folder, wanted), strict=True):
        assert_same_clips(epoch, own[decoder], exactly_once=exactly_once)


def test_spdl_decodes_the_same_pictures_itself(own: dict[str, Epoch], bench_folder: BenchFolder):
    """SPDL's FFmpeg gives decord's pixels but for rounding."""
    skip_without("spdl")
    (epoch,) = delivered("spdl", bench_folder, [("spdl", Setup(2, "threads"))])
    assert sorted(epoch.keys) == sorted(own["decord"].keys)
    for key in epoch.keys:
        (video, audio, label), (own_video, own_audio, own_label) = epoch.by_key(key), own["decord"].by_key(key)
        assert label == own_label
        np.testing.assert_array_equal(audio, own_audio)
        assert np.abs(video.astype(int) - own_video.astype(int)).mean() < 3


def test_the_originals_decoded_are_what_was_packed(own: dict[str, Epoch], bench_folder: BenchFolder):
    """The same instants of the same clips: frames but for JPEG's loss and another scaler, sound but for resampling."""
    (epoch,) = delivered("originals", bench_folder, [("decord", TWO)])
    assert sorted(epoch.keys) == sorted(own["turbo"].keys)
    for key in epoch.keys:
        (video, audio, label), (own_video, own_audio, own_label) = epoch.by_key(key), own["turbo"].by_key(key)
        assert label == own_label
        # The wrong frame of a clip differs by ten and more.
        assert np.abs(video.astype(int) - own_video.astype(int)).mean() < 6
        assert np.corrcoef(audio.ravel(), own_audio.ravel())[0, 1] > 0.99
