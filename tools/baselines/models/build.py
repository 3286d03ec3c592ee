"""Models by name: what a configuration's `model` says."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from shardkit.errors import UsageError
from shardkit.tasks import AttentionPool, MaxPool, MeanPool
from tools.baselines.models.ast import AST
from tools.baselines.models.audio_cnn import AudioCNN
from tools.baselines.models.avdln import AVDLN
from tools.baselines.models.ave import AVE
from tools.baselines.models.bottleneck import Bottleneck
from tools.baselines.models.clip_classifier import ClipClassifier
from tools.baselines.models.concatenation import Concatenation
from tools.baselines.models.cross_attention import CrossAttention
from tools.baselines.models.features import Features
from tools.baselines.models.patches import AudioPatches, VisualPatches
from tools.baselines.models.resnet import ResNet
from tools.baselines.models.segment_encoder import SegmentEncoder
from tools.baselines.models.single import Single
from tools.baselines.models.visual_cnn import VisualCNN
from tools.baselines.models.weak import Weak

ENCODERS: Mapping[str, Callable[..., nn.Module]] = {
    "audio_cnn": AudioCNN,
    "ast": AST,
    "audio_patches": AudioPatches,
    "visual_cnn": VisualCNN,
    "resnet": ResNet,
    "visual_patches": VisualPatches,
    "features": Features,
}
HEADS: Mapping[str, Callable[..., nn.Module]] = {
    "single": Single,
    "concatenation": Concatenation,
    "cross_attention": CrossAttention,
    "bottleneck": Bottleneck,
}
POOLS: Mapping[str, Callable[..., nn.Module]] = {"max": MaxPool, "mean": MeanPool, "attention": AttentionPool}


def build(spec: Mapping[str, Any], *, classes: int) -> nn.Module:
    """The model that a specification describes, with fresh weights.

        {kind: clip, audio: ENCODER, visual: ENCODER, head: HEAD}         batch → [B, classes]
        {kind: ave, audio: ENCODER, visual: ENCODER, …, pool: max}        batch → [B, N, classes + 1]; a pool adds clips
        {kind: avdln, audio: ENCODER, visual: ENCODER, …}                 batch → [B, N, D], twice

    Where ENCODER and HEAD are {kind: NAME, …} with what the class takes. `pool` is for weak supervision.

    Raises:
        UsageError: There is no such kind, or it takes no such option.
    """
    options = dict(spec)
    kind = options.pop("kind", None)
    encoders = {name: _made(ENCODERS, options.pop(name)) for name in ("audio", "visual") if name in options}
    audio, visual = encoders.get("audio"), encoders.get("visual")
    dims = [None if encoder is None else encoder.dim for encoder in (audio, visual)]
    if kind == "clip":
        return ClipClassifier(audio, visual, _made(HEADS, options.pop("head"), *dims, classes))
    if audio is None or visual is None or kind not in ("ave", "avdln"):
        raise UsageError(f"model {dict(spec)!r}: kind 'clip', 'ave' or 'avdln' is needed; the last two hear and see")
    encoder = SegmentEncoder(audio, visual, context_s=options.pop("context_s", None))
    if kind == "avdln":
        return AVDLN(encoder, *dims, **options)
    pool = options.pop("pool", None)
    model = AVE(encoder, *dims, classes, **options)
    return model if pool is None else Weak(model, _pool(pool, classes))


def _made(kinds: Mapping[str, Callable[..., nn.Module]], spec: Mapping[str, Any], *arguments: Any) -> Any:
    options = dict(spec)
    kind = options.pop("kind", None)
    if kind not in kinds:
        raise UsageError(f"model: kind {kind!r}; there are {', '.join(kinds)}")
    try:
        return kinds[kind](*arguments, **options)
    except TypeError as exc:
        raise UsageError(f"model: {kind}: {exc}") from exc


def _pool(name: str, classes: int) -> nn.Module:
    if name not in POOLS:
        raise UsageError(f"pool {name!r}; there are {', '.join(POOLS)}")
    return POOLS[name](classes) if name == "attention" else POOLS[name]()
