"""What clients raise when real servers, networks and disks fail: told apart, and said in one line of one kind."""

import re
import socket
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from botocore.exceptions import ClientError
from far_folders import CONTENT, NAME, STALL_S

from benchmarks.storage.faults import Fault, FaultRule
from shardkit.errors import StorageError
from shardkit.storage.clients import make_client
from shardkit.storage.failures import Failure, RangesRefusedError, explain, is_refused_range, remedy
from shardkit.storage.locations import Location

START, STOP = 1_000, 181_000
ENGINES = ("obstore", "fsspec")


def _raised(client, name=NAME, start=START, stop=STOP, *, how="read"):
    """What a request raises."""
    with pytest.raises(Exception) as raised:  # noqa: PT012 - every client has its own
        if how == "read":
            client.read(name, start, stop)
        else:
            list(client.pieces(name, start, stop))
    return raised.value


def _failure(client, *where, **how):
    """Why a request failed."""
    failure = explain(_raised(client, *where, **how))
    assert "\n" not in failure.reason
    return failure


@pytest.mark.parametrize("how", ["read", "pieces"])
@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Fault.STALL, "the answer did not come in time"),
        (Fault.RESET, "the connection was reset"),
        (Fault.TRUNCATE, "the connection was closed in the middle of the answer"),
        (Fault.LIE, "the connection was closed in the middle of the answer"),
        (Fault.REFUSE, "the connection was closed before an answer"),
    ],
)
def test_a_connection_that_breaks_is_worth_another_try(far, fault, reason, how):
    """Before or in an answer, whichever client it is: the same words, and no status."""
    far.proxy.set_rules([FaultRule(fault)])
    client = far.client(stall_s=STALL_S) if fault is Fault.STALL else far.client()
    assert _failure(client, how=how) == Failure(reason, transient=True)


@pytest.mark.parametrize(
    ("fault", "transient", "words"),
    [
        (Fault.FORBIDDEN, False, r"access denied \(403, .*Forbidden\)"),
        (Fault.NOT_FOUND, False, r"not found \(404.*\)"),
        (Fault.TOO_MANY, True, r"too many requests \(429, .*Too Many Requests\)"),
        (Fault.SERVER_ERROR, True, r"the server failed \(500, .*Internal Server Error\)"),
        (Fault.UNAVAILABLE, True, r"the server is busy \(503, .*Service Unavailable\)"),
    ],
)
def test_a_status_says_whether_another_try_helps(far, fault, transient, words):
    """It is told once, with the server's own words; only one that will pass is worth another try."""
    far.proxy.set_rules([FaultRule(fault)])
    failure = _failure(far.client())
    assert (failure.transient, failure.status) == (transient, int(fault.value))
    assert re.fullmatch(words, failure.reason)
    assert failure.reason.count(fault.value) == 1


def test_how_long_a_server_asks_to_wait_is_told_where_headers_are_to_be_had(far):
    """Retry-After of a 429: fsspec's clients have it, obstore's only through the client that is telling."""
    far.proxy.set_rules([FaultRule(Fault.TOO_MANY, retry_after_s=7)])
    client = far.client()
    assert _failure(client).retry_after_s == (None if far.engine == "obstore" else 7.0)
    assert _failure(client.telling()).retry_after_s == 7.0
    assert client.telling() is client.telling()


def test_a_range_beyond_the_end_is_not_asked_for_again(far):
    """416, which tells of a file that is shorter than it should be."""
    failure = _failure(far.client(), NAME, len(CONTENT) + 10, len(CONTENT) + 20)
    assert (failure.transient, failure.status) == (False, 416)


def test_a_file_that_is_not_there_is_not_found(far):
    """The servers' own answer for another name is as permanent as it gets."""
    failure = _failure(far.client(), "none.tar")
    assert (failure.transient, failure.status) == (False, 404)


@pytest.mark.parametrize("fault", [Fault.STATUS_200, Fault.IGNORE_RANGE])
def test_obstore_refuses_what_is_not_status_206(far_http, fault):
    """The right bytes under status 200, and the whole file: another try brings the same, another client may not."""
    far_http.proxy.set_rules([FaultRule(fault)])
    error = _raised(far_http.client())
    assert is_refused_range(error)
    assert explain(error) == Failure("the server does not answer ranged reads with the range", transient=False)


def test_obstore_refuses_status_200_of_s3_too(far_s3):
    """Its S3 says so with another exception than its HTTP."""
    far_s3.proxy.set_rules([FaultRule(Fault.STATUS_200)])
    error = _raised(far_s3.client())
    assert is_refused_range(error)
    assert not explain(error).transient


def test_an_answer_of_another_length_is_a_refused_range():
    """What the reader itself finds out about an answer counts as what obstore finds out."""
    assert is_refused_range(RangesRefusedError())
    assert not explain(RangesRefusedError()).transient


@pytest.mark.parametrize("change", [{"key": "another-key"}, {"secret": "another-secret"}])
@pytest.mark.parametrize("engine", ENGINES)
def test_wrong_keys_are_access_denied(far_s3, engine, change):
    """Key and secret: the server's words say which it was, and the keys are not among them."""
    options = far_s3.location.storage_options | change
    failure = _failure(make_client(Location(far_s3.location.url, options), engine))
    assert (failure.transient, failure.status) == (False, 403)
    assert "Access Key Id" in failure.reason or "signature" in failure.reason
    assert not any(str(value) in failure.reason for value in change.values())


