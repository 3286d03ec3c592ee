"""The same on every device, without waiting for it."""

import pytest
import torch

from shardkit import UsageError
from shardkit.transforms import (
    Fbank,
    LogMel,
    MixUp,
    Normalize,
    RandomHorizontalFlip,
    RandomResizedCrop,
    Resample,
    SpecAugment,
    frontend,
)

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def _drawn(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(1))


VIDEO = (_drawn(4, 3, 24, 32, 3) * 255).to(torch.uint8).movedim(-1, -3)
AUDIO = _drawn(4, 2, 40000) - 0.5
SAMPLES = torch.tensor([40000, 20000, 40000, 32000])
WEIGHT = torch.tensor([1.0, 1, 0, 1])
FEATURES = _drawn(4, 100, 32)
FRAMES = torch.tensor([100, 50, 100, 70])


def _mixed(mixed):
    return (mixed.inputs, mixed.permutation, mixed.share, mixed.targets(mixed.permutation, classes=4))


# Name to the module and a call of it: (module, move, generator or nothing) → tensors.
CASES = {
    "Normalize": (Normalize(), lambda m, to, g: m(to(VIDEO))),
    "RandomHorizontalFlip": (RandomHorizontalFlip(), lambda m, to, g: m(to(VIDEO), **g)),
    "RandomResizedCrop": (RandomResizedCrop(16), lambda m, to, g: m(to(VIDEO).float(), **g)),
    "RandomResizedCrop.eval": (RandomResizedCrop(16).eval(), lambda m, to, g: m(to(VIDEO).float())),
    "Resample": (Resample(16000, 11025), lambda m, to, g: (m(to(AUDIO)), m.sample_count(to(SAMPLES)))),
    "LogMel": (LogMel(), lambda m, to, g: m(to(AUDIO))),
    "Fbank": (Fbank(), lambda m, to, g: m(to(AUDIO))),
    "SpecAugment": (SpecAugment(30, 8), lambda m, to, g: (m(to(FEATURES), to(FRAMES), **g), m(to(FEATURES), **g))),
    "MixUp.waveform": (
        MixUp(),
        lambda m, to, g: _mixed(m(to(AUDIO), weight=to(WEIGHT), audio_samples=to(SAMPLES), **g)),
    ),
    "MixUp.spectrogram": (MixUp(kind="spectrogram"), lambda m, to, g: _mixed(m(to(FEATURES), **g))),
}
for _name, _rate_hz in (("ast", 16000), ("psla", 16000), ("mbt", 16000), ("passt", 32000), ("vggish", 16000)):
    CASES[_name] = (
        frontend(_name, sample_rate_hz=_rate_hz),
        lambda m, to, g: (m(to(AUDIO)), m(to(AUDIO), to(SAMPLES)), m.frame_count(to(SAMPLES))),
    )


def _run(name, device):
    """What a module gives on a device, from a generator of a known state."""
    module, call = CASES[name]
    found = call(module.to(device), lambda tensor: tensor.to(device), {"generator": torch.Generator().manual_seed(3)})
    module.to("cpu")
    return found if isinstance(found, tuple) else (found,)


@pytest.mark.parametrize("name", CASES)
def test_nothing_is_read_back_from_the_device(name):
    """On torch's meta device, which has shapes and no values, every module runs: none looks at a value on the host."""
    module, call = CASES[name]
    moved = _to_meta(module)
    found = call(moved, lambda tensor: tensor.to("meta"), {"generator": torch.Generator().manual_seed(3)})
    found = found if isinstance(found, tuple) else (found,)
    assert all(tensor.device.type == "meta" for tensor in found)
    assert [tensor.shape for tensor in found] == [tensor.shape for tensor in _run(name, "cpu")]


def _to_meta(module):
    import copy

    return copy.deepcopy(module).to("meta")


def test_generator_of_a_device_is_refused():
    """Draws are the CPU's: another generator would give something else on every device."""

    class Elsewhere:
        device = torch.device("cuda")

    with pytest.raises(UsageError, match="one of the CPU"):
        RandomHorizontalFlip()(VIDEO, generator=Elsewhere())


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("name", CASES)
def test_cuda_gives_what_the_cpu_gives(name):
    """The same seed on the GPU and on the CPU: the same result, to rounding."""
    for found, expected in zip(_run(name, "cuda"), _run(name, "cpu"), strict=True):
        assert found.device.type == "cuda"
        torch.testing.assert_close(found.cpu(), expected, atol=2e-3, rtol=1e-4)


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("name", CASES)
def test_cuda_is_not_waited_for(name):
    """No module makes the host wait for the GPU."""
    module, call = CASES[name]
    on_device = {id(tensor): tensor.cuda() for tensor in (VIDEO, AUDIO, SAMPLES, WEIGHT, FEATURES, FRAMES)}
    module.cuda()
    call(
        module, lambda tensor: on_device[id(tensor)], {"generator": torch.Generator()}
    )  # plans are made the first time
    torch.cuda.set_sync_debug_mode("error")
    try:
        call(module, lambda tensor: on_device[id(tensor)], {"generator": torch.Generator()})
    finally:
        torch.cuda.set_sync_debug_mode("default")
        module.cpu()
