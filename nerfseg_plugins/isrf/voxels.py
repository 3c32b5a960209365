"""A grid of cubic voxels over a scene, and sparse sets of its voxels that are found by hashing their coordinates.

A bounded scene is divided as it is; an unbounded one in the contracted space of its field, so that the grid is finite
and fine where the cameras look.
"""

from dataclasses import dataclass
from itertools import product
from typing import Optional

import numpy as np
import torch
from torch import Tensor

from nerfseg_plugins.scene.points import voxel_grid

CONTRACTED_RADIUS = 2.0
"""Half side of contracted space."""
CHUNK = 1 << 15
"""So many voxels are looked up at once."""
PAIRS = 1 << 11
"""So many pairs of features are compared at once: what a processor keeps at hand."""


@dataclass(frozen=True)
class VoxelGrid:
    """Where the voxels are. Grid space is the scene frame, or its contraction."""

    corner: tuple[float, float, float]
    """Lowest corner, grid space."""
    edge: float
    """Edge of a voxel, grid space."""
    shape: tuple[int, int, int]
    """Voxels along x, y, z."""
    contracted: bool
    """Whether grid space is the contraction of the scene into the cube of half side 2 (mip-NeRF 360, with the maximum
    norm, as nerfacto contracts)."""

    @classmethod
    def of_scene(cls, aabb: np.ndarray, contracted: bool, resolution: int) -> "VoxelGrid":
        """A grid over a scene.

        Args:
            aabb: (2, 3) corners of the scene box; an unbounded scene is covered whole.
            contracted: whether the scene is unbounded.
            resolution: voxels along the longest side of the box; of an unbounded scene, along the side of the cube in
                which space is not contracted.

        Raises:
            InputError: the box is empty or the resolution is not positive.
        """
        if contracted:
            aabb = np.array([[-1.0] * 3, [1.0] * 3]) * CONTRACTED_RADIUS
            resolution = round(resolution * CONTRACTED_RADIUS)
        shape, edge = voxel_grid(aabb, resolution)
        x, y, z = (float(value) for value in aabb[0])
        return cls((x, y, z), edge, shape, contracted)

    def to_grid(self, positions: Tensor) -> Tensor:
        """Positions (..., 3) from the scene frame to grid space."""
        if not self.contracted:
            return positions
        size = positions.abs().amax(dim=-1, keepdim=True).clamp_min(1.0)
        return (2 - 1 / size) * (positions / size)

    def to_scene(self, points: Tensor) -> Tensor:
        """Positions (..., 3) from grid space to the scene frame; the border of contracted space is infinitely far."""
        if not self.contracted:
            return points
        size = points.abs().amax(dim=-1, keepdim=True).clamp_min(1.0)
        return points / size / (CONTRACTED_RADIUS - size)

    def stretch(self, points: Tensor) -> Tensor:
        """How many times longer in the scene than in grid space a step at points (..., 3) of grid space is: (...)."""
        if not self.contracted:
            return torch.ones_like(points[..., 0])
        return (CONTRACTED_RADIUS - points.abs().amax(dim=-1).clamp_min(1.0)) ** -2

    def coords(self, points: Tensor) -> Tensor:
        """Indices (..., 3) long of the voxels in which points (..., 3) of grid space lie; beyond the shape outside."""
        return ((points - points.new_tensor(self.corner)) / self.edge).floor().long()

    def centres(self, coords: Tensor) -> Tensor:
        """Centres (..., 3) float32 of voxels (..., 3), grid space."""
        return torch.tensor(self.corner, device=coords.device) + (coords.float() + 0.5) * self.edge

    def keys(self, coords: Tensor) -> Tensor:
        """One number (...) long for each voxel (..., 3), ascending in x, then y, then z; -1 outside the grid."""
        x, y, z = coords.long().unbind(dim=-1)
        inside = (x >= 0) & (y >= 0) & (z >= 0) & (x < self.shape[0]) & (y < self.shape[1]) & (z < self.shape[2])
        return torch.where(inside, (x * self.shape[1] + y) * self.shape[2] + z, -1)

    def coords_of(self, keys: Tensor) -> Tensor:
        """Voxels (..., 3) int32 of keys (...)."""
        coords = torch.empty(*keys.shape, 3, dtype=torch.int32, device=keys.device)
        coords[..., 0] = keys // (self.shape[1] * self.shape[2])
        coords[..., 1] = keys // self.shape[2] % self.shape[1]
        coords[..., 2] = keys % self.shape[2]
        return coords


