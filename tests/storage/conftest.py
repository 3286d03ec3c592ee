"""Real servers of one folder, each behind a proxy that can be told to fail: started once for all tests."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from buckets import s3  # noqa: F401 - a fixture
from far_folders import BUCKET, CONTENT, LARGE, LARGE_NAME, NAME, PREFIX, SMALL_NAMES, FarFolder, small_content
from started_servers import started

from benchmarks.storage.fault_proxy import RunningProxy, fault_proxy
from benchmarks.storage.link import Link
from benchmarks.storage.servers import HttpServer, S3Server, nginx_server, s3_server
from shardkit.storage.clients import RangeClient, make_client
from shardkit.storage.locations import Location

READERS = ("obstore-http", "fsspec-http", "obstore-s3", "fsspec-s3")


@pytest.fixture(scope="session")
def shards_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of buckets, one of them with a folder that holds a shard, a large one and several small ones."""
    root = tmp_path_factory.mktemp("far")
    folder = root / BUCKET / "shards"
    folder.mkdir(parents=True)
    (folder / NAME).write_bytes(CONTENT)
    (folder / LARGE_NAME).write_bytes(LARGE)
    for number, name in enumerate(SMALL_NAMES):
        (folder / name).write_bytes(small_content(number))
    return root


@pytest.fixture(scope="session")
def http_server(shards_root: Path) -> Iterator[HttpServer]:
    """It as nginx serves it."""
    with started(nginx_server(shards_root)) as server:
        yield server


@pytest.fixture(scope="session")
def object_server(shards_root: Path) -> Iterator[S3Server]:
    """It as rclone serves it, over S3, with signatures that are checked."""
    with started(s3_server(shards_root, notice_s=0.0)) as server:
        yield server


@pytest.fixture(scope="session")
def _far_http(http_server: HttpServer) -> Iterator[FarFolder]:
    with fault_proxy(http_server.url) as proxy:
        yield FarFolder(proxy, Location.of(f"{proxy.url}{PREFIX}"), "obstore")


@pytest.fixture(scope="session")
def _far_s3(object_server: S3Server) -> Iterator[FarFolder]:
    with fault_proxy(object_server.url, link=Link(mend_206=True)) as proxy:
        options = object_server.behind(proxy.url).storage_options
        yield FarFolder(proxy, Location.of(f"s3:/{PREFIX}", options), "obstore")


@pytest.fixture
def behind_link(http_server: HttpServer) -> Callable[..., AbstractContextManager[tuple[RangeClient, RunningProxy]]]:
    """Makes a client of the folder behind a link, given as `Link`'s keywords; and the proxy that is the link."""

    @contextmanager
    def behind(**link: Any) -> Iterator[tuple[RangeClient, RunningProxy]]:
        with fault_proxy(http_server.url, link=Link(**link)) as proxy:
            yield make_client(Location.of(f"{proxy.url}{PREFIX}"), "obstore"), proxy

    return behind


@pytest.fixture
def far_http(_far_http: FarFolder) -> FarFolder:
    """The folder behind nginx, through obstore; the proxy does no harm until it is told to."""
    _far_http.proxy.set_rules([])
    return _far_http


@pytest.fixture
def far_s3(_far_s3: FarFolder) -> FarFolder:
    """The folder behind rclone, through obstore, which needs the proxy to mend rclone's status."""
    _far_s3.proxy.set_rules([])
    return _far_s3


@pytest.fixture(params=READERS)
def far(request: pytest.FixtureRequest) -> FarFolder:
    """The folder by each server and each client in turn."""
    engine, server = request.param.split("-")
    return replace(request.getfixturevalue(f"far_{server}"), engine=engine)
