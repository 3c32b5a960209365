"""What a piece of furniture is: named parts, each a mesh with a texture."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from nerfseg_plugins.rooms.meshes import Mesh, box, cylinder
from nerfseg_plugins.rooms.textures import Texture

NYU40 = {
    "cabinet": 3,
    "bed": 4,
    "chair": 5,
    "sofa": 6,
    "table": 7,
    "bookshelf": 10,
    "desk": 14,
    "nightstand": 32,
    "lamp": 35,
    "other": 39,
}
"""Class name -> NYU40 id, the ten classes of 3D-FRONT rooms."""


@dataclass(frozen=True)
class Part:
    """A named piece of an object.

    Attributes:
        name: unique within the object, such as `leg1`.
        mesh: in the frame of the object.
        texture: its look.
    """

    name: str
    mesh: Mesh
    texture: Texture


@dataclass
class Furniture:
    """An object in its own frame: x along its width, centred; y from the back at 0 to the front; z up from its foot.

    Attributes:
        kind: such as `coffee table`.
        class_name: a key of `NYU40`.
        parts: at least one.
        top: height in metres on which things can stand, 0 for nowhere.
    """

    kind: str
    class_name: str
    parts: list[Part] = field(default_factory=list)
    top: float = 0.0

    @property
    def class_id(self) -> int:
        """NYU40 id."""
        return NYU40[self.class_name]

    @property
    def bounds(self) -> np.ndarray:
        """(2, 3) lowest and highest corner in the object's frame, metres."""
        vertices = np.concatenate([part.mesh.vertices for part in self.parts])
        return np.stack([vertices.min(0), vertices.max(0)])

    def add(self, name: str, mesh: Mesh, texture: Texture) -> None:
        """Append a part."""
        self.parts.append(Part(name, mesh, texture))

    def add_legs(
        self, size: tuple[float, float], height: float, texture: Texture, thick: float = 0.05, round_: bool = False
    ) -> None:
        """Append `leg1`..`leg4` under the corners of a footprint.

        Args:
            size: (width, depth) of the footprint, metres.
            height: of the legs.
            texture: of all four.
            thick: side or diameter, metres.
            round_: turned legs that taper downwards.
        """
        width, depth = size
        corners = [(-1, 0), (1, 0), (1, 1), (-1, 1)]
        for number, (side, front) in enumerate(corners, start=1):
            x = side * (width / 2 - thick / 2 - 0.005)
            y = thick / 2 + 0.005 + front * (depth - thick - 0.01)
            if round_:
                mesh = cylinder(thick * 0.3, height, (x, y, 0), top_radius=thick / 2, sides=10)
            else:
                mesh = box((thick, thick, height), (x, y, 0), spacing=0.12)
            self.add(f"leg{number}", mesh, texture)
