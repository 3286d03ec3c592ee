"""The best client that works is found out when a store is opened; what a store is can be sent to other processes."""

import json
import os
import pickle
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import fsspec
import pytest
from cached_shards import store_at
from far_folders import BUCKET, CONTENT, NAME, PREFIX

from benchmarks.storage.faults import TRANSIENT_FAULTS, Fault, FaultRule
from shardkit.errors import StorageError, UsageError
from shardkit.storage import obstore_client, stores
from shardkit.storage.caching import CachingReader
from shardkit.storage.clients import make_client
from shardkit.storage.failures import MissingFileError
from shardkit.storage.fetching import Patience
from shardkit.storage.locations import Location
from shardkit.storage.remote import RemoteReader
from shardkit.storage.shards import ShardReader
from shardkit.storage.stores import CacheSettings, ReadFolder, ShardFile, ShardStore, open_read_folder

QUICK = Patience(deadline_s=30.0, first_wait_s=0.01, most_wait_s=0.05)


def _read(store):
    """Some bytes of the shard, read through the store."""
    if isinstance(store, ReadFolder):
        store = store_at(store, (ShardFile(NAME, len(CONTENT), "0" * 32),))
    reader = store.reader()
    try:
        return bytes(reader.read(0, [(1_000, 5_000)])[0])
    finally:
        reader.close()


def _open(location):
    """A store, and the engine that it chose; its bytes are right."""
    store = open_read_folder(location, probe=NAME)
    assert _read(store) == CONTENT[1_000:6_000]
    return store.engine


def test_a_server_that_answers_as_it_should_is_read_through_obstore(far_http, far_s3):
    """nginx, and an S3 server with status 206."""
    assert _open(far_http.location) == "obstore"
    assert _open(far_s3.location) == "obstore"


def test_a_server_whose_answers_obstore_refuses_is_read_through_fsspec(object_server):
    """Rclone's S3 gives the range under status 200: s3fs takes it."""
    assert _open(Location.of(f"s3:/{PREFIX}", object_server.storage_options)) == "fsspec"


def test_status_200_with_the_right_bytes_is_read_through_fsspec(far_http):
    """The same over HTTP."""
    far_http.proxy.set_rules([FaultRule(Fault.STATUS_200)])
    assert _open(far_http.location) == "fsspec"


class _PlainServer(SimpleHTTPRequestHandler):
    """Python's own, which knows no ranges."""

    def log_message(self, *_):
        pass


def test_a_server_without_ranges_is_an_error_that_says_so(shards_root):
    """StorageError that says what to do, and not the whole data set for every clip."""
    with ThreadingHTTPServer(("127.0.0.1", 0), lambda *each: _PlainServer(*each, directory=str(shards_root))) as server:
        threading.Thread(target=server.serve_forever).start()
        url = f"http://127.0.0.1:{server.server_port}{PREFIX}"
        with pytest.raises(
            StorageError, match=rf"^{url}: this server does not answer ranged reads; serve the data with"
        ):
            open_read_folder(Location.of(url), probe=NAME)
        server.shutdown()


def test_without_obstore_fsspec_reads(far_http, far_s3, monkeypatch):
    """Obstore is an optional package; where a worker would need it the error says so."""
    monkeypatch.setitem(sys.modules, "obstore", None)
    assert _open(far_http.location) == "fsspec"
    assert _open(far_s3.location) == "fsspec"
    with pytest.raises(StorageError, match=r"obstore is missing here; install it, as where the data set was opened"):
        make_client(far_http.location, "obstore")


@pytest.mark.parametrize(
    "change",
    [
        {"client_kwargs": {"region_name": "us-east-1"}, "config_kwargs": {"signature_version": "s3v4"}},
        {"default_block_size": 1 << 20},
    ],
)
def test_options_that_obstore_does_not_know_are_fsspecs(far_s3, change):
    """Users give s3fs's options; whatever they mean, they are heeded."""
    assert _open(Location(far_s3.location.url, far_s3.location.storage_options | change)) == "fsspec"


