"""Local files: whole or not at all; errors that say what to do."""

import errno
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from shardkit.errors import StorageError, UsageError
from shardkit.storage.files import (
    atomic_file,
    is_stream,
    local_path,
    map_file,
    read_bytes,
    storage_errors,
    write_atomic,
    write_named,
)


def _listing(folder):
    return sorted(path.name for path in folder.iterdir())


def test_an_atomic_write_replaces_the_file_and_leaves_nothing_else(tmp_path):
    """After write_atomic there is the new content under the name, and no temporary file."""
    path = tmp_path / "index.arrow"
    write_atomic(path, b"old")
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"
    assert _listing(tmp_path) == ["index.arrow"]


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt, OSError])
def test_a_write_that_fails_leaves_the_old_file(tmp_path, failure):
    """Whatever ends the writing, the old content stands and the temporary file is gone."""
    path = tmp_path / "index.arrow"
    write_atomic(path, b"old")

    def write():
        with atomic_file(path) as file:
            file.write(b"half of the ne")
            raise failure

    with pytest.raises(failure):
        write()
    assert path.read_bytes() == b"old"
    assert _listing(tmp_path) == ["index.arrow"]


def test_the_file_is_not_there_before_it_is_complete(tmp_path):
    """While it is being written, nobody sees the file under its name."""
    path = tmp_path / "index.arrow"
    with atomic_file(path) as file:
        file.write(b"all of it")
        file.flush()
        assert not path.exists()
    assert path.read_bytes() == b"all of it"


def test_a_full_disk_is_a_storage_error(tmp_path):
    """ENOSPC while writing: StorageError with path and remedy, and the old file stands."""
    path = tmp_path / "shard.tar"
    path.write_bytes(b"old")
    (tmp_path / "shard.tar.tmp").symlink_to("/dev/full")
    with pytest.raises(StorageError, match=r"shard.tar: No space left on device; make room on that disk$"):
        write_atomic(path, b"x" * 100_000)
    assert path.read_bytes() == b"old"
    assert _listing(tmp_path) == ["shard.tar"]


@pytest.mark.parametrize("content", [b"x", b"x" * 100_000])
def test_a_full_disk_is_a_storage_error_whenever_the_buffer_gets_there(tmp_path, content):
    """Small writes that fail only when flushed or closed are StorageErrors too, whatever else went wrong."""
    path = tmp_path / "shard.tar"

    def write(failure):
        (tmp_path / "shard.tar.tmp").symlink_to("/dev/full")
        with atomic_file(path) as file:
            file.write(content)
            if failure:
                raise failure

    for failure in (None, KeyError("x")):
        with pytest.raises(StorageError, match=r"shard.tar: No space left"):
            write(failure)
        assert _listing(tmp_path) == []


def test_an_error_of_the_callers_code_is_not_the_files(tmp_path):
    """A broken pipe while the file is being written is no trouble of the file: it comes out as itself."""

    def write():
        with atomic_file(tmp_path / "x") as file:
            file.write(b"some")
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    with pytest.raises(BrokenPipeError):
        write()
    assert _listing(tmp_path) == []


