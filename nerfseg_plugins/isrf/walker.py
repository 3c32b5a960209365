"""A random walk between positive and negative strokes over the surfaces of a scene.

Bilateral growing (growing.py) stops where features change, and weak features change everywhere or nowhere. Here both
kinds of strokes compete: a voxel belongs to the object if a walker that starts there, and prefers to step between like
voxels, is more likely to end on a positive stroke than on a negative one (Grady, "Random Walks for Image Segmentation",
2006). At every step it may also end where it is, with the probability that the voxel's own features give (the same
author's "Multilabel Random Walker Image Segmentation Using Prior Models", 2005). The answer is one sparse linear
system.
"""

from collections.abc import Callable
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

CHUNK = 1 << 15
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
        (N,) float32 on the CPU: 1 on positive strokes, 0 on negative ones, and 0 far from all strokes.

    Raises:
        InputError: a sigma or the softness is not positive, or another number is negative.
    """
    for entry in fields(config):
        value = getattr(config, entry.name)
        low = entry.name.startswith("sigma") or entry.name == "softness"
        if not (value > 0 if low else value >= 0):
            raise InputError(f"walker.{entry.name} is {value}; it must be {'greater than 0' if low else '0 or more'}")
    chosen = _around(cache, torch.cat([positive, negative]), config.margin)
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
    colors = cache.colors[chosen].cpu().numpy()
    lab = rgb2lab(colors[None] / np.float32(255))[0] / 100
    direction = surface_directions(cache.grid.coords_of(cache.keys[chosen]).cpu().numpy(), graph)
    about = torch.from_numpy(np.concatenate([lab, direction], axis=1, dtype=np.float32))
    places, second, weights = chosen.cpu(), torch.from_numpy(graph.indices), torch.from_numpy(graph.data)
    for rows in torch.arange(len(chosen)).split(CHUNK):
        part = slice(*graph.indptr[[rows[0], rows[-1] + 1]])
        i = rows.repeat_interleave(torch.from_numpy(np.diff(graph.indptr[rows[0] : rows[-1] + 2])))
        j = second[part].long()
        apart = squared_differences(cache.features, places[i].to(chosen.device), places[j].to(chosen.device)).cpu()
        one, other = about[i], about[j]
        exponent = apart / config.sigma_f + (one[:, :3] - other[:, :3]).square().sum(dim=-1) / config.sigma_c
        exponent += (1 - (one[:, 3:] * other[:, 3:]).sum(dim=-1).abs()) / config.sigma_n
        weights[part] = (-exponent).exp() * weights[part] + config.floor  # the values of `graph`
    return graph


def reciprocal_lengths(cache: VoxelCache, chosen: Tensor) -> sparse.csr_matrix:
    """One by the distance between neighbours, in voxels, among the chosen ones: (M, M) float32, upper triangle."""
    keys = cache.keys[chosen]
    reciprocal = (offsets(half=True).float().norm(dim=-1) ** -1).numpy()
    columns, values, counts = [], [], [np.zeros(1, np.int32)]
    for rows in torch.arange(len(keys), device=keys.device).split(CHUNK):
        table = neighbours(cache.grid, keys, rows, half=True).cpu().numpy()
        there = table >= 0
        columns.append(table[there])  # ascending, as the steps are
        values.append(np.broadcast_to(reciprocal, table.shape)[there])
        counts.append(there.sum(axis=1, dtype=np.int32))
    starts = np.concatenate(counts).cumsum(dtype=np.int32)
    return sparse.csr_matrix((np.concatenate(values), np.concatenate(columns), starts), shape=(len(keys),) * 2)


def surface_directions(coords: np.ndarray, graph: sparse.csr_matrix) -> np.ndarray:
    """Unit normals, of unknown sign, of the surface: of the plane through the voxels around each.

    Args:
        coords: (M, 3) int32.
        graph: (M, M) upper triangle, of which only the places of the entries matter.

    Returns:
        (M, 3) float32.
    """
    upper = sparse.csr_matrix((np.ones(graph.nnz, np.int32), graph.indices, graph.indptr), shape=graph.shape)
    lower = upper.T
    x, y, z = (coords - (coords.min(axis=0) + coords.max(axis=0)) // 2).T
    # Their sums over the surroundings give mean and covariance; whole numbers, so that no digit is lost.
    moments = np.stack([np.ones_like(x), x, y, z, x * x, x * y, x * z, y * y, y * z, z * z], axis=1)
    for _ in range(NORMAL_ROUNDS):
        summed = upper @ moments
        summed += lower @ moments
        moments += summed
    directions = np.empty((len(coords), 3), np.float32)
    for start in range(0, len(coords), CHUNK):
        mean = moments[start : start + CHUNK, 1:] / moments[start : start + CHUNK, :1]
        products = mean[:, [3, 4, 5, 4, 6, 7, 5, 7, 8]].reshape(-1, 3, 3)
        covariance = products - mean[:, :3, None] * mean[:, None, :3]
        directions[start : start + CHUNK] = np.linalg.eigh(covariance)[1][:, :, 0]
    return directions


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
