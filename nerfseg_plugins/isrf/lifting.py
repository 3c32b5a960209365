"""From strokes in pictures to points in the scene: what the rays of marked pixels meet, and which features it has."""

from dataclasses import dataclass
from typing import Any

import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor
from torch.nn.functional import normalize

from nerfseg_plugins.errors import InputError

MIN_OPACITY = 0.2
"""A ray that absorbs less meets nothing."""


@dataclass(frozen=True)
class StrokePoints:
    """What P marked rays meet."""

    features: Tensor
    """(P, C) float32, rendered features of unit length."""
    points: Tensor
    """(P, 3) float32, where the rays end, scene frame."""

    def __len__(self) -> int:
        return len(self.points)

    @classmethod
    def cat(cls, parts: "list[StrokePoints]") -> "StrokePoints":
        """Those of several strokes as one."""
        return cls(torch.cat([part.features for part in parts]), torch.cat([part.points for part in parts]))


@torch.no_grad()
def lift(model: Any, origins: Tensor, directions: Tensor) -> StrokePoints:
    """What rays meet in the scene as it was trained, whatever is selected or edited.

    Args:
        model: an `IsrfModel` with a trained head.
        origins: (P, 3), scene frame.
        directions: (P, 3) of unit length.

    Returns:
        Those rays that meet something; fewer than P where some meet nothing.

    Raises:
        InputError: no ray meets anything.
    """
    directions = normalize(directions, dim=-1)
    bundle = RayBundle(
        origins.to(model.device),
        directions.to(model.device),
        pixel_area=torch.full_like(origins[:, :1], 1e-6).to(model.device),
        camera_indices=torch.zeros_like(origins[:, :1], dtype=torch.long).to(model.device),
    )
    with model.as_trained():
        outputs = model.get_outputs_for_camera_ray_bundle(bundle.reshape((1, -1)))
    met = outputs["accumulation"].reshape(-1) >= MIN_OPACITY
    if not met.any():
        raise InputError("the stroke lies on empty space: no ray through it meets anything; draw it on a thing")
    depth = outputs["depth"].reshape(-1, 1)[met]
    points = bundle.origins[met] + depth * bundle.directions[met]
    return StrokePoints(normalize(outputs["features"].flatten(0, 1)[met], dim=-1), points)


def lift_pixels(model: Any, camera: Cameras, pixels: Tensor) -> StrokePoints:
    """What the rays through pixels of a view meet.

    Args:
        model: as of `lift`.
        camera: one camera (batch of 1), scene frame.
        pixels: (P, 2) long, row and column.

    Raises:
        InputError: no ray meets anything.
    """
    bundle = camera.generate_rays(camera_indices=0, coords=pixels.float() + 0.5)
    return lift(model, bundle.origins.reshape(-1, 3), bundle.directions.reshape(-1, 3))
