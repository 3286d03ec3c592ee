"""A shared disk is asked for as few openings of files as it takes, by many threads at once."""

import errno
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from watching import open_files

from shardkit.storage.clients import make_client
from shardkit.storage.fetching import Patience, fetch
from shardkit.storage.locations import Location
from shardkit.storage.request_meter import RequestMeter

FILES, SIZE = 20, 1_000


@pytest.fixture
def folder(tmp_path):
    """Twenty files, each of which holds its number."""
    for number in range(FILES):
        (tmp_path / f"{number}.tar").write_bytes(bytes([number]) * SIZE)
    return tmp_path


@pytest.fixture
def opened(folder, monkeypatch):
    """The names of the files that were opened."""
    names = []
    real = os.open

    def counting(path, *rest, **options):
        if str(path).startswith(str(folder)):
            names.append(Path(path).name)
        return real(path, *rest, **options)

    monkeypatch.setattr(os, "open", counting)
    return names


def _reads_right(client, place):
    number = place * 7 % FILES
    return client.read(f"{number}.tar", 0, SIZE) == bytes([number]) * SIZE


def test_a_shard_is_opened_once(folder, opened):
    """However many clips are read of it, as long as there are not too many others between."""
    client = make_client(Location.of(folder), "disk", max_open=2)
    for number in (0, 1, 0, 1, 0):
        assert client.read(f"{number}.tar", 5, 10) == bytes([number]) * 5
    assert opened == ["0.tar", "1.tar"]
    client.read("2.tar", 5, 10)
    client.read("0.tar", 5, 10)
    assert opened == ["0.tar", "1.tar", "2.tar"]
    client.read("1.tar", 5, 10)
    assert opened == ["0.tar", "1.tar", "2.tar", "1.tar"]


def test_none_is_closed_while_it_is_read(folder):
    """Many threads, and room for hardly any: the right bytes, and no more files stay open than there is room for."""
    client = make_client(Location.of(folder), "disk", max_open=2)
    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(partial(_reads_right, client), range(4_000)))
    assert len(open_files(folder)) == 2
    del client
    assert open_files(folder) == []


def test_a_handle_that_went_stale_is_opened_anew(folder, opened, monkeypatch):
    """As after a file server was started again: the retry does not meet the same fault for ever."""
    client = make_client(Location.of(folder), "disk")
    client.read("3.tar", 0, 5)
    failures, real = [OSError(errno.ESTALE, "Stale file handle")], os.pread

    def pread(*asked):
        if failures:
            raise failures.pop()
        return real(*asked)

    monkeypatch.setattr(os, "pread", pread)
    found = fetch(
        client,
        "3.tar",
        0,
        5,
        patience=Patience(deadline_s=2.0, first_wait_s=0.01),
        meter=RequestMeter(),
        closing=threading.Event(),
    )
    assert found.tobytes() == b"\x03" * 5
    assert opened == ["3.tar", "3.tar"]