def test_options_that_obstore_knows_are_its_own(object_server, far_s3):
    """Keys as s3fs and as boto call them, endpoint in either place; headers of HTTP."""
    client = {
        "endpoint_url": far_s3.proxy.url,
        "region_name": "us-east-1",
        "aws_access_key_id": object_server.access_key,
        "aws_secret_access_key": object_server.secret_key,
    }
    assert _open(Location.of(f"s3:/{PREFIX}", {"client_kwargs": client})) == "obstore"


@pytest.mark.parametrize("more", [{}, {"default_block_size": 1 << 20}])
def test_public_data_need_no_keys(far_http, more):
    """anon=True, through either client: nginx as a store that checks none."""
    options = {"anon": True, "endpoint_url": far_http.proxy.url}
    assert _open(Location.of(f"s3:/{PREFIX}", options | more)) == ("fsspec" if more else "obstore")


def test_keys_and_endpoint_may_come_from_the_environment(object_server, far_s3, monkeypatch):
    """As for boto3, without any option."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", object_server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", object_server.secret_key)
    monkeypatch.setenv("AWS_ENDPOINT_URL", far_s3.proxy.url)
    assert _open(Location.of(f"s3:/{PREFIX}")) == "obstore"


@pytest.mark.parametrize("options", [{"anon": True}, {"key": "k", "secret": "s"}, {}])
@pytest.mark.parametrize("place", ["AWS_REGION", "AWS_DEFAULT_REGION", "AWS_CONFIG_FILE", "nowhere"])
def test_the_region_may_come_from_the_environment(place, options, monkeypatch, tmp_path):
    """Where boto has it, or other tools of AWS; us-east-1 only where nobody names one; an option is before all."""
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "config").write_text("[default]\nregion = eu-west-1\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    monkeypatch.setenv(place, str(tmp_path / "config") if place == "AWS_CONFIG_FILE" else "eu-west-1")
    client = make_client(Location.of("s3://b/x", options), "obstore")
    assert client._store.config["region"] == ("us-east-1" if place == "nowhere" else "eu-west-1")
    named = options | {"client_kwargs": {"region_name": "us-west-2"}}
    assert make_client(Location.of("s3://b/x", named), "obstore")._store.config["region"] == "us-west-2"


def test_a_bucket_itself_may_be_the_folder(far_s3):
    """And names may have parts."""
    client = make_client(Location(f"s3://{BUCKET}", far_s3.location.storage_options))
    assert bytes(client.read(f"shards/{NAME}", 5, 10)) == CONTENT[5:10]


@pytest.mark.parametrize("engine", ["obstore", "fsspec"])
@pytest.mark.parametrize("name", ["run#3", "a%20b", "100% sure", "what?", "ü&é"])
def test_any_prefix_is_a_key_as_it_stands(far_s3, shards_root, engine, name):
    """Signs that would be something else in a URL: both clients read the same object."""
    folder = shards_root / BUCKET / name
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.tar").write_bytes(CONTENT[:100])
    client = make_client(Location(f"s3://{BUCKET}/{name}", far_s3.location.storage_options), engine)
    assert bytes(client.read(f"{name}.tar", 5, 10)) == CONTENT[5:10]


def test_a_profile_that_is_not_there_is_a_storage_error(monkeypatch):
    """AWS_PROFILE of another machine: one line that names it and says what to do."""
    monkeypatch.setenv("AWS_PROFILE", "elsewhere")
    with pytest.raises(StorageError, match=r"^s3://b/x: no credentials .*\(elsewhere\).*; give key and secret"):
        make_client(Location.of("s3://b/x"))


@pytest.mark.parametrize("endpoint", ["no url", "127.0.0.1:9000", "http://a b/"])
def test_an_endpoint_that_is_none_is_a_usage_error(endpoint):
    """One line, before anything is asked for."""
    with pytest.raises(UsageError, match=rf"^endpoint_url='{endpoint}': a URL such as https://host:9000 is needed$"):
        make_client(Location.of("s3://b/x", {"key": "k", "secret": "s", "endpoint_url": endpoint}))


def test_headers_reach_an_http_server(shards_root):
    """As aiohttp takes them, through either client."""
    seen = []

    class Server(_PlainServer):
        def do_GET(self):
            seen.append(self.headers["X-Token"])
            super().do_GET()

    with ThreadingHTTPServer(("127.0.0.1", 0), lambda *each: Server(*each, directory=str(shards_root))) as server:
        threading.Thread(target=server.serve_forever).start()
        location = Location.of(
            f"http://127.0.0.1:{server.server_port}{PREFIX}", {"client_kwargs": {"headers": {"X-Token": "t"}}}
        )
        for engine in ("obstore", "fsspec"):
            assert len(memoryview(make_client(location, engine).read_all("small-000000.tar"))) == 200_000
        server.shutdown()
    assert seen == ["t", "t"]


def test_anything_else_is_fsspecs():
    """memory:// here, hf:// and the rest."""
    fsspec.filesystem("memory").pipe_file(f"/stores/{NAME}", CONTENT)
    assert _open(Location.of("memory://stores")) == "fsspec"


