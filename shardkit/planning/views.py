"""Views: which parts of a clip a slot shows. Each draw is a pure function of (seed, epoch, position, view).

So a clip looks the same in whichever worker or run it is decoded, and its frames share one crop and one flip.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from shardkit.planning.hashing import Domain, uniform, uniform_pair
from shardkit.planning.sampling import FrameChoice, place_crop

CENTRE = 0.5


class View(NamedTuple):
    """Where a view lies in whichever clip it is taken of: shares of the room there is, from 0 to 1."""

    window: float
    frames: float
    crop: tuple[float, float]
    """Down and across; of a grid, both along the side that has more room."""
    flip: bool


@dataclass(frozen=True, slots=True)
class ViewRules:
    """How views are drawn; fixed for a loader's life.

    One view a clip; or `independent` ones, drawn each for itself (contrastive training); or a `grid` of k windows by m
    crops at fixed places, window by window (multi-view evaluation).
    """

    seed: int
    random_window: bool = False
    """Windows, and `contiguous` frames, are drawn; otherwise they are centred."""
    random_crop: bool = False
    frame_choice: FrameChoice = "uniform"
    flip: float = 0.0
    """Chance that a view is mirrored."""
    independent: int | None = None
    grid: tuple[int, int] | None = None

    @property
    def count(self) -> int | None:
        """Views a clip; None for one that has no dimension of its own."""
        return self.independent if self.grid is None else self.grid[0] * self.grid[1]

    @property
    def drawn_frames(self) -> bool:
        """Whether the places of frames are drawn."""
        return self.grid is None and (
            self.frame_choice == "random" or (self.frame_choice == "contiguous" and self.random_window)
        )

    @property
    def drawn_crop(self) -> bool:
        """Whether the places of crops are drawn."""
        return self.grid is None and self.random_crop

    def views(self, *, epoch: int, position: int) -> Sequence[View]:
        """The views of the clip at `position` of an epoch's order."""
        if self.grid is not None:
            return _grid(*self.grid, self.frame_choice)
        return [self._drawn(epoch, position, view) for view in range(self.independent or 1)]

    def crop_of(self, view: View, height: int, width: int, size_h: int, size_w: int) -> tuple[int, int]:
        """Top and left of a view's crop of `size_h` x `size_w` pixels; see `place_crop`."""
        shares = view.crop
        if self.grid is not None:
            shares = (shares[0], CENTRE) if height - size_h > width - size_w else (CENTRE, shares[1])
        return place_crop(height, width, size_h, size_w, shares=shares, drawn=self.drawn_crop)

    def _drawn(self, epoch: int, position: int, view: int) -> View:
        seed = self.seed
        return View(
            uniform(seed, epoch, Domain.WINDOW, view, counter=position) if self.random_window else CENTRE,
            uniform(seed, epoch, Domain.FRAMES, view, counter=position) if self.drawn_frames else CENTRE,
            uniform_pair(seed, epoch, Domain.CROP, view, counter=position) if self.random_crop else (CENTRE, CENTRE),
            self.flip > 0 and uniform(seed, epoch, Domain.FLIP, view, counter=position) < self.flip,
        )


def _grid(windows: int, crops: int, frame_choice: FrameChoice) -> list[View]:
    """Windows and crops from the first place to the last at equal distances; a lone one in the middle."""
    shares = [_along(window, windows) for window in range(windows)]
    if frame_choice == "uniform":
        frames = [CENTRE] * windows
    elif frame_choice == "random":
        # Frames at share 0 and 1 of their part would be neighbours: phases are centres of equal parts instead.
        frames = [(window + 0.5) / windows for window in range(windows)]
    else:
        frames = shares
    return [
        View(window, frame, (crop, crop), flip=False)
        for window, frame in zip(shares, frames, strict=True)
        for crop in (_along(place, crops) for place in range(crops))
    ]


def _along(place: int, count: int) -> float:
    return place / (count - 1) if count > 1 else CENTRE
