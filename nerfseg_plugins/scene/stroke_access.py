"""What strokes need of the viewer beside what other panels do: their marks in the scene."""

import torch
from torch import Tensor

from nerfseg_plugins.scene.drawing import Click, pixel_size
from nerfseg_plugins.scene.viewer_access import ViewerAccess

Color = tuple[int, int, int]
"""Red, green, blue, 0 to 255."""
POSITIVE, NEGATIVE = (40, 220, 60), (235, 50, 40)
"""Colours of strokes on the object, and on what it is not."""
NEAR = 0.05
"""Distance from the camera, scene units, at which clicks are shown whose thing is not known yet: before everything."""
POINT = 0.004
"""Size of a stroke's points, scene units."""


class StrokeAccess(ViewerAccess):
    """nerfstudio's viewer, as far as strokes need it."""

    @property
    def pixel(self) -> float:
        """Side of a pixel on the plane at distance 1 of a picture as high as a training view, seen as one looks now."""
        return pixel_size(self.fov, int(self.cameras[0:1].height))

    def mark(self, name: str, points: Tensor, color: Color, size: float = POINT) -> None:
        """Show points (P, 3), scene frame, in the scene; none of them takes the mark of that name away."""
        self.draw_points(name, points, color, size)

    def mark_clicks(self, clicks: list[Click], color: Color, radius: float) -> None:
        """Show clicks of a brush's radius (pixels) close before the camera."""
        rays = torch.tensor([[*click.origin, *click.direction] for click in clicks]).reshape(-1, 6)
        points = rays[:, :3] + NEAR * torch.nn.functional.normalize(rays[:, 3:], dim=-1)
        self.mark("clicks", points, color, NEAR * self.pixel * (radius + 0.5))