def test_a_disk_of_this_machine_is_read_as_ever(shards_root):
    """No engine, no network."""
    location = Location.of(shards_root / PREFIX[1:])
    place = open_read_folder(location, probe=NAME)
    store = store_at(place)
    assert (place.engine, store.is_far, store.patience_s) == (None, False, 0.0)
    assert isinstance(store.reader(), ShardReader)
    assert _open(location) is None


def test_a_shared_disk_is_far_away(shards_root, monkeypatch):
    """Reads of it are begun ahead, as of a server."""
    monkeypatch.setattr(stores, "is_on_shared_disk", lambda path: path == shards_root / PREFIX[1:])
    place = open_read_folder(Location.of(shards_root / PREFIX[1:]), probe=NAME)
    assert (place.engine, place.is_far) == ("disk", True)
    assert isinstance(store_at(place).reader(), RemoteReader)
    assert _read(place) == CONTENT[1_000:6_000]


@pytest.mark.parametrize("fault", [*TRANSIENT_FAULTS, Fault.FORBIDDEN, Fault.NOT_FOUND])
def test_a_fault_of_the_moment_decides_nothing(far_http, fault):
    """Of the request that finds out what a server can do: whoever reads tells of it, and obstore stays."""
    far_http.proxy.set_rules([FaultRule(fault, first=1, stall_s=0.1)])
    assert open_read_folder(far_http.location, probe=NAME).engine == "obstore"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://", "empty host; check the URL"),
        ("http://127.0.0.1:99999/x", "port.*; check the URL"),
        ("az://container/x", "Account must be specified; check the URL and storage_options"),
        ("nowhere://x", "Protocol not known: nowhere; check the URL"),
    ],
)
def test_a_url_that_is_none_is_a_usage_error(url, words):
    """One line, with the URL and what to check."""
    with pytest.raises(UsageError, match=f"^{url}: .*{words}") as raised:
        open_read_folder(Location.of(url), probe=NAME)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(("url", "package"), [("abfss://a/b", "adlfs"), ("gs://bucket/x", "gcsfs")])
def test_a_package_that_is_missing_is_named(url, package):
    """What to install for a scheme."""
    with pytest.raises(StorageError, match=rf"^{url}: a package for \w+:// is missing .*; pip install {package}$"):
        make_client(Location.of(url), "fsspec")


def test_a_wrong_option_is_not_tried_again(far_http):
    """Obstore does not know it, and aiohttp refuses it: an error at once that says what to check."""
    location = Location.of(far_http.location.url, {"colour": "red"})
    with pytest.raises(StorageError, match=r"not read: .*colour.*; check the URL and storage_options"):
        open_read_folder(location, probe=NAME).read(NAME)


