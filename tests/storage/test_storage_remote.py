"""RemoteReader and Fetcher: what is asked of a server, when, and how much of it at a time."""

import json
import subprocess
import sys
import textwrap
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import numpy as np
import pytest
from far_folders import BUCKET, CONTENT, LARGE, LARGE_NAME, NAME, PREFIX, STALL_S
from hypothesis import given
from hypothesis import strategies as st
from watching import wait_until

from benchmarks.storage.faults import Fault, FaultRule
from shardkit.errors import CorruptShardError, StorageError
from shardkit.storage.clients import make_client
from shardkit.storage.fetcher import FIRST_READS, MOST_READS, Fetcher
from shardkit.storage.fetching import Patience
from shardkit.storage.locations import Location
from shardkit.storage.remote import CLIP_GAP_BYTES, GAP_BYTES, SPAN_BYTES, RemoteReader

QUICK = Patience(deadline_s=30.0, first_wait_s=0.01, most_wait_s=0.05)


def _reader(far, *names, **options):
    return RemoteReader(far.client(), names or [NAME], **{"patience": QUICK} | options)


def _whole(found):
    return [bytes(piece) for piece in found]


def _content(ranges):
    return [CONTENT[offset : offset + size] for offset, size in ranges]


def _fetch_threads():
    return {thread for thread in threading.enumerate() if thread.name == "shardkit-fetch"}


def test_a_clip_is_one_request(far):
    """Members that are side by side, with headers and with a member between them that nobody wants: one GET."""
    ranges = [(1_000, 50_000), (51_512, 7_000), (58_512 + GAP_BYTES, 3_000)]
    with closing(_reader(far)) as reader:
        assert _whole(reader.read(0, ranges)) == _content(ranges)
        assert reader.meter.requests == 1
    assert far.asked() == [(1_000, 61_512 + GAP_BYTES)]


def test_what_is_far_apart_in_a_clip_is_several_requests(far_http):
    """A gap that takes longer to read than to ask again."""
    ranges = [(1_000, 50_000), (51_001 + GAP_BYTES, 7_000)]
    with closing(_reader(far_http)) as reader:
        assert _whole(reader.read(0, ranges)) == _content(ranges)
    assert sorted(far_http.asked()) == [(offset, offset + size) for offset, size in ranges]


@st.composite
def _clip_ranges(draw):
    """Ascending ranges that do not overlap, close and apart, empty ones among them."""
    ranges, at = [], draw(st.integers(0, 5_000_000))
    for _ in range(draw(st.integers(0, 6))):
        at += draw(st.sampled_from((0, 1, 5_000, GAP_BYTES + 1)))
        size = draw(st.sampled_from((0, 1, 3_000, 40_000)))
        if at + size > len(CONTENT):
            break
        ranges.append((at, size))
        at += size
    return ranges


@given(clips=st.lists(_clip_ranges(), max_size=5), beside=st.integers(0, 6))
def test_every_range_has_its_bytes(shards_root, clips, beside):
    """Clips in any order, overlapping or not, with and without places of their own: the file's bytes, in each place."""
    client = make_client(Location.of(shards_root / PREFIX[1:]), "disk")
    with closing(RemoteReader(client, [NAME], patience=QUICK)) as reader:
        for ranges, begun in zip(clips, reader.begin([(0, ranges) for ranges in clips]), strict=True):
            into = [np.zeros(size, np.uint8) for _, size in ranges[beside:]]
            found = reader.read(0, ranges, into, begun=begun)
            assert _whole(found) == _content(ranges)
            assert all(view is place for view, place in zip(found[len(ranges) - len(into) :], into, strict=True))
        assert reader.has_room()


def test_what_has_a_place_of_its_own_may_lie_before_what_has_not(far):
    """Sound behind the pixels is read beside, the pixels before it to their place."""
    place = np.zeros(50_000, np.uint8)
    ranges = [(60_000, 7_000), (1_000, 50_000)]
    with closing(_reader(far)) as reader:
        sound, pixels = reader.read(0, ranges, [place])
        assert pixels is place
        assert _whole([sound, pixels]) == _content(ranges)
    assert far.asked() == [(1_000, 67_000)]


