"""Features: arrays of HDF5 files and .npy folders become members beside the media, or without any."""

import csv
import gc
import io
import json
import sys
import tarfile
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np
import pytest
import webdataset
from pack_runs import SMALL, contents, rejects, unlike

import shardkit
from shardkit.annotations import read_annotations
from shardkit.errors import DataError, StorageError, TooManyRejectsError, UsageError
from shardkit.packing.features import FeatureReader, FeatureSource, find_arrays, parse_features
from shardkit.packing.keys import clip_keys
from shardkit.packing.shard_plan import ArrayAt, Candidate
from shardkit.packing.sources import Located

ROWS, IDS = 12, 9
"""As AVE's: some ids repeat, with another class."""
SHAPE = (10, 8)
SHARD_BYTES = 20_000
"""Some five clips."""


class Stopped(Exception):  # noqa: N818
    """Ends a run."""


def write_table(path, rows):
    """An annotation file of (id, start_s, end_s, label)."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("id", "start_s", "end_s", "label"))
        writer.writerows(rows)
    return path


def write_h5(path, array, name="avadataset"):
    """An HDF5 file of one dataset; what pack() takes for it."""
    with h5py.File(path, "w") as file:
        file[name] = array
    return f"{path}:{name}"


@pytest.fixture
def table(tmp_path):
    """Twelve rows of nine ids, in AVE's manner; no media belong to them."""
    rows = [(f"-id{row % IDS}", 0, 10, ("bell", "dog")[row % 2]) for row in range(ROWS)]
    return write_table(tmp_path / "table.csv", rows)


@pytest.fixture
def array():
    """An array a row, float32: element (row, second, i) has about the value row."""
    return (np.arange(ROWS)[:, None, None] + np.random.default_rng(0).uniform(0, 0.5, (ROWS, *SHAPE))).astype("f4")


@pytest.fixture
def vggish(tmp_path, array):
    """The same in an HDF5 file."""
    return write_h5(tmp_path / "audio_feature.h5", array)


def members(out):
    """Name to content of everything in the shards."""
    found = {}
    for path in sorted(out.glob("*.tar")):
        with tarfile.open(path) as tar:
            found |= {member.name: tar.extractfile(member).read() for member in tar}
    return found


def stored(out, name="vggish"):
    """Row of the annotation file to the array of its clip."""
    found, ds = members(out), shardkit.open(out)
    rows = zip(ds.keys, ds.index.row.tolist(), strict=True)
    return {row: np.load(io.BytesIO(data)) for key, row in rows if (data := found.get(f"{key}.{name}.npy"))}


def test_every_row_gets_its_own_array(table, vggish, array, tmp_path):
    """Row i of the dataset is that of data row i, also where ids repeat: the nearest float16 of every value."""
    report = shardkit.pack(table, features={"vggish": vggish}, out=tmp_path / "out")
    assert report.packed == ROWS
    found = stored(tmp_path / "out")
    assert sorted(found) == list(range(1, ROWS + 1))
    for row, values in found.items():
        np.testing.assert_array_equal(values, array[row - 1].astype("f2"))


def test_rejected_rows_are_counted(tmp_path, array):
    """A row that cannot be read has an array too: those behind it keep theirs."""
    rows = [(f"id{row}", 0, "ten" if row == 2 else 10, "bell") for row in range(4)]
    table = write_table(tmp_path / "table.csv", rows)
    given = write_h5(tmp_path / "f.h5", array[:4])
    report = shardkit.pack(table, features={"vggish": given}, out=tmp_path / "out")
    assert report.rejected == {"bad_row": 1}
    found = stored(tmp_path / "out")
    assert sorted(found) == [1, 2, 4]
    np.testing.assert_array_equal(found[4], array[3].astype("f2"))


