"""What users name: folders, URLs, manifests, tars, patterns and lists of them."""

import json
import os
from datetime import timedelta
from pathlib import Path

import pytest

from shardkit.errors import StorageError, UsageError
from shardkit.storage.locations import Location, NamedShards, check_options_stay, check_options_used, named_shards

MANIFEST, INDEX = "dataset.json", "index.arrow"
OPTIONS = {"anon": True}


def _named(source, options=None):
    return named_shards(source, options, known=(MANIFEST, INDEX))


@pytest.mark.parametrize(
    ("path", "url", "scheme", "name"),
    [
        ("/data/shards", "/data/shards", "file", "shards"),
        (Path("/data/shards/"), "/data/shards", "file", "shards"),
        ("file:///data/shards", "/data/shards", "file", "shards"),
        ("s3://bucket/a/shards", "s3://bucket/a/shards", "s3", "shards"),
        ("file:///data/a%20b", "/data/a b", "file", "a b"),
        ("s3://bucket/", "s3://bucket", "s3", "bucket"),
        ("S3://Bucket/A", "s3://Bucket/A", "s3", "A"),
        ("http://127.0.0.1:8000/shards//", "http://127.0.0.1:8000/shards", "http", "shards"),
    ],
)
def test_a_location_is_a_path_or_a_url(path, url, scheme, name):
    """Slashes at the end are dropped, `file://` is a path, and each says what it is."""
    location = Location.of(path)
    assert (location.url, location.scheme, location.name) == (url, scheme, name)
    assert location.is_local == (scheme == "file")
    assert str(location) == url


def test_a_relative_path_is_that_of_the_moment(tmp_path, monkeypatch):
    """Messages show it as it was given; once it is absolute, another current folder changes nothing about it."""
    monkeypatch.chdir(tmp_path)
    location, named = Location.of("shards"), _named("shards")
    assert str(location) == "shards"
    there = location.absolute()
    monkeypatch.chdir("/")
    assert there.path == named.folder.path == tmp_path / "shards"


@pytest.mark.parametrize(
    ("folder", "child"), [("/", "/x.tar"), ("/data", "/data/x.tar"), ("s3://bucket", "s3://bucket/x.tar")]
)
def test_a_child_is_named_with_one_slash(folder, child):
    """Files of the root folder and of a bucket are named as those of any folder; the child's parent is the folder."""
    location = Location.of(folder)
    assert location.child("x.tar") == child
    assert Location.of(child).parent.url == location.url


def test_storage_options_are_kept_and_not_shown():
    """They go with a location and with its parent; keys among them are in no message."""
    location = Location.of("s3://bucket/shards", {"secret": "hush"})
    assert location.parent.storage_options == {"secret": "hush"}
    assert "hush" not in f"{location} {location!r}"


def test_a_url_with_a_password_is_refused_without_printing_it():
    """UsageError says where it belongs; an address with a user, as Azure's, is none with a password."""
    with pytest.raises(UsageError, match=r"^http://…@host:80/data: .* client_kwargs.headers") as refused:
        Location.of("http://me:hunter2@host:80/data")
    assert "hunter2" not in str(refused.value)
    assert Location.of("abfss://box@account.dfs.core.windows.net/data").name == "data"
    assert Location.of("http://host:80/a@b:c@d").name == "a@b:c@d"


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("https://h/a.csv?X-Amz-Signature=hush&b=hush: not found", "https://h/a.csv?…: not found"),
        ("GET 'https://h/set?sig=hush/x.tar', and https://h/b?token=hush; mend it", "GET 'https://h/set?…', and "),
        ("s3://bucket/clips-?.tar: no such file; a=b?", "s3://bucket/clips-?.tar: no such file; a=b?"),
        ("s3://bucket/odd?/year=2024/clip.tar: not found", "s3://bucket/odd?/year=2024/clip.tar: not found"),
    ],
)
def test_queries_of_urls_are_not_shown(said, shown):
    """Signatures and tokens of the web stand there: no error of ours tells them, nor does a location."""
    assert str(StorageError(said)).startswith(shown)
    assert "hush" not in str(UsageError(said))
    location = Location.of("https://h/a.csv?sig=hush")
    assert (str(location), repr(location)) == ("https://h/a.csv?…", "Location('https://h/a.csv?…')")


@pytest.mark.timeout(60)
@pytest.mark.parametrize("said", ["https://" * 50_000, "https://a?" * 40_000, "https://a?b=" * 30_000])
def test_a_long_text_is_told_as_quickly_as_a_short_one(said):
    """A server may say what it likes."""
    assert str(StorageError(said))


def test_no_path_and_no_mapping_are_refused():
    """An empty path is not the current folder by accident, and options are a mapping: UsageError."""
    with pytest.raises(UsageError, match="an empty path"):
        Location.of("")
    with pytest.raises(UsageError, match="storage_options are list; a mapping is needed"):
        Location.of("s3://bucket", ["a"])


@pytest.mark.parametrize("path", ["/data/shards", "file:///data/shards"])
def test_storage_options_for_paths_alone_are_refused(path):
    """Whoever gives them expects that they have an effect: on one location at least."""
    local, far = Location.of(path, OPTIONS), Location.of("s3://bucket", OPTIONS)
    with pytest.raises(UsageError, match=r"/data/shards: storage_options are for URLs"):
        check_options_used(local)
    check_options_used(local, far)
    check_options_used(Location.of(path))


