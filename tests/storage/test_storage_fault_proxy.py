"""The proxy passes requests on unharmed, as late and as slowly as asked for, and each fault is what it says."""

import http.client
import json
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import fsspec
import pytest
import s3fs
from fsspec.implementations.http import HTTPFileSystem
from hypothesis import given
from hypothesis import strategies as st
from obstore.store import HTTPStore, S3Store
from started_servers import started

from benchmarks.storage.fault_proxy import Link, fault_proxy
from benchmarks.storage.faults import (
    LIE_BYTES,
    STATUS_FAULTS,
    TRANSIENT_FAULTS,
    Fault,
    FaultPlan,
    FaultRule,
    Request,
    mixed_faults,
    rules_from_json,
    rules_to_json,
)
from benchmarks.storage.ledger import Served
from benchmarks.storage.owned_process import ServerDidNotStartError
from benchmarks.storage.servers import nginx_server, s3_server

CONTENT = bytes(range(256)) * 2000
BUCKET, NAME = "shards", "clips-000000.tar"
PATH = f"/{BUCKET}/{NAME}"
START, END = 100_000, 300_000
WANTED = CONTENT[START:END]
TIMEOUT_S = 20.0


@dataclass
class Answer:
    """What a client with no library of its own saw of one request."""

    status: int | None
    headers: dict[str, str]
    body: bytes
    end: str
    """`length` if all came that was announced, else `closed`, `reset` or `silence`."""
    took_s: float


def _ask(url, *, path=PATH, span=(START, END), method="GET", silence_s=TIMEOUT_S):
    """One request on a connection of its own."""
    netloc = urlsplit(url).netloc
    host, port = netloc.split(":")
    asked = f"Range: bytes={span[0]}-{span[1] - 1}\r\n" if span else ""
    began_s = time.monotonic()
    with socket.create_connection((host, int(port)), timeout=silence_s) as connection:
        connection.sendall(f"{method} {path} HTTP/1.1\r\nHost: {netloc}\r\n{asked}\r\n".encode())
        received, end, status, headers = b"", "", None, {}
        while not end:
            try:
                block = connection.recv(1 << 16)
                end = "" if block else "closed"
            except ConnectionResetError:
                block, end = b"", "reset"
            except TimeoutError:
                block, end = b"", "silence"
            received += block
            head, mark, body = received.partition(b"\r\n\r\n")
            if mark and status is None:
                first, *lines = head.decode().split("\r\n")
                status = int(first.split()[1])
                headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
            if not end and mark and (method == "HEAD" or len(body) == int(headers.get("content-length", -1))):
                end = "length"
    return Answer(status, headers, received.partition(b"\r\n\r\n")[2], end, time.monotonic() - began_s)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One bucket; files of half a megabyte, of one byte and of none."""
    folder = tmp_path_factory.mktemp("served")
    (folder / BUCKET).mkdir()
    (folder / BUCKET / NAME).write_bytes(CONTENT)
    (folder / BUCKET / "other.tar").write_bytes(CONTENT)
    (folder / BUCKET / "one").write_bytes(b"1")
    (folder / BUCKET / "none").write_bytes(b"")
    return folder


@pytest.fixture(scope="module")
def nginx(folder):
    """A server that answers as it should."""
    with started(nginx_server(folder)) as server:
        yield server


@pytest.fixture(scope="module")
def faulty(nginx):
    """A proxy before nginx; tests set its rules."""
    with fault_proxy(nginx.url) as proxy:
        yield proxy


# Without a fault.


def test_answers_pass_as_they_are(nginx, faulty):
    """Status, headers and body of ranges, whole files, HEAD, an empty file and a missing one are the server's."""
    faulty.set_rules([])
    for asked in (
        {},
        {"span": None},
        {"method": "HEAD", "span": None},
        {"path": f"/{BUCKET}/none", "span": None},
        {"path": "/missing"},
        {"span": (len(CONTENT), len(CONTENT) + 1)},
    ):
        direct, through = _ask(nginx.url, **asked), _ask(faulty.url, **asked)
        for answer in (direct, through):
            answer.headers.pop("date")
        assert (through.status, through.headers, through.body) == (direct.status, direct.headers, direct.body)
        assert through.end == "length"