def test_the_rows_of_ave_are_4143_and_no_array_a_video(tmp_path):
    """The real file: an array a row is taken, row by row; 4,097 arrays, one a video, are refused and named so."""
    annotations = Path(__file__).parents[2] / "../shared/data/annotations/AVE-Annotations.txt"
    if not annotations.exists():
        pytest.skip("../shared/data/annotations/AVE-Annotations.txt is not there")
    rows = np.arange(4143, dtype=np.float32)[:, None]
    with pytest.raises(
        DataError, match="4,097 rows, the annotation file has 4,143; 4,097 is the number of its distinct"
    ):
        shardkit.pack(annotations, features={"f": write_h5(tmp_path / "videos.h5", rows[:4097])}, out=tmp_path / "out")
    read = read_annotations(annotations)
    located = [Located(clip, None, clip.start_s, clip.end_s) for clip in read.clips]
    candidates = [Candidate(key, "", each) for key, each in zip(clip_keys(read.clips), located, strict=True)]
    inputs = parse_features({"f": write_h5(tmp_path / "rows.h5", rows)})
    found = find_arrays(inputs, candidates, annotations=read, require="features")
    assert [candidate.arrays[0].place for candidate in found.candidates] == list(range(4143))


def test_other_numbers_of_rows_are_refused(table, array, tmp_path):
    """One array a video, where some have several rows, is the likely mistake, and is named; any other number too."""
    with pytest.raises(DataError, match="9 rows, the annotation file has 12; 9 is the number of its distinct ids"):
        shardkit.pack(table, features={"f": write_h5(tmp_path / "a.h5", array[:IDS])}, out=tmp_path / "out")
    with pytest.raises(DataError, match="11 rows, the annotation file has 12; one array for each"):
        shardkit.pack(table, features={"f": write_h5(tmp_path / "b.h5", array[:11])}, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"vggish": "{}/audio_feature.h5:other"}, DataError, "no dataset 'other'; it has 'avadataset'"),
        ({"vggish": "{}/audio_feature.h5"}, UsageError, "names no dataset; FILE.h5:DATASET"),
        ({"vggish": "{}/nowhere.h5:avadataset"}, StorageError, "nowhere.h5: No such file"),
        ({"vggish": "{}/table.csv:avadataset"}, DataError, "table.csv: not a readable HDF5 file"),
        ({"vggish": "{}/nowhere"}, UsageError, "no folder"),
        ({"vggish": "s3://bucket/f.h5:avadataset"}, UsageError, "URL.*copy it first"),
        ({"vgg.ish": "{}/audio_feature.h5:avadataset"}, UsageError, "letters, digits and '_'"),
        ({"WAV": "{}/audio_feature.h5:avadataset"}, UsageError, "none of mp4, mov, wav"),
        ({"a": "{}", "A": "{}"}, UsageError, "'A' and 'a'.*rename"),
        ({"a" * 90: "{}/audio_feature.h5:avadataset"}, UsageError, "at most 100; name the feature with"),
    ],
)
def test_what_is_wrong_with_a_feature_is_named(table, vggish, tmp_path, given, error, said):
    """The message says what was given and what is needed; nothing is written."""
    given = {name: text.format(tmp_path) for name, text in given.items()}
    with pytest.raises(error, match=said):
        shardkit.pack(table, features=given, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "array", [np.zeros((ROWS, 0)), np.zeros(ROWS), np.array([b"text"] * ROWS)[:, None], np.array(1.0)]
)
def test_datasets_without_an_array_of_numbers_a_row_are_refused(table, tmp_path, array):
    """Scalars, texts and empty arrays are no features."""
    with pytest.raises(DataError, match="floats or integers are needed"):
        shardkit.pack(table, features={"f": write_h5(tmp_path / "a.h5", array)}, out=tmp_path / "out")


def test_without_h5py_the_message_says_what_to_install(table, vggish, tmp_path, monkeypatch):
    """It is an extra."""
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(UsageError, match=r"pip install 'shardkit\[h5\]'"):
        shardkit.pack(table, features={"vggish": vggish}, out=tmp_path / "out")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "no media: give features"),
        ({"media": "."}, "require='features': give features"),
        ({"features": {"f": "."}, "require": "av"}, "require='av' asks for media"),
        ({"features": {"f": "."}, "require": "both"}, "one of av, audio, video, any, features"),
    ],
)
def test_clips_need_media_or_features(table, tmp_path, options, said):
    """What does not go together is said before anything is read."""
    with pytest.raises(UsageError, match=said):
        shardkit.pack(table, out=tmp_path / "out", **{"require": "features"} | options)


