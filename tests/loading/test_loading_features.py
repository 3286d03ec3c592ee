"""Features: arrays that were packed with the clips come exactly, whole or of a window; damage is noticed."""

import gc
import json
import shutil
from collections import deque
from fractions import Fraction

import h5py
import numpy as np
import pytest
import torch
import webdataset
from snapshots import snapshots
from synth_media import Variety, synthesise

import shardkit
from benchmarks.storage.faults import Fault, FaultRule
from shardkit.errors import CorruptShardError, UsageError
from shardkit.format.index import ClipIndex, index_batch, index_schema
from shardkit.format.record import Feature, Member, Placed, Record
from shardkit.loading.shapes import clip_plan
from shardkit.planning.views import ViewRules

CLIPS, ROWS, SIZE = 12, 10, 16
LACKS = 4
"""Clip without the feature `clip`."""


def values():
    """Float32 [CLIPS, ROWS, SIZE]: element 0 of every row is the row's number, the others are random."""
    array = np.random.default_rng(0).normal(size=(CLIPS, ROWS, SIZE)).astype("f4")
    array[:, :, 0] = np.arange(ROWS)
    return array


@pytest.fixture(scope="module")
def featured(tmp_path_factory):
    """Clips of ten seconds (clip 7: five) without media, in several shards: `vggish` of all, `clip` of all but one."""
    root = tmp_path_factory.mktemp("featured")
    rows = [{"id": f"clip{n:02d}", "start_s": 0, "end_s": 5 if n == 7 else 10, "label": "bell"} for n in range(CLIPS)]
    (root / "table.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with h5py.File(root / "f.h5", "w") as file:
        file["vggish"] = values()
    (root / "npy").mkdir()
    for number in set(range(CLIPS)) - {LACKS}:
        np.save(root / "npy" / f"clip{number:02d}.npy", np.full(3, number, "f4"))
    given = {"vggish": f"{root}/f.h5:vggish", "clip": root / "npy"}
    shardkit.pack(root / "table.jsonl", features=given, require="any", out=root / "shards", shard_bytes=20_000)
    return root / "shards"


@pytest.fixture(scope="module")
def beside(tmp_path_factory):
    """Four clips with picture and sound, and two features: one's members stand before them in the tar, one's behind."""
    root = tmp_path_factory.mktemp("beside")
    variety = Variety(sizes=((128, 96),), frame_rates_hz=(Fraction(10),), duration_s=1.0)
    rows = synthesise(root / "media", clips=4, variety=variety)
    table = "".join(json.dumps({"media": row.file_name, "label": "bell"}) + "\n" for row in rows)
    (root / "table.jsonl").write_text(table)
    with h5py.File(root / "f.h5", "w") as file:
        file["x"] = np.arange(4 * 6).reshape(4, 2, 3)
    given = {"aa": f"{root}/f.h5:x", "zz": f"{root}/f.h5:x"}
    out = root / "shards"
    shardkit.pack(root / "table.jsonl", media=root / "media", features=given, out=out, frames=3, size=64, workers=1)
    return out


@pytest.fixture
def damaged(featured, tmp_path):
    """A copy, to damage."""
    return shutil.copytree(featured, tmp_path / "shards")


def _loader(source, **options):
    defaults = {"batch_size": 5, "workers": 2, "worker_type": "thread", "features": ("vggish",), "shuffle": False}
    return shardkit.loader(source, **(defaults | options))


def _number(key):
    return int(key.removeprefix("clip").removesuffix("_0"))


def _flip(ds, key, name):
    """Changes the last byte of a clip's array."""
    row, columns = ds.keys.index(key), ds.index.feature(name)
    path = ds.folder.path / ds.shard_names[ds.index.shard[row]]
    with path.open("r+b") as file:
        file.seek(int(columns.offset[row] + columns.size_bytes[row]) - 1)
        byte = file.read(1)[0]
        file.seek(-1, 1)
        file.write(bytes([byte ^ 1]))


@pytest.mark.parametrize("worker_type", ["process", "thread"])
def test_arrays_come_as_they_were_packed(featured, worker_type):
    """The nearest float16 of every value as float32, for every clip; zeros for one that has none."""
    seen = []
    with _loader(featured, worker_type=worker_type, features=("clip", "vggish")) as loader:
        for batch in loader:
            assert batch.video is batch.audio is None
            assert list(batch.features) == ["clip", "vggish"]
            for key, vggish, clip in zip(batch.keys, batch.features["vggish"], batch.features["clip"], strict=True):
                number = _number(key)
                np.testing.assert_array_equal(vggish, values()[number].astype("f2"))
                assert vggish.dtype == torch.float32
                assert clip.tolist() == [0 if number == LACKS else number] * 3
                seen.append(number)
    assert set(seen) == set(range(CLIPS))


def test_features_are_loaded_only_when_they_are_asked_for(featured, beside):
    """A loader that does not name one reads none of its bytes; what has nothing else says what there is."""
    with _loader(featured, features=("clip",)) as loader:
        for batch in loader:
            assert list(batch.features) == ["clip"]
        tally = loader.stats().tally
        assert 0 < tally.read_bytes <= tally.clips * (128 + 6)
    with pytest.raises(UsageError, match=r"no clip has video or audio; ask for features=\('clip', 'vggish'\)"):
        _loader(featured, features=())
    with _loader(beside, features=(), batch_size=4) as loader:
        assert next(iter(loader)).features == {}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"features": ("resnet",)}, "no feature 'resnet'; the data set has clip, vggish"),
        ({"features": "vggish"}, "a sequence of names"),
        ({"features": ("clip", "clip")}, "each is needed once"),
        ({"features": (), "modalities": ()}, "are needed, or features"),
    ],
)
def test_wrong_names_are_refused(featured, options, said):
    """The message says what there is."""
    with pytest.raises(UsageError, match=said):
        _loader(featured, **options)


