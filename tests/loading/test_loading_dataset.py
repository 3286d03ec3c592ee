"""An opened data set: random access, selection, and one of 30,000 clips."""

import dataclasses
import io
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor

import msgpack
import numpy as np
import pyarrow as pa
import pytest
import webdataset
from snapshots import snapshot
from synth_media import LEAVES, pitch_hz
from watching import descriptor_count, wait_until

import shardkit
from shardkit.errors import DataError, UsageError
from shardkit.format.digest import file_digest
from shardkit.format.index import encode_index
from shardkit.format.manifest import FileInfo, Manifest

MANY = 30_000


def test_a_clip_is_found_by_place_and_by_key(packed):
    """ds[i], ds[-1] and ds[key] are the same clips."""
    ds = shardkit.open(packed)
    assert ds[3].key == ds[ds.keys[3]].key == ds.keys[3]
    assert ds[-1].key == ds.keys[-1]
    assert [sample.key for sample in ds] == ds.keys


def test_a_clip_sounds_like_its_class(packed):
    """The loudest frequency of a clip's sound is its class's pitch, so clips and labels belong together."""
    ds = shardkit.open(packed)
    pitches = {leaf.name: pitch_hz(leaf.class_id) for leaf in LEAVES}
    (label_set,) = (known for known in ds.label_sets if known.name == "label")
    for number in range(6):
        sample = ds[f"clip{number:02d}_0"]
        spectrum = np.abs(np.fft.rfft(sample.audio[0] * np.hanning(sample.audio.shape[1])))
        loudest_hz = float(spectrum.argmax()) * sample.audio_rate_hz / sample.audio.shape[1]
        assert loudest_hz == pytest.approx(pitches[label_set.leaf.classes[sample.labels["label"][0]]], rel=0.02)


@pytest.mark.parametrize("place", [24, -25])
def test_a_place_out_of_range_is_an_index_error(packed, place):
    """As with a list."""
    with pytest.raises(IndexError, match="of 24"):
        shardkit.open(packed)[place]


def test_a_key_outside_the_selection_is_a_key_error(packed):
    """A selection has its own clips only, by key too."""
    ds = shardkit.open(packed).select(split="test")
    assert ds["clip03_0"].split == "test"
    for key in ("clip00_0", "nobody"):
        with pytest.raises(KeyError, match=key):
            ds[key]


def test_selections_add_up(packed):
    """Conditions of one call, and of calls in a row, all hold; a mask counts within the selection."""
    ds = shardkit.open(packed)
    train = ds.select(split="train")
    late = train.select(mask=train.index.duration_s[train.rows] < 1.5)
    assert sorted(late.keys) == ["clip04_0", "clip09_0", "clip14_0"]
    assert late.select(keys=["clip09_0"]).keys == ds.select(split="train", keys=["clip09_0"]).keys == ["clip09_0"]


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        ({"split": "dev"}, "no split 'dev'; the data set has 'test', 'train'"),
        ({"keys": ["clip00_0", "clip99_0"]}, "no clip 'clip99_0'"),
        ({"mask": [True]}, r"mask of shape \(1,\) for 24 clips"),
    ],
)
def test_conditions_that_name_nothing_are_refused(packed, conditions, message):
    """An unknown split or key, or a mask of another length: UsageError."""
    with pytest.raises(UsageError, match=message):
        shardkit.open(packed).select(**conditions)


def test_the_manifests_path_opens_the_data_set_too(packed):
    """open(folder) and open(folder/dataset.json) are the same."""
    assert shardkit.open(packed / "dataset.json").keys == shardkit.open(packed).keys


def _raw_samples(folder):
    """What plain webdataset yields."""
    expander, grouped = webdataset.tariterators.tar_file_expander, webdataset.tariterators.group_by_keys
    streams = [io.BytesIO(path.read_bytes()) for path in sorted(folder.glob("*.tar"))]
    return grouped(expander({"url": "shard", "stream": stream} for stream in streams))


def test_raw_samples_of_a_webdataset_pipeline_decode_to_the_same_clips(packed):
    """shardkit.decode of what plain webdataset yields equals random access, without the index."""
    ds = shardkit.open(packed)
    seen = []
    for raw in _raw_samples(packed):
        decoded = shardkit.decode(raw)
        expected = ds[decoded.key]
        for name in ("video", "audio"):
            if getattr(expected, name) is None:
                assert getattr(decoded, name) is None
            else:
                assert np.array_equal(getattr(decoded, name), getattr(expected, name))
        assert decoded.labels["level"].tolist() == expected.labels["level"].tolist()
        assert decoded.labels["labels"].tolist() == expected.labels["labels"].tolist()
        assert (decoded.events, decoded.split, decoded.columns) == (expected.events, expected.split, expected.columns)
        seen.append(decoded.key)
    assert sorted(seen) == sorted(ds.keys)


def test_a_foreign_sample_is_refused():
    """A sample without `msg` is not ours."""
    with pytest.raises(UsageError, match="'x' has no 'msg'"):
        shardkit.decode({"__key__": "x", "jpg": b""})


def _first_sample(folder):
    """One raw sample that has both picture and sound."""
    raws = _raw_samples(folder)
    return next(raw for raw in raws if {"mp4", "mov"} & raw.keys() and {"wav", "flac"} & raw.keys())


def _overwritten(data, place):
    return data[:place] + bytes(64) + data[place + 64 :]