def test_a_file_is_found_by_key_then_as_it_was_cut_then_by_id(tmp_path):
    """All names of a folder; an id alone is not enough where it has several spans."""
    folder = tmp_path / "npy"
    folder.mkdir()
    rows = [
        ("key", 30, 40),
        ("seconds", 30, 40),
        ("span", 30, 40),
        ("whole", 30, 40),
        ("twice", 0, 10),
        ("twice", 0, 10),
    ]
    rows += [("several", 0, 10), ("several", 10, 20)]
    names = ["key_30000", "seconds_000030", "span_30000_40000", "whole", "twice_0", "several"]
    for place, name in enumerate([*names, "key", "key_30000_40000"]):
        np.save(folder / f"{name}.npy", np.full(3, place))
    table = write_table(tmp_path / "table.csv", [(*row, f"label{place}") for place, row in enumerate(rows)])
    shardkit.pack(table, features={"f": folder}, out=tmp_path / "out")
    found = {row: int(values[0]) for row, values in stored(tmp_path / "out", "f").items()}
    assert found == {1: 0, 2: 1, 3: 2, 4: 3, 5: 4, 6: 4}
    said = rejects(tmp_path / "out")
    assert [(each["row"], each["reason"]) for each in said] == [(7, "missing_feature"), (8, "missing_feature")]
    assert said[1]["detail"].startswith("none of several_10000.npy, several_000010.npy, several_10000_20000.npy, ")
    assert "the id has several spans" in said[1]["detail"]


@pytest.fixture
def folder(tmp_path):
    """A table of six clips, and a folder with an array for each."""
    folder = tmp_path / "npy"
    folder.mkdir()
    for number in range(6):
        np.save(folder / f"id{number}.npy", np.full((4, 2), number, "f8"))
    write_table(tmp_path / "six.csv", [(f"id{number}", 0, 10, "bell") for number in range(6)])
    return folder


def test_arrays_that_cannot_be_stored_are_rejects_with_a_reason(folder, tmp_path):
    """Another shape than the first one's, no number, beyond float16, no .npy file: the others are packed."""
    np.save(folder / "id1.npy", np.full((3, 2), 1.0))
    np.save(folder / "id2.npy", np.full((4, 2), np.nan))
    np.save(folder / "id3.npy", np.full((4, 2), 1e6))
    (folder / "id4.npy").write_bytes(b"no array")
    (folder / "id5.npy").unlink()
    report = shardkit.pack(tmp_path / "six.csv", features={"f": folder}, out=tmp_path / "out")
    assert report.packed == 1
    details = {each["id"]: (each["reason"], each["detail"]) for each in rejects(tmp_path / "out")}
    assert details["id1"] == ("bad_feature", "feature 'f' (id1.npy): shape (3, 2), others have (4, 2)")
    assert details["id2"] == ("bad_feature", "feature 'f' (id2.npy): 8 of 8 values are not finite")
    assert "id3.npy): the value 1e+06 is beyond float16" in details["id3"][1]
    assert "id4.npy): not a .npy file" in details["id4"][1]
    assert details["id5"][0] == "missing_feature"


def test_a_row_that_is_not_finite_is_a_reject_with_a_reason(table, array, tmp_path):
    """It is named by its row, and the other rows are packed."""
    array[3, 2, 1] = np.nan
    given = write_h5(tmp_path / "f.h5", array)
    report = shardkit.pack(table, features={"vggish": given}, out=tmp_path / "out")
    assert report.packed == ROWS - 1
    (said,) = rejects(tmp_path / "out")
    assert (said["row"], said["reason"]) == (4, "bad_feature")
    assert said["detail"] == "feature 'vggish' (f.h5:avadataset, row 4): 1 of 80 values are not finite"


@pytest.mark.parametrize(("found", "error"), [(None, StorageError), (b"something else", DataError)])
def test_a_file_that_is_lost_under_way_is_no_fault_of_clips(tmp_path, array, found, error):
    """A node that does not see an HDF5 file, or another one, ends its shard; no clip is rejected for it."""
    given = parse_features({"vggish": write_h5(tmp_path / "f.h5", array)})[0]
    given.path.unlink() if found is None else given.path.write_bytes(found)
    source = FeatureSource(given.name, given.path, given.dataset, SHAPE)
    with FeatureReader([source]) as reader, pytest.raises(error, match=r"f\.h5"):
        reader.read([ArrayAt("vggish", 0)])


