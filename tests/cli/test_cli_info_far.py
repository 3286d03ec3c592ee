"""The command on data sets that are far away: what it shows of a path it shows of a URL; what fails is one line."""

import json
import os
import socket
import subprocess
from dataclasses import replace

import pytest
from command_line import WRONG_USE, assert_one_line, run
from started_servers import started

from benchmarks.storage.fault_proxy import fault_proxy
from benchmarks.storage.faults import Fault, FaultRule
from benchmarks.storage.servers import nginx_server
from shardkit.cli import main
from shardkit.storage import stores


@pytest.fixture(scope="module")
def proxy(packed):
    """Nginx serves the folder that the packed data set is in; the proxy before it can be told to fail."""
    with started(nginx_server(packed[0].parent)) as server, fault_proxy(server.url) as proxy:
        yield proxy


@pytest.fixture
def url(proxy, packed):
    """The data set's."""
    proxy.set_rules([])
    return f"{proxy.url}/{packed[0].name}"


@pytest.fixture(autouse=True)
def _own_copies(tmp_path, monkeypatch):
    """Copies of indexes go to the test's own folder."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))


def _run_here(*arguments, monkeypatch, capsys):
    """The command in this process, where patience can be made short."""
    monkeypatch.setattr(stores, "OPENING", replace(stores.OPENING, deadline_s=0.3, first_wait_s=0.02))
    monkeypatch.setattr("sys.argv", ["shardkit", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    printed = capsys.readouterr()
    return subprocess.CompletedProcess(arguments, ended.value.code, printed.out, printed.err)


def test_info_of_a_url_is_that_of_the_path(url, packed):
    """All that is shown is the same but where the data set lies."""
    near, far = (json.loads(run("info", where, "--json").stdout) for where in (packed[0], url))
    assert near.pop("path") == str(packed[0])
    assert far.pop("path") == url
    assert far == near
    assert url in run("info", url).stdout


def test_stats_of_a_url_are_those_of_the_path(url, packed):
    """The same numbers; options of the storage are taken."""
    asked = ("--modality", "video", "--size", "32", "--workers", "1", "--json")
    near, far = (
        run("stats", packed[0], *asked),
        run("stats", url, *asked, "--storage-option", "client_kwargs.headers.x-of=tests"),
    )
    assert {**json.loads(far.stdout), "path": str(packed[0])} == json.loads(near.stdout)


def test_a_wrong_address_on_a_server_is_one_line(url):
    """A folder that is not there: that it has no manifest, and to check the path."""
    said = run("info", f"{url}-of-yesterday")
    assert_one_line(said, f"{url}-of-yesterday: no dataset.json, so no data set", "check the path")


def test_a_folder_that_may_not_be_read_is_one_line(url, proxy):
    """403: the URL, and what to check."""
    proxy.set_rules([FaultRule(Fault.FORBIDDEN, ranged_gets_only=False)])
    assert_one_line(run("info", url), f"{url}/dataset.json: not read: access denied (403", "check the keys")


def test_a_server_that_is_down_is_one_line(monkeypatch, capsys):
    """Nobody listens: how often it was tried, why it failed, and what to check."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/shards"
    said = _run_here("info", url, monkeypatch=monkeypatch, capsys=capsys)
    assert_one_line(said, f"{url}/dataset.json: not read in", "attempt", "refused", "check the network")


def test_without_a_network_it_is_one_line(monkeypatch, capsys):
    """A host that has no address."""
    said = _run_here("info", "https://host.invalid/shards", monkeypatch=monkeypatch, capsys=capsys)
    assert_one_line(said, "https://host.invalid/shards/dataset.json: not read", "check the network")


@pytest.mark.parametrize("address", ["http://", "http://127.0.0.1:99999/shards", "nowhere://shards", "az://a/b"])
def test_an_address_that_is_none_is_one_line(address):
    """A usage error that shows what was typed."""
    assert_one_line(run("info", address), f"{address}: ", "check the URL", code=WRONG_USE)


def test_a_damaged_index_is_one_line(url, proxy):
    """A byte flipped for ever: which file is damaged, and what to do."""
    proxy.set_rules([FaultRule(Fault.CORRUPT, path="*/index.arrow")])
    assert_one_line(run("info", url), f"{url}/index.arrow: xxh3 is", "copy it again")


def test_an_index_that_cannot_be_copied_is_one_line(url, tmp_path):
    """A file stands where the folder of copies would: it is named."""
    (tmp_path / f"shardkit-{os.getuid()}").touch()
    assert_one_line(run("info", url), f"{tmp_path}/shardkit-{os.getuid()}: ", "a file stands where a folder is")
