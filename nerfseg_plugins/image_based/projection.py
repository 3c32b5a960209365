"""Where points of a scene lie in its source views, and what the views hold there."""

from typing import NamedTuple

import torch
from torch import Tensor

from nerfseg_plugins.image_based.views import SourceViews

BEHIND = 1e-6
"""Depth in scene units below which a point counts as behind the camera."""


class Projected(NamedTuple):
    """P points of each of B scenes in each of its V views."""

    pixels: Tensor
    """(B, V, P, 2) x and y, pixels from the image's upper left corner; finite, but without meaning behind a camera."""
    depth: Tensor
    """(B, V, P) along the optical axis, scene units; negative behind the camera."""
    inside: Tensor
    """(B, V, P) bool: in front of the camera, and within the image."""


def to_cameras(points: Tensor, c2w: Tensor) -> Tensor:
    """World points (B, P, 3) in the frames of cameras (B, V, 3, 4): (B, V, P, 3), OpenGL (x right, y up, z back)."""
    return (points[:, None] - c2w[..., None, :, 3]) @ c2w[..., :3]


def project(points: Tensor, views: SourceViews) -> Projected:
    """Project points into all views of their scene; differentiable by the points.

    Args:
        points: (B, P, 3), scene frame.
        views: V source views of each scene.
    """
    x, y, z = to_cameras(points, views.c2w).unbind(-1)
    depth = -z
    over = torch.where(depth > BEHIND, depth, torch.full_like(depth, torch.inf)).reciprocal()
    fx, fy = views.focal[..., None, 0], views.focal[..., None, 1]
    cx, cy = views.center[..., None, 0], views.center[..., None, 1]
    pixels = torch.stack([cx + fx * x * over, cy - fy * y * over], -1)
    height, width = views.size
    limit = pixels.new_tensor([width, height])
    inside = (depth > BEHIND) & (pixels >= 0).all(-1) & (pixels <= limit).all(-1)
    return Projected(pixels, depth, inside)


def lookup(maps: Tensor, pixels: Tensor, size: tuple[int, int], padding: str = "border") -> Tensor:
    """Values of maps at pixels: bilinear between the centres of cells.

    Args:
        maps: (B, V, C, h, w); a map spans its image exactly, whatever its resolution.
        pixels: (B, V, P, 2), see `Projected`.
        size: (H, W) of the images that the pixels refer to.
        padding: beyond the outermost centres "border" repeats the last value, "zeros" fades to 0.

    Returns:
        (B, V, P, C).
    """
    scenes, views = maps.shape[:2]
    height, width = size
    grid = pixels * pixels.new_tensor([2 / width, 2 / height]) - 1
    found = torch.nn.functional.grid_sample(
        maps.flatten(0, 1),
        grid.flatten(0, 1)[:, :, None].to(maps.dtype),
        mode="bilinear",
        padding_mode=padding,
        align_corners=False,
    )
    return found[..., 0].unflatten(0, (scenes, views)).transpose(2, 3)
