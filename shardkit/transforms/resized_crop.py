"""RandomResizedCrop: one box a clip, cut and resized in one go for the whole batch."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from shardkit.errors import UsageError
from shardkit.transforms.draws import uniform
from shardkit.transforms.precision import full_precision

TRIES = 10
"""As torchvision: boxes that are drawn before the central one is taken."""


class RandomResizedCrop(nn.Module):
    """Cuts a random box out of every clip, the same for all its frames, and resizes it.

    The law of the boxes is that of torchvision's RandomResizedCrop (Szegedy et al. 2015, "Going deeper with
    convolutions", section 6): area uniform in `scale`, logarithm of the aspect uniform in that of `ratio`, sizes
    rounded, place uniform; after ten boxes that do not fit, the largest central one with an aspect inside `ratio`. In
    evaluation mode all clips get that one. Resizing is bilinear with antialiasing.

    Args:
        size: Height and width of the result, or one number for both.
        scale: Least and largest share of the picture's area.
        ratio: Least and largest aspect, width ÷ height.

    Raises:
        UsageError: A size, share or aspect that is none.
    """

    def __init__(
        self,
        size: int | tuple[int, int],
        scale: tuple[float, float] = (0.08, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
    ) -> None:
        super().__init__()
        sides = tuple(size) if isinstance(size, Sequence) else (size, size)
        if len(sides) != 2 or not all(type(side) is int and side >= 1 for side in sides):
            raise UsageError(f"size={size!r}: one whole number of at least 1, or height and width, are needed")
        for name, (least, largest), most in (("scale", scale, 1.0), ("ratio", ratio, math.inf)):
            if not 0 < least <= largest <= most:
                raise UsageError(
                    f"{name}={(least, largest)}: two numbers above 0 are needed, the smaller first"
                    f"{', up to 1' if most == 1 else ''}"
                )
        self.size = (sides[0], sides[1])
        self.scale, self.ratio = scale, ratio

    def forward(self, video: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """[..., T, 3, H, W] to [..., T, 3, height, width], of the same type, in channels-last memory.

        Args:
            video: uint8 (the result is rounded) or float; one box for each of the leading places (clips, or clips and
                views).
            generator: Of the CPU; None: torch's default one.

        Raises:
            UsageError: Frames of another shape.
        """
        if video.dim() < 4 or video.shape[-3] != 3:
            raise UsageError(f"frames of shape {list(video.shape)}: [B, T, 3, H, W] is needed")
        clips = video.shape[:-4]
        count = math.prod(clips)
        height, width = video.shape[-2:]
        boxes = self.boxes(count, height, width, device=video.device, generator=generator)
        resized = _resized(video.reshape(count, *video.shape[-4:]), boxes, self.size)
        return resized.reshape(*clips, *resized.shape[1:])

    def boxes(
        self, count: int, height: int, width: int, *, device: Any = "cpu", generator: torch.Generator | None = None
    ) -> Tensor:
        """float32 [count, 4]: top, left, height, width of boxes in pictures of `height` × `width`, whole numbers."""  # noqa: RUF002
        central = torch.tensor(_central_box(height, width, self.ratio), dtype=torch.float32)
        if not self.training:
            return central.expand(count, 4).to(device, non_blocking=True)
        area, aspect, top, left = uniform(4, count, TRIES, device=torch.device("cpu"), generator=generator)
        area = height * width * (self.scale[0] + (self.scale[1] - self.scale[0]) * area)
        low, high = math.log(self.ratio[0]), math.log(self.ratio[1])
        aspect = torch.exp(low + (high - low) * aspect)
        box_width, box_height = (area * aspect).sqrt().round(), (area / aspect).sqrt().round()
        fits = (box_width > 0) & (box_width <= width) & (box_height > 0) & (box_height <= height)
        top = (top * (height - box_height + 1)).floor()
        left = (left * (width - box_width + 1)).floor()
        drawn = torch.stack([top, left, box_height, box_width], dim=-1).float()
        first = fits.int().argmax(dim=1)
        chosen = drawn[torch.arange(count), first]
        boxes = torch.where(fits.any(dim=1, keepdim=True), chosen, central)
        return boxes.to(device, non_blocking=True)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"size={self.size}, scale={self.scale}, ratio={self.ratio}"


def _central_box(height: int, width: int, ratio: tuple[float, float]) -> tuple[int, int, int, int]:
    box_height, box_width = height, width
    if width / height < ratio[0]:
        box_height = round(width / ratio[0])
    elif width / height > ratio[1]:
        box_width = round(height * ratio[1])
    return ((height - box_height) // 2, (width - box_width) // 2, box_height, box_width)


def _resized(video: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """[N, T, C, H, W] cut to `boxes` [N, 4] and resized.

    Resizing along one side is a matrix, another one for each clip; two batched products do the whole batch, where a
    resize a clip would start as many kernels as there are clips.
    """
    clips, frames, channels, height, width = video.shape
    top, left, box_height, box_width = boxes.unbind(dim=1)
    values = torch.promote_types(video.dtype, torch.float32)
    rows = _resize_matrix(top, box_height, full=height, size=size[0]).to(values)
    columns = _resize_matrix(left, box_width, full=width, size=size[1]).to(values)
    with full_precision(video.device):  # bfloat16 has fewer bits than a byte
        # Down first, along memory as it lies: [N, h, H] x [N T, H, W C].
        lines = video.permute(0, 1, 3, 4, 2).reshape(clips, frames, height, width * channels).to(values)
        lines = torch.matmul(rows.unsqueeze(1), lines)
        # Then across: [N, T h C, W] x [N, W, w].
        lines = lines.reshape(clips, frames, size[0], width, channels).transpose(-1, -2)
        picture = torch.bmm(lines.reshape(clips, -1, width), columns.transpose(1, 2))
    if not video.is_floating_point():
        picture = picture.round_()
    picture = picture.reshape(clips, frames, size[0], channels, size[1]).permute(0, 1, 2, 4, 3)
    return picture.to(video.dtype).contiguous().permute(0, 1, 4, 2, 3)


def _resize_matrix(start: Tensor, extent: Tensor, *, full: int, size: int) -> Tensor:
    """float32 [N, size, full]: weights that resize the places start to start + extent of `full` to `size`.

    Bilinear with antialiasing: a triangle around each new place, as wide as the step between places where that is
    larger than one (the filter of Pillow, and of torch's `interpolate(antialias=True)`).
    """
    step = (extent / size).reshape(-1, 1, 1)
    reach = step.clamp(min=1)
    places = torch.arange(full, device=start.device).reshape(1, 1, -1) - start.reshape(-1, 1, 1)
    centres = (torch.arange(size, device=start.device).reshape(1, -1, 1) + 0.5) * step
    weights = (1 - ((places + 0.5 - centres) / reach).abs()).clamp(min=0)
    weights = weights * ((places >= 0) & (places < extent.reshape(-1, 1, 1)))
    return weights / weights.sum(dim=-1, keepdim=True)
