"""Instances given as voxels, as NeRF-RCNN predicts them: an optional, direct supervision of the instance field."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nerfseg_plugins.errors import InputError


def read_masks3d(path: Path, min_score: float = 0.5) -> np.ndarray:
    """Read 3D masks into one grid of ids.

    Args:
        path: NeRF-RCNN's `.npz` with `masks` (N, W, L, H) bool and `scores` (N,), or a `.npy` grid (W, L, H) of ids.
        min_score: detections below are left out. The others keep their order: id = place + 1; where two overlap, the one of
            higher score wins.

    Returns:
        (W, L, H) int32, 0 where there is nothing; axes are the data's x, y, z.

    Raises:
        InputError: missing or damaged file, or arrays of other shapes.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} does not exist; check the path of the 3D masks")
    try:
        data = np.load(path, allow_pickle=False)
        if isinstance(data, np.ndarray):
            masks, scores, grid = None, None, data
        else:
            masks, scores, grid = data["masks"], data["scores"], None
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise InputError(
            f"{path} cannot be read as 3D masks ({error}); pass an .npz with 'masks' and 'scores' or an .npy id grid"
        ) from error
    if grid is not None:
        if grid.ndim != 3 or not np.issubdtype(grid.dtype, np.integer):
            raise InputError(f"{path} holds {grid.dtype} of shape {grid.shape}; an id grid is (W, L, H) of integers")
        return grid.astype(np.int32)
    assert masks is not None and scores is not None
    if masks.ndim != 4 or scores.shape != masks.shape[:1]:
        raise InputError(
            f"{path} has masks {masks.shape} and scores {scores.shape}; they must be (N, W, L, H) and (N,)"
        )
    kept = np.flatnonzero(scores > min_score)
    ids = np.zeros(masks.shape[1:], np.int32)
    for place in np.argsort(scores[kept], kind="stable"):  # ascending, so that higher scores overwrite lower ones
        ids[masks[kept[place]].astype(bool)] = place + 1
    return ids


def labelled_voxels(ids: np.ndarray, room_bbox: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centres and ids of the labelled voxels.

    Args:
        ids: (W, L, H) grid over the room.
        room_bbox: (2, 3) corners of the room, data frame.

    Returns:
        centres (N, 3) float64 in the data frame, and ids (N,) int64.
    """
    index = np.argwhere(ids > 0)
    low, high = np.asarray(room_bbox, dtype=np.float64)
    centres = low + (index + 0.5) / np.array(ids.shape) * (high - low)
    return centres, ids[tuple(index.T)].astype(np.int64)


def to_scene(centres: np.ndarray, transform: Tensor, scale: float) -> Tensor:
    """Data frame -> scene frame, (N, 3) float32: the frame that the field is queried in."""
    points = torch.from_numpy(centres).to(transform.dtype)
    return ((points @ transform[:, :3].T + transform[:, 3]) * scale).float()
