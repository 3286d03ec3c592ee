"""Folders: one contract, on a disk, on S3 and in memory."""

import fcntl
import os
import socket
import subprocess
import sys
import time
from uuid import uuid4

import pytest

from shardkit.errors import StorageError, UsageError
from shardkit.storage import filesystems, trying
from shardkit.storage.folders import open_folder
from shardkit.storage.locations import Location
from shardkit.storage.remote_folder import UPLOAD_PART_BYTES, RemoteFolder


class Interrupted(Exception):  # noqa: N818 - what a caller's code may raise
    """Ends the writing of a file."""


class FolderContract:
    """What every folder does; a test class gives `folder`, which is empty."""

    def test_a_written_file_is_read_back_and_replaced(self, folder):
        """Old content, then new; its size is listed, and only its own folder lists it."""
        folder.make(".work")
        folder.write(".work/a.json", b"old")
        folder.write(".work/a.json", b"new one")
        assert folder.read(".work/a.json") == bytes(memoryview(folder.buffer(".work/a.json"))) == b"new one"
        assert folder.sizes(".work") == {"a.json": 7}
        assert folder.sizes() == {}

    def test_a_large_file_appears_when_it_is_complete(self, folder):
        """Nobody sees it under its name before; then it has all its bytes."""
        piece = os.urandom(1 << 20)
        pieces = UPLOAD_PART_BYTES // len(piece) + 3
        with folder.writer("a.tar") as file:
            for _ in range(pieces):
                file.write(piece)
            assert not folder.exists("a.tar")
        assert folder.sizes() == {"a.tar": pieces * len(piece)}
        assert folder.read("a.tar") == piece * pieces

    @pytest.mark.parametrize("size_bytes", [10, UPLOAD_PART_BYTES + 1])
    def test_a_file_whose_writing_breaks_off_leaves_the_old_one(self, folder, size_bytes):
        """What the caller raises comes out as it is; nothing else is left, neither now nor later."""
        folder.write("a.tar", b"old")

        def write():
            with folder.writer("a.tar") as file:
                file.write(b"x" * size_bytes)
                raise Interrupted

        with pytest.raises(Interrupted):
            write()
        assert folder.sizes() == {"a.tar": 3}
        assert folder.read("a.tar") == b"old"

    def test_a_file_is_created_once(self, folder):
        """The second one to create it finds the first one's."""
        folder.create("plan.json", b"first")
        folder.create("plan.json", b"second")
        assert folder.read("plan.json") == b"first"
        assert folder.sizes() == {"plan.json": 5}

    def test_removed_files_are_gone_and_missing_ones_are_no_matter(self, folder):
        """Names with the letters of patterns are names; the other files stay."""
        for name in ("a[b].tar", "ab.tar", "a*.tar"):
            folder.write(name, b"x")
        folder.remove(["a[b].tar", "a*.tar", "nowhere.tar", ".work/nothing"])
        assert set(folder.sizes()) == {"ab.tar"}
        assert not folder.exists("a[b].tar")

    def test_a_folder_that_is_missing_lists_nothing(self, folder):
        """No error: whoever looks has not begun."""
        assert folder.sizes("nowhere") == {}
        assert not folder.exists("nowhere/file")

    def test_reading_what_is_missing_is_a_storage_error(self, folder):
        """It names place and file."""
        with pytest.raises(StorageError, match=r"nothing\.json: .*; check"):
            folder.read("nothing.json")

    def test_what_another_wrote_meanwhile_is_seen(self, folder, again):
        """No listing is remembered: of two that are open, each sees the other's files at once."""
        assert folder.sizes() == {}
        assert not folder.exists("a")
        again.write("a", b"x")
        assert folder.exists("a")
        assert folder.sizes() == {"a": 1}