def test_under_any_a_clip_may_lack_some_features(folder, table, tmp_path, array):
    """One of two is enough; none of them is not."""
    (folder / "id5.npy").unlink()
    other = tmp_path / "other"
    other.mkdir()
    np.save(other / "id1.npy", np.ones(3))
    given = {"f": folder, "g": other}
    options = {"features": given, "out": tmp_path / "out"}
    report = shardkit.pack(tmp_path / "six.csv", require="any", **options)
    assert (report.packed, report.rejected) == (5, {"missing_feature": 1})
    assert sorted(stored(tmp_path / "out", "g")) == [2]
    assert shardkit.pack(tmp_path / "six.csv", overwrite=True, **options).packed == 1


def test_a_clip_without_an_end_needs_media(folder, tmp_path):
    """Nothing else tells how long it is."""
    write_table(tmp_path / "six.csv", [("id0", 0, None, "bell"), ("id1", 2.5, 12.8, "bell")])
    shardkit.pack(tmp_path / "six.csv", features={"f": folder}, out=tmp_path / "out")
    (said,) = rejects(tmp_path / "out")
    assert (said["id"], said["reason"]) == ("id0", "bad_row")
    ds = shardkit.open(tmp_path / "out")
    assert (ds[0].duration_s, float(ds.index.source_start_s[0]), ds[0].source) == (10.3, 2.5, "")


@pytest.fixture
def undisturbed_features(table, vggish, folder, tmp_path):
    """Two features packed in one run: what every other way must come to."""
    shardkit.pack(table, features=both(vggish, folder), out=tmp_path / "one", require="any", shard_bytes=SHARD_BYTES)
    return contents(tmp_path / "one")


def both(vggish, folder):
    """An HDF5 file and a folder that knows none of the clips but one."""
    np.save(folder / "-id3.npy", np.ones(3))
    return {"vggish": vggish, "clip": folder}


def test_parts_come_to_the_same_bytes(table, vggish, folder, undisturbed_features, tmp_path):
    """However the shards are shared out."""
    options = {"features": both(vggish, folder), "out": tmp_path / "out", "require": "any", "shard_bytes": SHARD_BYTES}
    for number in (2, 1):
        shardkit.pack(table, part=(number, 2), **options)
    shardkit.pack(table, finish=True, **options)
    assert not unlike(contents(tmp_path / "out"), undisturbed_features)
    assert sum(name.endswith(".tar") for name in undisturbed_features) > 2


def test_a_run_that_was_stopped_comes_to_the_same_bytes(table, vggish, folder, undisturbed_features, tmp_path):
    """Shards that are complete are kept."""
    options = {"features": both(vggish, folder), "out": tmp_path / "out", "require": "any", "shard_bytes": SHARD_BYTES}

    def stop(progress):
        if progress.done > ROWS // 2:
            raise Stopped

    with suppress(Stopped):
        shardkit.pack(table, progress=stop, **options)
    assert not (tmp_path / "out" / "dataset.json").exists()
    assert shardkit.pack(table, resume=True, **options).fresh < ROWS
    assert not unlike(contents(tmp_path / "out"), undisturbed_features)


def test_other_arrays_are_not_gone_on_with(table, vggish, array, tmp_path):
    """A run is not resumed with a file that has changed, nor is a finished data set taken for one of it."""
    options = {"features": {"vggish": vggish}, "out": tmp_path / "out"}
    shardkit.pack(table, **options)
    assert shardkit.pack(table, resume=True, **options).fresh == 0
    write_h5(tmp_path / "audio_feature.h5", array + 1)
    with pytest.raises(UsageError, match="other settings, annotations, features"):
        shardkit.pack(table, resume=True, **options)


