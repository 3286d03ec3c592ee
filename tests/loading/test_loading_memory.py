"""Memory of trainer and workers over many epochs.

A process's share of the ring (RssShmem) grows until it has touched every page of it, whenever that is; it is never more
than the ring. All else (RssAnon) is flat.
"""

import gc
from pathlib import Path

import pytest

import shardkit

SLACK_KIB = 256


def _kib(pid, kind):
    """Memory of a process by kind, such as RssAnon, in KiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(kind))


@pytest.mark.parametrize("modalities", [("video", "audio"), ("audio",)])
def test_private_memory_is_flat_over_twenty_epochs(packed, modalities):
    """From epoch 2 to epoch 20, private memory of the trainer and of each worker grows by less than 2 %."""
    gc.collect()
    others_kib = _kib("self", "RssShmem")
    with shardkit.loader(packed, batch_size=4, workers=2, modalities=modalities, columns=("note",)) as loader:

        def epochs(count):
            for _ in range(count):
                for _ in loader:
                    pass
            gc.collect()
            workers = loader._engine._crew.pids().values()
            return [_kib(pid, "RssAnon") for pid in ("self", *workers)]

        early = epochs(2)
        late = epochs(18)
        ring_kib = loader._engine.ring.region.size_bytes / 1024
        assert _kib("self", "RssShmem") <= others_kib + ring_kib + SLACK_KIB
        assert all(_kib(pid, "RssShmem") <= ring_kib + SLACK_KIB for pid in loader._engine._crew.pids().values())
    for before, after in zip(early, late, strict=True):
        assert after <= before * 1.02 + SLACK_KIB


def test_abandoned_epochs_leave_nothing_behind(packed):
    """Fifty loops that are left after one batch cost no memory, no buffer and no descriptor."""
    gc.collect()
    others_kib = _kib("self", "RssShmem")
    with shardkit.loader(packed, batch_size=4, workers=2) as loader:

        def abandon(count):
            for _ in range(count):
                for _ in loader:
                    break
            gc.collect()
            return _kib("self", "RssAnon"), sum(1 for _ in Path("/proc/self/fd").iterdir())

        kib, descriptors = abandon(10)
        later_kib, later_descriptors = abandon(50)
        assert later_kib <= kib * 1.02 + SLACK_KIB
        assert later_descriptors == descriptors
        assert _kib("self", "RssShmem") <= others_kib + loader._engine.ring.region.size_bytes / 1024 + SLACK_KIB
        assert sum(1 for _ in loader) == 6
