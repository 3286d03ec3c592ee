"""Frames: normalising, flipping and cropping whole batches."""

import math

import pytest
import torch
from torch.nn import functional as F

from shardkit import UsageError
from shardkit.transforms import Normalize, RandomHorizontalFlip, RandomResizedCrop


def video(*clips, frames=3, height=20, width=28, seed=0):
    """Random uint8 [..., T, 3, H, W] in channels-last memory, as a batch has it."""
    drawn = torch.randint(256, (*clips, frames, height, width, 3), generator=torch.Generator().manual_seed(seed))
    return drawn.to(torch.uint8).movedim(-1, -3)


def seeded(seed=0):
    """A generator of the CPU."""
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("clips", [(4,), (2, 3)], ids=["clips", "views"])
def test_normalize_is_the_formula_in_the_memory_layout_that_came(clips):
    """(x / 255 - mean) / std by channel, float32, and channels-last stays channels-last."""
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.1)
    frames = video(*clips)
    found = Normalize(mean, std)(frames)
    expected = (frames.double() / 255 - torch.tensor(mean).reshape(3, 1, 1)) / torch.tensor(std).reshape(3, 1, 1)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=0)
    assert found.movedim(-3, -1).is_contiguous()


def test_normalize_takes_floats_as_shares_of_one():
    """Float frames are in [0, 1] already: the same result as of bytes."""
    frames = video(2)
    torch.testing.assert_close(Normalize()(frames.float() / 255), Normalize()(frames), atol=1e-5, rtol=0)


@pytest.mark.parametrize("clips", [(64,), (16, 4)], ids=["clips", "views"])
def test_flip_decides_once_for_all_frames_of_a_clip(clips):
    """Every clip, or view of one, is whole as it was or wholly mirrored, about as many as asked for."""
    frames = video(*clips)
    found = RandomHorizontalFlip(p=0.25)(frames, generator=seeded()).flatten(0, len(clips) - 1)
    frames = frames.flatten(0, len(clips) - 1)
    flipped = [torch.equal(new, old.flip(-1)) for new, old in zip(found, frames, strict=True)]
    kept = [torch.equal(new, old) for new, old in zip(found, frames, strict=True)]
    assert all(one != other for one, other in zip(flipped, kept, strict=True))
    assert 6 <= sum(flipped) <= 28  # 16 expected; a fair draw leaves this range once in a thousand


def test_flip_keeps_bytes_and_memory_layout():
    """uint8 in channels-last memory comes back as such."""
    found = RandomHorizontalFlip(p=1.0)(video(4))
    assert found.dtype == torch.uint8
    assert found.movedim(-3, -1).is_contiguous()


def test_evaluation_mode_is_not_random():
    """`.eval()` switches the flip off and makes every crop the largest central one."""
    frames = video(3, height=20, width=40)
    assert RandomHorizontalFlip(p=1.0).eval()(frames) is frames
    crop = RandomResizedCrop(8).eval()
    assert crop.boxes(2, 20, 40).tolist() == [[0, 6, 20, 27]] * 2
    assert torch.equal(crop(frames), crop(frames))


@pytest.mark.parametrize("module", [RandomHorizontalFlip(), RandomResizedCrop(8)], ids=["flip", "crop"])
def test_a_seed_decides_everything(module):
    """The same generator state gives the same, another one something else, torch.manual_seed does without one."""
    frames = video(16)
    assert torch.equal(module(frames, generator=seeded(1)), module(frames, generator=seeded(1)))
    assert not torch.equal(module(frames, generator=seeded(1)), module(frames, generator=seeded(2)))
    torch.manual_seed(5)
    first = module(frames)
    torch.manual_seed(5)
    assert torch.equal(module(frames), first)


@pytest.mark.parametrize("size", [(7, 9), (30, 41), (20, 28)], ids=["smaller", "larger", "same"])
def test_crop_is_cut_and_resized_as_interpolate_does(size):
    """Each clip is its box, resized like torch's antialiased bilinear interpolation, all frames alike."""
    module = RandomResizedCrop(size, scale=(0.2, 1.0))
    frames = video(6)
    boxes = module.boxes(6, 20, 28, generator=seeded(3)).int().tolist()
    found = module(frames, generator=seeded(3))
    precise = module(frames.double(), generator=seeded(3))
    for clip, (top, left, height, width) in enumerate(boxes):
        cut = frames[clip, ..., top : top + height, left : left + width].double()
        expected = F.interpolate(cut, size=size, mode="bilinear", antialias=True, align_corners=False)
        torch.testing.assert_close(precise[clip], expected, atol=1e-3, rtol=0)
        assert (found[clip].double() - expected).abs().max() <= 0.51
    assert found.dtype == torch.uint8
    assert found.shape == (6, 3, 3, *size)
    assert found.movedim(-3, -1).is_contiguous()