@pytest.mark.parametrize("first", ["obstore", "fsspec"])
def test_a_fork_reads_what_its_parent_opened(far, first):
    """Obstore's threads are not there in a fork, nor fsspec's: what is asked for there comes nevertheless."""
    script = """
        import json, os, signal, sys
        from shardkit.storage.locations import Location
        from shardkit.storage.fetching import Patience
        from shardkit.storage.stores import ReadFolder

        url, engine, first, options, name = sys.argv[1:]
        location = Location.of(url, json.loads(options))
        folders = [ReadFolder(location, first), ReadFolder(location, engine)]
        folders[0].client(Patience()).read(name, 0, 10)
        child = os.fork()
        if not child:
            signal.alarm(30)
            found = [len(memoryview(folder.client(Patience()).read(name, 0, 10))) for folder in folders]
            os._exit(0 if found == [10, 10] else 1)
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
    options = json.dumps(dict(far.location.storage_options))
    command = [sys.executable, "-c", textwrap.dedent(script), str(far.location), far.engine, first, options, NAME]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    # s3fs complains there that it cannot close the connections of the parent.
    assert done.returncode == 0, done.stderr


def test_a_fork_that_nothing_else_serves_is_a_usage_error(monkeypatch):
    """Gcsfs is not installed: the error says how processes are to be started."""
    location = Location.of("gs://bucket/shards", {"token": "anon"})
    make_client(location, "obstore")
    monkeypatch.setattr(obstore_client, "_used_by", os.getppid())
    with pytest.raises(UsageError, match=r"^gs://bucket/shards: .*gcsfs.*multiprocessing_context='spawn'"):
        make_client(location, "obstore")


def test_small_files_are_read_whole(far, shards_root):
    """As on a disk, so from afar: bytes, or MissingFileError."""
    near = ReadFolder(Location.of(shards_root / PREFIX[1:]), None)
    for store in (ReadFolder(far.location, far.engine), near):
        assert store.read("small-000003.tar") == near.read("small-000003.tar") == CONTENT[3_000:203_000]
        with pytest.raises(MissingFileError, match=r"none\.json"):
            store.read("none.json")


def test_a_store_is_sent_as_json_and_pickled(far_s3, tmp_path):
    """What another process makes of it is the same store, and reads the same."""
    shards = (ShardFile(NAME, len(CONTENT), "0" * 32),)
    store = store_at(ReadFolder(far_s3.location, "obstore"), shards, CacheSettings(str(tmp_path), 1_000_000))
    assert ShardStore.from_json(json.loads(json.dumps(store.to_json()))) == store
    again = pickle.loads(pickle.dumps(store))
    assert again == store
    assert isinstance(again.reader(), CachingReader)
    assert _read(again) == CONTENT[1_000:6_000]


def test_a_folder_has_one_client(far):
    """Readers that come and go, of several threads, share it; a copy, as for another process, has its own."""
    folder = ReadFolder(far.location, far.engine)
    with ThreadPoolExecutor(4) as threads:
        first, *others = threads.map(lambda _: folder.client(QUICK), range(8))
    assert all(other is first for other in others)
    assert store_at(folder, ()).reader()._client is first
    again = pickle.loads(pickle.dumps(folder))
    assert again == folder
    assert again.client(QUICK) is not first


def test_what_cannot_be_sent_is_a_usage_error(far_s3):
    """An object among the options, and a file system that other processes do not have."""
    options = far_s3.location.storage_options | {"session": timedelta(1)}
    with pytest.raises(UsageError, match=r"sent to worker processes, so they must be plain values"):
        ReadFolder(Location(far_s3.location.url, options), "fsspec").to_json()
    with pytest.raises(UsageError, match=r"^memory://x: .*this process alone; .*worker_type='thread'"):
        ReadFolder(Location.of("memory://x"), "fsspec").to_json()


def test_the_client_that_found_out_about_the_server_reads_on(far_http, monkeypatch):
    """Small files are read by it: another one would connect anew."""
    made = []
    monkeypatch.setattr(
        stores, "make_client", lambda *where, **how: made.append(make_client(*where, **how)) or made[-1]
    )
    assert open_read_folder(far_http.location, probe=NAME).read(NAME) == CONTENT
    assert len(made) == 1