def test_clips_side_by_side_are_read_together(far):
    """A run that is not shuffled: one GET for twenty clips, of each its own bytes."""
    clips = [(0, [(number * 50_000, 30_000), (number * 50_000 + 31_000, 18_000)]) for number in range(20)]
    with closing(_reader(far)) as reader:
        begun = reader.begin(clips)
        for (shard, ranges), its in zip(clips, begun, strict=True):
            assert _whole(reader.read(shard, ranges, begun=its)) == _content(ranges)
    assert far.asked() == [(0, 999_000)]


def test_clips_with_one_between_them_are_read_apart(far_http):
    """A run that is shuffled: a GET for each clip, and nothing that nobody wants."""
    clips = [(0, [(number * 60_000, 59_000 - CLIP_GAP_BYTES)]) for number in (9, 3, 12, 0, 7)]
    with closing(_reader(far_http)) as reader:
        begun = reader.begin(clips)
        for (shard, ranges), its in zip(clips, begun, strict=True):
            assert _whole(reader.read(shard, ranges, begun=its)) == _content(ranges)
    assert sorted(far_http.asked()) == sorted((offset, offset + size) for _, [(offset, size)] in clips)


def test_a_request_is_of_sixteen_megabytes_at_most(far_http):
    """Clips side by side over more than that: spans that no clip is cut in; a longer clip is a span by itself."""
    size = 1_000_000
    clips = [(0, [(number * size, size)]) for number in range(len(LARGE) // size)]
    with closing(_reader(far_http, LARGE_NAME)) as reader:
        begun = reader.begin(clips)
        for (shard, [(offset, _)]), its in zip(clips, begun, strict=True):
            assert bytes(reader.read(shard, [(offset, size)], begun=its)[0]) == LARGE[offset : offset + size]
        asked = sorted(far_http.asked(LARGE_NAME))
        assert asked == [(0, 16 * size), (16 * size, 32 * size), (32 * size, 36 * size)]
        (whole,) = reader.read(0, [(7, SPAN_BYTES + 1)])
        assert bytes(whole) == LARGE[7 : SPAN_BYTES + 8]


def test_clips_of_several_shards_are_not_mixed_up(far_http):
    """The same place in two shards."""
    clips = [(shard, [(place, 1_000)]) for place in (5_999_500, 100) for shard in (1, 0) if place < 5_000_000 or shard]
    with closing(_reader(far_http, NAME, LARGE_NAME)) as reader:
        found = [bytes(reader.read(*clip, begun=its)[0]) for clip, its in zip(clips, reader.begin(clips), strict=True)]
    assert found == [LARGE[offset : offset + size] for _, [(offset, size)] in clips]
    assert reader.name(1) == far_http.location.child(LARGE_NAME)


def test_what_is_forgotten_makes_room_and_is_not_asked_for(behind_link):
    """Clips of a cancelled run: those that no thread has begun are never asked for, and others take their room."""
    # Longer than it takes to forget them.
    with behind_link(latency_s=5.0) as (client, proxy):
        reader = RemoteReader(client, [NAME], patience=QUICK)
        begun = reader.begin([(0, [(number * 10_000, 1_000)]) for number in range(MOST_READS + 200)])
        assert not reader.has_room()
        for its in begun[:-1]:
            reader.forget(its)
        assert reader.has_room()
        last = (MOST_READS + 199) * 10_000
        assert bytes(reader.read(0, [(last, 1_000)], begun=begun[-1])[0]) == CONTENT[last : last + 1_000]
        reader.close()
        assert len(proxy.log()) < MOST_READS + 100


def test_a_clip_that_is_forgotten_leaves_its_neighbours_their_bytes(far_http):
    """Three clips in one GET, of which the middle one is not wanted any more."""
    clips = [(0, [(number * 10_000, 9_000)]) for number in range(3)]
    with closing(_reader(far_http)) as reader:
        first, second, third = reader.begin(clips)
        reader.forget(second)
        assert _whole(reader.read(*clips[0], begun=first)) == _content(clips[0][1])
        assert _whole(reader.read(*clips[2], begun=third)) == _content(clips[2][1])
    assert far_http.asked() == [(0, 29_000)]


def test_the_farther_a_server_is_the_more_reads_are_under_way(behind_link):
    """At 200 ms, and with hardly any work between the clips, many more than before that is known."""
    with behind_link(latency_s=0.2) as (client, proxy):
        fetcher = Fetcher(client, patience=QUICK)
        under_way = deque()
        number = 0
        while number < 300 or under_way:
            # As a worker does: as far ahead as there is room, then one clip after the other.
            while number < 300 and (not under_way or fetcher.has_room()):
                under_way.append(fetcher.begin(NAME, number * 1_000, number * 1_000 + 1_000))
                number += 1
            wanted = under_way.popleft()
            assert bytes(fetcher.take(wanted)) == CONTENT[wanted.start : wanted.stop]
        fetcher.close()
        assert proxy.stats().most_in_flight > 2 * FIRST_READS


def test_all_that_was_begun_is_under_way_at_once(behind_link):
    """Sixty reads of a server that does not answer, begun in one breath: sixty requests, none behind another."""
    with behind_link() as (client, proxy):
        proxy.set_rules([FaultRule(Fault.STALL, stall_s=60.0)])
        fetcher = Fetcher(client, patience=QUICK)
        for place in range(60):
            fetcher.begin(NAME, place, place + 10)
        wait_until(lambda: proxy.stats().most_in_flight == 60)
        fetcher.close()


def test_bytes_that_wait_are_bounded(far_http):
    """No more is begun than the budget holds, however far the server is; a clip larger than that is read."""
    fetcher = Fetcher(far_http.client(), patience=QUICK, budget_bytes=1_000_000)
    begun = []
    while fetcher.has_room():
        begun.append(fetcher.begin(NAME, 0, 300_000))
    assert len(begun) == 4
    for its in begun:
        fetcher.take(its)
    assert fetcher.has_room()
    assert len(fetcher.take(fetcher.begin(NAME, 0, 3_000_000))) == 3_000_000
    fetcher.close()


def test_an_answer_that_others_cancel_is_asked_for_again(far_http):
    """The client's loop may end what it was asked for: the clip comes by another request."""
    far_http.proxy.set_rules([FaultRule(Fault.STALL, first=1, stall_s=60.0)])
    # It may be cancelled before it is sent: then the other one stalls.
    with closing(Fetcher(far_http.client(stall_s=STALL_S).telling(), patience=QUICK)) as fetcher:
        wanted = fetcher.begin(NAME, 0, 1_000)
        wanted.asked.answer.cancel()
        assert bytes(fetcher.take(wanted)) == CONTENT[:1_000]


def test_who_waits_for_a_closed_reader_is_told(far_http):
    """Another thread closes it, and then the connection breaks: an error, and no wait for ever."""
    far_http.proxy.set_rules([FaultRule(Fault.STALL, first=1, stall_s=60.0)])
    fetcher = Fetcher(far_http.client().telling(), patience=QUICK)
    wanted = fetcher.begin(NAME, 0, 1_000)
    with ThreadPoolExecutor(1) as other:
        taking = other.submit(fetcher.take, wanted)
        wait_until(lambda: fetcher._awaited is wanted)
        fetcher.close()
        wanted.asked.answer.cancel()
        with pytest.raises(StorageError, match="its reader was closed"):
            taking.result()


def test_an_answer_that_cannot_be_taken_in_is_an_error(far_http, monkeypatch):
    """In the client's thread nobody would hear of it: whoever waits for the bytes does."""
    fetcher = Fetcher(far_http.client().telling(), patience=QUICK)

    def broken(*_, **__):
        raise MemoryError("none left")

    monkeypatch.setattr(fetcher.meter, "count_request", broken)
    with closing(fetcher), pytest.raises(MemoryError, match="none left"):
        fetcher.take(fetcher.begin(NAME, 0, 1_000))


def test_where_no_more_threads_may_be_started_reads_wait_for_those_there_are(far_http, monkeypatch):
    """Three are allowed, as in a container with a limit: twenty reads come right."""
    start, started = threading.Thread.start, []

    def start_few(thread):
        if thread.name == "shardkit-fetch":
            if len(started) == 3:
                raise RuntimeError("can't start new thread")
            started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_few)
    with closing(Fetcher(far_http.client(), patience=QUICK)) as fetcher:
        begun = [fetcher.begin(NAME, place, place + 10) for place in range(20)]
        assert [bytes(fetcher.take(wanted)) for wanted in begun] == [CONTENT[place : place + 10] for place in range(20)]
    assert len(started) == 3


def test_latency_is_counted(behind_link):
    """The meter tells how long requests took, within a tenth."""
    with behind_link(latency_s=0.1) as (client, _), closing(RemoteReader(client, [NAME], patience=QUICK)) as reader:
        for place in (0, 100_000):
            reader.read(0, [(place, 10)])
        assert reader.meter.requests == 2
        assert reader.meter.latency_s(0.5) >= 0.09


def test_an_error_is_that_of_its_clip(far):
    """One shard is missing, another ends early: StorageError and CorruptShardError, and clips between come right."""
    clips = [(0, [(0, 100)]), (1, [(0, 100)]), (0, [(len(CONTENT), 100)]), (0, [(500_000, 100)])]
    with closing(_reader(far, NAME, "none.tar")) as reader:
        begun = reader.begin(clips)
        assert _whole(reader.read(*clips[0], begun=begun[0])) == _content(clips[0][1])
        with pytest.raises(StorageError, match=r"none.tar, bytes 0 to 100: not read: not found"):
            reader.read(*clips[1], begun=begun[1])
        with pytest.raises(CorruptShardError, match=rf"{NAME}: ends before byte"):
            reader.read(*clips[2], begun=begun[2])
        assert _whole(reader.read(*clips[3], begun=begun[3])) == _content(clips[3][1])
        assert (reader._fetcher._ahead, reader._fetcher._ahead_bytes) == (0, 0)


def test_damage_is_read_anew_from_the_server(far):
    """What came damaged once is asked for again, and comes right."""
    far.proxy.set_rules([FaultRule(Fault.CORRUPT, first=1)])
    with closing(_reader(far)) as reader:
        assert _whole(reader.read(0, [(0, 100_000)])) != _content([(0, 100_000)])
        assert _whole(reader.read_anew(0, [(0, 100_000)])) == _content([(0, 100_000)])
    assert far.asked() == [(0, 100_000)] * 2


def test_close_ends_the_threads(far):
    """With reads under way that are tried again and again, and were never taken."""
    far.proxy.set_rules([FaultRule(Fault.UNAVAILABLE)])
    before = _fetch_threads()
    reader = _reader(far)
    reader.begin([(0, [(number * 50_000, 1_000)]) for number in range(20)])
    wait_until(lambda: _fetch_threads() - before)
    reader.close()
    reader.close()
    wait_until(lambda: not _fetch_threads() - before)


def test_a_server_that_stalls_does_not_hold_up_the_programs_end(far):
    """Reads that wait for a server when the program ends, of one reader that was closed and of one that was not."""
    far.proxy.set_rules([FaultRule(Fault.STALL, stall_s=100.0)])
    script = f"""
        import json, sys, time
        from shardkit.storage.clients import make_client
        from shardkit.storage.fetching import Patience
        from shardkit.storage.locations import Location
        from shardkit.storage.remote import RemoteReader

        url, engine, options = sys.argv[1:]
        client = make_client(Location.of(url, json.loads(options)), engine, stall_s=100.0)
        readers = [RemoteReader(client, ["{NAME}"], patience=Patience()) for _ in range(2)]
        for reader in readers:
            reader.begin([(0, [(number * 50_000, 1_000)]) for number in range(20)])
            while reader._fetcher._queue.qsize():
                time.sleep(0.01)
        readers[0].close()
    """
    options = json.dumps(dict(far.location.storage_options))
    command = [sys.executable, "-c", textwrap.dedent(script), str(far.location), far.engine, options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_reader_shows_what_it_reads(far_s3):
    """Where from and through what; no keys."""
    with closing(_reader(far_s3)) as reader:
        assert repr(reader) == f"RemoteReader(s3://{BUCKET}/shards, 1 shards, obstore)"
