"""Ranged reads are tried again from the byte where they broke, as long as it makes sense, and no longer."""

import threading
import time
from dataclasses import replace

import fsspec
import pytest
from far_folders import CONTENT, NAME, PREFIX, STALL_S

from benchmarks.storage.fault_proxy import fault_proxy
from benchmarks.storage.faults import TRANSIENT_FAULTS, Fault, FaultRule
from benchmarks.storage.link import Link
from shardkit.errors import CorruptShardError, StorageError
from shardkit.storage.clients import make_client
from shardkit.storage.failures import MissingFileError
from shardkit.storage.fetching import WHOLE_BYTES, Patience, fetch, read_file
from shardkit.storage.fsspec_client import PIECE_BYTES, SMALL_PIECE_BYTES
from shardkit.storage.locations import Location
from shardkit.storage.request_meter import RequestMeter
from shardkit.storage.stores import ReadFolder

QUICK = Patience(deadline_s=30.0, first_wait_s=0.01, most_wait_s=0.05)
SHORT = Patience(deadline_s=0.6, first_wait_s=0.01, most_wait_s=0.05)
SMALL = (1_000, 181_000)
"""Asked for in one piece at first."""
LARGE = (1_000, 5_001_000)
"""Streamed, and more than fsspec's clients ask for at once."""
FIRST_PIECE_BYTES = 5_000_000 // 16
"""Of obstore's stream of it."""


def _fetch(client, start, stop, *, name=NAME, patience=QUICK, meter=None, closing=None):
    """The bytes of a range."""
    found = fetch(
        client,
        name,
        start,
        stop,
        patience=patience,
        meter=meter or RequestMeter(),
        closing=closing or threading.Event(),
    )
    return found.tobytes()


@pytest.mark.parametrize(
    "span", [(0, 0), (7, 8), SMALL, (0, WHOLE_BYTES), (5, WHOLE_BYTES + 6), LARGE, (0, len(CONTENT))]
)
def test_a_range_has_its_bytes(far, span):
    """Nothing, one byte, a clip, and what is streamed: the file's bytes, without a retry."""
    meter = RequestMeter()
    assert _fetch(far.client(), *span, meter=meter) == CONTENT[slice(*span)]
    assert meter.request_bytes == span[1] - span[0]
    assert meter.retries == 0


def test_a_clip_is_one_request(far):
    """The bytes of a clip are asked for once, and exactly these."""
    _fetch(far.client(), *SMALL)
    assert far.asked() == [SMALL]


@pytest.mark.parametrize("fault", TRANSIENT_FAULTS)
def test_every_fault_of_the_way_is_got_over(far, fault):
    """It comes once: the bytes are right, after one more attempt."""
    far.proxy.set_rules([FaultRule(fault, first=1, retry_after_s=0)])
    meter = RequestMeter()
    client = far.client(stall_s=STALL_S) if fault is Fault.STALL else far.client()
    assert _fetch(client, *SMALL, meter=meter) == CONTENT[slice(*SMALL)]
    # aiohttp itself asks once more where a connection that it had kept is closed before an answer.
    assert (meter.requests, meter.retries) == (2, 1) or fault is Fault.REFUSE
    assert far.proxy.stats().faults == {fault.value: 1}


@pytest.mark.parametrize("fault", [Fault.TRUNCATE, Fault.RESET])
def test_a_stream_goes_on_where_it_broke(far, fault):
    """Of what came less than a piece is asked for again; after the first failure pieces are small: not a byte."""
    far.proxy.set_rules([FaultRule(fault, first=2, first_of="object")])
    assert _fetch(far.client(), *LARGE) == CONTENT[slice(*LARGE)]
    asked = far.asked()
    if far.engine == "fsspec":
        assert asked[:3] == [(LARGE[0], LARGE[0] + PIECE_BYTES)] + [(LARGE[0], LARGE[0] + SMALL_PIECE_BYTES)] * 2
        assert [start for start, _ in asked[3:]] == [stop for _, stop in asked[2:-1]]
        assert asked[-1][1] == LARGE[1]
        return
    assert [stop for _, stop in asked] == [LARGE[1]] * 3
    came = [start + served.body_bytes for (start, _), served in zip(asked, far.proxy.log(), strict=True)]
    (first, _), (second, _), (third, _) = asked
    assert first == LARGE[0] <= second <= came[0]
    assert came[0] - second < FIRST_PIECE_BYTES
    # A reset takes with it what the system held.
    assert second < third <= came[1] if fault is Fault.RESET else third == came[1]


