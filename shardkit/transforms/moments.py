"""Mean and standard deviation of values that come piece by piece."""

import torch
from torch import Tensor


class Moments:
    """Merges pieces by the rule of Chan, Golub and LeVeque (1979), in float64: no cancellation, however many there are.

    Attributes:
        count: Values seen, a channel.
        mean: float64 [channels].
    """

    def __init__(self, channels: int) -> None:
        self.count = 0
        self.mean = torch.zeros(channels, dtype=torch.float64)
        self._squares = torch.zeros(channels, dtype=torch.float64)

    def add(self, values: Tensor) -> None:
        """Takes in values [channels, n]."""
        if not values.shape[1]:
            return
        piece = values.double()
        mean = piece.mean(dim=1)
        squares = (piece - mean.unsqueeze(1)).square().sum(dim=1).cpu()
        mean, count = mean.cpu(), piece.shape[1]
        total = self.count + count
        distance = mean - self.mean
        self.mean = self.mean + distance * (count / total)
        self._squares = self._squares + squares + distance.square() * (self.count * count / total)
        self.count = total

    @property
    def std(self) -> Tensor:
        """float64 [channels]: the standard deviation of the values seen (divided by their number)."""
        return (self._squares / max(self.count, 1)).sqrt()
