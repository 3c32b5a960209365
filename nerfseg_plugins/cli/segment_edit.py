"""What `nerfseg segment` does with an object: the edit, and where a rigid move takes it."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Optional

import numpy as np

from nerfseg_plugins.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from nerfseg_plugins.isrf.edits import Edit
    from nerfseg_plugins.isrf.solid import VoxelSet
    from nerfseg_plugins.scene.run import Run

Vector = tuple[float, float, float]
COLOR = (220, 40, 40)
"""Of a recoloured object where none is given."""


@dataclass
class EditOptions:
    """What becomes of the object."""

    action: Literal["none", "keep", "remove", "recolor", "move"] = "none"
    """none = only the masks; keep = everything else vanishes; remove = it vanishes; recolor; move."""
    color: Optional[tuple[int, int, int]] = None
    """recolor: red green blue, 0 to 255; light and shade stay."""
    strength: float = 1.0
    """recolor: share of the new colour in the mixture with the old one."""
    translation: Vector = (0.0, 0.0, 0.0)
    """move: by how much, in the frame and unit of the data's poses."""
    rotation_deg: Vector = (0.0, 0.0, 0.0)
    """move: axis times angle in degrees, about the object's centre, in the frame of the data's poses."""

    def check(self) -> None:
        """Refuse values that do not go together.

        Raises:
            InputError: names the flag.
        """
        numbers = (*self.translation, *self.rotation_deg)
        if not np.isfinite(numbers).all():
            raise InputError(f"--translation and --rotation-deg must be finite numbers, not {numbers}")
        moves = any(numbers)
        if self.action == "move" and not moves:
            raise InputError("--action move needs --translation or --rotation-deg; both are zero")
        if self.action != "move" and moves:
            raise InputError(f"--translation and --rotation-deg belong to --action move, not {self.action}")
        if self.color is not None and self.action != "recolor":
            raise InputError(f"--color belongs to --action recolor, not {self.action}")
        if self.color is not None and not all(0 <= value <= 255 for value in self.color):
            raise InputError(f"--color is {self.color}; red, green and blue are whole numbers from 0 to 255")
        if not 0 <= self.strength <= 1:
            raise InputError(f"--strength is {self.strength}; give a share between 0 and 1")

    def edit(self, name: str, voxels: "VoxelSet", colors: "Tensor", run: "Run") -> "Edit":
        """The edit of an object.

        Args:
            name: of the edit.
            voxels: the object.
            colors: (N, 3) in [0, 1] of its voxels, as it is.
            run: knows the frame of the data.
        """
        import torch

        from nerfseg_plugins.isrf.edits import Edit, mean_luminance

        if self.action == "recolor":
            red, green, blue = (value / 255 for value in self.color or COLOR)
            luminance = mean_luminance(colors)
            return Edit(name, voxels, "recolor", (red, green, blue), self.strength, luminance)
        if self.action != "move":
            return Edit(name, voxels, self.action)
        centre = run.to_data_frame(voxels.centres().double().mean(dim=0, keepdim=True).cpu().numpy())[0]
        motion = in_scene_frame(rigid_motion(self.translation, self.rotation_deg, centre), *run.transform)
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
    from scipy.spatial.transform import Rotation

    motion = np.eye(4)
    motion[:3, :3] = Rotation.from_rotvec(rotation_deg, degrees=True).as_matrix()
    motion[:3, 3] = centre - motion[:3, :3] @ centre + np.asarray(translation)
    return motion


def in_scene_frame(motion: np.ndarray, matrix: np.ndarray, scale: float) -> np.ndarray:
    """A motion (4, 4) of the data frame as one of the scene frame, x_scene = scale * (matrix @ [x_data, 1])."""
    to_scene = np.vstack([scale * matrix, [0, 0, 0, 1]])
    return to_scene @ motion @ np.linalg.inv(to_scene)


def check_name(name: str) -> None:
    """Refuse names that make no good file names, or that belong to the run itself.

    Raises:
        InputError: the name is such.
    """
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name) or name.lower().endswith((".yml", ".npz")):
        raise InputError(f"--name {name!r} is no name for files; use letters, digits, - and _, without a suffix")
    if name.lower() == "config":
        raise InputError("--name config would overwrite the run's config.yml; choose another name")
