"""Whole files are copied in parts, several at a time, through faults, and are checked at the end."""

import os
import threading
import time
from contextlib import contextmanager
from dataclasses import replace

import pytest
from far_folders import CONTENT, LARGE, LARGE_NAME, NAME, STALL_S
from small_disks import small_disk

from benchmarks.storage.faults import Fault, FaultRule, mixed_faults
from shardkit.errors import CorruptShardError, StorageError
from shardkit.format.digest import FileHasher
from shardkit.storage.copies import PART_BYTES, PARTS_AT_ONCE, copy_file
from shardkit.storage.failures import MissingFileError
from shardkit.storage.fetching import Patience
from shardkit.storage.request_meter import RequestMeter

QUICK = Patience(deadline_s=30.0, first_wait_s=0.01, most_wait_s=0.05)


def _digest(data):
    hasher = FileHasher()
    hasher.update(data)
    return hasher.hexdigest()


@contextmanager
def _target(folder):
    descriptor = os.open(folder / "copy", os.O_RDWR | os.O_CREAT)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _copy(client, name, descriptor, data, **options):
    expected = {"size_bytes": len(data), "digest": _digest(data), "patience": QUICK}
    copy_file(client, name, descriptor, **(expected | options))


def test_a_copy_is_made_in_parts(far, tmp_path):
    """Each part is asked for once, and the copy is the file to the byte."""
    meter = RequestMeter()
    with _target(tmp_path) as descriptor:
        _copy(far.client(), LARGE_NAME, descriptor, LARGE, meter=meter)
        assert (tmp_path / "copy").read_bytes() == LARGE
    assert (meter.request_bytes, meter.retries) == (len(LARGE), 0)
    starts = {start for start, _ in far.asked(LARGE_NAME)}
    assert starts >= set(range(0, len(LARGE), PART_BYTES))
    assert sum(stop - start for start, stop in far.asked(LARGE_NAME)) == len(LARGE)


def test_parts_come_several_at_a_time(behind_link, tmp_path):
    """From far away five parts take the time of one."""
    with behind_link(latency_s=2.0) as (client, proxy), _target(tmp_path) as descriptor:
        _copy(client, LARGE_NAME, descriptor, LARGE)
        assert proxy.stats().most_in_flight == min(-(-len(LARGE) // PART_BYTES), PARTS_AT_ONCE)


def test_an_empty_file_needs_no_request(far_http, tmp_path):
    """Its digest says all."""
    with _target(tmp_path) as descriptor:
        _copy(far_http.client(), "none.tar", descriptor, b"")
    assert far_http.proxy.log() == []


@pytest.mark.parametrize("engine", ["obstore", "fsspec"])
def test_a_copy_comes_through_faults(far_http, tmp_path, engine):
    """A third of all requests fails, in any way: the copy is the file to the byte."""
    client = replace(far_http, engine=engine).client(stall_s=STALL_S)
    far_http.proxy.set_rules(mixed_faults(0.3, stall_s=60.0, retry_after_s=0))
    with _target(tmp_path) as descriptor:
        _copy(client, LARGE_NAME, descriptor, LARGE)
        assert (tmp_path / "copy").read_bytes() == LARGE


@pytest.mark.parametrize("fault", [None, Fault.CORRUPT])
def test_bytes_that_are_not_those_of_the_manifest_are_damage(far, tmp_path, fault):
    """Another file behind the name, or a byte flipped on the way: CorruptShardError with both digests."""
    far.proxy.set_rules([] if fault is None else [FaultRule(fault, first=1)])
    expected = CONTENT if fault else bytes(len(CONTENT))
    words = rf"^{far.location}/{NAME}: xxh3 is [0-9a-f]{{32}}, the manifest says {_digest(expected)}; .*copy it again"
    with _target(tmp_path) as descriptor, pytest.raises(CorruptShardError, match=words):
        _copy(far.client(), NAME, descriptor, expected)


def test_a_file_that_is_shorter_than_the_manifest_says_is_damage(far, tmp_path):
    """CorruptShardError, without retries until a deadline."""
    with _target(tmp_path) as descriptor, pytest.raises(CorruptShardError, match=rf"{NAME}: ends before byte"):
        _copy(far.client(), NAME, descriptor, CONTENT + b"more", patience=Patience(deadline_s=600.0))


def test_a_file_that_is_not_there_ends_the_copy(far, tmp_path):
    """Of a thousand parts most are never asked for."""
    with _target(tmp_path) as descriptor, pytest.raises(MissingFileError, match=r"none.tar, bytes .*: not read"):
        _copy(far.client(), "none.tar", descriptor, b"", size_bytes=1000 * PART_BYTES)
    assert len(far.asked("none.tar")) < 500


def test_a_copy_that_nobody_waits_for_ends(far_http, tmp_path):
    """Once `closing` is set, with the pauses that its parts are in."""
    far_http.proxy.set_rules([FaultRule(Fault.UNAVAILABLE)])
    closing = threading.Event()
    threading.Timer(0.3, closing.set).start()
    patience = Patience(deadline_s=600.0, first_wait_s=300.0, most_wait_s=300.0)
    began_s = time.monotonic()
    with _target(tmp_path) as descriptor, pytest.raises(StorageError, match="nobody waits for it"):
        _copy(far_http.client(), NAME, descriptor, CONTENT, patience=patience, closing=closing)
    assert time.monotonic() - began_s < 60


def test_a_full_disk_is_the_writers_error(far_http, tmp_path):
    """It is the system's, for whoever knows where the copy goes; the server is not blamed."""
    with (
        small_disk(tmp_path / "disk", size="1m") as disk,
        _target(disk) as descriptor,
        pytest.raises(OSError, match="No space left on device"),
    ):
        _copy(far_http.client(), NAME, descriptor, CONTENT)
