"""Voxel caches made by hand."""

from typing import Any, Optional

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from nerfseg_plugins.isrf.cache import VoxelCache
from nerfseg_plugins.isrf.voxels import VoxelGrid


def unit(*features: Any) -> Tensor:
    """Vectors of length 1 along the last axis."""
    return normalize(torch.tensor(features, dtype=torch.float32), dim=-1)


def cache_of(
    coords: Any,
    features: Optional[Tensor] = None,
    latents: Optional[Tensor] = None,
    colors: Optional[Tensor] = None,
    shape: tuple[int, int, int] = (8, 8, 8),
    edge: float = 0.5,
) -> VoxelCache:
    """Voxels in any order; all alike where nothing else is said. Voxel (0, 0, 0) has a corner at the origin."""
    grid = VoxelGrid((0.0, 0.0, 0.0), edge, shape, contracted=False)
    keys, order = grid.keys(torch.as_tensor(np.asarray(coords)).reshape(-1, 3)).sort()
    assert bool((keys >= 0).all()) and bool((keys.diff() > 0).all())
    count = len(keys)
    features = torch.tensor([1.0, 0.0]).expand(count, 2) if features is None else features
    latents = torch.zeros(count, 1) if latents is None else latents
    colors = torch.full((count, 3), 128) if colors is None else colors
    return VoxelCache(
        grid,
        keys,
        features[order].half(),
        latents[order].half(),
        colors[order].byte(),
        torch.ones(count, dtype=torch.float16),
    )


def random_cache(seed: int, shape: tuple[int, int, int] = (9, 8, 7), share: float = 0.5, parts: int = 3) -> VoxelCache:
    """Voxels anywhere, each like one of a few parts."""
    rng = np.random.default_rng(seed)
    coords = np.argwhere(rng.random(shape) < share)
    part = rng.integers(0, parts, len(coords))
    features = rng.normal(size=(parts, 6))[part] + 0.3 * rng.normal(size=(len(coords), 6))
    latents = rng.random((parts, 3))[part]
    return cache_of(
        coords,
        normalize(torch.from_numpy(features), dim=-1),
        torch.from_numpy(latents),
        torch.from_numpy(rng.integers(0, 256, (parts, 3))[part]),
        shape,
    )


def boxes_apart(*lows: tuple[int, int, int], side: int = 3) -> np.ndarray:
    """(N, 3) voxels of full cubes with their lowest corners at some places."""
    cube = np.argwhere(np.ones((side,) * 3))
    return np.concatenate([cube + low for low in lows])


def mark(cache: VoxelCache, *places: int) -> Tensor:
    """(N,) bool: some voxels."""
    found = torch.zeros(len(cache), dtype=torch.bool)
    found[list(places)] = True
    return found
