"""Batches on a device: copied one step ahead, and never over a buffer that is filled anew meanwhile."""

from collections import deque

import numpy as np
import pytest
import torch
from watching import is_running, wait_until

import shardkit
from shardkit.errors import DataError
from shardkit.loading.config import LoaderConfig
from shardkit.loading.device import Copy, as_float
from shardkit.loading.loader import Loader

BATCH_SIZE = 4


class SlowDevice:
    """A device whose copies are done only when somebody says so, and read their source only then."""

    def __init__(self) -> None:
        self.under_way: deque = deque()
        self.started: list[list[str]] = []
        self.finished: list[list[str]] = []
        self.closed = False

    def start(self, batch):
        """See Copier."""
        self.started.append(batch.keys)
        copy = Copy(batch, event=object())
        self.under_way.append(copy)
        return copy

    def finish(self, copy):
        """See Copier."""
        self.finished.append(copy.batch.keys)
        while self.under_way and self.under_way[0] is not copy:
            self._do()
        self._do()
        return self.done

    def _do(self) -> None:
        batch = self.under_way.popleft().batch
        self.done = batch.to("cpu")
        object.__setattr__(self.done, "video", batch.video.clone())

    def close(self) -> None:
        """See Copier."""
        self.under_way.clear()
        self.closed = True


def _loader(packed, device, **options):
    options = {"batch_size": BATCH_SIZE, "seed": 3, "workers": 2} | options
    return Loader(packed, LoaderConfig(**options), make_copier=lambda _, __: device)


def _plain(packed, **options):
    options = {"batch_size": BATCH_SIZE, "seed": 3, "workers": 2} | options
    with shardkit.loader(packed, **options) as loader:
        return [(batch.keys, batch.video.clone()) for batch in loader]


def test_every_batch_arrives_as_it_was_loaded(packed):
    """Over three epochs, what comes from a slow device has the pixels and keys of a plain loader, in its order."""
    device = SlowDevice()
    expected = _plain(packed, epochs=3)
    with _loader(packed, device, epochs=3) as loader:
        got = [(batch.keys, batch.video) for batch in loader]
    assert [keys for keys, _ in got] == [keys for keys, _ in expected]
    for (_, video), (_, wanted) in zip(got, expected, strict=True):
        assert torch.equal(video, wanted)


def test_the_next_batch_is_under_way_before_one_is_handed_out(packed):
    """Once workers are ahead, a batch's copy has been started when the one before it comes."""
    device = SlowDevice()
    with _loader(packed, device, epochs=100) as loader:
        batches = iter(loader)
        ahead = []
        for _ in range(15):
            next(batches)
            ahead.append(len(device.started) - len(device.finished))
            # The one to hand out next may be staged already or not: the one behind it is to be filled either way.
            while not all(loader._engine.is_good(step.number) for step in list(loader._waiting)[:2]):
                loader._engine.filled()
    assert set(ahead[2:]) == {1}


def test_a_state_does_not_count_what_is_only_under_way(packed):
    """A state taken in the loop goes on with the next batch, also where that was copied ahead."""
    expected = [keys for keys, _ in _plain(packed)]
    device = SlowDevice()
    with _loader(packed, device) as loader:
        batches = iter(loader)
        for _ in range(2):
            next(batches)
        state = loader.state_dict()
    with _loader(packed, SlowDevice()) as loader:
        loader.load_state_dict(state)
        assert [batch.keys for batch in loader] == expected[2:]


def test_an_abandoned_epoch_starts_again(packed):
    """A batch that was copied ahead of a loop that broke off comes again in the next one, and no buffer is lost."""
    expected = [keys for keys, _ in _plain(packed)]
    with _loader(packed, SlowDevice()) as loader:
        for _ in range(12):
            for _, _ in zip(range(2), loader, strict=False):
                pass
        assert [batch.keys for batch in loader] == expected


