"""Bilateral region growing on the voxels of a cache (ISRF, arXiv 2212.13545, section 3.4).

A voxel beside the region joins it when enough of its surroundings, weighed by how near and how like it they are, belong
to the region already. The original implementation goes over a dense grid for every step and takes one step a click;
here a voxel is looked at only when something beside it has changed, until nothing changes any more.
"""

from dataclasses import dataclass
from typing import Optional

import torch
from torch import Tensor

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.isrf.cache import VoxelCache
from nerfseg_plugins.isrf.voxels import neighbours, offsets, squared_differences

CHUNK = 1 << 13
THRESHOLD = 0.1
"""A voxel joins when so much of its surroundings belongs to the region."""


@dataclass(frozen=True)
class Kernel:
    """How alike two voxels p, q count: exp(-|f_p-f_q|^2 / sigma_f - |p-q|_1 / sigma_d [- |c_p-c_q|^2 / sigma_c]).

    Raises:
        InputError: a sigma is not positive.
    """

    sigma_d: float = 5.0
    """Of the distance in space: the 1-norm, in voxels."""
    sigma_f: float = 0.5
    """Of the squared distance of unit features, which is at most 4."""
    sigma_c: Optional[float] = None
    """Of the squared distance of colour latents, whose channels lie in [0, 1]; None leaves it out."""

    def __post_init__(self) -> None:
        for name in ("sigma_d", "sigma_f", "sigma_c"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InputError(f"{name} is {value}; it must be greater than 0")

    def between(self, cache: VoxelCache, ones: Tensor, others: Tensor, columns: Tensor) -> Tensor:
        """Kernel (E,) float32 of pairs of neighbours.

        Args:
            cache: the voxels.
            ones: (E,), places of voxels.
            others: (E,), places of their neighbours.
            columns: (E,), which of `offsets()` leads from one to the other.
        """
        exponent = -offsets().abs().sum(dim=-1).to(columns.device)[columns] / self.sigma_d
        exponent -= squared_differences(cache.features, ones, others) / self.sigma_f
        if self.sigma_c is not None:
            exponent -= squared_differences(cache.latents, ones, others) / self.sigma_c
        return exponent.exp()


@dataclass(frozen=True)
class Grown:
    """Where growing ended."""

    selected: Tensor
    """(N,) bool."""
    steps: int
    """Steps that changed something."""
    converged: bool
    """Whether another step would change nothing."""


def grow(
    cache: VoxelCache,
    selected: Tensor,
    kernel: Kernel,
    allowed: Optional[Tensor] = None,
    max_steps: int = 1000,
    threshold: float = THRESHOLD,
) -> Grown:
    """Grow a region until nothing changes.

    In each step, every voxel p outside with a voxel of the region among its 26 neighbours joins if
    sum_q m(q) k(p, q) / sum_q k(p, q) > threshold, where q runs over p and its neighbours and m is 1 in the region. All
    voxels of a step join at once.

    Args:
        cache: the voxels.
        selected: (N,) bool, the region.
        kernel: how alike two voxels count.
        allowed: (N,) bool, voxels that may join; all when None.
        max_steps: end after so many steps.
        threshold: see above.
    """
    region = selected.clone()
    total, inside = torch.zeros(2, len(cache), dtype=torch.float64, device=region.device)  # of what surrounds a voxel
    news = region.nonzero()[:, 0]
    steps = 0
    while len(news) and steps < max_steps:
        beside = []
        for some in news.split(CHUNK):
            row, column, place = _pairs(cache, some)
            open_ = ~region[place] if allowed is None else ~region[place] & allowed[place]
            known = open_ & (total[place] > 0)
            weight = kernel.between(cache, some[row[known]], place[known], column[known])
            inside.index_add_(0, place[known], weight.double())
            beside.append(place[open_].unique())
        candidates = torch.cat(beside).unique()
        for some in candidates[total[candidates] == 0].split(CHUNK):
            row, column, place = _pairs(cache, some)
            weight = kernel.between(cache, some[row], place, column).double()
            total[some] = 1 + torch.zeros_like(some, dtype=weight.dtype).index_add_(0, row, weight)  # 1 is with itself
            inside.index_add_(0, some[row], weight * region[place])
        news = candidates[inside[candidates] / total[candidates] > threshold]
        region[news] = True
        steps += len(news) > 0
    return Grown(region, steps, converged=not len(news))


def _pairs(cache: VoxelCache, chosen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Which row of `chosen` (M,), which of `offsets()`, and the voxel's place, for each neighbour; (E,) long each."""
    around = neighbours(cache.grid, cache.keys, chosen)
    row, column = (around >= 0).nonzero().unbind(dim=-1)
    return row, column, around[row, column].long()
