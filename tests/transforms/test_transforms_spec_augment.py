"""SpecAugment: masks of time and frequency."""

import pytest
import torch

from shardkit import UsageError
from shardkit.transforms import SpecAugment


def seeded(seed=0):
    """A generator of the CPU."""
    return torch.Generator().manual_seed(seed)


def runs(mask):
    """(start, width) of each run of true values in a vector."""
    edges = torch.diff(torch.cat([torch.zeros(1), mask.int(), torch.zeros(1)]))
    starts, ends = (edges == 1).nonzero().flatten(), (edges == -1).nonzero().flatten()
    return list(zip(starts.tolist(), (ends - starts).tolist(), strict=True))


def test_masks_are_bands_over_the_whole_other_axis():
    """One band of frames and one of filters a clip, each narrower than asked for; the rest is untouched."""
    features = torch.rand(200, 60, 40, generator=seeded()) + 1
    found = SpecAugment(20, 8)(features, generator=seeded(1))
    masked = found == 0
    widths = []
    for clip in range(len(found)):
        times, mels = masked[clip].all(dim=1), masked[clip].all(dim=0)
        assert torch.equal(masked[clip], times.unsqueeze(1) | mels.unsqueeze(0))
        assert len(runs(times)) <= 1
        assert len(runs(mels)) <= 1
        widths.append((sum(w for _, w in runs(times)), sum(w for _, w in runs(mels))))
    assert torch.equal(found[~masked], features[~masked])
    widths = torch.tensor(widths)
    assert widths.max(dim=0).values.tolist() == [19, 7]
    # Uniform from 0 to the parameter less one: means 9.5 and 3.5; four standard errors.
    assert widths.float().mean(dim=0).sub(torch.tensor([9.5, 3.5])).abs().lt(torch.tensor([1.7, 0.7])).all()


def test_every_clip_and_view_has_its_own_masks():
    """One draw a clip: among 32 no two are masked alike."""
    masked = SpecAugment(300, 20)(torch.ones(8, 4, 500, 40), generator=seeded()) == 0
    assert len({tuple(map(tuple, clip.nonzero().tolist())) for clip in masked.flatten(0, 1)}) == 32


def test_several_masks_each():
    """Two and three bands where asked for, unless they overlap."""
    masked = SpecAugment(10, 5, time_masks=2, frequency_masks=3)(torch.ones(50, 1000, 200), generator=seeded()) == 0
    assert max(len(runs(clip.all(dim=1))) for clip in masked) == 2
    assert max(len(runs(clip.all(dim=0))) for clip in masked) == 3


def test_time_masks_stay_in_real_frames():
    """With frame_count no padded frame is masked, however short the clip is."""
    counts = torch.tensor([100, 40, 3, 0] * 50)
    masked = SpecAugment(64, 0)(torch.ones(200, 100, 8), counts, generator=seeded()) == 0
    assert not bool((masked.any(dim=2) & (torch.arange(100) >= counts.unsqueeze(1))).any())
    assert bool(masked[counts == 40].any())


def test_share_bounds_the_widest_mask():
    """max_time_share=0.1 of 100 frames masks fewer than ten."""
    masked = SpecAugment(64, 0, max_time_share=0.1)(torch.ones(300, 100, 8), generator=seeded()) == 0
    assert masked.all(dim=2).sum(dim=1).max() == 9


def test_value_mode_and_seed():
    """Masked places become `value`; evaluation mode masks nothing; a seed decides everything."""
    features = torch.ones(4, 60, 20)
    module = SpecAugment(40, 10, value=-2.5)
    found = module(features, generator=seeded(3))
    assert set(found.unique().tolist()) == {-2.5, 1.0}
    assert torch.equal(module(features, generator=seeded(3)), found)
    assert not torch.equal(module(features, generator=seeded(4)), found)
    assert module.eval()(features) is features


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: SpecAugment(-1), "time=-1"),
        (lambda: SpecAugment(max_time_share=2.0), "max_time_share=2.0"),
        (lambda: SpecAugment()(torch.zeros(10, 8)), "[10, 8]"),
        (lambda: SpecAugment()(torch.zeros(2, 10, 8), torch.zeros(3)), "[3]"),
    ],
)
def test_wrong_arguments_are_named(make, words):
    """A UsageError says what was given."""
    with pytest.raises(UsageError) as error:
        make()
    assert words in str(error.value)