def test_a_damaged_clip_is_reported_at_its_batch(packed, tmp_path):
    """The batches before a damaged one arrive, although its neighbours are copied ahead."""
    import shutil

    folder = tmp_path / "shards"
    shutil.copytree(packed, folder)
    ds = shardkit.open(folder)
    order = [keys for keys, _ in _plain(packed, shuffle=False, workers=1)]
    bad = ds.keys.index(order[2][0])
    path = folder / ds.shard_names[int(ds.index.shard[bad])]
    data = bytearray(path.read_bytes())
    data[int(ds.index.video_offset[bad]) + int(ds.index.packet_offset.row(bad)[0])] ^= 0xFF
    path.write_bytes(data)
    got = []
    with (
        _loader(folder, SlowDevice(), shuffle=False) as loader,
        pytest.raises(DataError, match=order[2][0]),
    ):
        got.extend(batch.keys for batch in loader)
    assert got == order[:2]


def test_closing_ends_the_device_first(packed):
    """close() gives the pinned memory free; the next iteration makes a copier anew."""
    made = []

    def make(_, __):
        made.append(SlowDevice())
        return made[-1]

    with Loader(packed, LoaderConfig(batch_size=BATCH_SIZE, workers=1), make_copier=make) as loader:
        next(iter(loader))
        loader.close()
        assert made[0].closed
        next(iter(loader))
    assert len(made) == 2
    assert made[1].closed


def test_a_device_that_fails_leaves_no_worker_behind(packed):
    """Where the device's own end fails, as after an assertion on a GPU, the error comes once; the workers are gone."""

    class Broken(SlowDevice):
        def close(self) -> None:
            """See Copier."""
            raise RuntimeError("device-side assert triggered")

    loader = _loader(packed, Broken())
    next(iter(loader))
    (*pids,) = loader._engine._crew.pids().values()
    with pytest.raises(RuntimeError, match="device-side assert"):
        loader.close()
    wait_until(lambda: not any(map(is_running, pids)))
    loader.close()


def test_int16_samples_become_the_floats_of_the_ring(packed):
    """What crosses the bus as int16 is, made float on the device, to the bit what a worker would have written."""
    pcm = torch.from_numpy(np.arange(-32768, 32768, dtype=np.int16).reshape(1, 1, -1))
    with shardkit.loader(packed, batch_size=2, workers=1) as loader:
        batch = next(iter(loader))
    object.__setattr__(batch, "audio", pcm)
    expected = pcm.numpy() * np.float32(1 / 32768)
    assert np.array_equal(as_float(batch).audio.numpy(), expected)


cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.mark.gpu
@cuda
@pytest.mark.parametrize("worker_type", ["process", "thread"])
def test_cuda_batches_are_those_of_the_cpu(packed, worker_type):
    """Over many epochs, with work on the device between, every CUDA batch equals the CPU loader's."""
    options = {"batch_size": BATCH_SIZE, "seed": 3, "workers": 2, "epochs": 20, "worker_type": worker_type}
    with shardkit.loader(packed, **options) as plain, shardkit.loader(packed, device="cuda", **options) as moved:
        for expected, batch in zip(plain, moved, strict=True):
            busy = torch.randn(1024, 1024, device="cuda") @ torch.randn(1024, 1024, device="cuda")
            assert batch.keys == expected.keys
            for tensor, wanted in zip(batch.tensors(), expected.tensors(), strict=True):
                assert tensor.is_cuda
                assert torch.equal(tensor.cpu(), wanted)
            assert torch.isfinite(busy).all()


@pytest.mark.gpu
@cuda
def test_cuda_batches_may_be_held(packed):
    """Device batches that the loop keeps stay as they were: they are no views of the ring."""
    with shardkit.loader(packed, batch_size=BATCH_SIZE, device="cuda", workers=2, seed=3, epochs=5) as loader:
        held = list(loader)
    for batch, (keys, video) in zip(held, _plain(packed, epochs=5), strict=True):
        assert batch.keys == keys
        assert torch.equal(batch.video.cpu(), video)