@pytest.mark.parametrize(
    ("codecs", "member", "damage", "said"),
    [
        ({}, "mp4", lambda data: data[: len(data) // 2], "cannot be opened: Invalid data found"),
        ({}, "mp4", lambda _: b"", "video file of 0 bytes cannot be opened"),
        ({}, "mp4", lambda data: _overwritten(data, data.index(b"\xff\xd8\xff")), "JPEG packet of .* cannot be"),
        ({}, "wav", lambda data: data[:20], "EOFError"),
        ({}, "wav", lambda _: b"RIFX" * 20, "does not start with RIFF"),
        ({}, "msg", lambda _: b"\x80", "KeyError"),
        ({}, "msg", lambda _: b"\xc1", "FormatError"),
        ({}, "msg", lambda data: msgpack.packb(msgpack.unpackb(data) | {"labels": []}), "AttributeError"),
        ({"video_codec": "h264"}, "mp4", lambda data: _overwritten(data, len(data) // 2), "H.264 packet"),
        ({"video_codec": "raw"}, "mov", lambda data: data[:200], "cannot be opened"),
        ({"audio_codec": "flac"}, "flac", lambda data: _overwritten(data, len(data) // 2), "FLAC of"),
        ({"audio_codec": "flac"}, "flac", lambda _: b"fLaC", "ends within its metadata"),
    ],
    ids=lambda value: "damaged" if callable(value) else "-".join(value.values()) if isinstance(value, dict) else None,
)
def test_a_damaged_member_of_a_raw_sample_is_named_with_a_remedy(pack16, codecs, member, damage, said):
    """shardkit.decode raises a DataError that names sample and member, what is wrong, and what to do; no codes."""
    raw = _first_sample(pack16(**codecs))
    with pytest.raises(DataError, match=said) as caught:
        shardkit.decode(raw | {member: damage(raw[member])})
    message = str(caught.value)
    assert message.startswith(f"sample '{raw['__key__']}', member {member}")
    assert message.endswith("; copy the shard again, or pack the clip again")
    assert "Errno" not in message
    assert "<none>" not in message


@pytest.fixture(scope="module")
def many(packed, tmp_path_factory):
    """A data set of 30,000 clips: the rows of `packed` again and again under new keys, over the same bytes."""
    folder = shutil.copytree(packed, tmp_path_factory.mktemp("many") / "shards")
    small = shardkit.open(packed)
    source = np.sort(np.arange(MANY) % len(small))  # the same shards side by side
    table = pa.Table.from_batches([small.index.batch]).take(pa.array(source))
    keys = pa.array([f"many{number:05d}" for number in range(MANY)], pa.large_string())
    batch = table.set_column(0, table.schema.field("key"), keys).combine_chunks().to_batches()[0]
    data = encode_index(batch)
    (folder / "index.arrow").write_bytes(data)
    manifest = Manifest.from_bytes((packed / "dataset.json").read_bytes(), path="dataset.json")
    manifest = dataclasses.replace(
        manifest,
        clip_count=MANY,
        splits={name: int(np.isin(source, small.select(split=name).rows).sum()) for name in ("test", "train")},
        index=FileInfo(len(data), file_digest(data)),
    )
    (folder / "dataset.json").write_bytes(manifest.to_bytes())
    return folder, source


def test_thirty_thousand_clips_load_right(packed, many):
    """Batches out of a large index hold the clips that their keys name, and a resumed epoch goes on in the order."""
    folder, source = many
    small = shardkit.open(packed)
    with shardkit.loader(folder, batch_size=16, workers=1) as loader:
        assert len(loader) == MANY // 16
        iterator = iter(loader)
        for _ in range(3):
            batch = snapshot(next(iterator))
            for place, key in enumerate(batch.keys):
                sample = small[int(source[int(key.removeprefix("many"))])]
                if sample.video is not None:
                    assert np.array_equal(batch.arrays["video"][place][: len(sample.video)], sample.video)
                assert batch.arrays["labels.level"][place].tolist() == sample.labels["level"].tolist()
        state = loader.state_dict()
        fourth = snapshot(next(iterator))
    with shardkit.loader(folder, batch_size=16, workers=1, worker_type="thread") as loader:
        loader.load_state_dict(state)
        assert snapshot(next(iter(loader))) == fourth


def test_random_access_leaves_no_descriptor_and_bears_threads(packed):
    """Many data sets opened, and many threads asking one of them: the same clips, and no file stays open."""
    ds = shardkit.open(packed)
    expected = {key: ds[key] for key in ds.keys[:6]}
    before = descriptor_count()
    opened = [shardkit.open(packed) for _ in range(5)]
    assert all(len(each[0].key) for each in opened)
    with ThreadPoolExecutor(4) as threads:
        for sample in threads.map(ds.__getitem__, list(expected) * 20):
            assert np.array_equal(sample.audio, expected[sample.key].audio)
            assert np.array_equal(sample.video, expected[sample.key].video)
    wait_until(lambda: descriptor_count() <= before)


def test_a_pickled_data_set_is_opened_again_where_it_goes(packed):
    """A copy is small, and knows the same selection."""
    ds = shardkit.open(packed).select(split="train")
    pickled = pickle.dumps(ds)
    assert len(pickled) < 1000 + 8 * len(ds)
    again = pickle.loads(pickled)
    assert again.keys == ds.keys
    assert np.array_equal(again[0].audio, ds[0].audio)


def test_a_data_set_opened_by_a_relative_path_survives_another_current_folder(packed, tmp_path, monkeypatch):
    """The folder is fixed when the data set is opened."""
    monkeypatch.chdir(packed.parent)
    ds = shardkit.open(packed.name)
    monkeypatch.chdir(tmp_path)
    assert ds[0].key == ds.keys[0]


def test_what_is_neither_place_nor_key_is_a_type_error(packed):
    """A slice, a list or None says what is wanted instead."""
    for which in (slice(0, 2), [0, 1], None, 1.5):
        with pytest.raises(TypeError, match="a place or a key"):
            shardkit.open(packed)[which]
