"""The surface of a trained scene as the training views see it: depth pictures."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from nerfstudio.cameras.cameras import Cameras, CameraType
from torch import Tensor

MIN_OPACITY = 0.5
"""A ray that absorbs less usually sees no surface."""
CPU_CHUNK = 2048
"""More rays at once do not fit into a processor's caches, and take twice the time each."""


@dataclass(frozen=True)
class DepthPicture:
    """What one camera sees, coarsely."""

    c2w: Tensor
    """(3, 4), scene frame."""
    focal: tuple[float, float]
    """Pixels."""
    centre: tuple[float, float]
    """Principal point, pixels."""
    depth: Tensor
    """(H, W) distance along the ray, scene units; NaN where no surface is seen."""
    points: Tensor
    """(P, 3) where the rays that see a surface end, scene frame."""

    def look_up(self, positions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """How positions (N, 3) of the scene frame compare with the picture.

        Returns:
            their distance from the camera (N,), and the smallest and largest depth (N,) of the four pixels around each;
            NaN where it is outside the picture or a pixel sees no surface.
        """
        away = positions - self.c2w[:, 3]
        x, y, z = (away @ self.c2w[:, :3]).unbind(dim=-1)
        forward = -z.clamp_max(-1e-6)
        height, width = self.depth.shape
        # Pixel centres lie at + 0.5.
        column = (self.focal[0] * x / forward + self.centre[0] - 0.5).floor()
        row = (-self.focal[1] * y / forward + self.centre[1] - 0.5).floor()
        inside = (z < 0) & (column >= 0) & (row >= 0) & (column < width - 1) & (row < height - 1)
        index = torch.where(inside, row * width + column, 0).long()
        depth = self.depth.flatten()
        around = torch.stack([depth[index + step] for step in (0, 1, width, width + 1)])
        distance = torch.where(inside, away.norm(dim=-1), torch.nan)
        return distance, around.amin(dim=0), around.amax(dim=0)


def undistorted(camera: Cameras, downscale: float) -> Cameras:
    """A pinhole camera that stands where another one does, and sees as much, with fewer pixels.

    Args:
        camera: one camera (batch of 1).
        downscale: factor on its resolution.
    """
    fx, fy = float(camera.fx), float(camera.fy)
    width, height = max(2, round(int(camera.width) * downscale)), max(2, round(int(camera.height) * downscale))
    if int(camera.camera_type) != CameraType.PERSPECTIVE.value:
        # A wide lens of any kind: 100 degrees across the wider side, which a pinhole still shows.
        fx = fy = max(int(camera.width), int(camera.height)) / 2.4
    return Cameras(
        camera.camera_to_worlds.reshape(1, 3, 4),
        fx=fx * width / int(camera.width),
        fy=fy * height / int(camera.height),
        cx=float(camera.cx) * width / int(camera.width),
        cy=float(camera.cy) * height / int(camera.height),
        width=width,
        height=height,
    )


@torch.no_grad()
def depth_pictures(
    model: Any, cameras: Cameras, downscale: float, min_opacity: float = MIN_OPACITY
) -> Iterator[DepthPicture]:
    """Coarse depth of the geometry as it was trained, camera by camera.

    Args:
        model: a `HeadModel`.
        cameras: those of the training views, scene frame.
        downscale: factor on their resolution.
        min_opacity: a ray that absorbs less sees no surface.
    """
    for index in range(len(cameras)):
        camera = undistorted(cameras[index : index + 1], downscale).to(model.device)
        bundle = camera.generate_rays(camera_indices=0, keep_shape=True)
        depth, opacity = ray_depths(model, bundle)
        seen = opacity >= min_opacity
        points = bundle.origins[seen] + depth[seen][:, None] * bundle.directions[seen]
        yield DepthPicture(
            camera.camera_to_worlds[0],
            (float(camera.fx), float(camera.fy)),
            (float(camera.cx), float(camera.cy)),
            torch.where(seen, depth, torch.nan),
            points,
        )


@torch.no_grad()
def places_seen(model: Any, camera: Cameras, min_opacity: float = MIN_OPACITY) -> Tensor:
    """Where the rays of a camera, through its lens as it is, end on the geometry as it was trained.

    Args:
        model: a `HeadModel`.
        camera: one camera, scene frame.
        min_opacity: a ray that absorbs less sees no surface.

    Returns:
        (H, W, 3), scene frame; NaN where no surface is seen.
    """
    bundle = camera.to(model.device).generate_rays(camera_indices=0, keep_shape=True)
    depth, opacity = ray_depths(model, bundle)
    places = bundle.origins + depth[..., None] * bundle.directions
    return torch.where((opacity >= min_opacity)[..., None], places, torch.nan)


def ray_depths(model: Any, bundle: Any) -> tuple[Tensor, Tensor]:
    """Median depth, scene units, and opacity (H, W) of a bundle of rays (H, W); colours are not computed."""
    depths, opacities = [], []
    flat = bundle.flatten()
    chunk = model.config.eval_num_rays_per_chunk
    if flat.origins.device.type == "cpu":
        chunk = min(chunk, CPU_CHUNK)
    for start in range(0, len(flat), chunk):
        part = flat[start : start + chunk]
        if model.collider is not None:
            part = model.collider(part)
        samples, _, _ = model.proposal_sampler(part, density_fns=model.density_fns)
        density, _ = model.field.get_density(samples)
        weights = samples.get_weights(density)
        depths.append(model.renderer_depth(weights=weights, ray_samples=samples)[..., 0])
        opacities.append(model.renderer_accumulation(weights=weights)[..., 0])
    return torch.cat(depths).view(bundle.shape), torch.cat(opacities).view(bundle.shape)
