"""Seeding and growing on a dense grid, as the original implementation goes about it: the plain reference.

Every cell of the grid has its feature vector, empty or not, and every step goes over all of them. growing.py gives the
same results; this is what its tests and benchmarks compare it with, and nothing else uses it.
"""

from dataclasses import dataclass
from itertools import product
from typing import Optional

import torch
from torch import Tensor
from torch.nn.functional import max_pool3d, pad

from nerfseg_plugins.isrf.cache import VoxelCache
from nerfseg_plugins.isrf.growing import THRESHOLD, Grown, Kernel

STEPS = tuple(product((-1, 0, 1), repeat=3))
"""To the 27 cells of the cube around one, itself included."""


@dataclass(frozen=True)
class DenseGrid:
    """A grid of X x Y x Z cells; what is not occupied is zero."""

    features: Tensor
    """(X, Y, Z, C) float32."""
    latents: Tensor
    """(X, Y, Z, L) float32."""
    occupied: Tensor
    """(X, Y, Z) bool."""

    @classmethod
    def of_cache(cls, cache: VoxelCache) -> "DenseGrid":
        """All cells of a cache's grid."""
        features, latents, there = (
            spread(cache, values) for values in (cache.features.float(), cache.latents.float(), cache.keys >= 0)
        )
        return cls(features, latents, there)


def spread(cache: VoxelCache, values: Tensor) -> Tensor:
    """Values (N, ...) of a cache's voxels in the cells (X, Y, Z, ...) of its grid; zero in the others."""
    x, y, z = cache.coords.long().unbind(dim=-1)
    cells = values.new_zeros(*cache.grid.shape, *values.shape[1:])
    cells[x, y, z] = values
    return cells


def gather(cache: VoxelCache, cells: Tensor) -> Tensor:
    """The values (N, ...) that cells (X, Y, Z, ...) have in a cache's voxels."""
    x, y, z = cache.coords.long().unbind(dim=-1)
    return cells[x, y, z]


def squared_distance(grid: DenseGrid, queries: Tensor) -> Tensor:
    """Squared Euclidean distance (X, Y, Z) of every cell to the nearest of unit queries (K, C); empty cells too."""
    return (2 - 2 * (grid.features @ queries.T).amax(dim=-1)).clamp_min(0)


def grow(
    grid: DenseGrid,
    selected: Tensor,
    kernel: Kernel,
    allowed: Optional[Tensor] = None,
    max_steps: int = 1000,
    threshold: float = THRESHOLD,
) -> Grown:
    """What `growing.grow` does, step by step over the whole grid.

    Args:
        grid: the cells.
        selected: (X, Y, Z) bool, the region.
        kernel: how alike two cells count.
        allowed: (X, Y, Z) bool, cells that may join; all when None.
        max_steps: end after so many steps.
        threshold: as of `growing.grow`.

    Returns:
        With `selected` (X, Y, Z).
    """
    may_join = grid.occupied if allowed is None else grid.occupied & allowed
    features, latents = (pad(values, (0, 0, 1, 1, 1, 1, 1, 1)) for values in (grid.features, grid.latents))
    occupied = pad(grid.occupied, (1,) * 6)
    region = pad(selected, (1,) * 6)
    changed, steps = True, 0
    while changed and steps < max_steps:
        beside = max_pool3d(region[None, None].float(), 3, stride=1)[0, 0] > 0
        frontier = (beside & may_join & ~region[1:-1, 1:-1, 1:-1]).nonzero() + 1
        around = (frontier[:, None] + torch.tensor(STEPS, device=frontier.device)).unbind(dim=-1)  # (M, 27) each
        here = frontier.unbind(dim=-1)
        reach = torch.tensor(STEPS, device=frontier.device).abs().sum(dim=-1)
        exponent = -(features[here][:, None] - features[around]).square().sum(dim=-1) / kernel.sigma_f
        exponent -= reach / kernel.sigma_d
        if kernel.sigma_c is not None:
            exponent -= (latents[here][:, None] - latents[around]).square().sum(dim=-1) / kernel.sigma_c
        weight = exponent.exp().double() * occupied[around]
        joins = frontier[(weight * region[around]).sum(dim=-1) / weight.sum(dim=-1) > threshold]
        region[joins.unbind(dim=-1)] = True
        changed = len(joins) > 0
        steps += changed
    return Grown(region[1:-1, 1:-1, 1:-1].clone(), steps, converged=not changed)
