"""A random walk between positive and negative strokes over the surfaces of a scene.

Bilateral growing (growing.py) stops where features change, and weak features change everywhere or nowhere. Here both
kinds of strokes compete: a voxel belongs to the object if a walker that starts there, and prefers to step between like
voxels, is more likely to end on a positive stroke than on a negative one (Grady, "Random Walks for Image Segmentation",
2006). At every step it may also end where it is, with the probability that the voxel's own features give (the same
author's "Multilabel Random Walker Image Segmentation Using Prior Models", 2005). The answer is one sparse linear
system.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import fields

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, cg
from skimage.color import rgb2lab
from torch import Tensor

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.isrf.cache import VoxelCache
from nerfseg_plugins.isrf.select_config import WalkerConfig
from nerfseg_plugins.isrf.voxels import find, neighbours, offsets, squared_differences

CHUNK = 1 << 13
"""Voxels whose links are looked at at once."""
SLAB = 1 << 16
"""Voxels whose surface directions are fitted at once."""
TOLERANCE = 1e-4
"""Relative residual at which the system counts as solved; what counts is on which side of a half a voxel is."""
MAX_STEPS = 500
"""A system of settings so extreme that it takes longer is solved roughly."""
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
    found[chosen.cpu()] = torch.from_numpy(_solve(graph, values, fixed, config.prior))
    return found


def _around(cache: VoxelCache, marked: Tensor, margin: float) -> Tensor:
    """(M,) long, ascending: the voxels in the box of the marked ones, enlarged on all sides by a part of its extent."""
    coords = cache.coords
    low, high = coords[marked].amin(dim=0), coords[marked].amax(dim=0)
    reach = margin * (high - low + 1).amax()
    return ((coords >= low - reach) & (coords <= high + reach)).all(dim=-1).nonzero()[:, 0]


def _graph(cache: VoxelCache, chosen: Tensor, config: WalkerConfig) -> sparse.csr_matrix:
    """How willingly a walker steps between neighbours among the chosen voxels: (M, M) float32, upper triangle."""
    graph = reciprocal_lengths(cache, chosen)
    about = np.empty((len(chosen), 6), np.float32)
    colors = cache.colors[chosen].cpu().numpy()
    for rows in _slices(len(chosen)):
        about[rows, :3] = rgb2lab(colors[None, rows] / np.float32(255))[0] / 100
    about[:, 3:] = surface_directions(cache.grid.coords_of(cache.keys[chosen]).cpu().numpy(), graph)
    for rows in _slices(len(chosen)):
        starts = graph.indptr[rows.start : rows.stop + 1]
        part = slice(starts[0], starts[-1])
        first = np.repeat(np.arange(rows.start, rows.stop), np.diff(starts))
        second = graph.indices[part]
        places = (chosen[torch.from_numpy(side).to(chosen.device)] for side in (first, second))
        apart = squared_differences(cache.features, *places).cpu().numpy()
        one, other = about[first], about[second]
        exponent = apart / config.sigma_f + np.square(one[:, :3] - other[:, :3]).sum(axis=1) / config.sigma_c
        exponent += (1 - np.abs(np.einsum("ij,ij->i", one[:, 3:], other[:, 3:]))) / config.sigma_n
        graph.data[part] = np.exp(-exponent) * graph.data[part] + config.floor
    return graph


def _slices(count: int, step: int = CHUNK) -> Iterator[slice]:
    """A few rows at a time."""
    return (slice(start, min(start + step, count)) for start in range(0, count, step))


def reciprocal_lengths(cache: VoxelCache, chosen: Tensor) -> sparse.csr_matrix:
    """One by the distance between neighbours, in voxels, among the chosen ones: (M, M) float32, upper triangle."""
    keys = cache.keys[chosen]
    reciprocal = (offsets(half=True).float().norm(dim=-1) ** -1).numpy()
    # Room for all that could be there: memory that is never written to is never taken.
    room = len(keys) * len(reciprocal)
    columns, values, starts = np.empty(room, np.int32), np.empty(room, np.float32), np.zeros(len(keys) + 1, np.int32)
    count = 0
    for rows in _slices(len(keys)):
        some = torch.arange(rows.start, rows.stop, device=keys.device)
        table = neighbours(cache.grid, keys, some, half=True).cpu().numpy()
        row, step = np.nonzero(table >= 0)
        columns[count : count + len(row)] = table[row, step]  # ascending, as the steps are
        values[count : count + len(row)] = reciprocal[step]
        starts[rows.start + 1 : rows.stop + 1] = count + np.bincount(row, minlength=len(table)).cumsum()
        count += len(row)
    return sparse.csr_matrix((values[:count], columns[:count], starts), shape=(len(keys),) * 2)


def surface_directions(coords: np.ndarray, graph: sparse.csr_matrix) -> np.ndarray:
    """Unit normals, of unknown sign, of the surface: of the plane through the voxels around each.

    Args:
        coords: (M, 3) int32, ascending in x, then y, then z.
        graph: (M, M) upper triangle of the links between neighbours, of which only the places of the entries matter.

    Returns:
        (M, 3) float32.
    """
    directions = np.empty((len(coords), 3), np.float32)
    for rows in _slices(len(coords), SLAB):
        # A slice of the scene, with what the rounds reach on both sides of it: a part of the memory.
        span = coords[rows.start, 0] - NORMAL_ROUNDS, coords[rows.stop - 1, 0] + NORMAL_ROUNDS
        low, high = np.searchsorted(coords[:, 0], span[0]), np.searchsorted(coords[:, 0], span[1], side="right")
        moments = _summed_moments(coords[low:high], graph[low:high, low:high])[rows.start - low : rows.stop - low]
        mean = moments[:, 1:] / moments[:, :1]
        products = mean[:, [3, 4, 5, 4, 6, 7, 5, 7, 8]].reshape(-1, 3, 3)
        covariance = products - mean[:, :3, None] * mean[:, None, :3]
        directions[rows] = np.linalg.eigh(covariance)[1][:, :, 0]
    return directions


def _summed_moments(coords: np.ndarray, graph: sparse.csr_matrix) -> np.ndarray:
    """Sums (M, 10) int32 of 1, x, y, z, xx, xy, xz, yy, yz, zz over the voxels around each, round by round."""
    upper = sparse.csr_matrix((np.ones(graph.nnz, np.int32), graph.indices, graph.indptr), shape=graph.shape)
    lower = upper.T
    # From the middle; whole numbers, so that no digit is lost.
    x, y, z = (coords - (coords.min(axis=0) + coords.max(axis=0)) // 2).T
    moments = np.stack([np.ones_like(x), x, y, z, x * x, x * y, x * z, y * y, y * z, z * z], axis=1)
    for _ in range(NORMAL_ROUNDS):
        moments = moments + upper @ moments + lower @ moments
    return moments


def _solve(graph: sparse.csr_matrix, values: np.ndarray, fixed: np.ndarray, prior: float) -> np.ndarray:
    """The harmonic function with priors: at each free voxel, the mean of its neighbours' values and its own prior.

    Args:
        graph: (M, M) weights, upper triangle.
        values: (M,) of the fixed voxels, and the priors of the free ones.
        fixed: (M,) bool.
        prior: weight of the priors.

    Returns:
        (M,) float32 in [0, 1].
    """
    lower = graph.T
    ones = np.ones(len(values), np.float32)
    degree = graph @ ones + lower @ ones + np.float32(prior)
    fixed = fixed | (degree == 0)  # without neighbours and without prior a voxel keeps its value
    degree = np.where(fixed, np.float32(1), degree)
    free = (~fixed).astype(np.float32)
    start, known = free * values, fixed * values
    target = free * (np.float32(prior) * start + graph @ known + lower @ known)
    # Fixed voxels are unknowns that are zero, so that the graph need not be taken apart.
    system = _operator(lambda x: degree * x - free * (graph @ x + lower @ x), len(values))
    found, _ = cg(
        system, target, x0=start, rtol=TOLERANCE, maxiter=MAX_STEPS, M=_operator(lambda x: x / degree, len(values))
    )
    return np.where(fixed, values, found).clip(0, 1).astype(np.float32)


def _operator(apply: Callable[[np.ndarray], np.ndarray], size: int) -> LinearOperator:
    return LinearOperator((size, size), matvec=apply, dtype=np.float32)  # type: ignore[call-arg]
