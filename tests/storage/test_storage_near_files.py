"""Near files: where the copies go that nobody chose a place for."""

import os
import tempfile
import time
from dataclasses import replace

import pytest
from cached_shards import cached_store
from far_folders import NAME

from benchmarks.storage.faults import Fault, FaultRule
from shardkit.errors import StorageError
from shardkit.storage.near_files import copies_folder, near_file


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The folder that temporary files go to."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_copies_go_to_a_folder_of_this_users_alone(temporary):
    """It is made when it is needed, others cannot look into it, and it is the same the next time."""
    folder = copies_folder()
    assert folder == temporary / f"shardkit-{os.getuid()}"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert copies_folder() == folder


def test_a_folder_that_others_can_write_to_is_refused(temporary):
    """Whoever could write there could have another index mapped: StorageError with the remedy."""
    copies_folder().chmod(0o777)
    with pytest.raises(StorageError, match=r"others can write here.*give a cache_dir"):
        copies_folder()


def test_an_index_is_tried_for_as_long_as_a_shard(far_http, tmp_path):
    """The patience is the store's, and not that with which a data set is opened."""
    far_http.proxy.set_rules([FaultRule(Fault.UNAVAILABLE)])
    store = cached_store(far_http, tmp_path)
    began_s = time.monotonic()
    with pytest.raises(StorageError, match=r"not read in .* the server is busy"):
        near_file(
            replace(store, patience=replace(store.patience, deadline_s=0.3)), NAME, size_bytes=100, digest="0" * 32
        )
    assert time.monotonic() - began_s < 15.0