def test_crop_of_the_whole_picture_changes_nothing():
    """A box that is the whole frame, at its own size, gives every byte back."""
    frames = video(2, height=16, width=16)
    module = RandomResizedCrop(16, scale=(1.0, 1.0), ratio=(1.0, 1.0))
    assert torch.equal(module(frames), frames)


def test_views_of_a_clip_have_boxes_of_their_own():
    """[B, V, T, 3, H, W] is cropped as B times V clips."""
    frames = video(2, 3)
    module = RandomResizedCrop(8)
    together = module(frames, generator=seeded())
    apart = module(frames.flatten(0, 1), generator=seeded())
    assert torch.equal(together.flatten(0, 1), apart)


def _distance_from_uniform(values):
    """Kolmogorov's distance between a sample and the uniform distribution on [0, 1]."""
    ordered = values.double().sort().values
    steps = torch.arange(1, len(ordered) + 1) / len(ordered)
    return (steps - ordered).abs().max().item()


def test_boxes_follow_torchvisions_law():
    """Where every box fits: area uniform in scale, log of the aspect uniform in that of ratio, place uniform."""
    scale, ratio, side, count = (0.1, 0.3), (3 / 4, 4 / 3), 1000, 4000
    boxes = RandomResizedCrop(8, scale, ratio).boxes(count, side, side, generator=seeded())
    top, left, height, width = boxes.double().unbind(dim=1)
    area = height * width / side**2
    aspect = (width / height).log()
    for values in (
        (area - scale[0]) / (scale[1] - scale[0]),
        (aspect - math.log(ratio[0])) / math.log(ratio[1] / ratio[0]),
        top / (side - height),
        left / (side - width),
    ):
        assert _distance_from_uniform(values) < 0.03  # one in a thousand fair samples of 4,000 is beyond it
    assert torch.equal(boxes, boxes.round())


def test_boxes_that_fit_only_sometimes_stay_inside():
    """Large boxes in a wide picture: all inside, and the rejected ones are drawn again, not cut off."""
    boxes = RandomResizedCrop(8, (0.4, 1.0)).boxes(4000, 60, 100, generator=seeded())
    top, left, height, width = boxes.unbind(dim=1)
    assert bool((top >= 0).all() & (left >= 0).all() & (top + height <= 60).all() & (left + width <= 100).all())
    assert (width / height).min() > 0.73
    assert (width / height).max() < 1.37


@pytest.mark.parametrize(("height", "width", "box"), [(10, 1000, (0, 493, 10, 13)), (1000, 10, (493, 0, 13, 10))])
def test_picture_without_room_gets_the_central_box(height, width, box):
    """After ten boxes that do not fit: the largest central one whose aspect is allowed, as torchvision takes."""
    boxes = RandomResizedCrop(8, (0.9, 1.0)).boxes(20, height, width, generator=seeded())
    assert {tuple(map(int, found)) for found in boxes.tolist()} == {box}


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Normalize((0.5,), (0.5,)), "three numbers"),
        (lambda: Normalize((0, 0, 0), (1, 1, 0)), "above 0"),
        (lambda: RandomHorizontalFlip(1.5), "p=1.5"),
        (lambda: RandomResizedCrop(0), "size=0"),
        (lambda: RandomResizedCrop((3,)), "size=(3,)"),
        (lambda: RandomResizedCrop((3.0, 4)), "size=(3.0, 4)"),
        (lambda: RandomResizedCrop(2.5), "size=2.5"),
        (lambda: RandomResizedCrop(8, scale=(0.5, 3.0)), "scale=(0.5, 3.0)"),
        (lambda: RandomResizedCrop(8, scale=(1.0, 0.5)), "scale"),
        (lambda: Normalize()(torch.zeros(2, 3, 8, 8, 3)), "[2, 3, 8, 8, 3]"),
        (lambda: RandomHorizontalFlip()(torch.zeros(2, 3, 8, 8, 3)), "[2, 3, 8, 8, 3]"),
        (lambda: RandomResizedCrop(4)(torch.zeros(8, 8)), "[8, 8]"),
    ],
)
def test_wrong_arguments_are_named(make, words):
    """A UsageError says what was given and what is needed."""
    with pytest.raises(UsageError) as error:
        make()
    assert words in str(error.value)