def test_a_window_gets_the_rows_in_it(featured):
    """The first dimension is the clip's span: the middle two seconds of ten are rows 4 and 5; a vector stays whole."""
    with _loader(featured, window_s=2.0, features=("vggish", "clip"), modalities=()) as loader:
        for batch in loader:
            assert batch.features["vggish"].shape == (5, 2, SIZE)
            assert batch.features["clip"].shape == (5, 3)
            for key, vggish in zip(batch.keys, batch.features["vggish"], strict=True):
                number = _number(key)
                # Ten rows of five seconds: two of the four in the window.
                rows = [4, 6] if number == 7 else [4, 5]
                np.testing.assert_array_equal(vggish, values()[number, rows].astype("f2"))


def test_behind_the_end_of_a_short_clip_are_zeros(featured):
    """A window of eight seconds of a clip of five: the rows of five seconds, then nothing."""
    ds = shardkit.open(featured).select(keys=["clip07_0", "clip08_0"])
    with _loader(ds, window_s=8.0, batch_size=2) as loader:
        batch = next(iter(loader))
    shown = batch.features["vggish"][batch.keys.index("clip07_0")]
    assert shown[:, 0].tolist() == [1, 3, 5, 7, 9, 0, 0, 0]
    assert not shown[5:].any()


def test_every_view_has_the_rows_of_its_window(featured):
    """Views are drawn apart: each shows the rows at the centres of its window's seconds."""
    with _loader(featured, window_s=3.0, views=4, shuffle=True) as loader:
        for batch in loader:
            assert batch.features["vggish"].shape == (5, 4, 3, SIZE)
            for place, key in enumerate(batch.keys):
                length_s = 5 if _number(key) == 7 else 10
                centres_s = batch.window_s[place, :, :1] + torch.tensor([0.5, 1.5, 2.5])
                expected = (centres_s / length_s * ROWS).floor()
                assert torch.equal(batch.features["vggish"][place, :, :, 0].double(), expected)


def test_views_of_whole_clips_have_whole_arrays(beside):
    """Where views differ in the picture only, each has the array as it is."""
    options = {"features": ("aa",), "size": 32, "crop": "random", "views": 2, "modalities": ("video",), "batch_size": 4}
    with _loader(beside, **options) as loader:
        found = next(iter(loader)).features["aa"]
    assert found.shape == (4, 2, 2, 3)
    assert torch.equal(found[:, 0], found[:, 1])


@pytest.mark.parametrize("worker_type", ["process", "thread"])
def test_features_come_beside_picture_and_sound(beside, worker_type):
    """Each is what it is alone, wherever its member stands in the tar."""
    options = {"batch_size": 4, "worker_type": worker_type}
    with _loader(beside, **options, features=()) as loader:
        without = next(iter(loader))
    with _loader(beside, **options, features=("zz", "aa")) as loader:
        batch = next(iter(loader))
    assert torch.equal(batch.video, without.video)
    assert torch.equal(batch.audio, without.audio)
    rows = torch.from_numpy(loader.dataset.index.row[[loader.dataset.keys.index(key) for key in batch.keys]])
    expected = torch.arange(4 * 6).reshape(4, 2, 3)[rows - 1].float()
    assert torch.equal(batch.features["aa"], expected)
    assert torch.equal(batch.features["zz"], expected)


