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
from nerfseg_plugins.isrf.voxels import neighbours, offsets

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

    def rows(self, cache: VoxelCache, chosen: Tensor, around: Tensor) -> Tensor:
        """Kernel (M, 26) float32 between voxels (M,) and their neighbours (M, 26); 0 where there is none."""
        there = around.clamp_min(0).long()
        exponent = -offsets().abs().sum(dim=-1).to(around.device) / self.sigma_d
        exponent = exponent - _squared(cache.features, chosen, there) / self.sigma_f
        if self.sigma_c is not None:
            exponent = exponent - _squared(cache.latents, chosen, there) / self.sigma_c
        return exponent.exp() * (around >= 0)


def _squared(values: Tensor, chosen: Tensor, there: Tensor, chunk: int = 1 << 13) -> Tensor:
    """Squared distances (M, 26) of vectors, a part of the rows at a time."""
    parts = [
        (values[one].float()[:, None] - values[others].float()).square().sum(dim=-1)
        for one, others in zip(chosen.split(chunk), there.split(chunk), strict=True)
    ]
    return torch.cat(parts) if parts else torch.zeros(there.shape, device=there.device)


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
    rows = _Rows(cache, kernel)
    news = region.nonzero()[:, 0]
    steps = 0
    while len(news) and steps < max_steps:
        beside = rows.around(news)
        beside = beside[beside >= 0].long().unique()
        open_ = ~region[beside] if allowed is None else ~region[beside] & allowed[beside]
        beside = beside[open_]
        news = beside[rows.share(beside, region) > threshold]
        region[news] = True
        steps += len(news) > 0
    return Grown(region, steps, converged=not len(news))


class _Rows:
    """Neighbours and kernels of the voxels that were touched so far, computed once for each."""

    def __init__(self, cache: VoxelCache, kernel: Kernel) -> None:
        self._cache, self._kernel = cache, kernel
        device = cache.keys.device
        self._place = torch.full((len(cache),), -1, dtype=torch.int32, device=device)
        self._around = torch.empty(0, 26, dtype=torch.int32, device=device)
        self._kernels = torch.empty(0, 26, device=device)
        self._count = 0

    def around(self, chosen: Tensor) -> Tensor:
        """Neighbours (M, 26) of voxels (M,)."""
        known = self._place[chosen] >= 0
        fresh = neighbours(self._cache.grid, self._cache.keys, chosen[~known])
        return torch.cat([self._around[self._place[chosen[known]].long()], fresh])

    def share(self, chosen: Tensor, region: Tensor) -> Tensor:
        """The region's part (M,) in what surrounds voxels (M,)."""
        self._touch(chosen[self._place[chosen] < 0])
        place = self._place[chosen].long()
        kernels = self._kernels[place]
        inside = region[self._around[place].clamp_min(0).long()]  # where there is no neighbour the kernel is 0
        return (kernels * inside).sum(dim=-1) / (1 + kernels.sum(dim=-1))  # 1 is the kernel with itself

    def _touch(self, fresh: Tensor) -> None:
        end = self._count + len(fresh)
        if end > len(self._around):
            room = max(end, 2 * len(self._around)) - len(self._around)
            self._around = torch.cat([self._around, self._around.new_empty(room, 26)])
            self._kernels = torch.cat([self._kernels, self._kernels.new_empty(room, 26)])
        around = neighbours(self._cache.grid, self._cache.keys, fresh)
        self._around[self._count : end] = around
        self._kernels[self._count : end] = self._kernel.rows(self._cache, fresh, around)
        self._place[fresh] = torch.arange(self._count, end, dtype=torch.int32, device=fresh.device)
        self._count = end