@pytest.mark.parametrize("server", ["far_http", "far_s3"])
def test_a_connection_that_always_breaks_early_is_got_over(request, server):
    """Every answer breaks off somewhere: each of obstore's streams gets a little further."""
    far = request.getfixturevalue(server)
    far.proxy.set_rules([FaultRule(Fault.TRUNCATE)])
    assert _fetch(far.client(), *SMALL) == CONTENT[slice(*SMALL)]
    starts = [start for start, _ in far.asked()]
    assert starts == sorted(starts)
    assert len(starts) > 2


def test_short_answers_are_gone_on_with(far):
    """A server that gives a part each time, as it says: the rest is asked for until all is there."""
    far.proxy.set_rules([FaultRule(Fault.SHORT, first=2)])
    assert _fetch(far.client(), *SMALL) == CONTENT[slice(*SMALL)]
    asked = far.asked()
    assert len(asked) == 3
    if far.engine == "fsspec":
        assert asked[0][0] < asked[1][0] < asked[2][0]


def test_a_server_that_lies_about_length_costs_obstore_nothing_but_time(far_http):
    """More bytes are announced than were asked for, for ever: those that were asked for came, and are taken."""
    far_http.proxy.set_rules([FaultRule(Fault.LIE)])
    assert _fetch(far_http.client(), *SMALL) == CONTENT[slice(*SMALL)]


def test_a_server_that_lies_about_length_is_an_error_of_fsspecs_clients(far_http):
    """They give nothing of such an answer: StorageError that says how the answers ended."""
    far_http.proxy.set_rules([FaultRule(Fault.LIE)])
    with pytest.raises(StorageError, match="closed in the middle of the answer"):
        _fetch(far_http.client().telling(), *SMALL, patience=SHORT)


def test_a_flipped_byte_is_left_to_digests(far):
    """Nothing about such an answer is wrong as far as storage goes: one request, one byte that differs."""
    far.proxy.set_rules([FaultRule(Fault.CORRUPT)])
    found = _fetch(far.client(), *SMALL)
    assert sum(one != other for one, other in zip(found, CONTENT[slice(*SMALL)], strict=True)) == 1
    assert far.asked() == [SMALL]


def test_a_server_that_asks_to_wait_is_waited_for(far):
    """Retry-After of a 429 is honoured; obstore does not tell it, so the second one comes through fsspec's client."""
    failures = 2 if far.engine == "obstore" else 1
    far.proxy.set_rules([FaultRule(Fault.TOO_MANY, first=failures, retry_after_s=1)])
    began_s = time.monotonic()
    assert _fetch(far.client(), *SMALL) == CONTENT[slice(*SMALL)]
    assert time.monotonic() - began_s >= 1.0
    assert len(far.asked()) == failures + 1


def test_without_another_client_a_busy_server_is_asked_through_the_same():
    """Gcsfs is not installed: obstore's client is as telling as it gets."""
    client = make_client(Location.of("gs://bucket/shards", {"token": "anon"}), "obstore")
    assert client.telling() is client


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        (Fault.FORBIDDEN, StorageError, r"not read: access denied \(403.*; check the keys in storage_options"),
        (Fault.NOT_FOUND, MissingFileError, r"not read: not found \(404.*; check the URL, bucket and folder"),
    ],
)
def test_what_no_retry_mends_is_asked_for_once(far, fault, error, words):
    """403 and 404: an error at once, with URL and range, and what to check."""
    far.proxy.set_rules([FaultRule(fault)])
    with pytest.raises(error, match=rf"^{far.location}/{NAME}, bytes 1,000 to 181,000: {words}"):
        _fetch(far.client(), *SMALL)
    assert len(far.asked()) == 1