def find(keys: Tensor, wanted: Tensor) -> Tensor:
    """Places of keys in a sorted list.

    Args:
        keys: (N,) long, ascending.
        wanted: (...) long.

    Returns:
        (...) long, -1 where the list does not hold the key.
    """
    if not len(keys):
        return torch.full_like(wanted, -1)
    place = torch.searchsorted(keys, wanted).clamp_max(len(keys) - 1)
    return torch.where(keys[place] == wanted, place, -1)


def offsets(radius: int = 1, half: bool = False) -> Tensor:
    """Steps (K, 3) int to the voxels of a cube around one, without itself.

    Args:
        radius: the cube has 2 radius + 1 voxels along its side.
        half: only one of each pair of opposite steps.
    """
    around = [step for step in product(range(-radius, radius + 1), repeat=3) if any(step)]
    return torch.tensor(around[len(around) // 2 :] if half else around)


def neighbours(grid: VoxelGrid, keys: Tensor, chosen: Optional[Tensor] = None, half: bool = False) -> Tensor:
    """The 26 neighbours of voxels.

    Args:
        grid: the grid.
        keys: (N,) long, ascending: the voxels that exist.
        chosen: (M,) places in `keys` of the voxels whose neighbours are asked for; all when None.
        half: only the 13 neighbours that come later in `keys`, so that each pair is met once.

    Returns:
        (M, 26) or (M, 13) int32 places in `keys`, in the order of `offsets(half=half)`; -1 where there is none.
    """
    wanted = keys if chosen is None else keys[chosen]
    table = torch.empty(len(wanted), 13 if half else 26, dtype=torch.int32, device=keys.device)
    steps = torch.tensor(list(product((-1, 0, 1), repeat=2)), device=keys.device)[4 if half else 0 :]
    (nx, ny, nz), last = grid.shape, len(keys) - 1
    for rows, some in zip(table.split(CHUNK), wanted.split(CHUNK), strict=True):
        x, y, z = grid.coords_of(some).long().unbind(dim=-1)
        x, y = x[:, None] + steps[:, 0], y[:, None] + steps[:, 1]
        column = (x >= 0) & (y >= 0) & (x < nx) & (y < ny)
        # Voxels one above the other stand together in `keys`, so that one search finds all three.
        key = (x * ny + y) * nz + z[:, None] - 1
        place = torch.searchsorted(keys, key)
        found = torch.empty(*key.shape, 3, dtype=torch.int32, device=keys.device)
        for up in range(3):
            there = keys[place.clamp_max(last)] == key
            inside = column & ((z + (up - 1) >= 0) & (z + (up - 1) < nz))[:, None]
            found[..., up] = torch.where(there & inside, place, -1)
            place, key = place + there, key + 1
        found = found.flatten(1)
        rows[:] = found[:, 2:] if half else torch.cat([found[:, :13], found[:, 14:]], dim=1)  # without itself
    return table


def squared_differences(values: Tensor, ones: Tensor, others: Tensor) -> Tensor:
    """Squared Euclidean distances of pairs of vectors.

    Args:
        values: (N, C), of any precision.
        ones: (E,) places in `values`.
        others: (E,) places in `values`.

    Returns:
        (E,) float32.
    """
    found = torch.empty(len(ones), device=values.device)
    for part, one, other in zip(found.split(PAIRS), ones.split(PAIRS), others.split(PAIRS), strict=True):
        difference = values.index_select(0, one).float().sub_(values.index_select(0, other))
        part[:] = difference.square_().sum(dim=-1)
    return found
