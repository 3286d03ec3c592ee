"""Memory of trainer and workers over many epochs, in a process of its own: what other tests left behind comes and goes.

A process's share of the ring (RssShmem) grows until it has touched every page of it, whenever that is; it is never more
than the ring. All else (RssAnon) is flat.
"""

import json
import subprocess
import sys
import textwrap

import pytest

SLACK_KIB = 256
PREAMBLE = """
    import gc, json, os, sys, time
    from pathlib import Path
    import shardkit

    def kib(pid, kind):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(kind))

    def measured(loader):
        gc.collect()
        pids = ["self", *loader._engine._crew.pids().values()]
        return {
            "private": [kib(pid, "RssAnon") for pid in pids],
            "shared": [kib(pid, "RssShmem") for pid in pids],
            "descriptors": len(os.listdir("/proc/self/fd")),
            "ring": loader._engine.ring.region.size_bytes / 1024,
        }

    def come_up(loader):
        # An interpreter that still imports, while the other one loads everything, has not the memory of a worker.
        for _ in loader:
            pass
        while not all(map(loader._engine._board.is_there, range(2))):
            time.sleep(0.01)

"""


def _run(script, *arguments):
    """The lines that a script prints, as JSON."""
    text = textwrap.dedent(PREAMBLE) + textwrap.dedent(script)
    done = subprocess.run(
        [sys.executable, "-c", text, *map(str, arguments)], check=True, capture_output=True, text=True, timeout=250
    )
    assert done.stderr == ""
    return [json.loads(line) for line in done.stdout.splitlines()]


def _assert_flat(early, late):
    for before, after in zip(early["private"], late["private"], strict=True):
        assert after <= before * 1.02 + SLACK_KIB
    assert max(late["shared"]) <= late["ring"] + SLACK_KIB
    assert late["descriptors"] == early["descriptors"]


@pytest.mark.parametrize(
    ("modalities", "decoder", "first", "last"),
    [("video audio", "auto", 2, 20), ("audio", "auto", 2, 20), ("video audio", "decord", 200, 600)],
)
def test_private_memory_is_flat(packed, modalities, decoder, first, last):
    """From epoch 2 to epoch 20, private memory of the trainer and of each worker grows by less than 2 %.

    decord's heap takes some thousands of clips, which are hundreds of such short epochs, to find its size.
    """
    script = """
        options = {"batch_size": 4, "workers": 2, "columns": ("note",)}
        options |= {"modalities": sys.argv[2].split(), "decoder": sys.argv[3]}
        with shardkit.loader(sys.argv[1], **options) as loader:
            first, last = map(int, sys.argv[4:])
            come_up(loader)
            for epoch in range(1, last + 1):
                for batch in loader:
                    pass
                if epoch in (first, last):
                    print(json.dumps(measured(loader)))
    """
    _assert_flat(*_run(script, packed, modalities, decoder, first, last))


def test_abandoned_epochs_leave_nothing_behind(packed):
    """Fifty loops that are left after one batch cost no memory, no buffer and no descriptor."""
    script = """
        with shardkit.loader(sys.argv[1], batch_size=4, workers=2) as loader:
            come_up(loader)
            for loop in range(1, 61):
                for batch in loader:
                    break
                if loop in (10, 60):
                    print(json.dumps(measured(loader)))
            del batch
            print(json.dumps(sum(1 for _ in loader)))
    """
    early, late, steps = _run(script, packed)
    _assert_flat(early, late)
    assert steps == 6
