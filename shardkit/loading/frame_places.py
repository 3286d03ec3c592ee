"""FramePlaces: where a clip's decoded frames go in its slot: whole or cropped, mirrored or not, once or repeated."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Frame = npt.NDArray[np.uint8]
"""uint8 [H, W, 3], RGB."""


@dataclass(frozen=True, slots=True)
class Cut:
    """What a view shows of its frames."""

    frames: list[int]
    """[T] stored frames, ascending; the last one may be repeated."""
    top: int
    left: int
    flip: bool


def wanted_frames(cuts: Sequence[Cut]) -> list[int]:
    """The stored frames that any view shows, ascending, each once."""
    if len(cuts) == 1:
        return list(dict.fromkeys(cuts[0].frames))
    return sorted({frame for cut in cuts for frame in cut.frames})


class FramePlaces:
    """The places of one clip's frames in `out`.

    Attributes:
        frames: The stored frames that are wanted, ascending, each once.
        direct: uint8 [len(frames), H, W, 3]: memory of the slot to decode them into; None where they are to be decoded
            beside it and handed to `put`.
    """

    def __init__(
        self, out: npt.NDArray[np.uint8], cuts: Sequence[Cut], frames: list[int], *, height: int, width: int
    ) -> None:
        """Plans the places.

        Args:
            out: uint8 [V, T, h, w, 3], the slot.
            cuts: One a view.
            frames: What `wanted_frames` says of them.
            height: Of the stored frames.
            width: Of the stored frames.
        """
        self._out = out
        self._cuts = cuts
        self.frames = frames
        self.direct: npt.NDArray[np.uint8] | None = None
        if len(cuts) == 1 and not cuts[0].flip and (height, width) == out.shape[2:4]:
            self.direct = out[0][: len(frames)]
            return
        self._places: dict[int, list[tuple[int, int]]] = {frame: [] for frame in frames}
        for view, cut in enumerate(cuts):
            for place, frame in enumerate(cut.frames):
                self._places[frame].append((view, place))

    def put(self, frame: int, pixels: Frame) -> None:
        """Copies a stored frame, decoded to `pixels`, to all its places."""
        height, width = self._out.shape[2:4]
        for view, place in self._places[frame]:
            cut, out = self._cuts[view], self._out[view, place]
            part = pixels[cut.top : cut.top + height, cut.left : cut.left + width]
            if cut.flip:
                # Colour by colour is half the time of pixel by pixel: NumPy's inner loop then runs along a row.
                for colour in range(3):
                    out[:, :, colour] = part[:, ::-1, colour]
            else:
                out[...] = part

    def finish(self) -> None:
        """Repeats the last frame, once all are decoded into `direct`."""
        if self.direct is not None and len(self.frames) < self._out.shape[1]:
            self._out[0, len(self.frames) :] = self.direct[-1]