def test_one_connection_serves_many_requests(faulty):
    """A client's connection stays open from request to request, also after an answer that comes in chunks."""
    faulty.set_rules([])
    connection = http.client.HTTPConnection(urlsplit(faulty.url).netloc)
    connection.connect()
    first = connection.sock
    for _ in range(20):
        connection.request("GET", f"/{BUCKET}/")
        answer = connection.getresponse()
        assert answer.getheader("Transfer-Encoding") == "chunked"
        assert NAME in answer.read().decode()
        connection.request("GET", PATH, headers={"Range": f"bytes={START}-{END - 1}"})
        assert connection.getresponse().read() == WANTED
    assert connection.sock is first
    connection.close()


def test_requests_are_counted_and_logged(faulty):
    """Counts of requests, bytes and faults, and each request with its range, status and fault."""
    faulty.set_rules([FaultRule(Fault.NOT_FOUND, path="*/other.tar")])
    _ask(faulty.url)
    _ask(faulty.url, path=f"/{BUCKET}/other.tar")
    _ask(faulty.url, method="HEAD", span=None)
    span = f"bytes={START}-{END - 1}"
    log = faulty.log()
    assert log[0] == Served("GET", PATH, span, status=206, body_bytes=len(WANTED))
    assert (log[1].path, log[1].status, log[1].fault) == (f"/{BUCKET}/other.tar", 404, "404")
    assert log[2] == Served("HEAD", PATH, None, status=200)
    stats = faulty.stats()
    assert (stats.requests, stats.faults) == (3, {"404": 1})
    assert stats.body_bytes == sum(served.body_bytes for served in log)


def test_a_server_that_is_gone_closes_the_connection(tmp_path):
    """Nothing is made up where there is no server."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    with fault_proxy(url) as proxy:
        answer = _ask(proxy.url)
        assert (answer.status, answer.end) == (None, "closed")


# Latency and bandwidth.


def test_latency_is_one_requests_own(nginx):
    """Each answer takes as long as it should; sixty-four at a time wait together, not one for another."""
    latency_s, clients = 0.25, 64
    with fault_proxy(nginx.url, link=Link(latency_s=latency_s)) as proxy, ThreadPoolExecutor(clients) as pool:
        answers = list(pool.map(lambda _: _ask(proxy.url), range(clients)))
        assert all(answer.body == WANTED for answer in answers)
        assert all(answer.took_s >= latency_s for answer in answers)
        assert proxy.stats().most_in_flight > clients / 2


def test_all_connections_share_the_bandwidth(nginx):
    """Four clients get no more through than one would."""
    bytes_per_s = 1_000_000
    with fault_proxy(nginx.url, link=Link(bytes_per_s=bytes_per_s)) as proxy, ThreadPoolExecutor(4) as pool:
        began_s = time.monotonic()
        answers = list(pool.map(lambda _: _ask(proxy.url), range(4)))
        took_s = time.monotonic() - began_s
    assert all(answer.body == WANTED for answer in answers)
    assert took_s >= 0.95 * 4 * len(WANTED) / bytes_per_s


# Each fault as a client sees it.


def _one_fault(proxy, fault, **fields):
    proxy.set_rules([FaultRule(fault, **fields)])


def test_stall(faulty):
    """Nothing comes for a while in the middle of the body; then the rest does."""
    _one_fault(faulty, Fault.STALL, stall_s=0.6)
    answer = _ask(faulty.url)
    assert (answer.status, answer.body, answer.end) == (206, WANTED, "length")
    assert answer.took_s >= 0.6


def test_a_stall_ends_with_the_client(faulty):
    """A client that does not wait gets part of the body; its request is over then, long before the stall."""
    _one_fault(faulty, Fault.STALL, stall_s=600)
    answer = _ask(faulty.url, silence_s=5.0)
    assert answer.end == "silence"
    assert WANTED.startswith(answer.body)
    assert 0 < len(answer.body) < len(WANTED)
    assert faulty.stats().faults == {"stall": 1}


def test_what_began_under_other_rules_is_not_counted(faulty):
    """A client has its answer before its request is entered: one that ends under the next rules is none of theirs."""
    _one_fault(faulty, Fault.STALL, stall_s=600)
    address = urlsplit(faulty.url)
    with socket.create_connection((address.hostname, address.port), timeout=TIMEOUT_S) as connection:
        asked = f"GET {PATH} HTTP/1.1\r\nHost: {address.netloc}\r\nRange: bytes={START}-{END - 1}\r\n\r\n"
        connection.sendall(asked.encode())
        assert connection.recv(1)
        faulty.set_rules([])
    assert (faulty.stats().requests, faulty.stats().faults, faulty.log()) == (0, {}, [])


@pytest.mark.parametrize(("fault", "end"), [(Fault.RESET, "reset"), (Fault.TRUNCATE, "closed")])
def test_a_body_that_breaks_off(faulty, fault, end):
    """The whole range is announced, part of it comes, and the connection is reset or closed."""
    _one_fault(faulty, fault)
    answer = _ask(faulty.url)
    assert (answer.status, answer.headers["content-length"], answer.end) == (206, str(len(WANTED)), end)
    assert WANTED.startswith(answer.body)
    assert len(answer.body) < len(WANTED)
    assert faulty.stats().faults == {fault.value: 1}
    if fault is Fault.TRUNCATE:
        assert faulty.log()[0].body_bytes == len(answer.body) > 0


def test_short(faulty):
    """Fewer bytes than asked for, with headers that agree with them; the connection serves the next request."""
    faulty.set_rules([FaultRule(Fault.SHORT, first=1)])
    connection = http.client.HTTPConnection(urlsplit(faulty.url).netloc)
    for broken in (True, False):
        connection.request("GET", PATH, headers={"Range": f"bytes={START}-{END - 1}"})
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status == 206
        assert answer.getheader("Content-Length") == str(len(body))
        assert answer.getheader("Content-Range") == f"bytes {START}-{START + len(body) - 1}/{len(CONTENT)}"
        assert WANTED.startswith(body)
        assert (0 < len(body) < len(WANTED)) is broken
    connection.close()


def test_lie(faulty):
    """More is announced than ever comes; all of the range does."""
    _one_fault(faulty, Fault.LIE)
    answer = _ask(faulty.url)
    assert (answer.status, answer.body, answer.end) == (206, WANTED, "closed")
    assert answer.headers["content-length"] == str(len(WANTED) + LIE_BYTES)


def test_head_can_lie(faulty):
    """With every request meant, HEAD tells a size that is not the file's."""
    _one_fault(faulty, Fault.LIE, ranged_gets_only=False)
    answer = _ask(faulty.url, method="HEAD", span=None)
    assert answer.headers["content-length"] == str(len(CONTENT) + LIE_BYTES)


