"""What is done to a file system is done again where that may help, and not for ever."""

import time

import pytest
from aiohttp import ClientResponseError, RequestInfo
from yarl import URL

from shardkit.errors import StorageError
from shardkit.storage.trying import tried


def _busy(retry_after):
    """What aiohttp raises of a server that asks to wait."""
    request = RequestInfo(URL("http://host/x"), "GET", {}, URL("http://host/x"))
    return ClientResponseError(request, (), status=503, headers={"Retry-After": retry_after})


@pytest.mark.parametrize("asked", ["86400", "9" * 400])
def test_a_server_that_asks_to_wait_for_a_day_is_not_waited_for(asked):
    """Retry-After of more than a minute, however long: StorageError at once, with what the server said."""

    def busy():
        raise _busy(asked)

    with pytest.raises(StorageError, match=r"^http://host/x: the server is busy \(503"):
        tried("http://host/x", busy)


def test_a_server_that_asks_to_wait_for_a_second_is_waited_for():
    """The second try is made then, and no sooner."""
    tries_s = []

    def busy_once():
        tries_s.append(time.monotonic())
        if len(tries_s) == 1:
            raise _busy("1")
        return "done"

    assert tried("http://host/x", busy_once) == "done"
    assert tries_s[1] - tries_s[0] >= 1.0
