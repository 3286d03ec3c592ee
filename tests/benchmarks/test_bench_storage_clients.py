"""Bare clients ask for what the loader asks for: the cost of reading is compared with that of the same reading."""

from collections import Counter
from dataclasses import replace

import pytest

import shardkit
from benchmarks.loaders.measurement import Timing
from benchmarks.loaders.scale import TINY
from benchmarks.storage.bare_clients import epoch_spans, measured_client
from benchmarks.storage.cases import Route, chosen_cases
from benchmarks.storage.ledger import Served
from benchmarks.storage.rounds import Plan
from benchmarks.storage.sites import Servers

BARE = sorted({(case.reader, case.route.server) for case in chosen_cases(["bare-*"])})


def ranges(log: list[Served]) -> list[tuple[str, int, int]]:
    """What was asked for of tars, as spans."""
    found = []
    for served in log:
        if served.range is not None and served.path.endswith(".tar"):
            first, last = served.range.removeprefix("bytes=").split("-")
            found.append((served.path.rpartition("/")[2], int(first), int(last) + 1))
    return found


@pytest.mark.parametrize("stored", ["square", "thin"])
def test_the_spans_are_those_that_the_loader_asks_for(storage_plan: Plan, storage_servers: Servers, stored: str):
    """In its first epoch the loader asks for each span once, and for next to nothing else of the tars."""
    spans = epoch_spans(shardkit.open(storage_plan.root / stored), seed=3)
    assert len(spans) == TINY.clips
    with storage_servers.site(Route("http", latency_ms=0), seed=0) as (site, proxy):
        assert proxy is not None
        with shardkit.loader(site.url(stored), batch_size=TINY.batch_size, seed=3, workers=1) as loader:
            for _ in loader:
                pass
        asked = ranges(proxy.log())
    # Clips that are wanted together and lie side by side come by one request, with the heads between them.
    for name, start, stop in spans:
        assert sum(n == name and first <= start and stop <= last for n, first, last in asked) == 1
    wanted_bytes = sum(stop - start for _, start, stop in spans)
    assert sum(last - first for _, first, last in asked) == pytest.approx(wanted_bytes, rel=0.05)
    assert len(asked) > TINY.clips / 2


def test_spans_come_in_the_order_of_the_epoch(storage_plan: Plan):
    """The order in which clips are asked for is the one in which a loader with that seed delivers them."""
    folder = storage_plan.root / "square"
    dataset = shardkit.open(folder)
    places = {
        (dataset.shard_names[shard], int(offset)): key
        for key, shard, offset in zip(dataset.keys, dataset.index.shard, dataset.index.video_offset, strict=True)
    }
    starts = sorted(places)
    keys = []
    for name, start, _ in epoch_spans(dataset, seed=3):
        # A span begins at the first frame, which is behind the head of its file.
        keys.append(places[max(place for place in starts if place[0] == name and place[1] <= start)])
    with shardkit.loader(folder, batch_size=TINY.batch_size, seed=3, workers=1) as loader:
        assert keys == [key for batch in loader for key in batch.keys]


@pytest.mark.parametrize(("client", "server"), BARE)
def test_every_bare_client_asks_for_the_spans_over_and_over(
    storage_plan: Plan, storage_servers: Servers, client: str, server: str
):
    """Each comes, whole and as a range, again and again; what was counted was asked for."""
    spans = epoch_spans(shardkit.open(storage_plan.root / "thin"), seed=0)
    timing = replace(storage_plan.timing, measured_batches=3 * len(spans))
    with storage_servers.site(Route(server, latency_ms=0), seed=0) as (site, proxy):
        assert proxy is not None
        found = measured_client(client, site, "thin", spans, timing, pace=None)
        log = [served for served in proxy.log() if served.path.endswith(".tar") and served.method == "GET"]
    assert found.clips >= 3 * len(spans)
    assert len(log) >= found.clips
    whole = [served for served in log if served.body_bytes]
    asked = Counter(ranges(whole))
    assert set(asked) == set(spans)
    assert min(asked.values()) >= 2
    # Those on their way at the end were given up.
    assert (
        sum(served.body_bytes == stop - start for served, (_, start, stop) in zip(whole, ranges(whole), strict=True))
        >= found.clips
    )


@pytest.mark.parametrize("client", ["bare-obstore-threads", "bare-obstore-asyncio"])
def test_a_client_can_be_paced(storage_plan: Plan, storage_servers: Servers, client: str):
    """At 100 spans a second that many come, though the server has many more."""
    spans = epoch_spans(shardkit.open(storage_plan.root / "thin"), seed=0)
    with storage_servers.site(Route("http"), seed=0) as (site, _):
        found = measured_client(client, site, "thin", spans, Timing(0.2, 0.5, 2), pace=100)
    assert found.clips_per_s < 200


def test_a_client_that_fails_says_so(storage_plan: Plan, storage_servers: Servers):
    """A span that is not there is an error, and not a high rate."""
    with storage_servers.site(Route("http"), seed=0) as (site, _):
        for client in ("bare-obstore-threads", "bare-obstore-asyncio", "bare-fsspec"):
            with pytest.raises(FileNotFoundError):
                measured_client(client, site, "thin", [("missing.tar", 0, 100)], storage_plan.timing, pace=None)
