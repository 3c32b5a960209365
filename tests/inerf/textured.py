"""A room and a poster whose every ray is known by hand, painted so that keypoints are found on them."""

from dataclasses import replace
from pathlib import Path
from typing import Optional

import torch
import torch.nn.functional as F
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from nerfseg_plugins.dataparsers.frame_values import Intrinsics
from nerfseg_plugins.inerf.lens import make_camera
from nerfseg_plugins.inerf.query import Query
from nerfseg_plugins.inerf.scene import Rendered, Scene

HALF = 1.5
"""Half the side of the room."""
PINHOLE = Intrinsics(130.0, 132.0, 78.0, 61.5, 160, 120, (0.0,) * 6, "OPENCV")
DISTORTED = replace(PINHOLE, distortion=(-0.15, 0.03, 0.0, 0.0, 0.004, -0.003))
FISHEYE = replace(PINHOLE, fx=60.0, fy=60.0, distortion=(0.02, -0.005, 0.0, 0.0, 0.0, 0.0), model="OPENCV_FISHEYE")


class RoomScene:
    """The walls of a cube about the origin, seen from inside.

    Args:
        seed: of what is painted on them.
    """

    def __init__(self, seed: int = 0) -> None:
        self.walls = spotted(6, seed)

    def render(self, origins: Tensor, directions: Tensor) -> Rendered:
        """See `Scene.render`."""
        safe = torch.where(directions.abs() < 1e-9, torch.full_like(directions, 1e-9), directions)
        distance, axis = ((safe.sign() * HALF - origins) / safe).min(dim=1)
        points = origins + distance[:, None] * directions
        others = torch.tensor([[1, 2], [0, 2], [0, 1]])[axis]
        wall = axis * 2 + (points.gather(1, axis[:, None])[:, 0] > 0)
        return Rendered(painted(self.walls, wall, points.gather(1, others) / HALF), distance, torch.ones_like(distance))


class PosterScene:
    """The square |x|, |y| <= half in the plane z = 0; beyond it is grey nothing.

    Args:
        half: half its side.
        seed: of what is painted on it.
    """

    def __init__(self, half: float = 1.0, seed: int = 0) -> None:
        self.half = half
        self.poster = spotted(1, seed)

    def render(self, origins: Tensor, directions: Tensor) -> Rendered:
        """See `Scene.render`."""
        distance = -origins[:, 2] / directions[:, 2]
        points = (origins + distance[:, None] * directions)[:, :2] / self.half
        solid = (points.abs().amax(dim=1) <= 1) & (distance > 0)
        colors = painted(self.poster, torch.zeros(len(points), dtype=torch.long), points)
        return Rendered(
            torch.where(solid[:, None], colors, torch.full_like(colors, 0.5)), distance * solid, solid.float()
        )


def spotted(count: int, seed: int) -> Tensor:
    """(count, 3, 256, 256) noise of three sizes, in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    layers = [
        F.interpolate(torch.rand(count, 3, size, size, generator=generator), size=256, mode="bicubic")
        for size in (16, 40, 90)
    ]
    return torch.stack(layers).mean(dim=0).sub(0.5).mul(1.8).add(0.5).clamp(0, 1)


def painted(images: Tensor, which: Tensor, places: Tensor) -> Tensor:
    """Colours (R, 3) at places (R, 2) in [-1, 1] of the images (N, 3, H, W) that `which` (R,) names."""
    colors = torch.zeros(len(places), 3)
    for index in which.unique():
        rows = which == index
        sampled = F.grid_sample(images[index][None], places[rows][None, :, None], align_corners=False)
        colors[rows] = sampled[0, :, :, 0].T
    return colors


def posed(lens: Intrinsics, c2w: Tensor) -> Cameras:
    """One camera at a pose (3, 4)."""
    camera = make_camera(lens)
    camera.camera_to_worlds = c2w[None].clone()
    return camera


def shot(scene: Scene, camera: Cameras) -> Tensor:
    """(H, W, 3) what a camera sees."""
    rays = camera.generate_rays(camera_indices=0, keep_shape=True)
    values = scene.render(rays.origins.view(-1, 3), rays.directions.view(-1, 3)).values
    return values.view(*rays.origins.shape[:2], 3)


def query_of(lens: Intrinsics, truth: Tensor, image: Tensor, mask: Optional[Tensor] = None) -> Query:
    """A photo taken at a pose (3, 4)."""
    mask = torch.ones(image.shape[:2], dtype=torch.bool) if mask is None else mask
    return Query("photo", Path("photo.png"), image, mask, make_camera(lens), truth=truth)
