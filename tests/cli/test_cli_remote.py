"""Commands on data that lies elsewhere: what works, and one clear line for everything that can be wrong."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import assert_one_line, run
from started_servers import started

from benchmarks.storage.fault_proxy import fault_proxy
from benchmarks.storage.faults import Fault, FaultRule
from benchmarks.storage.servers import HttpServer, S3Server, nginx_server, s3_server

NAME = "shards"


@pytest.fixture(scope="module")
def served(packed, tmp_path_factory) -> Path:
    """A folder with the data set in a subfolder whose name can be a bucket's."""
    folder = tmp_path_factory.mktemp("served")
    shutil.copytree(packed[0], folder / NAME)
    return folder


@pytest.fixture(scope="module")
def http(served) -> Iterator[HttpServer]:
    """Nginx in front of it."""
    with started(nginx_server(served)) as server:
        yield server


@pytest.fixture(scope="module")
def s3(served) -> Iterator[S3Server]:
    """Rclone in front of it."""
    with started(s3_server(served)) as server:
        yield server


def _options(server: S3Server, **changed):
    options = server.storage_options | changed
    return [part for name, value in options.items() for part in ("--storage-option", f"{name}={_text(value)}")]


def _bucket(server: S3Server) -> list[str]:
    return [f"s3://{NAME}", *_options(server)]


def _text(value):
    return value if isinstance(value, str) else json.dumps(value)


def test_info_takes_a_bucket(packed, s3):
    """The same numbers as from the folder."""
    near, far = (
        json.loads(said.stdout) for said in (run("info", packed[0], "--json"), run("info", *_bucket(s3), "--json"))
    )
    assert far == {**near, "path": f"s3://{NAME}"}


def test_bench_takes_urls(http, s3):
    """Requests are counted."""
    for where in ([f"{http.url}/{NAME}"], _bucket(s3)):
        said = run("bench", *where, "--seconds", "0.2", "--workers", "1", "--batch-size", "5", "--json", "-")
        assert said.returncode == 0, said.stderr
        figures = json.loads(said.stdout)
        assert figures["results"][0]["storage"]["requests"] > 0
        assert figures["cache"].startswith("cold")


def test_a_wrong_bucket_a_wrong_key_and_no_network_are_one_line_each(s3):
    """Each says what is wrong with which URL, and what to check."""
    assert_one_line(run("info", "s3://nowhere", *_options(s3)), "s3://nowhere", "NoSuchBucket", "check the URL, bucket")
    assert_one_line(run("info", f"s3://{NAME}/none", *_options(s3)), f"s3://{NAME}/none", "no dataset.json")
    wrong = _options(s3, secret="wrongwrongwrong")
    assert_one_line(run("info", f"s3://{NAME}", *wrong), f"s3://{NAME}/dataset.json", "access denied", "keys")
    nobody = _options(s3, endpoint_url="http://127.0.0.1:9")
    assert_one_line(run("info", f"s3://{NAME}", *nobody), f"s3://{NAME}/dataset.json", "attempts", "network")


@pytest.mark.parametrize(("fault", "is_borne"), [(Fault.SHORT, False), (Fault.LIE, True)])
def test_a_server_that_lies_about_lengths_is_one_line_or_borne(http, fault, is_borne):
    """Answers that are always too short: range, attempts, last cause. More announced than comes: all is there."""
    with fault_proxy(http.url, rules=[FaultRule(fault, path="*.tar")]) as proxy:
        url = f"{proxy.url}/{NAME}"
        command = ("bench", url, "--storage-timeout", "5", "--seconds", "0.2", "--workers", "1", "--batch-size", "5")
        said = run(*command)
    if is_borne:
        assert said.returncode == 0, said.stderr
    else:
        assert_one_line(said, url, "bytes", "attempts", "a short answer")


def test_a_cache_that_cannot_be_written_is_one_line(http, tmp_path):
    """A read-only place, and a disk without room: which folder, and to choose another."""
    url = f"{http.url}/{NAME}"
    assert_one_line(run("bench", url, "--cache-dir", "/proc/nowhere"), "/proc/nowhere")
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.getuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a small disk")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted: {mounted.stderr.decode()}")
    try:
        said = run("bench", url, "--cache-dir", disk / "cache", "--seconds", "5", "--batch-size", "5", "--workers", "1")
        assert_one_line(said, str(disk / "cache"), "No space left on device", "cache_limit")
    finally:
        subprocess.run(["umount", "-l", disk], check=True)
