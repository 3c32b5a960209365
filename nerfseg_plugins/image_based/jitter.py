"""Colour jitter: all colours of a scene changed alike, so that a network relies less on those it has seen."""

from typing import NamedTuple, Optional

import numpy as np
import torch
from torch import Tensor

GREY = (0.299, 0.587, 0.114)
"""Luma of red, green and blue (ITU-R BT.601)."""


class Jitter(NamedTuple):
    """A change of colours: matrix @ color^gamma + offset, cut to [0, 1]."""

    matrix: Tensor
    """(3, 3)"""
    offset: Tensor
    """(3,)"""
    gamma: Optional[Tensor] = None
    """(3,) exponents; None leaves colours as they are."""

    @classmethod
    def draw(cls, rng: np.random.Generator, strength: float, swap: bool = False, gamma: float = 0.0) -> "Jitter":
        """A random change, as torchvision's ColorJitter draws it; contrast is about a middle grey.

        Args:
            rng: draws.
            strength: how far brightness, contrast and saturation are from 1 at most, and the hue from 0, in turns.
            swap: whether the channels also change places, which leaves black, white and greys as they are.
            gamma: how far the logarithm of each channel's exponent is from 0 at most; black and white stay.
        """
        brightness, contrast, saturation = (torch.tensor(1 + rng.uniform(-strength, strength)) for _ in range(3))
        angle = 2 * np.pi * rng.uniform(-strength, strength)
        grey = torch.tensor(GREY, dtype=torch.float64).expand(3, 3)
        matrix = saturation * torch.eye(3, dtype=torch.float64) + (1 - saturation) * grey
        matrix = contrast * brightness * (_hue(angle) @ matrix)
        if swap:
            matrix = matrix[torch.from_numpy(rng.permutation(3))]
        exponents = torch.from_numpy(np.exp(rng.uniform(-gamma, gamma, 3))).float() if gamma > 0 else None
        return cls(matrix.float(), ((1 - contrast) / 2).float().expand(3), exponents)

    def apply(self, colors: Tensor, axis: int = -1) -> Tensor:
        """Colours with their three channels along `axis`, changed."""
        moved = colors.movedim(axis, -1)
        if self.gamma is not None:
            moved = moved**self.gamma
        return (moved @ self.matrix.T + self.offset).clamp(0, 1).movedim(-1, axis)


def _hue(angle: float) -> Tensor:
    """(3, 3) rotation about the axis of greys, which stay as they are."""
    axis = torch.full((3,), 3**-0.5, dtype=torch.float64)
    x, y, z = axis
    cross = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64)
    return torch.eye(3, dtype=torch.float64) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross)
