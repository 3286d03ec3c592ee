"""A folder of copies that processes share: within its limit, with nothing half done in it, whoever dies or stops."""

import errno
import os
import resource
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import contextmanager
from pathlib import Path

import cache_user
import pytest
from small_disks import small_disk
from watching import open_files

from shardkit.errors import StorageError
from shardkit.storage import node_cache
from shardkit.storage.node_cache import CachedFile, NodeCache, NoRoomError

SIZE = 10_000


def _file(number, *, size=SIZE):
    return CachedFile(f"s3://bucket/shards/clips-{number:06d}.tar", size, f"{number:032x}")


def _content(file):
    return bytes([int(file.digest, 16) % 256]) * file.size_bytes


def _fetch(cache, file):
    """Puts a file into a cache, and holds it."""
    part = cache.begin(file)
    os.pwrite(part.descriptor, _content(file), 0)
    return part.finish()


def _put(cache, *files):
    for file in files:
        _fetch(cache, file).close()
        time.sleep(0.02)  # file systems' clocks are coarse


def _is_there(cache, file):
    held = cache.hold(file)
    if held is not None:
        held.close()
    return held is not None


def _names(cache):
    return sorted(path.name for path in cache.folder.iterdir() if path.name != node_cache.LOCK_NAME)


@pytest.fixture
def cache(tmp_path):
    """Room for three files and a half."""
    return NodeCache(tmp_path / "cache", limit_bytes=3 * SIZE + SIZE // 2)


def test_a_file_is_there_once_it_is_whole(cache):
    """It cannot be held while it is fetched; then it has its bytes, and a descriptor that is for reading."""
    file = _file(7)
    assert cache.hold(file) is None
    part = cache.begin(file)
    os.pwrite(part.descriptor, _content(file), 0)
    assert cache.hold(file) is None
    with part.finish() as held:
        assert os.pread(held.descriptor, SIZE + 1, 0) == _content(file)
        assert held.path.read_bytes() == _content(file)
    part.abandon()
    assert _is_there(cache, file)
    assert _names(cache) == [file.name]


def test_a_file_has_a_name_of_its_own():
    """URL and content make the name; what cannot stand in one is left out, and so is the beginning of a long one."""
    names = {
        CachedFile(url, 1, digest).name
        for url in ("s3://a/x.tar", "s3://b/x.tar", "https://host/a b?c=d/é.tar", f"s3://a/{'long' * 100}.tar")
        for digest in ("0" * 32, "1" * 32)
    }
    assert len(names) == 8
    assert all(len(name) < 200 and "/" not in name and name.isascii() for name in names)
    assert CachedFile("s3://a/clips-000001.tar", 1, "0" * 32).name.startswith("clips-000001.tar.")


def test_one_at_a_time_fetches_a_file(cache):
    """While one does nobody else begins, and afterwards nobody has to; what was given up can be begun again."""
    file = _file(1)
    part = cache.begin(file)
    assert cache.begin(file) is None
    part.abandon()
    part.abandon()
    assert _names(cache) == []
    _put(cache, file)
    assert cache.begin(file) is None


def test_who_gave_a_file_up_leaves_the_next_ones_alone(cache):
    """A keeper is closed, and its thread ends a moment later: by then another one may fetch the same file."""
    given_up = cache.begin(_file(1))
    given_up.remove()
    part = NodeCache(cache.folder).begin(_file(1))
    assert given_up.finish() is None
    given_up.abandon()
    assert not _is_there(cache, _file(1))
    os.pwrite(part.descriptor, _content(_file(1)), 0)
    part.finish().close()
    assert _is_there(cache, _file(1))


def test_what_was_used_longest_ago_goes_first(cache):
    """Holding a file is using it."""
    _put(cache, _file(1), _file(2), _file(3))
    assert _is_there(cache, _file(1))
    time.sleep(0.02)
    _put(cache, _file(4))
    assert _names(cache) == sorted(_file(number).name for number in (1, 3, 4))


def test_no_more_goes_than_has_to(cache):
    """A small file beside three others needs no room made."""
    _put(cache, _file(1), _file(2), _file(3), _file(4, size=SIZE // 2))
    assert len(_names(cache)) == 4


def test_what_is_held_stays(cache):
    """The oldest is held, so the next one goes; where all are held the message says what to do."""
    _put(cache, _file(1), _file(2), _file(3))
    with cache.hold(_file(1)), cache.hold(_file(3)):
        _put(cache, _file(4))
        assert _names(cache) == sorted(_file(number).name for number in (1, 3, 4))
        with cache.hold(_file(4)), pytest.raises(NoRoomError, match=r"no room for s3://.*5.tar .*choose a larger one"):
            cache.begin(_file(5))
    _put(cache, _file(5))


def test_what_is_being_fetched_counts_in_full(cache):
    """Three that were only begun leave no room for a fourth, and cannot be removed."""
    parts = [cache.begin(_file(number)) for number in range(3)]
    with pytest.raises(NoRoomError):
        cache.begin(_file(4))
    assert cache_user.used_bytes(cache.folder) == 3 * SIZE
    parts[0].abandon()
    _put(cache, _file(4))


def test_a_file_that_never_fits_costs_no_other(cache):
    """Larger than the limit: nothing is removed for it, since that would not help."""
    _put(cache, _file(1), _file(2))
    with pytest.raises(NoRoomError, match=r"cache_limit is 35,000 bytes"):
        cache.begin(_file(3, size=4 * SIZE))
    assert len(_names(cache)) == 2


def test_nothing_goes_where_that_is_not_enough(cache):
    """One is held, one is not, and without both there is no room for a large one: the idle one stays."""
    _put(cache, _file(1), _file(2))
    with cache.hold(_file(2)), pytest.raises(NoRoomError):
        cache.begin(_file(3, size=3 * SIZE))
    assert _is_there(cache, _file(1))
    _put(cache, _file(3, size=3 * SIZE))
    assert len(_names(cache)) == 1


def test_other_peoples_files_are_left_alone(cache):
    """A folder that holds something else: it neither counts nor goes, whatever it is called."""
    others = [cache.folder / name for name in ("thesis.tex", "clips-000001.tar", "x.part", ".hidden")]
    for path in others:
        path.write_bytes(bytes(SIZE))
        os.utime(path, (0, 0))
    _put(cache, *map(_file, range(5)))
    assert all(path.exists() for path in others)
    assert len(_names(cache)) == 3 + len(others)


def test_a_damaged_file_is_dropped_under_its_readers(cache):
    """Whoever holds it goes on; for others it is not there, and can be fetched anew."""
    file = _file(1)
    _put(cache, file)
    with cache.hold(file) as held:
        assert held.is_there()
        cache.drop(held)
        assert not held.is_there()
        assert cache.hold(file) is None
        _put(cache, file)
        assert os.pread(held.descriptor, SIZE, 0) == _content(file)


def test_only_the_file_that_was_damaged_is_dropped(cache):
    """One of two who held it has dropped it, and it was fetched anew: the other's word does not concern the new one."""
    file = _file(1)
    _put(cache, file)
    with cache.hold(file) as one, cache.hold(file) as other:
        cache.drop(one)
        _put(cache, file)
        cache.drop(other)
    assert _is_there(cache, file)


def test_a_file_that_is_removed_while_it_is_opened_is_not_held(cache, monkeypatch):
    """Between open and lock another process removes it: None, as if it had gone before, and no descriptor stays."""
    file = _file(1)
    _put(cache, file)
    flock = node_cache.fcntl.flock

    def removed_first(descriptor, how):
        monkeypatch.undo()
        (cache.folder / file.name).unlink()
        flock(descriptor, how)

    descriptors = len(open_files(cache.folder))
    monkeypatch.setattr(node_cache.fcntl, "flock", removed_first)
    assert cache.hold(file) is None
    assert len(open_files(cache.folder)) == descriptors


def test_a_held_file_that_is_forgotten_is_let_go_of(cache):
    """Without close(): neither its descriptor nor its lock stays."""
    _put(cache, _file(1), _file(2), _file(3))
    descriptors = len(open_files(cache.folder))
    held = [cache.hold(_file(number)) for number in (1, 2, 3)]
    assert len(open_files(cache.folder)) == descriptors + 3
    del held
    assert len(open_files(cache.folder)) == descriptors
    _put(cache, _file(4))


def test_where_no_more_files_can_be_opened_nothing_is_held(cache):
    """At the limit of descriptors: None, so that the clip comes from afar, and no error."""
    _put(cache, _file(1))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
    try:
        held = cache.hold(_file(1))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert held is None
    assert _is_there(cache, _file(1))


# Other processes.


@contextmanager
def _owner(folder, number, *, lock=False):
    """A process that has begun to fetch a file, or holds the folder's lock, and stays at that."""
    script = f"""
        import os, sys, time
        from pathlib import Path
        from shardkit.storage.node_cache import CachedFile, NodeCache

        cache = NodeCache(Path(sys.argv[1]))
        file = CachedFile("{_file(number).url}", {SIZE}, "{_file(number).digest}")
        part = None if {lock} else cache.begin(file)
        if part is not None:
            os.pwrite(part.descriptor, b"half", 0)
        with cache.locked() if {lock} else part.descriptor and open(os.devnull):
            print("begun", flush=True)
            time.sleep(600)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), str(folder)], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout.readline() == "begun\n"
            yield process
        finally:
            process.kill()


def test_a_dead_owners_file_is_begun_anew(cache):
    """Kill -9 in the middle of a download: its part is neither taken for the file nor in anybody's way."""
    file = _file(1)
    with _owner(cache.folder, 1) as process:
        assert _names(cache) == [f"{file.name}.part"]
        assert cache.begin(file) is None
        process.kill()
        process.wait()
        assert cache.hold(file) is None
        _put(cache, file)
    assert _names(cache) == [file.name]


def test_a_dead_owners_part_is_cleared_away_for_others(cache):
    """Whoever begins another file finds the room that the part took."""
    with _owner(cache.folder, 1) as process:
        _put(cache, _file(2), _file(3))
        process.kill()
        process.wait()
        _put(cache, _file(4))
    assert _names(cache) == sorted(_file(number).name for number in (2, 3, 4))


def test_whoever_waits_for_a_dead_owner_goes_on(cache):
    """ensure() waits while another process fetches, and fetches itself once that one is gone."""
    file = _file(1)
    fetched = []
    with _owner(cache.folder, 1) as process:

        def fetch(descriptor):
            fetched.append(process.poll())
            os.pwrite(descriptor, _content(file), 0)

        killer = subprocess.Popen(["sh", "-c", f"sleep 0.5; kill -9 {process.pid}"])
        with cache.ensure(file, fetch, poll_s=0.02) as held:
            assert os.pread(held.descriptor, SIZE, 0) == _content(file)
        killer.wait()
    assert len(fetched) == 1


def test_a_stopped_owner_holds_up_nobody(cache):
    """SIGSTOP in the middle of a download: others hear at once that the file is not there, and not theirs to fetch."""
    with _owner(cache.folder, 1) as process:
        os.kill(process.pid, signal.SIGSTOP)
        assert cache.hold(_file(1)) is None
        assert cache.begin(_file(1)) is None
        _put(cache, _file(2))


def test_a_stopped_owner_is_not_waited_for_for_ever(cache):
    """ensure() ends in a StorageError that says what to do."""
    with _owner(cache.folder, 1) as process:
        os.kill(process.pid, signal.SIGSTOP)
        with pytest.raises(StorageError, match=r"another process has been fetching s3://.*1.tar for 0.3 s; stop it"):
            cache.ensure(_file(1), lambda _descriptor: None, poll_s=0.02, timeout_s=0.3)


def test_a_process_that_stopped_with_the_lock_holds_up_nobody_for_long(cache, monkeypatch):
    """What is there can be held, what is not is not begun after a short wait, and a begun file is finished."""
    monkeypatch.setattr(node_cache, "LOCK_TIMEOUT_S", 0.3)
    _put(cache, _file(1))
    part = cache.begin(_file(2))
    os.pwrite(part.descriptor, _content(_file(2)), 0)
    with _owner(cache.folder, 3, lock=True) as process:
        os.kill(process.pid, signal.SIGSTOP)
        assert _is_there(cache, _file(1))
        assert cache.begin(_file(3)) is None
        part.finish().close()
    assert _is_there(cache, _file(2))
    _put(cache, _file(3))


def test_many_who_want_a_file_fetch_it_once(cache):
    """Six processes at the same moment: one fetches, the others wait and find it."""
    file = _file(1)
    script = f"""
        import os, sys, time
        from pathlib import Path
        from shardkit.storage.node_cache import CachedFile, NodeCache

        def fetch(descriptor):
            print("fetched")
            time.sleep(0.3)
            os.pwrite(descriptor, bytes([1]) * {SIZE}, 0)

        cache = NodeCache(Path(sys.argv[1]))
        with cache.ensure(CachedFile("{file.url}", {SIZE}, "{file.digest}"), fetch, poll_s=0.02) as held:
            assert os.pread(held.descriptor, {SIZE} + 1, 0) == bytes([1]) * {SIZE}
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(cache.folder)]
    users = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(6)]
    said = [user.communicate(timeout=60)[0] for user in users]
    assert [user.returncode for user in users] == [0] * 6
    assert "".join(said) == "fetched\n"


def test_a_fetch_that_fails_leaves_nothing(cache):
    """ensure() lets its error out, and the next one begins anew."""
    file = _file(1)

    def fail(descriptor):
        os.pwrite(descriptor, b"half", 0)
        raise StorageError("the server is down")

    with pytest.raises(StorageError, match="the server is down"):
        cache.ensure(file, fail)
    assert _names(cache) == []
    with cache.ensure(file, lambda descriptor: os.pwrite(descriptor, _content(file), 0)) as held:
        assert os.pread(held.descriptor, SIZE, 0) == _content(file)


@pytest.mark.parametrize("dies", [False, True])
def test_whatever_processes_do_the_limit_holds_and_files_are_whole(tmp_path, dies):
    """Four processes hold, fetch, give up and drop at random, with room for 3 of 8 files; two of them may be killed."""
    folder = tmp_path / "cache"
    limit_bytes = 8 * cache_user.UNIT_BYTES
    script = str(Path(cache_user.__file__))
    users = [
        subprocess.Popen(
            [sys.executable, script, str(folder), str(limit_bytes), str(seed), "150", str(int(dies and seed < 2))]
        )
        for seed in range(4)
    ]
    ended = [user.wait(60) for user in users]
    assert ended == ([-signal.SIGKILL] * 2 if dies else [0, 0]) + [0, 0]
    cache = NodeCache(folder, limit_bytes=limit_bytes)
    for file in cache_user.FILES:
        held = cache.hold(file)
        if held is not None:
            with held:
                assert held.path.read_bytes() == cache_user.content(file)
    with pytest.raises(NoRoomError):
        cache.begin(_file(1, size=limit_bytes + 1))
    cache.begin(_file(1)).abandon()
    assert cache_user.used_bytes(folder) <= limit_bytes
    assert not list(folder.glob("*.part"))


# Disks that are full, or not to be written to.


def test_a_full_disk_is_found_out_before_a_byte_is_fetched(tmp_path):
    """StorageError that names folder and remedy; no part is left, and what fits is cached."""
    with small_disk(tmp_path / "disk", size="1m") as disk:
        cache = NodeCache(disk / "cache")
        words = rf"^{disk}/cache: No space left on device; make room on that disk, or choose a smaller cache_limit"
        with pytest.raises(StorageError, match=words):
            cache.begin(_file(1, size=2 << 20))
        assert _names(cache) == []
        _put(cache, _file(2))


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path):
    """A read-only disk: StorageError that says what to choose, whether the cache is there already or not."""
    with small_disk(tmp_path / "disk", size="1m") as disk:
        NodeCache(disk / "cache")
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True, capture_output=True)
        for folder in (disk / "cache", disk / "new"):
            with pytest.raises(
                StorageError, match=rf"^{folder}: Read-only file system; choose a cache_dir that can be"
            ):
                NodeCache(folder)


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path):
    """cache_dir is a file: a StorageError with its path."""
    (tmp_path / "cache").touch()
    with pytest.raises(StorageError, match=rf"^{tmp_path}/cache: .*a file stands where a folder is needed"):
        NodeCache(tmp_path / "cache")


def test_a_disk_without_locks_is_named(cache, monkeypatch):
    """As a network disk may be: StorageError that says what to choose, at once and later, and no descriptor stays."""
    _put(cache, _file(1))

    def refuse(descriptor, how):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(node_cache.fcntl, "flock", refuse)
    descriptors = len(open_files(cache.folder))
    for ask in (lambda: NodeCache(cache.folder), lambda: cache.hold(_file(1)), lambda: cache.begin(_file(2))):
        with pytest.raises(StorageError, match=rf"^{cache.folder}: No locks available; .* cache_dir on a local disk"):
            ask()
    assert len(open_files(cache.folder)) == descriptors


def test_a_cache_shows_its_folder_and_limit(cache):
    """For messages and debuggers."""
    assert repr(cache) == f"NodeCache({str(cache.folder)!r}, limit_bytes=35000)"
