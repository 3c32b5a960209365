"""What strokes need of the viewer beside what other panels do: their marks in the scene."""

from typing import Any

import torch
from nerfstudio.viewer.viewer_elements import ViewerControl
from torch import Tensor

from nerfseg_plugins.isrf.drawing import Click, pixel_size
from nerfseg_plugins.scene.viewer_access import ViewerAccess
from nerfseg_plugins.scene.viewing import placed_points

POSITIVE, NEGATIVE = (40, 220, 60), (235, 50, 40)
"""Colours of strokes."""
NEAR = 0.05
"""Distance from the camera, scene units, at which clicks are shown whose thing is not known yet: before everything."""
POINT = 0.004
"""Size of a stroke's points, scene units."""


class StrokeAccess(ViewerAccess):
    """nerfstudio's viewer, as far as strokes need it.

    Args:
        control: knows the viewer once there is one.
    """

    def __init__(self, control: ViewerControl) -> None:
        super().__init__(control)
        self._drawn: dict[str, Any] = {}

    @property
    def pixel(self) -> float:
        """Side of a pixel on the plane at distance 1 of a picture as high as a training view, seen as one looks now."""
        return pixel_size(self.fov, int(self.cameras[0:1].height))

    def mark(self, name: str, points: Tensor, positive: bool, size: float = POINT) -> None:
        """Show points (P, 3), scene frame, in the scene, green or red; none of them takes the mark away."""
        old = self._drawn.pop(name, None)
        if old is not None:
            old.remove()
        if len(points):
            self._drawn[name] = self.viewer.viser_server.scene.add_point_cloud(
                f"/segment/{name}",
                placed_points(points),
                POSITIVE if positive else NEGATIVE,
                point_size=float(placed_points(torch.tensor([[size, 0.0, 0.0]]))[0, 0]),
                point_shape="circle",
            )

    def mark_clicks(self, clicks: list[Click], positive: bool, radius: float) -> None:
        """Show clicks of a brush's radius (pixels) close before the camera."""
        rays = torch.tensor([[*click.origin, *click.direction] for click in clicks]).reshape(-1, 6)
        points = rays[:, :3] + NEAR * torch.nn.functional.normalize(rays[:, 3:], dim=-1)
        self.mark("clicks", points, positive, NEAR * self.pixel * (radius + 0.5))
