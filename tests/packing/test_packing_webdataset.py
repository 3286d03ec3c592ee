"""The shards in the hands of others: webdataset, tarfile, decord."""

import gc
import io
import subprocess
import sys
import tarfile

import decord
import numpy as np
import pytest
import webdataset

import shardkit

# webdataset leaves closing its files to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")


@pytest.fixture
def shards(packed):
    """Paths of the shards."""
    yield [str(path) for path in sorted(packed.out.glob("*.tar"))]
    gc.collect()


def test_webdataset_decodes_every_sample_of_every_shard(packed, shards):
    """WebDataset yields each clip once, with its members, and the message as a dict."""
    samples = list(webdataset.WebDataset(shards, shardshuffle=False).decode())
    assert sorted(sample["__key__"] for sample in samples) == sorted(shardkit.open(packed.out).keys)
    for sample in samples:
        assert isinstance(sample["msg"], dict)
        assert sample["msg"]["key"] == sample["__key__"]
        assert {name for name in sample if not name.startswith("__")} == {"mp4", "wav", "msg"}


def test_decode_of_a_raw_sample_is_what_the_data_set_returns(packed, shards):
    """`shardkit.decode` in a webdataset pipeline and `ds[key]` are the same clip."""
    dataset = shardkit.open(packed.out)
    count = 0
    for sample in webdataset.WebDataset(shards, shardshuffle=False).map(shardkit.decode):
        same = dataset[sample.key]
        np.testing.assert_array_equal(sample.video, same.video)
        np.testing.assert_array_equal(sample.audio, same.audio)
        np.testing.assert_array_equal(sample.frame_times_s, same.frame_times_s)
        assert {name: ids.tolist() for name, ids in sample.labels.items()} == {
            name: ids.tolist() for name, ids in same.labels.items()
        }
        assert (sample.split, sample.source, sample.flags) == (same.split, same.source, same.flags)
        count += 1
    assert count == packed.report.packed


def test_decord_decodes_the_video_members(packed, shards):
    """Every frame of every MP4 comes out of decord, in order and close to what libjpeg-turbo makes of it."""
    dataset = shardkit.open(packed.out)
    for sample in webdataset.WebDataset(shards, shardshuffle=False):
        reader = decord.VideoReader(io.BytesIO(sample["mp4"]), num_threads=1)
        video = dataset[sample["__key__"]].video.transpose(0, 2, 3, 1).astype(np.int16)
        frames = reader.get_batch(range(len(reader))).asnumpy().astype(np.int16)
        assert frames.shape == video.shape
        # Two decoders part by a few levels in how they enlarge the colour planes; frames differ by far more.
        assert np.abs(frames - video).mean(axis=(1, 2, 3)).max() < 4


def test_tars_carry_nothing_of_the_machine_or_the_hour(packed, shards):
    """Members have no time, owner or name of one, so that the same clips make the same bytes anywhere."""
    for shard in shards:
        with tarfile.open(shard) as tar:
            assert {(m.mtime, m.uname, m.gname, m.uid, m.gid, m.mode) for m in tar} == {(0, "", "", 0, 0, 0o444)}


def test_members_of_a_clip_lie_where_the_index_says(packed):
    """Offset and size in the index cut exactly the member out of its shard."""
    dataset = shardkit.open(packed.out)
    rows = {row["key"]: row for row in dataset.table.to_pylist()}
    members = {"mp4": "video", "wav": "audio", "msg": "message"}
    found = 0
    for shard in dataset.shard_names:
        data = packed.contents[shard]
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            for member in tar:
                key, _, extension = member.name.partition(".")
                name, row = members[extension], rows[key]
                start = row[f"{name}_offset"]
                assert dataset.shard_names[row["shard"]] == shard
                assert data[start : start + row[f"{name}_bytes"]] == tar.extractfile(member).read()
                found += 1
    assert found == 3 * len(dataset)


def test_no_file_of_a_data_set_names_a_folder_of_the_machine(packed, material):
    """Neither the media folder nor the output folder stands in shards, index or manifest."""
    for name, data in packed.contents.items():
        if name != "rejects.jsonl":
            assert str(material.media).encode() not in data
            assert str(packed.out).encode() not in data


def test_packing_imports_no_torch(tmp_path):
    """A packing process takes TarWriter alone; webdataset, imported afterwards, is whole."""
    script = """
import sys
from shardkit.packing.tar_writer import tar_writer_class
writer = tar_writer_class()
assert not {"torch", "webdataset", "webdataset.writer"} & set(sys.modules)
import webdataset
assert webdataset.WebDataset and webdataset.TarWriter is not None
assert tar_writer_class() is writer
"""
    subprocess.run([sys.executable, "-c", script], check=True, cwd=tmp_path)
