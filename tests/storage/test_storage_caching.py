"""CachingReader: copies where they are there, the server otherwise, and the right bytes either way."""

import os
from contextlib import closing

import pytest
from cached_shards import cached_shards, cached_store, fill
from far_folders import SMALL_NAMES, small_content
from watching import open_files

from benchmarks.storage.faults import Fault, FaultRule
from shardkit.storage import caching
from shardkit.storage.node_cache import CachedFile

PLACE = (5_000, 20_000)


def _content(shard, place=PLACE):
    return small_content(shard)[place[0] : place[0] + place[1]]


@pytest.fixture
def store(far_http, tmp_path):
    """Eight shards, of which two are in the cache."""
    store = cached_store(far_http, tmp_path / "cache")
    fill(store, 2, 3)
    return store


@pytest.fixture
def reader(store):
    """Its reader."""
    with closing(store.reader()) as reader:
        yield reader


def test_what_is_in_the_cache_is_read_there(reader, far_http):
    """Its clips cost no request, and are counted; the others cost one each."""
    clips = [(shard, [PLACE]) for shard in (2, 0, 3, 1)]
    for (shard, ranges), begun in zip(clips, reader.begin(clips), strict=True):
        assert bytes(reader.read(shard, ranges, begun=begun)[0]) == _content(shard)
    assert reader.meter.cached_clips == 2
    assert sorted(served.path[-len(SMALL_NAMES[0]) :] for served in far_http.proxy.log()) == SMALL_NAMES[:2]
    assert reader.meter.requests == 2
    assert reader.name(2) == far_http.location.child(SMALL_NAMES[2])


def test_a_reader_names_no_shard_before_it_looks_for_it(store, monkeypatch):
    """Of tens of thousands, a clip that is asked for by itself wants one: its name alone is worked out."""
    named = []
    name = CachedFile.name
    monkeypatch.setattr(CachedFile, "name", property(lambda file: named.append(file.url) or name.fget(file)))
    with closing(store.reader()) as reader:
        assert named == []
        assert bytes(reader.read(2, [PLACE])[0]) == _content(2)
    assert set(named) == {store.base.location.child(SMALL_NAMES[2])}


def test_what_was_begun_from_afar_is_taken_from_there(reader, store, far_http):
    """A copy that has come meanwhile is for the next clip."""
    (begun,) = reader.begin([(0, [PLACE])])
    fill(store, 0)
    assert bytes(reader.read(0, [PLACE], begun=begun)[0]) == _content(0)
    assert reader.meter.cached_clips == 0
    assert len(far_http.proxy.log()) == 1


def test_a_copy_that_comes_is_used_soon(reader, store, monkeypatch):
    """Looked for now and then, and not before every clip."""
    monkeypatch.setattr(caching, "LOOK_EVERY_S", 600.0)
    assert bytes(reader.read(0, [PLACE])[0]) == _content(0)
    fill(store, 0)
    assert bytes(reader.read(0, [PLACE])[0]) == _content(0)
    monkeypatch.setattr(caching, "LOOK_EVERY_S", 0.0)
    assert bytes(reader.read(0, [PLACE])[0]) == _content(0)
    assert reader.meter.cached_clips == 1


def test_only_what_comes_from_afar_is_begun_ahead(reader):
    """A reader of copies asks for no more runs than it works on."""
    reader.begin([(2, [PLACE])])
    assert not reader.has_room()
    reader.begin([(2, [PLACE]), (0, [PLACE])])
    assert reader.has_room()


def test_a_copy_that_is_held_stays_while_it_is_read(far_http, tmp_path, monkeypatch):
    """Room for one: it cannot go while a reader uses it, and can once it is idle."""
    store = cached_store(far_http, tmp_path / "cache", limit_shards=1)
    fill(store, 2)
    with closing(store.reader()) as reader:
        reader.begin([(2, [PLACE])])
        with pytest.raises(Exception, match="no room"):
            fill(store, 3)
        monkeypatch.setattr(caching, "IDLE_S", 0.0)
        monkeypatch.setattr(caching, "LOOK_EVERY_S", 0.0)
        reader.begin([])
        fill(store, 3)
        assert bytes(reader.read(2, [PLACE])[0]) == _content(2)
        assert bytes(reader.read(3, [PLACE])[0]) == _content(3)
    assert cached_shards(store) == {3}


def test_no_more_copies_are_open_than_may_be(store):
    """Two of four at a time: the one used longest ago is let go of, and opened again when it is read."""
    fill(store, 0, 1)
    folder = store.node_cache().folder
    with closing(store.reader(max_open=2)) as reader:
        for shard in (0, 1, 0, 2, 3, 1, 0):
            assert bytes(reader.read(shard, [PLACE])[0]) == _content(shard)
            assert len(open_files(folder)) <= 2
        assert reader.meter.cached_clips == 7


def test_a_damaged_copy_is_removed_and_its_clip_read_from_afar(reader, store):
    """The bytes are the server's then, and the copy can be made anew."""
    path = store.node_cache().folder / store.cached_files()[2].name
    path.write_bytes(bytes(path.stat().st_size))
    assert bytes(reader.read(2, [PLACE])[0]) != _content(2)
    assert bytes(reader.read_anew(2, [PLACE])[0]) == _content(2)
    assert cached_shards(store) == {3}


def test_a_copy_that_cannot_be_read_is_no_clips_fault(reader, store):
    """One that was cut behind the cache's back: the clip comes from afar, and the copy goes."""
    path = store.node_cache().folder / store.cached_files()[2].name
    os.truncate(path, 100)
    assert bytes(reader.read(2, [PLACE])[0]) == _content(2)
    assert reader.meter.cached_clips == 0
    assert cached_shards(store) == {3}


def test_clips_that_are_not_wanted_any_more_are_forgotten(reader, far_http):
    """From afar and from copies alike."""
    far_http.proxy.set_rules([FaultRule(Fault.STALL, stall_s=60.0)])
    for begun in reader.begin([(2, [PLACE]), (0, [PLACE])]):
        reader.forget(begun)
    assert reader.has_room()


def test_close_lets_go_of_all_copies(store):
    """Their descriptors are closed, also when it is called again."""
    folder = store.node_cache().folder
    reader = store.reader()
    reader.read(2, [PLACE])
    reader.read(3, [PLACE])
    assert len(open_files(folder)) == 2
    reader.close()
    reader.close()
    assert open_files(folder) == []
