"""From what a person asks for, in units and frames of people, to an edit."""

from typing import Optional

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.isrf.edits import Action, Edit, mean_luminance
from nerfseg_plugins.isrf.solid import VoxelSet
from nerfseg_plugins.scene import frames

Vector = tuple[float, float, float]
Color = tuple[int, int, int]


def make_edit(
    name: str,
    voxels: VoxelSet,
    action: Action,
    colors: Tensor,
    color: Color,
    strength: float = 1.0,
    translation: Vector = (0.0, 0.0, 0.0),
    rotation_deg: Vector = (0.0, 0.0, 0.0),
    transform: Optional[tuple[np.ndarray, float]] = None,
) -> Edit:
    """The edit of an object.

    Args:
        name: of the edit.
        voxels: the object.
        action: what becomes of it.
        colors: (N, 3) in [0, 1] of its voxels, as it is.
        color: recolor: red, green, blue, 0 to 255.
        strength: recolor: share of the new colour in the mixture with the old one.
        translation: move: by how much, in the frame and unit of the data's poses.
        rotation_deg: move: axis times angle in degrees, about the object's centre, in the frame of the data's poses.
        transform: (3, 4) matrix A and scale s of the data, x_scene = s * (A @ [x_data, 1]); None where the frames are
            the same.

    Raises:
        InputError: a number is none, or a move goes nowhere.
    """
    if action == "recolor":
        red, green, blue = (value / 255 for value in color)
        return Edit(name, voxels, "recolor", (red, green, blue), strength, mean_luminance(colors))
    if action != "move":
        return Edit(name, voxels, action)
    numbers = (*translation, *rotation_deg)
    if not np.isfinite(numbers).all():
        raise InputError(f"translation and rotation must be finite numbers, not {numbers}")
    if not any(numbers):
        raise InputError("translation and rotation are both zero, which moves nothing; give one of them")
    centre = voxels.centres().double().mean(dim=0, keepdim=True).cpu().numpy()
    if transform is None:
        motion = rigid_motion(translation, rotation_deg, centre[0])
    else:
        about = frames.points_to_data(centre, *transform)[0]
        motion = in_scene_frame(rigid_motion(translation, rotation_deg, about), *transform)
    return Edit(name, voxels, "move", transform=torch.from_numpy(motion))


def rigid_motion(translation: Vector, rotation_deg: Vector, centre: np.ndarray) -> np.ndarray:
    """A rotation about a point, then a translation.

    Args:
        translation: added to every point.
        rotation_deg: axis times angle in degrees; zeros do not rotate.
        centre: (3,), the point that only the translation moves, in the same frame.

    Returns:
        (4, 4) float64.
    """
    motion = np.eye(4)
    motion[:3, :3] = Rotation.from_rotvec(rotation_deg, degrees=True).as_matrix()
    motion[:3, 3] = centre - motion[:3, :3] @ centre + np.asarray(translation)
    return motion


def in_scene_frame(motion: np.ndarray, matrix: np.ndarray, scale: float) -> np.ndarray:
    """A motion (4, 4) of the data frame as one of the scene frame, x_scene = scale * (matrix @ [x_data, 1])."""
    to_scene = np.vstack([scale * matrix, [0, 0, 0, 1]])
    return to_scene @ motion @ np.linalg.inv(to_scene)