def test_a_deadline_ends_in_an_error_that_says_everything(far):
    """URL, range, attempts, time, last cause and remedy; waits grow, so that a server in trouble is not run down."""
    far.proxy.set_rules([FaultRule(Fault.UNAVAILABLE)])
    words = (
        rf"^{far.location}/{NAME}, bytes 1,000 to 181,000: not read in (\d+) attempts? over [\d.]+ s: the server "
        r"is busy \(503, .*Service Unavailable\); check the network, the server and its address"
    )
    with pytest.raises(StorageError, match=words) as raised:
        _fetch(far.client(), *SMALL, patience=Patience(deadline_s=0.5, first_wait_s=0.05, most_wait_s=1.0))
    # Waits of at least 25, 50, 100, 200 ms.
    assert 1 <= len(far.asked()) <= 5
    assert f" {len(far.asked())} attempt" in str(raised.value)
    assert raised.value.__cause__ is not None


def test_a_stall_is_given_up_long_before_the_server_goes_on(far_http):
    """No byte for STALL_S: another attempt, though the connection is open and the server would send more some day."""
    far_http.proxy.set_rules([FaultRule(Fault.STALL, first=1, stall_s=60.0)])
    began_s = time.monotonic()
    assert _fetch(far_http.client(stall_s=STALL_S), *SMALL) == CONTENT[slice(*SMALL)]
    assert STALL_S <= time.monotonic() - began_s < 30.0


@pytest.mark.parametrize("engine", ["obstore", "fsspec"])
def test_a_server_that_stalls_for_ever_is_an_error(far_http, engine):
    """The deadline holds for stalls, too."""
    far_http.proxy.set_rules([FaultRule(Fault.STALL, stall_s=60.0)])
    with pytest.raises(StorageError, match=r"not read.*the answer did not come in time"):
        _fetch(replace(far_http, engine=engine).client(stall_s=STALL_S), *SMALL, patience=SHORT)


@pytest.mark.parametrize("engine", ["obstore", "fsspec"])
def test_what_is_slow_but_steady_is_not_given_up(http_server, engine):
    """A clip that takes longer than its stall time: one request."""
    with fault_proxy(http_server.url, link=Link(bytes_per_s=50_000)) as proxy:
        client = make_client(Location.of(f"{proxy.url}{PREFIX}"), engine, stall_s=3.0)
        assert _fetch(client, 0, 250_000) == CONTENT[:250_000]
        assert len(proxy.log()) == 1


@pytest.fixture(params=["http", "s3"])
def trickling(request, http_server, object_server):
    """The folder behind a server from which some bytes come all the time, and too few in a second."""
    target = http_server.url if request.param == "http" else object_server.url
    with fault_proxy(target, link=Link(bytes_per_s=50_000, mend_206=True)) as proxy:
        if request.param == "http":
            yield Location.of(f"{proxy.url}{PREFIX}")
        else:
            yield Location.of(f"s3:/{PREFIX}", object_server.behind(proxy.url).storage_options)


@pytest.mark.parametrize("engine", ["obstore", "fsspec"])
@pytest.mark.parametrize("what", ["clip", "stream", "file"])
def test_a_server_that_trickles_is_given_up_at_the_deadline(trickling, engine, what):
    """No stall ends such an answer, in one piece or in many: StorageError, and nobody waits for minutes."""
    client = ReadFolder(trickling, engine).client(SHORT)
    reads = {
        "clip": lambda: _fetch(client, *SMALL, patience=SHORT),
        "stream": lambda: _fetch(client, *LARGE, patience=SHORT),
        "file": lambda: read_file(client, NAME, patience=SHORT),
    }
    began_s = time.monotonic()
    with pytest.raises(StorageError, match=r"not read.*(in time|too slowly)"):
        reads[what]()
    assert time.monotonic() - began_s < 60.0


def test_a_stream_that_trickles_is_broken_off_between_its_pieces(trickling):
    """A later attempt has what is left of the time, and the client does not know how much that is."""
    client = make_client(trickling, "obstore")
    began_s = time.monotonic()
    with pytest.raises(StorageError, match=r"not read in 1 attempt over [\d.]+ s: its bytes come too slowly"):
        _fetch(client, 0, WHOLE_BYTES + 1, patience=SHORT)
    assert time.monotonic() - began_s < 30.0


def test_a_file_that_ends_early_is_a_corrupt_shard(far):
    """Whether a range reaches past the end or begins there: no retries, and the message names file and remedy."""
    size = len(CONTENT)
    for start, stop in ((size - 10, size + 10), (size, size + 10), (size + 5, size + 10), (size - 3_000_000, size + 1)):
        with pytest.raises(
            CorruptShardError, match=rf"^{far.location}/{NAME}: ends before byte {stop:,}.*copy it again"
        ):
            _fetch(far.client(), start, stop)
    assert len(far.asked()) <= 8