def test_corrupt(faulty):
    """One byte differs, and nothing else."""
    _one_fault(faulty, Fault.CORRUPT)
    answer = _ask(faulty.url)
    assert (answer.status, answer.end) == (206, "length")
    assert sum(a != b for a, b in zip(answer.body, WANTED, strict=True)) == 1


def test_status_200(faulty):
    """The range and its Content-Range under status 200."""
    _one_fault(faulty, Fault.STATUS_200)
    answer = _ask(faulty.url)
    assert (answer.status, answer.body) == (200, WANTED)
    assert answer.headers["content-range"] == f"bytes {START}-{END - 1}/{len(CONTENT)}"


def test_ignore_range(faulty):
    """The whole file."""
    _one_fault(faulty, Fault.IGNORE_RANGE)
    answer = _ask(faulty.url)
    assert (answer.status, answer.body) == (200, CONTENT)
    assert "content-range" not in answer.headers


def test_refuse(faulty):
    """The connection is closed without a byte."""
    _one_fault(faulty, Fault.REFUSE)
    answer = _ask(faulty.url)
    assert (answer.status, answer.body, answer.end) == (None, b"", "closed")


@pytest.mark.parametrize("fault", sorted(STATUS_FAULTS))
def test_a_status_that_is_no_success(faulty, fault):
    """The status, an error document as S3 has it, and for 429 when to come back; HEAD has no body."""
    _one_fault(faulty, fault, retry_after_s=7, ranged_gets_only=False)
    answer = _ask(faulty.url)
    assert (str(answer.status), answer.end) == (fault.value, "length")
    assert b"<Error><Code>" in answer.body
    assert answer.headers.get("retry-after") == ("7" if fault is Fault.TOO_MANY else None)
    head = _ask(faulty.url, method="HEAD")
    assert (head.status, head.body) == (answer.status, b"")


@pytest.mark.parametrize("fault", [Fault.STALL, Fault.RESET, Fault.TRUNCATE, Fault.SHORT, Fault.CORRUPT])
@pytest.mark.parametrize("name", ["one", "none"])
def test_a_body_too_small_to_break_passes(faulty, fault, name):
    """A body of one byte, and of none, comes as it is and counts as no fault."""
    _one_fault(faulty, fault, ranged_gets_only=False)
    answer = _ask(faulty.url, path=f"/{BUCKET}/{name}", span=None)
    assert (answer.status, answer.body, answer.end) == (200, b"1" if name == "one" else b"", "length")
    assert faulty.stats().faults == {}


