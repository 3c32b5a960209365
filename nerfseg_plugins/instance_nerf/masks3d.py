"""Instances given as voxels, as NeRF-RCNN predicts them: an optional, direct supervision of the instance field."""

import numpy as np
import torch
from torch import Tensor

from nerfseg_plugins.segments.masks3d import IdGrid


def labelled_voxels(grid: IdGrid) -> tuple[np.ndarray, np.ndarray]:
    """Centres (N, 3) float64, data frame, and ids (N,) int64 of the voxels that belong to an instance."""
    index = np.argwhere(grid.ids > 0)
    return grid.box[0] + (index + 0.5) * grid.voxel_size, grid.ids[tuple(index.T)].astype(np.int64)


def to_scene(centres: np.ndarray, transform: Tensor, scale: float) -> Tensor:
    """Data frame -> scene frame, (N, 3) float32: the frame that the field is queried in.

    Args:
        centres: (N, 3), data frame.
        transform: (3, 4), and scale: x_scene = scale * (transform @ [x_data, 1]), as the dataparser says.
    """
    points = torch.from_numpy(centres).to(transform.dtype)
    return ((points @ transform[:, :3].T + transform[:, 3]) * scale).float()
