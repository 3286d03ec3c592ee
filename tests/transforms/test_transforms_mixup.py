"""MixUp: clips and labels blended in pairs, never with padding."""

import pytest
import torch

from shardkit import UsageError
from shardkit.transforms import MixUp


def seeded(seed=0):
    """A generator of the CPU."""
    return torch.Generator().manual_seed(seed)


def audio(clips=6, samples=500, channels=1):
    """Float32 [B, C, S] of noise around an offset."""
    return torch.rand(clips, channels, samples, generator=seeded(9)) - 0.3


def reference_waveform(own, partner, share):
    """Two clips [1, n] as `_wav2fbank` of github.com/YuanGongND/ast mixes them (src/dataloader.py)."""
    own, partner = own - own.mean(), partner - partner.mean()
    fitted = torch.zeros_like(own)
    length = min(own.shape[1], partner.shape[1])
    fitted[:, :length] = partner[:, :length]
    mixed = share * own + (1 - share) * fitted
    return mixed - mixed.mean()


def test_waveforms_are_mixed_as_ast_and_psla_do():
    """Means removed, partner cut or padded to the clip's length, blended, mean removed; padding stays zero."""
    sounds, lengths = audio(), torch.tensor([500, 300, 500, 123, 400, 500])
    sounds = sounds * (torch.arange(500) < lengths.reshape(-1, 1, 1))
    mixed = MixUp(2.0)(sounds, audio_samples=lengths, generator=seeded(2))
    assert sorted(mixed.permutation.tolist()) == list(range(6))
    for clip, (partner, share, length) in enumerate(
        zip(mixed.permutation.tolist(), mixed.share.tolist(), lengths.tolist(), strict=True)
    ):
        expected = reference_waveform(sounds[clip, :, :length], sounds[partner, :, : lengths[partner]], share)
        torch.testing.assert_close(mixed.inputs[clip, :, :length], expected, atol=1e-6, rtol=0)
        assert not mixed.inputs[clip, :, length:].any()


def test_waveforms_without_lengths_are_real_throughout():
    """Without audio_samples the whole of S counts, and stereo has one mean."""
    sounds = audio(channels=2)
    mixed = MixUp(2.0)(sounds, generator=seeded(2))
    flat = sounds.reshape(6, 1, -1)
    for clip, (partner, share) in enumerate(zip(mixed.permutation.tolist(), mixed.share.tolist(), strict=True)):
        expected = reference_waveform(flat[clip], flat[partner], share)
        torch.testing.assert_close(mixed.inputs[clip].reshape(1, -1), expected, atol=1e-6, rtol=0)


def test_spectrograms_are_blended_as_they_are():
    """Each is lambda x + (1 - lambda) x of the partner; other tensors of the batch can be mixed alike."""
    features = torch.rand(5, 30, 8, generator=seeded())
    mixed = MixUp(0.3, kind="spectrogram")(features, generator=seeded(1))
    share = mixed.share.reshape(-1, 1, 1)
    expected = features * share + features[mixed.permutation] * (1 - share)
    torch.testing.assert_close(mixed.inputs, expected)
    torch.testing.assert_close(mixed.mix(features.flatten(1)), expected.flatten(1))


@pytest.mark.parametrize("kind", ["waveform", "spectrogram"])
def test_padding_is_never_a_partner_and_stays_as_it_is(kind):
    """Over many draws: slots of weight 0 are untouched, and the real ones are partners of each other only."""
    sounds = audio(8)
    weight = torch.tensor([1.0, 0, 1, 1, 0, 0, 1, 1])
    real = {0, 2, 3, 6, 7}
    module, generator = MixUp(1.0, kind=kind), seeded()
    seen = set()
    for _ in range(200):
        mixed = module(sounds, weight=weight, generator=generator)
        partners = mixed.permutation.tolist()
        for slot in range(8):
            if slot in real:
                assert partners[slot] in real
                seen.add((slot, partners[slot]))
            else:
                assert partners[slot] == slot
                assert mixed.share[slot] == 1
                assert torch.equal(mixed.inputs[slot], sounds[slot])
    assert seen == {(one, other) for one in real for other in real}


def test_a_batch_of_padding_only_stays_as_it_is():
    """Nothing to mix with: nothing is mixed."""
    mixed = MixUp()(audio(3), weight=torch.zeros(3))
    assert torch.equal(mixed.inputs, audio(3))