# Rules.


def test_the_first_times_only(faulty):
    """`first` asks of a range fail, also when the rest is asked for; then it comes. Another range has its own."""
    faulty.set_rules([FaultRule(Fault.TRUNCATE, first=2)])
    assert _ask(faulty.url).end == "closed"
    assert _ask(faulty.url, span=(START + 500, END)).end == "closed"
    assert _ask(faulty.url).end == "length"
    assert _ask(faulty.url, span=(0, 1000)).end == "closed"


def test_the_first_times_of_an_object(faulty):
    """With `first_of="object"` ranges of one object count together."""
    faulty.set_rules([FaultRule(Fault.UNAVAILABLE, first=1, first_of="object")])
    assert [_ask(faulty.url, span=span).status for span in ((0, 10), (20, 30))] == [503, 206]
    assert _ask(faulty.url, path=f"/{BUCKET}/other.tar").status == 503


def test_rules_may_be_for_ranges_only(faulty):
    """Without `ranged_gets_only` whole files and HEAD fail, too."""
    for ranged_gets_only, statuses in ((True, [503, 200, 200]), (False, [503, 503, 503])):
        faulty.set_rules([FaultRule(Fault.UNAVAILABLE, ranged_gets_only=ranged_gets_only)])
        answers = [_ask(faulty.url), _ask(faulty.url, span=None), _ask(faulty.url, span=None, method="HEAD")]
        assert [answer.status for answer in answers] == statuses


def test_rules_that_make_no_sense_are_refused(faulty):
    """The proxy says what is wrong with them and keeps those it has."""
    faulty.set_rules([FaultRule(Fault.FORBIDDEN)])
    broken = FaultRule(Fault.RESET)
    object.__setattr__(broken, "share", 2.0)
    with pytest.raises(ValueError, match=r"share is 2\.0"):
        faulty.set_rules([broken])
    assert _ask(faulty.url).status == 403


def test_the_control_address_knows_what_it_has(faulty):
    """An unknown name below it is a 404 of the proxy's own."""
    connection = http.client.HTTPConnection(urlsplit(faulty.url).netloc)
    connection.request("GET", "/__proxy__/weather")
    answer = connection.getresponse()
    assert (answer.status, json.loads(answer.read())) == (404, "the proxy has no GET weather")
    connection.close()


REQUESTS = [Request("GET", f"/b/{n % 7}", f"bytes={n}-{n + 9}") for n in range(4000)]


def _met(rules, *, seed, requests=REQUESTS):
    plan = FaultPlan(rules, seed=seed)
    return {request: plan.meet(request) for request in requests}


@given(order=st.permutations(range(40)), seed=st.integers(0, 9))
def test_faults_do_not_depend_on_the_order_of_requests(order, seed):
    """The same seed gives the same request the same fault at the same place, whatever came before."""
    rules = mixed_faults(0.5)
    met = _met(rules, seed=seed, requests=REQUESTS[:40])
    assert _met(rules, seed=seed, requests=[REQUESTS[n] for n in order]) == met


def test_shares_are_kept():
    """Of many requests, as many meet each kind as its share says; places spread over the body; seeds differ."""
    met = _met(mixed_faults(0.45), seed=3)
    rules = [rule for rule, _ in met.values() if rule]
    for fault in TRANSIENT_FAULTS:
        assert sum(rule.fault is fault for rule in rules) == pytest.approx(0.05 * len(REQUESTS), rel=0.25)
    places = sorted(where for rule, where in met.values() if rule)
    assert places[0] < 0.01
    assert places[-1] > 0.99
    assert _met(mixed_faults(0.45), seed=4) != met


def test_the_same_request_may_pass_the_next_time():
    """What is drawn anew for each time that a range is asked for."""
    plan = FaultPlan([FaultRule(Fault.RESET, share=0.5)], seed=0)
    drawn = [plan.meet(REQUESTS[0])[0] is None for _ in range(50)]
    assert {True, False} == set(drawn)


def test_rules_come_back_from_json():
    """Every field survives; fields that are left out have their defaults; unknown ones are an error."""
    rules = (
        *(FaultRule(fault, 0.01, 3, "object", "*.tar", ranged_gets_only=False, stall_s=2.5) for fault in Fault),
        *mixed_faults(0.05),
    )
    assert rules_from_json(rules_to_json(rules)) == rules
    assert rules_from_json('[{"fault": "reset"}]') == (FaultRule(Fault.RESET),)
    for text in ('[{"fault": "rset"}]', '[{"fault": "reset", "shre": 1}]', "[{}]", "3"):
        with pytest.raises(ValueError):
            rules_from_json(text)