def test_features_stand_beside_the_media(material, undisturbed, tmp_path):
    """Media members are those of a data set without features, for one worker and for two."""
    ds = shardkit.open(undisturbed.out)
    rng = np.random.default_rng(0)
    given = {"vggish": write_h5(tmp_path / "f.h5", rng.normal(size=(len(ds), 2, 4)))}
    for workers in (1, 2):
        out = tmp_path / f"out{workers}"
        shardkit.pack(material.table, media=material.media, features=given, out=out, workers=workers, **SMALL)
    assert not unlike(contents(tmp_path / "out1"), contents(tmp_path / "out2"))
    found, without = members(tmp_path / "out1"), members(undisturbed.out)
    assert {name for name in found if not name.endswith((".npy", ".msg"))} == {
        name for name in without if not name.endswith(".msg")
    }
    assert all(found[name] == data for name, data in without.items() if not name.endswith(".msg"))
    assert len(stored(tmp_path / "out1")) == len(ds)


def test_media_are_optional_where_features_are_what_is_required(material, tmp_path):
    """A clip whose video is gone is packed with its features alone; where media are required, it is a reject."""
    good = [row.file_name for row in material.rows if row.fault is None][:2]
    rows = [(name.rsplit(".", 1)[0], 0, 2, "bell") for name in good] + [("gone", 0, 2, "bell")]
    table = write_table(tmp_path / "table.csv", rows)
    given = {"f": write_h5(tmp_path / "f.h5", np.arange(3)[:, None])}
    options = {"media": material.media, "features": given, "out": tmp_path / "out", **SMALL}
    assert shardkit.pack(table, **options).rejected == {"missing_media": 1}
    assert shardkit.pack(table, require="features", overwrite=True, **options).packed == 3
    ds = shardkit.open(tmp_path / "out")
    assert {key: ds[key].video is not None for key in ds.keys} == {
        **{f"{name.rsplit('.', 1)[0]}_0": True for name in good},
        "gone_0": False,
    }


def test_relabelling_keeps_features(table, vggish, array, tmp_path):
    """The index has them still, and they are loaded."""
    shardkit.pack(table, features={"vggish": vggish}, out=tmp_path / "out")
    rows = [(f"-id{row % IDS}", 0, 10, "cat") for row in range(ROWS)]
    shardkit.relabel(
        tmp_path / "out", write_table(tmp_path / "new.csv", [(*row[:3], f"{row[3]}{n}") for n, row in enumerate(rows)])
    )
    ds = shardkit.open(tmp_path / "out")
    assert ds.manifest.features == ("vggish",)
    np.testing.assert_array_equal(ds["-id1_0"].features["vggish"], array[1].astype("f2"))


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_webdataset_decodes_members_and_messages_name_them(table, vggish, array, tmp_path):
    """WebDataset's own decoder gives the array under `vggish.npy`; `msg` says its shape."""
    shardkit.pack(table, features={"VGGish": vggish}, out=tmp_path / "out")
    samples = list(webdataset.WebDataset(str(tmp_path / "out/clips-000000.tar"), shardshuffle=False).decode())
    assert len(samples) == ROWS
    for sample in samples:
        assert sample["msg"]["features"] == {"VGGish": {"shape": list(SHAPE)}}
        assert "video" not in sample["msg"]
    decoded = {sample["__key__"]: sample["vggish.npy"] for sample in samples}
    np.testing.assert_array_equal(decoded["-id1_0"], array[1].astype("f2"))
    gc.collect()


def test_nothing_packed_is_an_error_that_names_features(folder, tmp_path):
    """A folder of other clips' arrays."""
    table = write_table(tmp_path / "table.csv", [("other", 0, 10, "bell")])
    with pytest.raises(TooManyRejectsError, match=r"missing_feature 1.*--features"):
        shardkit.pack(table, features={"f": folder}, out=tmp_path / "out")


def test_the_manifest_says_where_arrays_came_from(table, vggish, folder, tmp_path):
    """File, dataset and digest; of a folder the number of its files that were used."""
    shardkit.pack(table, features=both(vggish, folder), require="any", out=tmp_path / "out")
    said = json.loads((tmp_path / "out/dataset.json").read_text())
    assert list(said["feature_sources"]) == ["clip", "vggish"]
    sources = said["feature_sources"]
    assert (sources["vggish"]["file"], sources["vggish"]["dataset"]) == ("audio_feature.h5", "avadataset")
    assert (sources["clip"]["folder"], sources["clip"]["files"]) == ("npy", 1)