@pytest.mark.parametrize(
    ("home", "base", "options", "stay"),
    [
        ("https://a/x", "https://b/y", {"client_kwargs": {"headers": {"Authorization": "t"}}}, True),
        ("https://a/x", "https://b/y", {"https": {"client_kwargs": {}}}, False),
        ("https://a/x", "https://b/y", {}, False),
        ("https://a/x", "https://a/y", {"client_kwargs": {}}, False),
        ("https://a/x", "s3://b", {"token": "t"}, True),
        ("s3://a/x", "s3://b", {"key": "k", "secret": "s"}, False),
        ("/data", "s3://b", {"key": "k"}, False),
    ],
)
def test_options_go_to_no_other_server_unless_they_name_it(home, base, options, stay):
    """A file at one URL cannot have the user's keys sent to another one that it names."""
    homes, bases = Location.of(home, options), Location.of(base, options)
    if stay:
        with pytest.raises(UsageError, match=rf"^{home}: its tars are at {base}, .* name the protocol"):
            check_options_stay(homes, bases)
    else:
        check_options_stay(homes, bases)


def test_a_location_is_sent_as_json():
    """What a worker process makes of it is the same location."""
    location = Location.of("s3://bucket/shards", {"key": "k", "client_kwargs": {"region_name": "r"}})
    assert Location(**json.loads(json.dumps(location.to_json()))) == location


def test_an_object_among_the_storage_options_cannot_be_sent():
    """UsageError that says why plain values are needed, and which kind of object it is; the value is not shown."""
    location = Location.of("s3://bucket/shards", {"timeout": timedelta(seconds=3), "secret": "hush"})
    with pytest.raises(
        UsageError, match=r"s3://bucket/shards: .*worker processes, .*plain values: .*timedelta"
    ) as raised:
        location.to_json()
    assert "hush" not in str(raised.value)


@pytest.mark.parametrize(
    "folder", ["/data/shards", "s3://bucket/shards", "http://127.0.0.1/shards", "hf://datasets/a/b"]
)
def test_a_folder_may_be_named_by_its_manifest_or_index(folder):
    """The folder and these of its files name the same: all shards of the folder."""
    for name in (folder, f"{folder}/", f"{folder}/{MANIFEST}", f"{folder}/{INDEX}"):
        assert _named(name) == NamedShards(Location.of(folder))


def test_a_tar_a_pattern_and_a_list_name_shards():
    """One tar, a range in braces, alternatives, and lists that mix these and repeat some: each shard is named once."""
    folder = "s3://bucket/shards"
    for source, names in (
        (f"{folder}/a-3.tar", ["a-3.tar"]),
        (f"{folder}/a-{{008..010}}.tar", ["a-008.tar", "a-009.tar", "a-010.tar"]),
        (f"{folder}/{{a,b}}-{{0..1}}.tar", ["a-0.tar", "a-1.tar", "b-0.tar", "b-1.tar"]),
        ([f"{folder}/b.tar", f"{folder}/a-{{0..1}}.tar", f"{folder}/b.tar"], ["b.tar", "a-0.tar", "a-1.tar"]),
    ):
        named = _named(source, OPTIONS)
        assert named == NamedShards(Location.of(folder, OPTIONS), tuple(names))
        assert named.folder.storage_options == OPTIONS


def test_paths_are_named_as_urls_are(tmp_path, monkeypatch):
    """Relative patterns and Path objects name the shards of one folder."""
    monkeypatch.chdir(tmp_path)
    expected = NamedShards(Location.of(tmp_path / "shards"), ("a-0.tar", "a-1.tar"))
    assert _named("shards/a-{0..1}.tar") == expected
    assert _named([Path("shards") / "a-0.tar", os.fspath(tmp_path / "shards" / "a-1.tar")]) == expected


def test_a_folder_with_braces_in_its_name_is_that_folder(tmp_path):
    """What is there is not taken for a pattern."""
    folder = tmp_path / "run{1,2}"
    folder.mkdir()
    assert _named(folder) == NamedShards(Location.of(folder))
    (folder / "a.tar").touch()
    assert _named(folder / "a.tar") == NamedShards(Location.of(folder), ("a.tar",))


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ([], "no shards are named: give a folder"),
        (["s3://b/x/a.tar", "s3://b/y/a.tar"], "several folders are named: s3://b/x and s3://b/y.*shardkit index"),
        ("s3://b/{x,y}/a.tar", "several folders are named"),
        (["s3://b/x/a.tar", "/x/a.tar"], "several folders are named"),
        (["s3://b/x"], "s3://b/x: several names are shards.*no .tar"),
        ("s3://b/x-{0..1}", "s3://b/x-0: several names are shards.*no .tar"),
        ("s3://b/{a.tar", "s3://b/{a.tar: Unbalanced"),
    ],
)
def test_what_names_no_shards_of_one_folder_is_refused(source, words):
    """UsageError that says what was named, and what to do."""
    with pytest.raises(UsageError, match=words):
        _named(source)
