"""Pictures: normalising and flipping, in the memory layout that they come in."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from shardkit.errors import UsageError
from shardkit.transforms.draws import check_share, uniform

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Normalize(nn.Module):
    """uint8 frames to float: (x / 255 - mean) / std, channel by channel.

    Args:
        mean: Of red, green and blue in [0, 1]; ImageNet's unless told otherwise. `shardkit stats` computes others.
        std: Likewise.

    Raises:
        UsageError: Not three numbers each, or a deviation that is not above 0.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD) -> None:
        super().__init__()
        if len(mean) != 3 or len(std) != 3 or not all(value > 0 for value in std):
            raise UsageError(f"mean={mean!r}, std={std!r}: three numbers each are needed, and std above 0")
        self.mean, self.std = tuple(map(float, mean)), tuple(map(float, std))
        # One multiplication and one addition a value: x * scale + shift.
        scale = [1 / value for value in self.std]
        shift = [-centre / value for centre, value in zip(self.mean, self.std, strict=True)]
        self.register_buffer("scale", torch.tensor(scale).reshape(3, 1, 1), persistent=False)
        self.register_buffer("shift", torch.tensor(shift).reshape(3, 1, 1), persistent=False)

    def forward(self, video: Tensor) -> Tensor:
        """uint8 [..., 3, H, W], or float in [0, 1], to float of the same shape and memory layout.

        Raises:
            UsageError: Frames of another shape.
        """
        _check_frames(video)
        scale = self.scale if video.is_floating_point() else self.scale / 255
        return (video * scale).add_(self.shift)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"mean={self.mean}, std={self.std}"


class RandomHorizontalFlip(nn.Module):
    """Mirrors some clips left to right, all their frames alike; in evaluation mode none.

    Args:
        p: Share of the clips.

    Raises:
        UsageError: `p` is no share.
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        check_share("p", p)
        self.p = p

    def forward(self, video: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """[..., T, 3, H, W] to the same; one decision for each of the leading places (clips, or clips and views).

        Args:
            video: Frames of any type.
            generator: Of the CPU; None: torch's default one.

        Raises:
            UsageError: Frames of another shape.
        """
        _check_frames(video)
        if not self.training or not self.p:
            return video
        clips = video.shape[:-4]
        flipped = uniform(*clips, device=video.device, generator=generator) < self.p
        return torch.where(flipped.reshape(*clips, 1, 1, 1, 1), video.flip(-1), video)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"p={self.p}"


def _check_frames(video: Tensor) -> None:
    if video.dim() < 4 or video.shape[-3] != 3:
        raise UsageError(f"frames of shape {list(video.shape)}: [B, T, 3, H, W], as `batch.video` has it, is needed")