class TestLocalFolder(FolderContract):
    @pytest.fixture
    def folder(self, tmp_path):
        """In a folder with a name of pattern letters."""
        made = open_folder(Location.of(tmp_path / "o[u]t"))
        assert made.make()
        assert not made.make()
        return made

    @pytest.fixture
    def again(self, folder, tmp_path):
        """The same once more."""
        return open_folder(Location.of(tmp_path / "o[u]t"), alone=False)

    def test_writers_of_one_file_do_not_meet(self, folder, again, tmp_path):
        """Two that write the same file at once, one of them not alone: the file is always whole."""
        with folder.writer("a.tar") as first:
            first.write(b"first half")
            with again.writer("a.tar") as second:
                second.write(b"all of it")
            assert folder.read("a.tar") == b"all of it"
        assert folder.read("a.tar") == b"first half"
        assert set(folder.sizes()) == {"a.tar"}

    def test_what_killed_writers_left_is_swept_away(self, folder, tmp_path):
        """Temporary files of the named files go, with a tag or without; a stranger's stay."""
        left = ("a.tar.tmp", "a.tar.0123abcd.tmp")
        strangers = ("b.tar.tmp", "a.tar.notes.tmp", "a.tar")
        for name in (*left, *strangers):
            (tmp_path / "o[u]t" / name).touch()
        folder.sweep(["a.tar", ".work/a.tar"])
        assert set(folder.sizes()) == set(strangers)
        (tmp_path / "o[u]t/a.tar.tmp").touch()
        folder.remove(["a.tar"])
        assert set(folder.sizes()) == set(strangers) - {"a.tar"}

    def test_an_exclusive_lock_shuts_out_all_and_a_shared_one_only_exclusive_ones(self, folder, again):
        """Shared locks go together, and an exclusive one comes when they are gone."""
        first, second = folder.lock("lock", shared=True), again.lock("lock", shared=True)
        assert again.lock("lock") is None
        second.close()
        assert again.lock("lock") is None
        first.close()
        alone = again.lock("lock")
        assert folder.lock("lock", shared=True) is None
        alone.close()

    def test_a_lock_whose_file_was_removed_meanwhile_is_none(self, folder, tmp_path, monkeypatch):
        """Who opened the file before its owner removed it does not get a lock that nobody else sees."""
        take = fcntl.flock

        def removed(descriptor, kind):
            (tmp_path / "o[u]t/lock").unlink()
            take(descriptor, kind)

        monkeypatch.setattr(fcntl, "flock", removed)
        assert folder.lock("lock") is None

    def test_an_empty_folder_is_unmade_and_a_full_one_stays(self, folder, tmp_path):
        """Without an error either way."""
        folder.write("a", b"")
        folder.unmake()
        assert folder.exists("a")
        folder.remove(["a"])
        folder.unmake()
        assert not (tmp_path / "o[u]t").exists()


class TestS3Folder(FolderContract):
    @pytest.fixture
    def place(self, s3):
        """A URL in a bucket of its own, and the options that reach it."""
        name = uuid4().hex
        s3.bucket(name)
        return f"s3://{name}/some/data", s3.options

    @pytest.fixture
    def folder(self, place):
        """The folder."""
        return open_folder(Location.of(*place))

    @pytest.fixture
    def again(self, place):
        """The same once more, with a file system of its own."""
        url, options = place
        return open_folder(Location.of(url, options | {"skip_instance_cache": True}))

    def test_names_that_only_begin_alike_are_not_in_the_folder(self, folder, place):
        """A neighbour's files, and those in subfolders, are not listed."""
        url, options = place
        open_folder(Location.of(f"{url}2", options)).write("b", b"")
        folder.write("sub/c", b"")
        folder.write("a", b"x")
        assert folder.sizes() == {"a": 1}

    def test_a_wrong_secret_is_refused(self, place):
        """The message says what to check."""
        url, options = place
        with pytest.raises(StorageError, match=r"a: access denied .*; check the keys in storage_options"):
            open_folder(Location.of(url, options | {"secret": "SOMETHING"})).write("a", b"")

    def test_a_missing_bucket_is_not_there(self, s3):
        """Writing names it, also through a large file."""
        folder = open_folder(Location.of(f"s3://{uuid4().hex}/data", s3.options))
        with pytest.raises(StorageError, match=r"not found .*check the URL, bucket and folder"):
            folder.write("a", b"")

        def write():
            with folder.writer("a") as file:
                file.write(b"x")

        with pytest.raises(StorageError, match=r"not found .*check the URL, bucket and folder"):
            write()

    def test_an_upload_that_is_killed_leaves_nothing(self, place, s3, tmp_path):
        """Kill -9 between two parts of a large file: no file of that name."""
        url, options = place
        code = (
            "import sys, time\n"
            "from shardkit.storage.folders import open_folder\n"
            "from shardkit.storage.locations import Location\n"
            f"with open_folder(Location.of({url!r}, {options!r})).writer('a.tar') as file:\n"
            f"    file.write(bytes({UPLOAD_PART_BYTES + 1}))\n"
            "    print('half', flush=True)\n"
            "    time.sleep(60)\n"
        )
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout.readline() == "half\n"
            process.kill()
        assert open_folder(Location.of(url, options)).sizes() == {}


