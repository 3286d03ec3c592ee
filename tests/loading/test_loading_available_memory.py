"""How much memory there is for the ring: what the machine says, what control groups say, and what is refused then."""

import os
from pathlib import Path

import pytest
from watching import descriptor_count, wait_until

import shardkit
from shardkit.errors import UsageError
from shardkit.loading.memory import GroupReadings, available_bytes, read_available_bytes
from shardkit.loading.plan import BatchLayout, ClipPlan
from shardkit.loading.ring import AHEAD_BUFFERS, LEASED_BUFFERS, Ring
from shardkit.planning.views import ViewRules

MEMINFO = (
    "MemTotal:       24684084 kB\nMemFree:          133416 kB\nMemAvailable:    2000 kB\nHugePages_Total:       0\n"
)
MACHINE_BYTES = 2000 * 1024
UNLIMITED = GroupReadings("max\n", "5000\n", "anon 5000\nfile 0\n")


def test_without_a_limit_it_is_what_the_machine_has_available():
    """MemAvailable counts, which includes the cache that the system would drop, and MemFree does not."""
    assert available_bytes(MEMINFO) == MACHINE_BYTES
    assert available_bytes(MEMINFO, [UNLIMITED]) == MACHINE_BYTES


def test_a_control_group_allows_what_it_has_not_used_for_good():
    """Its limit less what it uses; cached files, which the system drops when memory is short, are not used for good."""
    kinds = "anon 300\nfile 900\nshmem 100\ninactive_file 500\nactive_file 300\n"
    assert available_bytes(MEMINFO, [GroupReadings("2000\n", "1200\n", kinds)]) == 2000 - (1200 - 800)
    assert available_bytes(MEMINFO, [GroupReadings("2000\n", "1200\n", "")]) == 800
    assert available_bytes(MEMINFO, [GroupReadings("1000\n", "1200\n", "")]) == 0
    assert available_bytes(MEMINFO, [GroupReadings("2000\n", "100\n", kinds)]) == 2000


def test_the_tightest_of_all_counts():
    """A group inside a group, and a machine that has less than both allow."""
    outer, inner = GroupReadings("9000\n", "1000\n", ""), GroupReadings("5000\n", "1000\n", "")
    assert available_bytes(MEMINFO, [UNLIMITED, outer, inner]) == 4000
    assert available_bytes(MEMINFO, [GroupReadings(str(1 << 50), "0", "")]) == MACHINE_BYTES


def test_where_nothing_is_known_nothing_is_said():
    """No /proc/meminfo, or a kernel before MemAvailable, and no limit."""
    assert available_bytes("") is None
    assert available_bytes("MemTotal: 5 kB\n", [UNLIMITED]) is None
    assert available_bytes("", [GroupReadings("5000", "0", "")]) == 5000


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="Linux tells")
def test_this_machine_tells():
    """More than nothing, and not more than all that there is."""
    total_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 0 < read_available_bytes() <= total_bytes


def _layout():
    return BatchLayout.of(ClipPlan(video=None, audio=None, window_s=None, rules=ViewRules(seed=0), verify=True), 7)


@pytest.mark.parametrize("shared", [True, False])
def test_a_ring_is_made_where_it_just_fits_and_refused_where_it_does_not(shared):
    """The error says how much it takes, how much there is, and which options make it smaller."""
    layout = _layout()
    needed = layout.size_bytes * (AHEAD_BUFFERS + LEASED_BUFFERS)
    for there in (needed, None):
        Ring(layout, shared=shared, available_bytes=lambda there=there: there).region.close()
    message = (
        rf"6 buffers for batches of 7 clips take {needed:,} bytes of memory, {needed - 1:,} are available; lower batch"
    )
    with pytest.raises(UsageError, match=message):
        Ring(layout, shared=shared, available_bytes=lambda: needed - 1)


@pytest.mark.filterwarnings("ignore:batch_size=20000000 is more than")
def test_a_loader_says_so_before_it_touches_any_of_it(packed):
    """A batch_size whose ring is larger than memory is an error at the first batch, and leaves no descriptor open."""
    before = descriptor_count()
    with shardkit.loader(packed, batch_size=20_000_000, modalities=("audio",), worker_type="thread") as loader:
        for _ in range(2):
            with pytest.raises(
                UsageError, match=r"batches of 20,000,000 clips take .* are available; lower batch_size"
            ):
                next(iter(loader))
    wait_until(lambda: descriptor_count() <= before)
