"""MixUp: every clip is blended with another one of the batch, and so are their labels."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from shardkit.errors import UsageError
from shardkit.transforms.draws import check_share, uniform
from shardkit.transforms.waveforms import as_float, is_real, per_clip

SEED_BITS = 62


@dataclass(frozen=True, slots=True)
class Mixed:
    """A mixed batch: clip i is `share[i]` of itself and the rest of clip `permutation[i]`."""

    inputs: Tensor
    """Float, of the shape that was mixed."""
    permutation: Tensor
    """int64 [B]: each clip's partner; its own place where the clip stays as it is."""
    share: Tensor
    """float32 [B] in [0, 1]: lambda."""

    def mix(self, values: Tensor) -> Tensor:
        """Other floats [B, ...] of the same clips, mixed alike: pictures beside their sound, say."""
        share = self.share.to(values.dtype).reshape(-1, *(1,) * (values.dim() - 1))
        return values * share + values[self.permutation] * (1 - share)

    def targets(self, labels: Tensor, *, classes: int | None = None) -> Tensor:
        """Soft targets float32 [B, classes].

        Args:
            labels: int64 [B] class ids, such as `batch.labels["instrument"][:, 3]`; an unknown one (-100, any below 0)
                has no class, so that its part of the loss is 0; so has one that is too large, on a device. Or what
                clips have of several classes, [B, classes] of another type, such as `batch.labels["sounds"]`.
            classes: Number of classes; needed for ids.

        Raises:
            UsageError: Ids of another shape or type, without `classes`, or (on the CPU) not below it.
        """
        if labels.dtype != torch.int64 and labels.dim() == 2:
            return self.mix(labels.float())
        if labels.dtype != torch.int64 or labels.dim() != 1 or classes is None:
            raise UsageError(
                f"{labels.dtype} labels of shape {list(labels.shape)}, classes={classes}: int64 class ids [B] and "
                "their number are needed; of a hierarchy take one level, such as labels[:, 3]"
            )
        if labels.device.type == "cpu" and len(labels) and int(labels.max()) >= classes:  # elsewhere asking would wait
            raise UsageError(f"class id {int(labels.max())} with classes={classes}: more are needed")
        one_hot = labels.unsqueeze(1) == torch.arange(classes, device=labels.device)
        return self.mix(one_hot.float())


class MixUp(nn.Module):
    """Blends clips of a batch in pairs (Zhang et al. 2018, "mixup"); in evaluation mode every clip stays as it is.

    Waveforms are mixed as AST and PSLA do (`_wav2fbank` in github.com/YuanGongND/ast, src/dataloader.py): both lose
    their mean, the partner is cut or padded with zeros to the clip's length, and the mixture loses its mean again.

    Args:
        alpha: Lambda is drawn from Beta(alpha, alpha) for every clip. AST and PSLA use 10, PaSST 0.3 on spectrograms.
        kind: `waveform`, or `spectrogram` for anything that is blended as it stands: features, pictures.
        p: Share of the clips that are mixed. AST and PSLA use 0.5.

    Raises:
        UsageError: `alpha` is not above 0, another kind, or `p` is no share.
    """

    def __init__(
        self, alpha: float = 10.0, *, kind: Literal["waveform", "spectrogram"] = "waveform", p: float = 1.0
    ) -> None:
        super().__init__()
        if not alpha > 0 or kind not in ("waveform", "spectrogram"):
            raise UsageError(
                f"alpha={alpha!r}, kind={kind!r}: a number above 0, and 'waveform' or 'spectrogram', are needed"
            )
        check_share("p", p)
        self.alpha, self.kind, self.p = alpha, kind, p

    def forward(
        self,
        inputs: Tensor,
        *,
        weight: Tensor | None = None,
        audio_samples: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Mixed:
        """Mixes [B, ...].

        Args:
            inputs: Audio [B, C, S] of floats or int16, or floats of any shape.
            weight: float32 [B], `batch.weight`: a clip of weight 0 is nobody's partner and stays as it is.
            audio_samples: int64 [B], for waveforms: what of them is real; means are theirs, and padding stays 0.
            generator: Of the CPU; None: torch's default one.

        Raises:
            UsageError: Inputs that are neither floats nor int16 audio, or audio of another shape.
        """
        waveform = self.kind == "waveform"
        if waveform:
            if inputs.dim() < 3:
                raise UsageError(f"audio of shape {list(inputs.shape)}: [B, C, S] is needed")
            values = as_float(inputs)
        elif inputs.is_floating_point():
            values = inputs
        else:
            raise UsageError(f"inputs of {inputs.dtype}: floats are needed; normalise pictures first")
        permutation, share = self._partners(len(values), weight, values.device, generator)
        if not self.training:
            return Mixed(values, permutation, share)
        if not waveform:
            return Mixed(Mixed(values, permutation, share).mix(values), permutation, share)
        real = None
        if audio_samples is not None:
            # [B, ..., S] as the audio, one channel for all.
            counts = per_clip(audio_samples, values.shape[:-2])
            real = is_real(counts, values.shape[-1]).unsqueeze(-2)
        centred = _without_mean(values, real)
        mixed = _without_mean(Mixed(centred, permutation, share).mix(centred), real)
        alone = (share == 1).reshape(-1, *(1,) * (values.dim() - 1))
        return Mixed(torch.where(alone, values, mixed), permutation, share)

    def _partners(
        self, count: int, weight: Tensor | None, device: torch.device, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """Permutation int64 [B] and lambda float32 [B]; drawn on the CPU, sorted out on the device without waiting."""
        places = torch.arange(count, device=device)
        if not self.training:
            return places, torch.ones(count, device=device)
        order, chosen = uniform(2, count, device=device, generator=generator)
        # torch draws no Beta from a generator; NumPy does, from a seed that ours gives.
        seed = int(torch.randint(1 << SEED_BITS, (), generator=generator))
        drawn = np.random.default_rng(seed).beta(self.alpha, self.alpha, count)
        share = torch.from_numpy(drawn.astype(np.float32)).to(device, non_blocking=True)
        real = torch.ones_like(places, dtype=torch.bool) if weight is None else weight > 0
        # The real clips by place, and by chance: the k-th of one list is the partner of the k-th of the other. The
        # others come last, in the same order in both, and so are their own partners.
        by_place = torch.where(real, places, places + count).argsort(stable=True)
        by_chance = torch.where(real, order, places + 1.0).argsort(stable=True)
        permutation = torch.empty_like(places).scatter_(0, by_place, by_chance)
        mixes = real & (chosen < self.p)
        return torch.where(mixes, permutation, places), torch.where(mixes, share, 1.0)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"alpha={self.alpha:g}, kind={self.kind!r}, p={self.p:g}"


def _without_mean(values: Tensor, real: Tensor | None) -> Tensor:
    """Audio [..., C, S] less the mean of its real samples; what is not real becomes 0."""
    if real is None:
        return values - values.mean(dim=(-2, -1), keepdim=True)
    kept = values * real
    count = (real.sum(dim=(-2, -1), keepdim=True) * values.shape[-2]).clamp(min=1)
    return (kept - kept.sum(dim=(-2, -1), keepdim=True) / count) * real
