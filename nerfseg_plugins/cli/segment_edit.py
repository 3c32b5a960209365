"""What `nerfseg segment` does with an object: the flags of an edit."""

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
        from nerfseg_plugins.isrf.make_edit import make_edit

        moves = self.translation, self.rotation_deg
        return make_edit(name, voxels, self.action, colors, self.color or COLOR, self.strength, *moves, run.transform)