def test_tensors_of_features_are_not_overwritten(featured):
    """A tensor that is held keeps its values while many other batches are loaded."""
    with _loader(featured, epochs=6, batch_size=2) as loader:
        batches = iter(loader)
        held = next(batches).features["vggish"]
        kept = held.clone()
        deque(batches, maxlen=0)
    assert torch.equal(held, kept)


def test_arrays_of_several_shapes_are_refused(featured):
    """A batch is one array: the message names two clips and their shapes."""
    ds = shardkit.open(featured)
    member = Member(512, 1000, 0)
    placed = [
        Placed(
            Record(key, 1, key, "", 0.0, 10.0, "", None, None), 0, None, None, None, {"clip": Feature(member, shape)}
        )
        for key, shape in (("a", (3,)), ("b", (3,)), ("c", (3, 1)), ("d", (4,)))
    ]
    schema = index_schema((), {}, features=("clip",))
    for chosen, other in (([0, 1, 2], r"\(3, 1\) of 'c'"), ([1, 3], r"\(4,\) of 'd'")):
        index = ClipIndex(index_batch(placed, schema), path="index.arrow")
        with pytest.raises(UsageError, match=rf"'clip' differ in shape: \(3,\) of '[ab]' and {other}"):
            clip_plan(
                ds.folder, ds.manifest, index, np.array(chosen), modalities=(), rules=ViewRules(0), features=("clip",)
            )


@pytest.mark.parametrize("worker_type", ["process", "thread"])
def test_a_flipped_byte_is_a_corrupt_shard_error(damaged, worker_type):
    """The error names shard, clip, feature and byte."""
    _flip(shardkit.open(damaged), "clip06_0", "vggish")
    said = r"clips-\d+.tar, clip 'clip06_0', feature vggish at byte [\d,]+: xxh3 is .* index says .*copy it again"
    with _loader(damaged, worker_type=worker_type) as loader, pytest.raises(CorruptShardError, match=said):
        deque(loader, maxlen=0)


def test_a_damaged_array_can_be_skipped(damaged, caplog):
    """The clip has weight 0 and the arrays of a good one; the damage is logged. Who does not load it sees none."""
    _flip(shardkit.open(damaged), "clip06_0", "vggish")
    with _loader(damaged, on_error="skip") as loader:
        weights = sum(float(batch.weight.sum()) for batch in loader)
        assert (weights, loader.skipped) == (CLIPS - 1, 1)
    assert "feature vggish at byte" in caplog.text
    with _loader(damaged, features=("clip",)) as loader:
        assert sum(float(batch.weight.sum()) for batch in loader) == CLIPS


def test_without_verify_nobody_looks(damaged):
    """The changed value is what comes."""
    ds = shardkit.open(damaged)
    _flip(ds, "clip06_0", "vggish")
    with _loader(ds.select(keys=["clip06_0"]), batch_size=1, verify=False) as loader:
        found = next(iter(loader)).features["vggish"][0].numpy()
    assert (found != values()[6].astype("f2")).sum() == 1


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_random_access_and_decode_give_the_same(featured):
    """`ds[key]`, and `shardkit.decode` of raw samples and of those that webdataset has decoded: the clip's arrays."""
    ds = shardkit.open(featured)
    shards = [str(path) for path in sorted(featured.glob("*.tar"))]
    pipeline = webdataset.WebDataset(shards, shardshuffle=False)
    count = 0
    for raw, decoded in zip(pipeline, webdataset.WebDataset(shards, shardshuffle=False).decode(), strict=True):
        sample = ds[raw["__key__"]]
        assert set(sample.features) == {"vggish", "clip"} - ({"clip"} if sample.key == f"clip{LACKS:02d}_0" else set())
        for other in (shardkit.decode(raw), shardkit.decode(decoded)):
            assert other.features.keys() == sample.features.keys()
            for name, array in sample.features.items():
                assert array.dtype == other.features[name].dtype == np.float32
                np.testing.assert_array_equal(array, other.features[name])
        count += 1
    gc.collect()
    assert count == CLIPS


@pytest.mark.parametrize("worker_type", ["process", "thread"])
def test_arrays_from_afar_are_those_from_a_disk(featured, object_server, worker_type):
    """Also where bytes are changed on the way, which are read anew then."""
    with _loader(featured, features=("vggish", "clip")) as loader:
        near = snapshots(loader)
    object_server.proxy.set_rules([FaultRule(Fault.CORRUPT, first=1, first_of="object", path="*.tar")])
    ways = object_server.ways(featured)
    with _loader(ways.pop("source"), worker_type=worker_type, features=("vggish", "clip"), **ways) as loader:
        assert snapshots(loader) == near
