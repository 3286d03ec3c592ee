"""Leases: memory under a live tensor is never used again, and comes back when the tensor dies."""

import gc
import sys
import warnings

import numpy as np
import pytest
import torch
from snapshots import snapshot

import shardkit
from shardkit.loading.plan import BatchLayout, ClipPlan
from shardkit.loading.ring import LEASED_BUFFERS, Ring
from shardkit.planning.views import ViewRules


def _loader(source, **options):
    return shardkit.loader(source, **({"batch_size": 2, "workers": 2, "worker_type": "thread"} | options))


@pytest.mark.parametrize("worker_type", ["process", "thread"])
def test_a_held_batch_is_never_overwritten(packed, worker_type):
    """A batch kept over five epochs has the values it had when it came."""
    with _loader(packed, worker_type=worker_type) as loader:
        held = next(iter(loader))
        before = snapshot(held)
        for _ in range(5):
            for _ in loader:
                pass
        assert snapshot(held) == before


def test_a_slice_keeps_the_memory_too(packed):
    """A view of one frame of a batch that is gone otherwise is not overwritten."""
    with _loader(packed) as loader:
        view = next(iter(loader)).video[1, 3, :, 10:20]
        before = view.clone()
        for _ in range(3):
            for _ in loader:
                pass
        assert torch.equal(view, before)


def test_holding_every_batch_warns_once_and_stays_right(packed):
    """list(loader) works: fresh memory is handed out after one ResourceWarning, and every batch keeps its values."""
    with _loader(packed) as loader:
        expected = [snapshot(batch) for batch in loader]
        loader.set_epoch(0)
        with pytest.warns(ResourceWarning, match="held at once") as caught:
            held = list(loader)
        (warning,) = (each for each in caught if "held at once" in str(each.message))
        assert warning.filename == __file__
        assert [snapshot(batch) for batch in held] == expected


def test_a_usual_loop_never_warns(packed):
    """A loop that holds the batch it is on and the one before costs no copy and no warning."""
    with _loader(packed) as loader, warnings.catch_warnings():
        warnings.simplefilter("error")
        last = None
        for _ in range(3):
            for batch in loader:
                last = batch
    assert last is not None


@pytest.mark.parametrize("worker_type", ["process", "thread"])
def test_tensors_outlive_the_loader(packed, worker_type):
    """A batch is valid after close(), after the loader is gone, and after another loader was used."""
    loader = _loader(packed, worker_type=worker_type)
    batch = next(iter(loader))
    before = snapshot(batch)
    loader.close()
    del loader
    gc.collect()
    with _loader(packed, worker_type=worker_type) as other:
        for _ in other:
            pass
    assert snapshot(batch) == before


def test_buffers_come_back_when_the_last_tensor_dies(packed):
    """A buffer is leased while `video` or `audio` lives and free right after, without the garbage collector."""
    gc.disable()
    try:
        with _loader(packed) as loader:
            iterator = iter(loader)
            batch = next(iterator)
            ring = loader._engine.ring
            video, audio = batch.video, batch.audio
            del batch
            assert ring.leased() == 1
            del video
            assert ring.leased() == 1
            del audio
            assert ring.leased() == 0
    finally:
        gc.enable()


def test_the_end_of_a_batch_runs_no_python_code(packed):
    """A Ctrl-C that arrives in a finalizer is printed and lost, and the training loop goes on: so there is none."""
    called = []
    with _loader(packed) as loader:
        iterator = iter(loader)
        batch = next(iterator)
        assert loader._engine.ring.leased() == 1
        gc.disable()  # it calls what others have registered with it
        sys.setprofile(lambda frame, event, _: called.append(frame.f_code.co_name) if event == "call" else None)
        try:
            del batch
        finally:
            sys.setprofile(None)
            gc.enable()
        assert called == []
        assert loader._engine.ring.leased() == 0


def test_small_tensors_hold_no_lease(packed):
    """Labels, times and weights can be kept for a whole epoch: they are copies."""
    with _loader(packed) as loader, warnings.catch_warnings():
        warnings.simplefilter("error")
        kept = []
        for batch in loader:
            kept.append(
                (batch.labels, batch.events, batch.frame_times_s, batch.window_s, batch.weight, batch.has_video)
            )
            del batch
            assert loader._engine.ring.leased() == 0
    assert len(kept) == 12


def _ring():
    plan = ClipPlan(video=None, audio=None, window_s=None, rules=ViewRules(seed=0), verify=True)
    return Ring(BatchLayout.of(plan, 3), shared=False)


def test_a_ring_gives_out_every_buffer_once():
    """Until one is given back, take() gives each buffer once, then None."""
    ring = _ring()
    taken = [ring.take() for _ in range(ring.buffers)]
    assert sorted(taken) == list(range(ring.buffers))
    assert ring.take() is None
    ring.give_back(2)
    assert ring.take() == 2


def test_a_ring_always_keeps_buffers_for_the_workers():
    """However many leases are held, some buffers stay with the loader, so that work goes on."""
    ring = _ring()
    held = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        for _ in range(3 * ring.buffers):
            buffer = ring.take()
            assert buffer is not None
            held.append(ring.lease(buffer))
    free = set()
    while (buffer := ring.take()) is not None:
        free.add(buffer)
    assert len(free) == LEASED_BUFFERS


def test_a_layouts_fields_do_not_overlap_and_are_aligned():
    """Writing one field of a batch buffer changes no other; each, but for JPEG frames, begins at a multiple of 64."""
    ring = _ring()
    views = ring.views(0)
    start = ring.region.array.ctypes.data
    for name, array in views.items():
        for other in views.values():
            other[...] = 0
        array[...] = 1
        assert [n for n, a in views.items() if np.any(a)] == ([name] if array.size else [])
        assert (array.ctypes.data - start) % 64 == 0
