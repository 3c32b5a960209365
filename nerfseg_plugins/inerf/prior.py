"""What is known of a pose beforehand: that it lies near the one that the search starts from.

A network's rendering of an object that it knows from one photo is blurred and coloured by what it believes of others.
Free in all six numbers, a camera moves away from the object or beside it to make up for that. So the start counts as a
measurement: Gaussian, of the turn about the pivot and of the shift that is left.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from nerfseg_plugins.inerf.se3 import log_so3


@dataclass(frozen=True)
class PriorConfig:
    """How far from the start a pose is likely to be."""

    degrees: float
    """Standard deviation of the turn about the pivot."""
    distance: float
    """Standard deviation of the shift along each axis, scene units."""
    weight: float = 5e-4
    """What a deviation by one standard deviation costs twice, where the photo costs half a squared residual a ray."""


class Prior(NamedTuple):
    """The pose before the photo was looked at."""

    start: Tensor
    """(3, 4) scene frame."""
    pivot: Tensor
    """(3,) about which it may be turned."""
    precision: Tensor
    """(6,) of (v, omega), in units of the photometric cost."""

    @staticmethod
    def around(start: Tensor, pivot: Tensor, config: PriorConfig) -> "Prior":
        """A prior around a pose (3, 4) that may be turned about a point (3,)."""
        shift, turn = config.weight / config.distance**2, config.weight / math.radians(config.degrees) ** 2
        return Prior(start, pivot, start.new_tensor([shift] * 3 + [turn] * 3))

    def deviation(self, c2w: Tensor) -> Tensor:
        """(B, 6) shift and turn that lead from the start to poses (B, 3, 4): turned about the pivot, then shifted.

        A small twist (v, omega) about the pivot adds itself, as long as the deviation itself is not large.
        """
        turn = c2w[..., :3] @ self.start[:, :3].T
        shift = c2w[..., 3] - self.pivot - turn @ (self.start[:, 3] - self.pivot)
        return torch.cat([shift, log_so3(turn)], dim=-1)

    def cost(self, c2w: Tensor) -> Tensor:
        """(B,) what poses (B, 3, 4) cost."""
        return 0.5 * (self.precision * self.deviation(c2w).square()).sum(dim=-1)
