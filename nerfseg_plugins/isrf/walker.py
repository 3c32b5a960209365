"""A random walk between positive and negative strokes over the surfaces of a scene.

Bilateral growing (growing.py) stops where features change, and weak features change everywhere or nowhere. Here both
kinds of strokes compete: a voxel belongs to the object if a walker that starts there, and prefers to step between like
voxels, is more likely to end on a positive stroke than on a negative one (Grady, "Random Walks for Image Segmentation",
2006). At every step it may also end where it is, with the probability that the voxel's own features give (the same
author's "Multilabel Random Walker Image Segmentation Using Prior Models", 2005). The answer is one sparse linear
system.
"""

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
from nerfseg_plugins.isrf.voxels import find, offsets

CHUNK = 1 << 15
TOLERANCE = 1e-3
"""Relative residual at which the system counts as solved; what counts is on which side of a half a voxel is."""
MAX_STEPS = 500
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
    place = torch.full((len(cache),), -1, device=chosen.device)
    place[chosen] = torch.arange(len(chosen), device=chosen.device)
    first, second, weight = _steps(cache, chosen, config)
    size = (len(chosen), len(chosen))
    upper = sparse.coo_matrix((weight.cpu().numpy(), (first.cpu().numpy(), second.cpu().numpy())), shape=size)
    graph = (upper + upper.T).tocsr()
    fixed = np.zeros(len(chosen), bool)
    values = prior[chosen].float().cpu().numpy().copy()
    for voxels, value in ((negative, 0), (positive, 1)):
        fixed[place[voxels].cpu().numpy()] = True
        values[place[voxels].cpu().numpy()] = value
    values[~fixed] = _solve(graph, values, fixed, config.prior)
    found = torch.zeros(len(cache))
    found[chosen.cpu()] = torch.from_numpy(values)
    return found


def _around(cache: VoxelCache, marked: Tensor, margin: float) -> Tensor:
    """(M,) long, ascending: the voxels in the box of the marked ones, enlarged on all sides by a part of its extent."""
    coords = cache.coords
    low, high = coords[marked].amin(dim=0), coords[marked].amax(dim=0)
    reach = margin * (high - low + 1).amax()
    return ((coords >= low - reach) & (coords <= high + reach)).all(dim=-1).nonzero()[:, 0]


def _steps(cache: VoxelCache, chosen: Tensor, config: WalkerConfig) -> tuple[Tensor, Tensor, Tensor]:
    """Pairs (E,), (E,) int32 of neighbours among the chosen voxels, and how willingly a walker steps (E,) float32."""
    grid, keys = cache.grid, cache.keys[chosen]
    coords = grid.coords_of(keys)
    lab = torch.from_numpy(rgb2lab(cache.colors[chosen].cpu().numpy()[None] / 255)[0] / 100).float().to(keys.device)
    pairs = []
    for step in offsets(half=True).to(keys.device):
        there = find(keys, grid.keys(coords + step))
        one = (there >= 0).nonzero()[:, 0]
        pairs.append((one.int(), there[one].int(), float(step.abs().sum()) ** 0.5))
    direction = _surface_directions(grid.centres(coords), [pair[:2] for pair in pairs])
    weights = []
    for one, other, length in pairs:
        for i, j in zip(one.long().split(CHUNK), other.long().split(CHUNK), strict=True):
            features = cache.features[chosen[i]].float() - cache.features[chosen[j]].float()
            turn = 1 - (direction[i] * direction[j]).sum(dim=-1).abs()
            exponent = features.square().sum(dim=-1) / config.sigma_f + turn / config.sigma_n
            exponent = exponent + (lab[i] - lab[j]).square().sum(dim=-1) / config.sigma_c
            weights.append((-exponent).exp() / length + config.floor)
    first, second = (torch.cat([pair[side] for pair in pairs]) for side in (0, 1))
    return first, second, torch.cat(weights)


def _surface_directions(points: Tensor, pairs: list[tuple[Tensor, Tensor]]) -> Tensor:
    """(M, 3) unit normals, of unknown sign, of the surface through points (M, 3): of the plane through those around."""
    points = points - points.mean(dim=0)
    ones = torch.ones_like(points[:, :1])
    # 1, x, y, z and the products of x, y, z: their sums over the surroundings give mean and covariance.
    moments = torch.cat([ones, points, (points[:, :, None] * points[:, None]).flatten(1)], dim=-1).double()
    for _ in range(NORMAL_ROUNDS):
        summed = moments.clone()
        for one, other in pairs:
            summed.index_add_(0, one, moments[other.long()])
            summed.index_add_(0, other, moments[one.long()])
        moments = summed
    count, mean = moments[:, :1], moments[:, 1:4] / moments[:, :1]
    covariance = (moments[:, 4:] / count).view(-1, 3, 3) - mean[:, :, None] * mean[:, None]
    return torch.linalg.eigh(covariance).eigenvectors[:, :, 0].float()


def _solve(graph: sparse.csr_matrix, values: np.ndarray, fixed: np.ndarray, prior: float) -> np.ndarray:
    """The harmonic function with priors: for each free voxel, the mean of its neighbours' values and its own prior.

    Args:
        graph: (M, M) symmetric weights.
        values: (M,) of the fixed voxels, and the priors of the free ones.
        fixed: (M,) bool.
        prior: weight of the priors.

    Returns:
        Values of the free voxels, in [0, 1].
    """
    free = ~fixed
    start = values[free]
    # A free voxel without neighbours and without prior keeps its value.
    degree = np.maximum(np.asarray(graph.sum(axis=1)).ravel()[free] + prior, 1e-9)
    between = graph[free][:, free]
    target = prior * start + graph[free][:, fixed] @ values[fixed]
    size = (len(start), len(start))
    system = LinearOperator(size, matvec=lambda x: degree * x - between @ x, dtype=np.float32)  # type: ignore[call-arg]
    jacobi = LinearOperator(size, matvec=lambda x: x / degree, dtype=np.float32)  # type: ignore[call-arg]
    found, _ = cg(system, target, x0=start, rtol=TOLERANCE, maxiter=MAX_STEPS, M=jacobi)
    return found.clip(0, 1).astype(np.float32)
