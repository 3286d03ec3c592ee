"""What the baselines' models take and give, at the sizes of the papers without memory, and small."""

from pathlib import Path

import pytest
import torch

from shardkit.errors import UsageError
from tools.baselines.config import read_config
from tools.baselines.models.ave import AudioGuidedAttention
from tools.baselines.models.bottleneck import Bottleneck
from tools.baselines.models.build import ENCODERS, HEADS, build
from tools.baselines.models.weak import Weak

CONFIGS = Path(__file__).parents[2] / "tools" / "baselines" / "configs"
PAPERS = sorted((CONFIGS / "papers").glob("*.yaml"))
SMALL = {
    "audio_cnn": {},
    "ast": {
        "frames": 64,
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
    },
    "audio_patches": {"frames": 64, "dim": 16},
}
SMALL_PICTURES = {
    "visual_cnn": {},
    "resnet": {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"},
    "visual_patches": {"size": 32, "dim": 16},
}


@pytest.mark.parametrize("path", PAPERS, ids=lambda path: path.stem)
def test_a_configuration_of_a_paper_says_that_it_was_not_trained_and_can_be_built(path):
    """Each is marked, and its model exists at its full size: on the meta device, which holds no values."""
    config = read_config(path)
    assert config.note == "not trained here"
    with torch.device("meta"):
        model = build(config.model, classes=65)
    assert sum(weights.numel() for weights in model.parameters()) > 20_000


@pytest.mark.parametrize(("name", "options"), SMALL.items(), ids=SMALL)
def test_an_encoder_of_sound_gives_tokens(name, options):
    """[B, C, S] becomes [B, K, D], D as the encoder says."""
    encoder = ENCODERS[name](**options)
    tokens = encoder(torch.rand(2, 1, 12000) - 0.5)
    assert tokens.shape[0::2] == (2, encoder.dim)


@pytest.mark.parametrize(("name", "options"), SMALL_PICTURES.items(), ids=SMALL_PICTURES)
def test_an_encoder_of_pictures_gives_tokens_of_regions(name, options):
    """uint8 [B, 3, H, W] becomes [B, R, D], D as the encoder says."""
    encoder = ENCODERS[name](**options)
    tokens = encoder(torch.randint(256, (2, 3, 32, 32), dtype=torch.uint8))
    assert tokens.shape[0::2] == (2, encoder.dim)


@pytest.mark.parametrize("name", sorted(set(HEADS) - {"single"}))
def test_a_fusion_head_uses_both_modalities_and_all_its_weights(name):
    """Scores depend on sound and picture, and no weight is without a gradient, which DDP would wait for."""
    torch.manual_seed(0)
    head = HEADS[name](8, 12, 5)
    audio, visual = torch.randn(3, 4, 8, requires_grad=True), torch.randn(3, 6, 12, requires_grad=True)
    scores = head(audio, visual)
    scores.square().sum().backward()
    assert scores.shape == (3, 5)
    assert audio.grad.abs().sum() > 0
    assert visual.grad.abs().sum() > 0
    assert all(weights.grad is not None for weights in head.parameters())


@pytest.mark.parametrize(("fusion_layer", "meets"), [(1, True), (2, False)])
def test_modalities_meet_from_the_fusion_layer_on_through_bottlenecks_only(fusion_layer, meets):
    """In one fusion layer bottlenecks hear, in the next they tell: with two, the sound reaches the picture's token."""
    torch.manual_seed(0)
    head = Bottleneck(8, 8, 5, dim=8, heads=2, layers=3, fusion_layer=fusion_layer).eval()
    audio, visual = torch.randn(1, 4, 8, requires_grad=True), torch.randn(1, 6, 8)
    seen = []
    head.norms[1].register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    head(audio, visual)
    (gradient,) = torch.autograd.grad(seen[0][..., 0].sum(), audio, allow_unused=True)
    assert (gradient is not None and bool(gradient.abs().sum() > 0)) == meets


def test_audio_guided_attention_is_a_weighted_mean_of_places():
    """Of a picture that is the same at all places, its value comes out, whatever is heard."""
    attention = AudioGuidedAttention(8, 12, 16)
    place = torch.randn(2, 10, 1, 12)
    found = attention(torch.randn(2, 10, 8), place.expand(2, 10, 49, 12))
    torch.testing.assert_close(found, place.squeeze(2))


def test_a_weak_clip_is_background_where_no_segment_beats_it():
    """Clip scores are by how much classes beat background in the best segment; background's own score is 0."""
    scores = torch.tensor([[[3.0, 0.0, 1.0], [0.0, 0.0, 4.0]], [[0.0, 1.0, 5.0], [0.0, 0.0, 5.0]]])
    pool = build({"kind": "ave", **_small_encoders(), "pool": "max"}, classes=2).pool
    _, clips = Weak(lambda _batch: scores, pool)(type("Batch", (), {"segment_count": torch.tensor([2, 2])}))
    assert clips.tolist() == [[2.0, -1.0, 0.0], [-5.0, -4.0, 0.0]]


def test_an_unknown_kind_names_those_that_there_are():
    """A slip in a configuration is a UsageError that lists the kinds."""
    with pytest.raises(UsageError, match="audio_cnn"):
        build({"kind": "clip", "audio": {"kind": "cnn"}, "head": {"kind": "single"}}, classes=2)


def _small_encoders():
    return {"audio": {"kind": "audio_cnn"}, "visual": {"kind": "visual_cnn"}}
