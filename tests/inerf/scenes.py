"""Scenes whose every ray is known by hand: a plane and the inside of a sphere, painted with smooth waves."""

from typing import Optional

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from nerfseg_plugins.evaluation.poses import rotation_error_degrees, translation_error
from nerfseg_plugins.inerf.levenberg import Rays
from nerfseg_plugins.inerf.scene import Rendered, Scene

WAVES = [
    [(1.9, 0.7, 1.1, 0.3), (-1.6, 4.3, -2.4, 1.9)],
    [(2.2, -1.2, 0.6, 2.5), (2.9, 2.7, 4.0, 0.8)],
    [(-1.5, -2.1, 1.3, 1.2), (4.5, 1.4, -2.8, 4.0)],
]
"""Of each channel: wave vectors and phases (x, y, z, phase)."""


def paint(points: Tensor) -> Tensor:
    """Colours (..., 3) in [0.1, 0.9] of points (..., 3): a wave some 2.5 units long and one of half that each."""
    waves = torch.tensor(WAVES, dtype=points.dtype, device=points.device)  # (3, 2, 4)
    phase = torch.einsum("...k,cwk->...cw", points, waves[..., :3]) + waves[..., 3]
    return 0.5 + 0.2 * phase.sin().sum(dim=-1)


class PlaneScene:
    """The plane z = 0; rays that do not meet it see black nothing."""

    def render(self, origins: Tensor, directions: Tensor) -> Rendered:
        """See `Scene.render`."""
        sinks = origins[:, 2] * directions[:, 2] < 0
        distance = -origins[:, 2] / torch.where(sinks, directions[:, 2], torch.ones_like(directions[:, 2]))
        colors = paint(origins + distance[:, None] * directions)
        return Rendered(colors * sinks[:, None], distance * sinks, sinks.to(origins.dtype))


class SphereScene:
    """A sphere about the origin, seen from inside.

    Args:
        radius: in scene units.
    """

    def __init__(self, radius: float = 1.5) -> None:
        self.radius = radius

    def render(self, origins: Tensor, directions: Tensor) -> Rendered:
        """See `Scene.render`."""
        along = (origins * directions).sum(dim=-1)
        distance = -along + (along**2 - origins.square().sum(dim=-1) + self.radius**2).clamp_min(1e-9).sqrt()
        return Rendered(paint(origins + distance[:, None] * directions), distance, torch.ones_like(distance))


class GreyScene:
    """The same grey wherever one looks."""

    def render(self, origins: Tensor, directions: Tensor) -> Rendered:
        """See `Scene.render`."""
        nothing = 0 * (origins * directions).sum(dim=-1)
        return Rendered(nothing[:, None] + torch.full_like(origins, 0.5), nothing + 1, nothing + 1)


def look(position: tuple[float, ...], target: tuple[float, ...], roll: float = 0.0) -> Tensor:
    """(3, 4) float32 pose of a camera at a position that has a target in the middle; roll in degrees."""
    back = np.subtract(position, target) / np.linalg.norm(np.subtract(position, target))
    right = np.cross((0.1, 1.0, 0.2), back)
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(back, right), back], axis=1) @ Rotation.from_euler("z", roll, True).as_matrix()
    return torch.from_numpy(np.concatenate([rotation, np.reshape(position, (3, 1))], axis=1)).float()


def pixel_directions(height: int = 24, width: int = 32, focal: float = 32.0) -> Tensor:
    """(H * W, 3) unit directions through the pixel centres of a pinhole camera, row by row, camera frame."""
    row, column = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    x, y = (column - width / 2) / focal, -(row - height / 2) / focal
    directions = torch.stack([x, y, -torch.ones_like(x)], dim=-1).view(-1, 3)
    return directions / directions.norm(dim=-1, keepdim=True)


def photo_of(scene: Scene, c2w: Tensor, directions: Optional[Tensor] = None) -> Rays:
    """What a camera (3, 4) sees of a scene, as rays to be compared."""
    directions = pixel_directions().to(c2w) if directions is None else directions
    return Rays(directions, scene.render(c2w[:, 3].expand_as(directions), directions @ c2w[:, :3].T).values)


def displaced(c2w: Tensor, degrees: float, distance: float, seed: int) -> Tensor:
    """(3, 4) pose turned about itself by an angle around a random axis, and moved by a distance anywhere."""
    rng = np.random.default_rng(seed)
    axis, way = rng.normal(size=(2, 3))
    turn = Rotation.from_rotvec(np.radians(degrees) * axis / np.linalg.norm(axis)).as_matrix()
    pose = c2w.double().numpy()
    position = pose[:, 3:] + distance * way[:, None] / np.linalg.norm(way)
    return torch.from_numpy(np.concatenate([turn @ pose[:, :3], position], axis=1)).to(c2w)


def pose_errors(found: Tensor, truth: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Degrees and distances (B,) between poses (B, 3, 4) and one truth (3, 4)."""
    found, truth = found.reshape(-1, 3, 4), truth.expand(found.reshape(-1, 3, 4).shape)
    return rotation_error_degrees(found.numpy(), truth.numpy()), translation_error(found.numpy(), truth.numpy())