class TestMemoryFolder(FolderContract):
    @pytest.fixture
    def url(self):
        """A URL of its own."""
        return f"memory://{uuid4().hex}"

    @pytest.fixture
    def folder(self, url):
        """The folder."""
        return open_folder(Location.of(url))

    @pytest.fixture
    def again(self, url):
        """The same once more."""
        return open_folder(Location.of(url))


def test_a_server_that_never_answers_is_an_error_and_not_a_hang(monkeypatch):
    """It takes connections and says nothing: StorageError, whether a file is written or looked for."""
    monkeypatch.setattr(filesystems, "STALL_S", 0.2)
    monkeypatch.setattr(trying, "LONGEST_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        options = {"key": "keykeykey", "secret": "secretsecret", "client_kwargs": {"endpoint_url": endpoint}}
        folder = open_folder(Location.of("s3://bucket/data", options))
        for action in (lambda: folder.write("x", b"data"), lambda: folder.exists("x")):
            with pytest.raises(StorageError, match=r"^s3://bucket/data/x: .*network"):
                action()


def test_a_server_that_hangs_up_now_and_then_is_asked_again(s3, monkeypatch):
    """Two failures in a row cost pauses; the third answer counts."""
    name = uuid4().hex
    s3.bucket(name)
    folder = RemoteFolder(Location.of(f"s3://{name}/data", s3.options))
    ask, failures = folder._files.pipe_file, [ConnectionResetError("reset"), TimeoutError()]
    pauses = []

    def fail_twice(path, data):
        if failures:
            raise failures.pop()
        return ask(path, data)

    monkeypatch.setattr(folder._files, "pipe_file", fail_twice)
    monkeypatch.setattr(time, "sleep", pauses.append)
    folder.write("a", b"x")
    assert folder.sizes() == {"a": 1}
    assert len(pauses) == 2
    assert pauses[0] < pauses[1] or pauses[0] <= 0.5


@pytest.mark.parametrize(
    ("url", "error", "words"),
    [
        ("s4://bucket/data", UsageError, "Protocol not known: s4; check the URL"),
        ("gs://bucket/data", StorageError, "pip install gcsfs"),
    ],
)
def test_urls_that_cannot_be_opened_say_why(url, error, words):
    """An unknown protocol, a package that is missing."""
    with pytest.raises(error, match=f"{url}: .*{words}"):
        open_folder(Location.of(url))


def test_options_under_a_protocols_name_are_that_protocols_only():
    """One set of options serves URLs of several kinds."""
    options = {"s3": {"key": "k", "secret": "s"}, "memory": {}}
    assert open_folder(Location.of("s3://bucket/x", options))._files.key == "k"
    open_folder(Location.of("memory://x", options))