@pytest.mark.parametrize("engine", ["disk", "fsspec"])
def test_a_file_without_a_server_that_ends_early_is_a_corrupt_shard(tmp_path, engine):
    """No status tells of the end on a shared disk or in memory: an empty answer does, at once."""
    if engine == "disk":
        location = Location.of(tmp_path)
        (tmp_path / NAME).write_bytes(CONTENT[:100])
    else:
        location = Location.of("memory://fetching")
        fsspec.filesystem("memory").pipe_file(f"/fetching/{NAME}", CONTENT[:100])
    client = make_client(location, engine)
    assert _fetch(client, 90, 100) == CONTENT[90:100]
    for start in (90, 100, 105):
        with pytest.raises(CorruptShardError, match=r"ends before byte 110, .*copy it again"):
            _fetch(client, start, 110, patience=Patience(deadline_s=600.0))


@pytest.mark.parametrize("engine", ["obstore", "fsspec"])
def test_a_server_that_ignores_ranges_is_an_error_at_once(far_http, engine):
    """The whole file for a part of it: neither taken for the part nor asked for again."""
    far_http.proxy.set_rules([FaultRule(Fault.IGNORE_RANGE)])
    client = far_http.client() if engine == "obstore" else far_http.client().telling()
    with pytest.raises(StorageError, match="does not answer ranged reads with the range"):
        _fetch(client, *SMALL)
    assert len(far_http.asked()) == 1


def test_nobody_waits_for_a_read_that_is_given_up(far_http):
    """Once `closing` is set a read ends with the pause that it is in, and not with its deadline."""
    far_http.proxy.set_rules([FaultRule(Fault.UNAVAILABLE)])
    closing = threading.Event()
    threading.Timer(0.3, closing.set).start()
    began_s = time.monotonic()
    with pytest.raises(StorageError, match="given up, since nobody waits for it"):
        _fetch(
            far_http.client(),
            *SMALL,
            closing=closing,
            patience=Patience(deadline_s=600.0, first_wait_s=300.0, most_wait_s=300.0),
        )
    assert time.monotonic() - began_s < 60


def test_a_disk_is_read_as_a_server_is(tmp_path):
    """A shared file system: the same bytes, and the same errors with the system's words and no server's remedy."""
    client = make_client(Location.of(tmp_path), "disk")
    (tmp_path / NAME).write_bytes(CONTENT)
    for span in (SMALL, LARGE):
        assert _fetch(client, *span) == CONTENT[slice(*span)]
    words = rf"^{tmp_path}/none.tar, bytes 0 to 5: not read: No such file or directory; check the path, its permissions"
    with pytest.raises(MissingFileError, match=words):
        _fetch(client, 0, 5, name="none.tar")


def test_requests_are_counted(far_http):
    """Every request, those that were a retry, and the bytes that were of use."""
    far_http.proxy.set_rules([FaultRule(Fault.UNAVAILABLE, first=2)])
    meter = RequestMeter()
    _fetch(far_http.client(), *SMALL, meter=meter)
    _fetch(far_http.client(), 0, 10, meter=meter)
    assert (meter.requests, meter.retries, meter.request_bytes) == (3 + 3, 2 + 2, 180_010)


@pytest.mark.parametrize("fault", [fault for fault in TRANSIENT_FAULTS if fault is not Fault.SHORT])
def test_a_small_file_is_read_whole_through_faults(far, fault, shards_root):
    """A manifest, of which no range is asked for: every fault of the way is got over."""
    (shards_root / PREFIX[1:] / "dataset.json").write_bytes(CONTENT[:5_000])
    far.proxy.set_rules([FaultRule(fault, first=1, ranged_gets_only=False, retry_after_s=0)])
    client = far.client(stall_s=STALL_S) if fault is Fault.STALL else far.client()
    assert read_file(client, "dataset.json", patience=QUICK) == CONTENT[:5_000]


def test_a_small_file_that_is_not_there_is_a_type_of_its_own(far):
    """MissingFileError at once, with its URL and without a range."""
    with pytest.raises(MissingFileError, match=rf"^{far.location}/none.json: not read: not found \(404"):
        read_file(far.client(), "none.json", patience=QUICK)
