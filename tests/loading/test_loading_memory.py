"""Memory of trainer and workers over many epochs."""

import gc
from pathlib import Path

import pytest

import shardkit


def _kib(pid, *kinds):
    """Memory of a process by kind, such as RssAnon, in KiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(kinds))


@pytest.mark.parametrize("modalities", [("video", "audio"), ("audio",)])
def test_private_memory_is_flat_over_twenty_epochs(packed, modalities):
    """From epoch 2 to epoch 20, private memory of the trainer and of each worker grows by less than 2 %.

    A worker's share of the ring grows until it has been in every slot, and is never more than the ring.
    """
    with shardkit.loader(packed, batch_size=4, workers=2, modalities=modalities, columns=("note",)) as loader:

        def epochs(count):
            for _ in range(count):
                for _ in loader:
                    pass
            gc.collect()
            workers = loader._engine._crew.pids().values()
            return [_kib("self", "RssAnon", "RssShmem"), *(_kib(pid, "RssAnon") for pid in workers)]

        early = epochs(2)
        late = epochs(18)
        ring = loader._engine.ring.region.size_bytes
        assert all(_kib(pid, "RssShmem") <= ring / 1024 + 64 for pid in loader._engine._crew.pids().values())
    for before, after in zip(early, late, strict=True):
        assert after <= before * 1.02 + 256


def test_abandoned_epochs_leave_nothing_behind(packed):
    """Fifty loops that are left after one batch cost no memory, no buffer and no descriptor."""
    with shardkit.loader(packed, batch_size=4, workers=2) as loader:

        def abandon(count):
            for _ in range(count):
                for _ in loader:
                    break
            gc.collect()
            return _kib("self", "RssAnon", "RssShmem"), sum(1 for _ in Path("/proc/self/fd").iterdir())

        kib, descriptors = abandon(10)
        later_kib, later_descriptors = abandon(50)
        assert later_kib <= kib * 1.02 + 256
        assert later_descriptors == descriptors
        assert sum(1 for _ in loader) == 6