@pytest.mark.parametrize("old", [b"old", None], ids=["to a file", "to nothing"])
def test_a_link_that_a_user_named_stays_and_its_target_is_replaced(tmp_path, old):
    """The link is followed; its target is replaced as a whole, or made, where it lies."""
    (tmp_path / "there").mkdir()
    target, link, other = tmp_path / "there" / "real.json", tmp_path / "link.json", tmp_path / "other.json"
    link.symlink_to("there/real.json")
    if old is not None:
        target.write_bytes(old)
        os.link(target, other)
    write_named(link, b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    assert old is None or other.read_bytes() == old  # a file that was written in place would show it here too
    assert _listing(tmp_path / "there") == ["real.json"]


def test_a_pipe_that_a_user_named_is_written_to_and_stays(tmp_path):
    """Whoever reads from it gets all of it."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()), daemon=True)
    reader.start()
    assert is_stream(pipe)
    write_named(pipe, b"x" * 1_000_000)
    reader.join(timeout=30)
    assert read == [b"x" * 1_000_000]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert _listing(tmp_path) == ["pipe"]


def test_a_device_that_a_user_named_is_written_to_and_stays(tmp_path):
    """Through a link too; what the device says to it is a StorageError."""
    device, link = tmp_path / "full", tmp_path / "link"
    try:
        # Not the system's own /dev/full, which a mistake would replace.
        os.mknod(device, stat.S_IFCHR | 0o666, os.makedev(1, 7))
        device.open("wb").close()
    except OSError as exc:
        pytest.skip(f"no device can be made here: {exc}")
    link.symlink_to("full")
    assert is_stream(link)
    for path in (device, link):
        with pytest.raises(StorageError, match=r": No space left on device; make room on that disk$"):
            write_named(path, b"x")
    assert device.is_char_device()
    assert link.is_symlink()
    assert _listing(tmp_path) == ["full", "link"]


def test_standard_output_that_goes_to_a_file_is_not_cut(tmp_path):
    """`/dev/stdout > file`: what was printed before stays, and what is printed later comes behind."""
    code = (
        "from pathlib import Path\n"
        "from shardkit.storage.files import is_stream, write_named\n"
        "print('before', flush=True)\n"
        "write_named(Path('/dev/stdout'), b'named\\n')\n"
        "print('after', is_stream(Path('/dev/stdout')))\n"
    )
    with (tmp_path / "out").open("wb") as out:
        subprocess.run([sys.executable, "-c", code], stdout=out, check=True, cwd=Path(__file__).parents[2])
    assert (tmp_path / "out").read_text() == "before\nnamed\nafter True\n"


def test_files_and_folders_and_nothing_are_no_streams(tmp_path):
    """Only what passes data on is one; a folder that is named for a file is refused."""
    (tmp_path / "file").touch()
    assert not any(is_stream(tmp_path / name) for name in ("file", "", "nothing", "missing/file"))
    with pytest.raises(StorageError, match="a file stands where a folder is needed"):
        write_named(tmp_path, b"x")


def test_a_folder_that_is_not_there_is_a_storage_error(tmp_path):
    """Writing into a missing folder: StorageError that names the file."""
    with pytest.raises(StorageError, match=r"missing/x: No such file or directory; check the path"):
        write_atomic(tmp_path / "missing" / "x", b"")


def test_a_folder_in_a_files_place_is_a_storage_error(tmp_path):
    """Reading a folder, or replacing one by a file: StorageError that says what is in the way."""
    with pytest.raises(StorageError, match="a file stands where a folder is needed, or the other way round"):
        read_bytes(tmp_path)
    (tmp_path / "x" / "y").mkdir(parents=True)
    with pytest.raises(StorageError, match="/x: "):
        write_atomic(tmp_path / "x", b"")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_a_storage_error(tmp_path):
    """A file that may not be read: StorageError that says to change its permissions."""
    path = tmp_path / "x"
    path.write_bytes(b"")
    path.chmod(0)
    with pytest.raises(StorageError, match="change its permissions"):
        read_bytes(path)


@pytest.mark.parametrize("read", [read_bytes, map_file])
def test_a_missing_file_is_a_storage_error(tmp_path, read):
    """Reading what is not there: StorageError with the path, from the OSError."""
    with pytest.raises(StorageError, match=r"nothing: No such file") as caught:
        read(tmp_path / "nothing")
    assert isinstance(caught.value.__cause__, FileNotFoundError)


@pytest.mark.parametrize("content", [b"", b"some bytes"])
def test_a_mapped_file_has_the_files_bytes(tmp_path, content):
    """map_file gives what read_bytes gives, also for an empty file, and holds no descriptor."""
    path = tmp_path / "x"
    path.write_bytes(content)
    descriptors = sum(1 for _ in Path("/proc/self/fd").iterdir())
    buffer = map_file(path)
    assert bytes(memoryview(buffer)) == read_bytes(path) == content
    path.unlink()
    assert bytes(memoryview(buffer)) == content
    assert sum(1 for _ in Path("/proc/self/fd").iterdir()) <= descriptors + 1


def test_an_error_without_a_number_passes():
    """storage_errors translates what the system reports, and nothing else."""
    with pytest.raises(OSError, match="made up") as caught, storage_errors("x"):
        raise OSError("made up")
    assert not isinstance(caught.value, StorageError)


def test_a_url_is_no_local_path(tmp_path):
    """local_path takes paths in any form and refuses URLs by name."""
    assert local_path(str(tmp_path)) == local_path(tmp_path) == tmp_path
    with pytest.raises(UsageError, match=r"https://x/y: a path on this machine"):
        local_path("https://x/y")
