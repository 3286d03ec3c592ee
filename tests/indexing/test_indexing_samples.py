"""Which members belong together, and which of them is what."""

import gc
import io
import tarfile

import pytest
import webdataset
from hypothesis import given
from hypothesis import strategies as st
from webdataset.tariterators import group_by_keys

import shardkit.indexing.samples
from shardkit.indexing.samples import HeldMembers, Sample, is_useful, samples_of
from shardkit.indexing.tar_members import TarMember

_parts = st.text("ab_-1", min_size=1, max_size=3)
_names = st.builds(
    lambda folders, stem, extensions: "/".join([*folders, ".".join([stem, *extensions])]),
    st.lists(_parts | st.just("v1.2"), max_size=2),
    _parts,
    st.lists(st.sampled_from(["mp4", "MP4", "json", "left", "npy", "jpg"]), max_size=3),
)


def members(*names: str) -> list[TarMember]:
    """Members of no bytes."""
    return [TarMember(name, place, 1, b"") for place, name in enumerate(names)]


def sample(*extensions: str) -> Sample:
    """The one sample of members with these extensions."""
    (only,) = samples_of(members(*(f"key.{extension}" for extension in extensions)))
    return only


@given(st.lists(_names, unique_by=str.lower, max_size=12))
def test_samples_are_those_that_webdataset_sees(names):
    """The same keys in the same order, with the members that are of use."""
    files = ({"fname": name, "data": name, "__url__": ""} for name in names)
    expected = [
        (each.pop("__key__"), {name: value for name, value in each.items() if is_useful(value)})
        for each in group_by_keys(files)
        if each.pop("__url__") == ""
    ]
    found = samples_of(members(*names))
    assert [(each.key, {name: member.name for name, member in each.members.items()}) for each in found] == expected


# webdataset leaves closing its files to the garbage collector.
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_metadata_of_webdataset_is_no_sample(tmp_path):
    """Members such as `__index__` are passed over, as WebDataset does."""
    names = ["__index__", "__meta__/a.mp4", "a.mp4", "._a.mp4", "README"]
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name in names:
            tar.addfile(tarfile.TarInfo(name), io.BytesIO())
    (theirs,) = webdataset.WebDataset(str(tmp_path / "a.tar"), shardshuffle=False)
    gc.collect()
    (ours,) = samples_of(members(*names))
    assert ours.key == theirs["__key__"] == "a"


def test_a_key_that_comes_again_later_is_a_sample_of_its_own():
    """Only neighbours belong together."""
    assert [each.key for each in samples_of(members("a.mp4", "b.mp4", "a.json"))] == ["a", "b", "a"]


def test_of_several_videos_the_one_with_the_shortest_extension_is_taken():
    """A preview or a second camera beside the video is no matter; of equals the first is taken."""
    assert sample("preview.mp4", "mp4", "wav", "drums.wav").video.name == "key.mp4"
    assert sample("left.mp4", "right.mp4").video.name == "key.left.mp4"
    assert sample("drums.wav", "flac").sound.name == "key.flac"


def test_pictures_stand_in_the_order_of_their_numbers():
    """9 before 10, also where numbers are not padded; letters as letters, with or without anything before `.jpg`."""
    found = sample("jpg", "10.jpg", "9.jpg", "a2.JPG", "a10.jpeg", "png").pictures
    assert [picture.name for picture in found] == ["key.jpg", "key.9.jpg", "key.10.jpg", "key.a2.JPG", "key.a10.jpeg"]


def test_a_sample_without_media_has_none():
    """Labels alone are a sample, of nothing."""
    nothing = sample("json", "cls")
    assert (nothing.video, nothing.sound, nothing.pictures) == (None, None, ())
    assert nothing.text("txt") is None


def test_a_sample_is_held_until_it_gets_too_large(monkeypatch):
    """Together its members have at most the limit; what is of no use, or there twice, does not count."""
    monkeypatch.setattr(shardkit.indexing.samples, "MOST_SAMPLE_BYTES", 100)
    sizes = {
        "a.0.jpg": 60,
        "a.npy": 99,
        "a.1.jpg": 40,
        "a.2.jpg": 1,
        "README": 5,
        "a.json": 1,
        "b.mp4": 100,
        "c.wav": 101,
    }
    held = HeldMembers()
    assert [name for name, size_bytes in sizes.items() if held(name, size_bytes)] == ["a.0.jpg", "a.1.jpg", "b.mp4"]
    held = HeldMembers()
    assert [held(name, 60) for name in ("a.mp4", "a.MP4", "b.mp4", "a.mp4")] == [True, False, True, True]
