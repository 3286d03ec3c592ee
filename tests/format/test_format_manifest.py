"""dataset.json: read back as written, vouched for by its own digest."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardkit.errors import CorruptShardError, DataError, FormatVersionError
from shardkit.format.manifest import SHARD_NAME, FileInfo, Manifest, ShardInfo
from shardkit.taxonomy import LabelSet, Level

_names = st.text(min_size=1, max_size=10)
_counts = st.integers(0, 2**50)
_digests = st.from_regex(r"[0-9a-f]{32}", fullmatch=True)
_manifests = st.builds(
    Manifest,
    name=_names,
    order_version=st.just(1),
    settings=st.dictionaries(_names, st.none() | _counts | _names | st.floats(allow_nan=False), max_size=3),
    libraries=st.dictionaries(_names, _names, max_size=2),
    label_sets=st.lists(_names, max_size=3).map(
        lambda classes: (LabelSet("label", "single", (Level("label", tuple(classes)),)),)
    ),
    event_classes=st.lists(_names, max_size=3).map(tuple),
    columns=st.lists(_names, max_size=3).map(tuple),
    splits=st.dictionaries(_names, _counts, max_size=3),
    clip_count=_counts,
    duration_s=st.floats(0, 1e9),
    reject_counts=st.dictionaries(_names, _counts, max_size=2),
    shards=st.lists(
        st.builds(ShardInfo, st.from_regex(SHARD_NAME, fullmatch=True), _counts, _counts, _digests), max_size=3
    ).map(tuple),
    index=st.builds(FileInfo, _counts, _digests),
    annotations=st.dictionaries(_names, _names, max_size=2),
)
MANIFEST = Manifest(
    "clips", 1, {}, {}, (), (), (), {}, 0, 0.0, {}, (ShardInfo("a-000000.tar", 1, 2, "0"),), FileInfo(3, "1"), {}
)


@given(_manifests)
def test_a_manifest_is_read_back_as_written(manifest):
    """from_bytes(to_bytes) is the same manifest, with the same digest."""
    again = Manifest.from_bytes(manifest.to_bytes(), path="dataset.json")
    assert again == manifest
    assert again.digest() == manifest.digest()


@given(st.data())
def test_any_changed_value_is_noticed(data):
    """A value that differs from what was written: CorruptShardError, FormatVersionError or DataError, never silence."""
    content = json.loads(MANIFEST.to_bytes())
    field = data.draw(st.sampled_from(sorted(content)))
    content[field] = data.draw(st.sampled_from([None, 5, "x", [], {"y": 1}]).filter(lambda new: new != content[field]))
    with pytest.raises(DataError, match=r"dataset\.json"):
        Manifest.from_bytes(json.dumps(content).encode(), path="dataset.json")


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (b"", CorruptShardError, "not JSON"),
        (b'{"format": "shardkit"', CorruptShardError, "not JSON"),
        (b"\xff\xfe", CorruptShardError, "not JSON"),
        (b"[]", DataError, "not a shardkit manifest"),
        (b'{"format": "other"}', DataError, "not a shardkit manifest"),
        (
            b'{"format": "shardkit", "format_version": 99}',
            FormatVersionError,
            "version 99, this shardkit reads version 1",
        ),
    ],
)
def test_what_is_no_manifest_is_refused(data, error, message):
    """Cut, foreign and future files: each its own error, with the path."""
    with pytest.raises(error, match=f"x/dataset.json: .*{message}"):
        Manifest.from_bytes(data, path="x/dataset.json")


def test_a_field_of_the_wrong_type_is_refused_even_with_a_right_digest():
    """A manifest that vouches for itself but lacks a field: CorruptShardError."""
    from shardkit.format.digest import json_digest

    content = json.loads(MANIFEST.to_bytes())
    del content["digest"], content["shards"]
    content["digest"] = json_digest(content)
    with pytest.raises(CorruptShardError, match="a field is missing"):
        Manifest.from_bytes(json.dumps(content).encode(), path="dataset.json")


@pytest.mark.parametrize("name", ["/etc/passwd", "../clips-000000.tar", "clips-000000.tar/x", "clips.tar", ""])
def test_shard_names_that_lead_out_of_the_folder_are_refused(name):
    """Shards are opened, and deleted by --overwrite, under these names."""
    manifest = replace(MANIFEST, shards=(ShardInfo(name, 1, 1024, "0" * 32),))
    with pytest.raises(CorruptShardError, match="no shard's name"):
        Manifest.from_bytes(manifest.to_bytes(), path="dataset.json")


@pytest.mark.parametrize("name", ["/etc/passwd", "../a.tar", "a/../../b.tar", "a//b.tar", "./a.tar", "", "a\0.tar"])
def test_names_of_tars_that_were_indexed_stay_inside_too(name):
    """They are of any form, but lead nowhere else than below their base."""
    manifest = replace(MANIFEST, packed=False, base="/data", shards=(ShardInfo(name, 1, 1024, "0" * 32),))
    with pytest.raises(CorruptShardError, match="no shard's name"):
        Manifest.from_bytes(manifest.to_bytes(), path="dataset.json")


def test_a_manifest_of_tars_that_were_indexed_says_so():
    """That nobody vouches for them, and where they lie; packed ones say neither, as they always did."""
    manifest = replace(MANIFEST, packed=False, base="/data", shards=(ShardInfo("train/x 1.tar", 1, 1024, "0" * 32),))
    again = Manifest.from_bytes(manifest.to_bytes(), path="dataset.json")
    assert again == manifest
    assert (again.packed, again.base) == (False, "/data")
    assert not {"packed", "base"} & json.loads(MANIFEST.to_bytes()).keys()
