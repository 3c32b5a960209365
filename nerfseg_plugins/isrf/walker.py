"""A random walk between positive and negative strokes over the surfaces of a scene.

Bilateral growing (growing.py) stops where features change, and weak features change everywhere or nowhere. Here both
kinds of strokes compete: a voxel belongs to the object if a walker that starts there, and prefers to step between like
voxels, is more likely to end on a positive stroke than on a negative one (Grady, "Random Walks for Image Segmentation",
2006). At every step it may also end where it is, with the probability that the voxel's own features give (the same
author's "Multilabel Random Walker Image Segmentation Using Prior Models", 2005). The answer is one sparse linear
system.
"""

import math
from collections.abc import Iterator
from dataclasses import fields

import numpy as np
import torch
from scipy import sparse
from skimage.color import rgb2lab
from torch import Tensor

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.isrf.cache import VoxelCache
from nerfseg_plugins.isrf.voxels import VoxelGrid, find, neighbours, offsets, squared_differences
from nerfseg_plugins.segments.random_walk import harmonic
from nerfseg_plugins.segments.select_config import WalkerConfig

CHUNK = 1 << 13
"""Voxels whose links are looked at at once."""
SLAB = 1 << 16
"""Voxels whose surface directions are fitted at once."""
NORMAL_ROUNDS = 2
"""Surface directions are fitted to the neighbours of neighbours."""


def walk(cache: VoxelCache, positive: Tensor, negative: Tensor, prior: Tensor, config: WalkerConfig) -> Tensor:
    """Probability that a walker ends on the object.

    Args:
        cache: the N voxels.
        positive: (P,) long, voxels under positive strokes.
        negative: (Q,) long, voxels under negative strokes; may be empty.
        prior: (N,) in [0, 1], what each voxel's own features say.
        config: how the walker steps.

    Returns:
        (N,) float32 on the CPU: 1 on positive strokes, 0 on negative ones; where there are both, 0 far from all.

    Raises:
        InputError: a sigma or the softness is not positive, or another number is negative.
    """
    for entry in fields(config):
        value = getattr(config, entry.name)
        low = entry.name.startswith("sigma") or entry.name == "softness"
        if not (value > 0 if low else value >= 0):
            raise InputError(f"walker.{entry.name} is {value}; it must be {'greater than 0' if low else '0 or more'}")
    # Without negative strokes nothing tells how far the object might reach.
    chosen = _around(cache, torch.cat([positive, negative]), config.margin if len(negative) else math.inf)
    graph = _graph(cache, chosen, config)
    fixed = np.zeros(len(chosen), bool)
    values = prior[chosen].float().cpu().numpy()
    for voxels, value in ((negative, 0), (positive, 1)):
        place = find(chosen, voxels).cpu().numpy()
        fixed[place] = True
        values[place] = value
    found = torch.zeros(len(cache))
    found[chosen.cpu()] = torch.from_numpy(harmonic(graph, values, fixed, config.prior))
    return found


def _around(cache: VoxelCache, marked: Tensor, margin: float) -> Tensor:
    """(M,) long, ascending: the voxels in the box of the marked ones, enlarged on all sides by a part of its extent."""
    coords = cache.grid.coords_of(cache.keys[marked])
    low, high = coords.amin(dim=0), coords.amax(dim=0)
    reach = margin * (high - low + 1).amax()
    chosen = []
    for start, keys in zip(range(0, len(cache), CHUNK), cache.keys.split(CHUNK), strict=True):
        coords = cache.grid.coords_of(keys)
        inside = ((coords >= low - reach) & (coords <= high + reach)).all(dim=-1)
        chosen.append(start + inside.nonzero()[:, 0])
    return torch.cat(chosen)


def _graph(cache: VoxelCache, chosen: Tensor, config: WalkerConfig) -> sparse.csr_matrix:
    """How willingly a walker steps between neighbours among the chosen voxels: (M, M) float32, upper triangle."""
    keys = cache.keys[chosen]
    linked = links(cache.grid, keys)
    direction = surface_directions(cache.grid, keys, linked)
    del keys  # a million voxels are walked over at times
    lab = np.empty((len(chosen), 3), np.float32)
    for rows in _slices(len(chosen)):
        colors = cache.colors[chosen[rows]].cpu().numpy()
        lab[rows] = rgb2lab(colors[None] / np.float32(255))[0] / 100
    weights = np.empty(linked.nnz, np.float32)
    for rows in _slices(len(chosen)):
        starts = linked.indptr[rows.start : rows.stop + 1]
        part = slice(starts[0], starts[-1])
        one, other = np.repeat(np.arange(rows.start, rows.stop), np.diff(starts)), linked.indices[part]
        places = (chosen[torch.from_numpy(side).to(chosen.device)] for side in (one, other))
        exponent = squared_differences(cache.features, *places).cpu().numpy() / config.sigma_f
        exponent += np.square(lab[one] - lab[other]).sum(axis=1) / config.sigma_c
        exponent += (1 - np.abs(np.einsum("ij,ij->i", direction[one], direction[other]))) / config.sigma_n
        weights[part] = np.exp(-exponent) / np.sqrt(linked.data[part], dtype=np.float32) + config.floor
    return sparse.csr_matrix((weights, linked.indices, linked.indptr), shape=linked.shape)