@pytest.mark.parametrize("engine", ENGINES)
def test_a_wrong_bucket_is_named_as_such(far_s3, engine):
    """404 whose words speak of the bucket."""
    failure = _failure(make_client(Location("s3://none", far_s3.location.storage_options), engine))
    assert (failure.transient, failure.status) == (False, 404)
    assert "bucket does not exist" in failure.reason


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("scheme", ["http", "s3"])
def test_a_server_that_is_down_may_come_back(far_s3, engine, scheme):
    """Nobody listens at the address: worth another try, and the reason is a network's, with the address where known."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    if scheme == "http":
        location = Location.of(f"{url}/shards")
    else:
        location = Location.of("s3://bucket/shards", {**far_s3.location.storage_options, "endpoint_url": url})
    failure = _failure(make_client(location, engine))
    assert (failure.transient, failure.status) == (True, None)
    assert re.search("[Cc]onnection refused|[Cc]onnect call failed|Could not connect", failure.reason)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("scheme", ["http", "s3"])
def test_https_to_a_server_without_tls_is_told_at_once(object_server, engine, scheme):
    """No other try helps; the reason says what is wrong with the address."""
    url = object_server.url.replace("http:", "https:")
    if scheme == "http":
        location = Location.of(f"{url}/shards")
    else:
        location = Location.of("s3://bucket/shards", {**object_server.storage_options, "endpoint_url": url})
    failure = _failure(make_client(location, engine))
    assert not failure.transient
    assert re.search("TLS.* use http://", failure.reason)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_host_without_an_address_may_get_one(engine):
    """A name that is never known: as when there is no network."""
    failure = _failure(make_client(Location.of("http://host.invalid/shards"), engine))
    assert (failure.transient, failure.status) == (True, None)
    assert re.search("resolution|not known|lookup|DNS", failure.reason)


class _OtherRegion(BaseHTTPRequestHandler):
    """An S3 whose bucket is in another region, as its answers are there."""

    status, code, message = 301, "PermanentRedirect", "The bucket must be addressed using the specified endpoint."

    def do_GET(self):
        body = f"<Error><Code>{self.code}</Code><Message>{self.message}</Message></Error>".encode()
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class _MalformedThere(_OtherRegion):
    status, code = 400, "AuthorizationHeaderMalformed"
    message = "The authorization header is malformed; the region 'us-east-1' is wrong; expecting 'eu-west-1'"


@pytest.mark.parametrize("server", [_OtherRegion, _MalformedThere])
def test_a_wrong_region_is_named_as_such(server):
    """S3 answers 301 without a Location, or 400: no other try helps, and the remedy is no network's."""
    with ThreadingHTTPServer(("127.0.0.1", 0), server) as running:
        threading.Thread(target=running.serve_forever).start()
        options = {"key": "k", "secret": "s", "endpoint_url": f"http://127.0.0.1:{running.server_port}"}
        failure = _failure(make_client(Location.of("s3://bucket/shards", options), "obstore"))
        running.shutdown()
    assert (failure.transient, failure.status) == (False, server.status)
    assert "region" in failure.reason
    assert re.search("region_name .*AWS_REGION", remedy(failure))


def test_a_wrong_region_is_named_by_boto_too():
    """Where it finds no other address by itself, its error has the status in its answer alone."""
    answer = {"Error": {"Code": "PermanentRedirect"}, "ResponseMetadata": {"HTTPStatusCode": 301}}
    failure = explain(ClientError(answer, "GetObject"))
    assert (failure.transient, failure.status) == (False, 301)


def test_of_the_callers_faults_four_may_pass():
    """Timeout, conflict, too early, too many; of the server's, all but what it cannot do at all."""
    failures = [explain(OSError(f"Server returned non-2xx status code: {status} Words")) for status in range(400, 600)]
    passing = {failure.status for failure in failures if failure.transient}
    assert passing == {408, 409, 425, 429} | set(range(500, 600)) - {501}


def test_s3_without_keys_says_what_to_do(monkeypatch, tmp_path):
    """No credentials anywhere: obstore's client cannot be made, s3fs fails at once; neither is tried again."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    location = Location.of("s3://bucket/shards", {"endpoint_url": "http://127.0.0.1:9"})
    with pytest.raises(StorageError, match=r"s3://bucket/shards: no credentials .*storage_options.*anon=True"):
        make_client(location, "obstore")
    failure = _failure(make_client(location, "fsspec"))
    assert not failure.transient
    assert "credentials" in failure.reason


def test_a_disks_failures_are_the_systems(tmp_path):
    """A missing file, and a folder in the place of one, are as permanent as 404; the words are the system's."""
    client = make_client(Location.of(tmp_path), "disk")
    assert _failure(client, "none.tar") == Failure("No such file or directory", transient=False, status=404)
    (tmp_path / "folder.tar").mkdir()
    failure = _failure(client, "folder.tar")
    assert not failure.transient
    assert "Is a directory" in failure.reason


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (OSError(5, "Input/output error"), True),
        (OSError(116, "Stale file handle"), True),
        (OSError(13, "Permission denied"), False),
        (ImportError("no module"), False),
        (TypeError("unexpected keyword"), False),
        (ssl.SSLError(1, "[SSL: SSLV3_ALERT_BAD_RECORD_MAC] ssl/tls alert bad record mac"), True),
        (ssl.SSLCertVerificationError(1, "certificate verify failed"), False),
    ],
)
def test_what_cannot_be_had_here_is_told_by_its_number_or_kind(error, transient):
    """A disk's fault may pass, a permission or a programming error does not."""
    assert explain(error).transient is transient