@pytest.mark.parametrize(
    "field", [{"share": -0.1}, {"share": 1.1}, {"first": 0}, {"first_of": "shard"}, {"stall_s": -1}]
)
def test_a_rule_out_of_its_range_is_an_error(field):
    """ValueError names the field."""
    with pytest.raises(ValueError, match=next(iter(field))):
        FaultRule(Fault.RESET, **field)


@pytest.mark.parametrize("field", [{"latency_s": -1}, {"bytes_per_s": 0}])
def test_a_link_out_of_its_range_is_an_error(field):
    """ValueError names the field."""
    with pytest.raises(ValueError, match=next(iter(field))):
        Link(**field)


# Clients that will be used through it.


@pytest.fixture(scope="module")
def far_s3(folder):
    """A store behind a proxy with latency that gives ranges status 206."""
    with (
        started(s3_server(folder)) as server,
        fault_proxy(server.url, link=Link(latency_s=0.02, mend_206=True)) as proxy,
    ):
        yield server.behind(proxy.url)


def test_fsspec_reads_http_through_it(faulty):
    """HTTPFileSystem gets a range and a whole file."""
    faulty.set_rules([])
    fs = fsspec.filesystem("http", skip_instance_cache=True)
    assert fs.cat_file(faulty.url + PATH, start=START, end=END) == WANTED
    assert fs.cat_file(faulty.url + PATH) == CONTENT
    HTTPFileSystem.close_session(fs.loop, fs._session)


def test_s3fs_reads_through_it(far_s3):
    """Signatures hold: the server sees the Host that the client signed."""
    fs = s3fs.S3FileSystem(**far_s3.storage_options, skip_instance_cache=True)
    assert fs.cat_file(f"{BUCKET}/{NAME}", start=START, end=END) == WANTED
    assert fs.cat_file(f"{BUCKET}/{NAME}") == CONTENT
    fs.close_session(fs.loop, fs._s3)


def test_obstore_reads_through_it(far_s3, faulty):
    """Ranges and whole objects over HTTP and over S3."""
    faulty.set_rules([])
    http_store = HTTPStore.from_url(f"{faulty.url}/{BUCKET}", client_options={"allow_http": True})
    for store in (http_store, S3Store(BUCKET, **far_s3.obstore_options)):
        assert bytes(store.get_range(NAME, start=START, end=END)) == WANTED
        assert bytes(store.get(NAME).bytes()) == CONTENT


def test_obstore_takes_up_what_broke(faulty):
    """Its own retries get a whole range over every transient fault but those it does not know as one."""
    store = HTTPStore.from_url(f"{faulty.url}/{BUCKET}", client_options={"allow_http": True, "read_timeout": "500ms"})
    for fault in set(TRANSIENT_FAULTS) - {Fault.LIE, Fault.SHORT}:
        faulty.set_rules([FaultRule(fault, first=1, stall_s=600)])
        assert bytes(store.get_range(NAME, start=START, end=END)) == WANTED
        assert faulty.stats().faults == {fault.value: 1}


# The command.


def test_the_command_takes_faults_as_options(nginx, tmp_path):
    """Rules from a file and from options hold, and so does the latency."""
    rules = tmp_path / "rules.json"
    rules.write_text('[{"fault": "404", "path": "*/other.tar"}]')
    options = {
        "fault": "429=1",
        "path": "*/clips*",
        "first": "1",
        "retry-after-s": "9",
        "latency-ms": "30",
        "seed": "5",
    }
    command = [sys.executable, "-m", "benchmarks.storage.fault_proxy", nginx.url, "--rules", str(rules)]
    command += [f"--{name}={value}" for name, value in options.items()]
    with subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        try:
            first, second, other = _ask(url), _ask(url), _ask(url, path=f"/{BUCKET}/other.tar")
        finally:
            process.kill()
    assert (first.status, first.headers["retry-after"], second.status, other.status) == (429, "9", 206, 404)
    assert second.took_s >= 0.03


def test_a_server_that_is_no_address_is_refused():
    """The message shows what was given."""
    with (
        pytest.raises(ServerDidNotStartError, match="'s3://bucket' is not http://HOST:PORT"),
        fault_proxy("s3://bucket"),
    ):
        pass