def _slices(count: int, step: int = CHUNK) -> Iterator[slice]:
    """A few rows at a time."""
    return (slice(start, min(start + step, count)) for start in range(0, count, step))


def links(grid: VoxelGrid, keys: Tensor) -> sparse.csr_matrix:
    """Which voxels are neighbours.

    Args:
        grid: the grid.
        keys: (M,) long, ascending: the voxels.

    Returns:
        (M, M) uint8, upper triangle: the squared distance of neighbours, in voxels: 1, 2 or 3.
    """
    squared = offsets(half=True).square().sum(dim=-1).numpy().astype(np.uint8)
    # Room for all that could be there: memory that is never written to is never taken.
    room = len(keys) * len(squared)
    columns, values, starts = np.empty(room, np.int32), np.empty(room, np.uint8), np.zeros(len(keys) + 1, np.int32)
    count = 0
    for rows in _slices(len(keys)):
        some = torch.arange(rows.start, rows.stop, device=keys.device)
        table = neighbours(grid, keys, some, half=True).cpu().numpy()
        row, step = np.nonzero(table >= 0)
        columns[count : count + len(row)] = table[row, step]  # ascending, as the steps are
        values[count : count + len(row)] = squared[step]
        starts[rows.start + 1 : rows.stop + 1] = count + np.bincount(row, minlength=len(table)).cumsum()
        count += len(row)
    return sparse.csr_matrix((values[:count], columns[:count], starts), shape=(len(keys),) * 2)


def surface_directions(grid: VoxelGrid, keys: Tensor, linked: sparse.csr_matrix) -> np.ndarray:
    """Unit normals, of unknown sign, of the surface: of the plane through the voxels around each.

    Args:
        grid: the grid.
        keys: (M,) long, ascending: the voxels.
        linked: (M, M) upper triangle, of which only the places of the entries matter.

    Returns:
        (M, 3) float32.
    """
    directions = np.empty((len(keys), 3), np.float32)
    layer = grid.shape[1] * grid.shape[2]
    for rows in _slices(len(keys), SLAB):
        # A slab of the scene, with what the rounds reach on both sides of it: a part of the memory.
        ends = torch.stack(
            [keys[rows.start] // layer - NORMAL_ROUNDS, keys[rows.stop - 1] // layer + NORMAL_ROUNDS + 1]
        )
        low, high = torch.searchsorted(keys, ends * layer).tolist()
        coords = grid.coords_of(keys[low:high]).cpu().numpy()
        moments = _summed_moments(coords, linked[low:high, low:high], slice(rows.start - low, rows.stop - low))
        for some in _slices(moments.shape[1]):
            mean = moments[1:, some] / moments[0, some]
            products = mean[[3, 4, 5, 4, 6, 7, 5, 7, 8]].T.reshape(-1, 3, 3)
            covariance = products - mean[:3].T[:, :, None] * mean[:3].T[:, None, :]
            directions[rows.start + some.start : rows.start + some.stop] = np.linalg.eigh(covariance)[1][:, :, 0]
    return directions


def _summed_moments(coords: np.ndarray, linked: sparse.csr_matrix, rows: slice) -> np.ndarray:
    """Sums (10, M) int32 of 1, x, y, z, xx, xy, xz, yy, yz, zz over the voxels around some, round by round."""
    upper = sparse.csr_matrix((np.ones(linked.nnz, np.int32), linked.indices, linked.indptr), shape=linked.shape)
    lower = upper.T
    # From the middle; whole numbers, so that no digit is lost.
    x, y, z = (coords - (coords.min(axis=0) + coords.max(axis=0)) // 2).T
    found = []
    for one, other in ((1, 1), (x, 1), (y, 1), (z, 1), (x, x), (x, y), (x, z), (y, y), (y, z), (z, z)):
        values = np.multiply(one, other, dtype=np.int32) * np.ones_like(x)
        for _ in range(NORMAL_ROUNDS):
            values = values + upper @ values + lower @ values
        found.append(values[rows])
    return np.stack(found)