def test_targets_of_class_ids_are_shares_of_both_classes():
    """One-hot rows blended; an unknown label (-100) has no class, so the row sums to the known share."""
    mixed = MixUp(1.0)(audio(6), generator=seeded(4))
    ids = torch.tensor([0, 3, 2, -100, 1, 3])
    expected = torch.zeros(6, 4)
    for clip, (partner, share) in enumerate(zip(mixed.permutation.tolist(), mixed.share.tolist(), strict=True)):
        if ids[clip] >= 0:
            expected[clip, ids[clip]] += share
        if ids[partner] >= 0:
            expected[clip, ids[partner]] += 1 - share
    torch.testing.assert_close(mixed.targets(ids, classes=4), expected)


def test_targets_of_several_classes_are_blended():
    """uint8 [B, classes], as batches have them, becomes float32 between 0 and 1."""
    mixed = MixUp(1.0)(audio(4), generator=seeded(4))
    present = torch.tensor([[1, 0, 1], [0, 0, 0], [0, 1, 0], [1, 1, 1]], dtype=torch.uint8)
    share = mixed.share.unsqueeze(1)
    expected = present * share + present[mixed.permutation] * (1 - share)
    found = mixed.targets(present)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("alpha", [0.3, 10.0])
def test_share_is_drawn_from_beta_for_every_clip(alpha):
    """Mean a half, variance 1 / (4 (2 alpha + 1)), one draw a clip."""
    share = MixUp(alpha, kind="spectrogram")(torch.zeros(20000, 1), generator=seeded()).share
    assert len(share.unique()) > 10000
    assert share.mean() == pytest.approx(0.5, abs=0.01)
    assert share.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.05)


def test_p_is_the_share_of_clips_that_are_mixed():
    """p=0.5 leaves half of the clips as they are, p=0 all."""
    sounds = torch.zeros(4000, 1)
    share = MixUp(1.0, kind="spectrogram", p=0.5)(sounds, generator=seeded()).share
    assert (share == 1).float().mean() == pytest.approx(0.5, abs=0.03)
    assert bool((MixUp(1.0, kind="spectrogram", p=0.0)(sounds).share == 1).all())


def test_seed_and_mode():
    """A seed decides partners and shares; evaluation mode mixes nothing."""
    module = MixUp(1.0)
    first, again, other = (module(audio(), generator=seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first.inputs, again.inputs)
    assert not torch.equal(first.inputs, other.inputs)
    still = module.eval()(audio())
    assert torch.equal(still.inputs, audio())
    assert still.share.tolist() == [1.0] * 6


def test_int16_audio_and_views():
    """int16 is scaled first; views [B, V, C, S] of a clip are mixed with the same partner's views."""
    whole = (audio(6) * 32767).to(torch.int16)
    module = MixUp(1.0)
    expected = module(whole.float() / 32768, generator=seeded())
    torch.testing.assert_close(module(whole, generator=seeded()).inputs, expected.inputs)
    views = audio(6).expand(6, 1, 500).unsqueeze(1).repeat(1, 2, 1, 1)
    mixed = module(views, audio_samples=torch.full((6, 2), 500), generator=seeded(3))
    alone = module(views[:, 0], generator=seeded(3))
    torch.testing.assert_close(mixed.inputs[:, 1], alone.inputs, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: MixUp(0.0), "alpha=0.0"),
        (lambda: MixUp(kind="video"), "kind='video'"),
        (lambda: MixUp(p=-0.1), "p=-0.1"),
        (lambda: MixUp(kind="spectrogram")(torch.zeros(2, 3, dtype=torch.uint8)), "torch.uint8"),
        (lambda: MixUp()(torch.zeros(16000)), "[16000]"),
        (lambda: MixUp()(audio(2)).targets(torch.tensor([0, 5]), classes=5), "class id 5"),
        (lambda: MixUp()(audio(2)).targets(torch.tensor([0, 1])), "classes=None"),
        (lambda: MixUp()(audio(2)).targets(torch.tensor([0, 1], dtype=torch.int32), classes=3), "torch.int32"),
        (lambda: MixUp()(audio(2)).targets(torch.zeros(2, 4, dtype=torch.int64), classes=3), "labels[:, 3]"),
    ],
)
def test_wrong_arguments_are_named(make, words):
    """A UsageError says what was given."""
    with pytest.raises(UsageError) as error:
        make()
    assert words in str(error.value)
