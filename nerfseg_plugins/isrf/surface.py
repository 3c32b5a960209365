"""The voxels near a surface."""

import torch
from torch import Tensor

from nerfseg_plugins.isrf.voxels import VoxelGrid


def near_surface(grid: VoxelGrid, points: Tensor, reach: float) -> Tensor:
    """Keys of the voxels that a cube around each point touches, ascending.

    Args:
        grid: the grid.
        points: (P, 3), scene frame.
        reach: half side of the cube, in edges of a voxel.
    """
    place = grid.to_grid(points)
    first = grid.coords(place - reach * grid.edge).clamp_min(0)
    last = torch.minimum(
        grid.coords(place + reach * grid.edge), torch.tensor(grid.shape, dtype=torch.long, device=points.device) - 1
    )
    there = (first <= last).all(dim=-1)
    # Many points share their cube.
    total = grid.shape[0] * grid.shape[1] * grid.shape[2]
    cubes = (grid.keys(first[there]) * total + grid.keys(last[there])).unique()
    first, last = grid.coords_of(cubes // total), grid.coords_of(cubes % total)
    keys = []
    for step in torch.cartesian_prod(*[torch.arange(int(2 * reach) + 2, device=points.device)] * 3):
        coords = first + step
        keys.append(grid.keys(coords[(coords <= last).all(dim=-1)]).unique())
    return torch.cat(keys).unique()
