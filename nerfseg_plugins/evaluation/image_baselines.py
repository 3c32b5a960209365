"""Pictures of a view that need no learning, which a method that renders from source views must beat.

Cameras are pinhole, OpenGL (x right, y up, z back); pixels count from the upper left corner of the image, so that the
first pixel's centre is (0.5, 0.5). Any frame and unit will do, as long as all cameras share it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from nerfseg_plugins.errors import InputError


class Pinhole(NamedTuple):
    """One camera."""

    c2w: Tensor
    """(3, 4)."""
    focal: tuple[float, float]
    """fx and fy, pixels."""
    center: tuple[float, float]
    """cx and cy, pixels."""
    size: tuple[int, int]
    """Height and width, pixels."""


class PlaneBlend(NamedTuple):
    """Source views seen as photos of one plane."""

    image: Tensor
    """(H, W, 3)."""
    depth: float
    """Of the plane along the target's optical axis."""
    error: float
    """Mean squared difference to the true picture."""


def nearest_view(target: Pinhole, sources: Sequence[Pinhole], images: Sequence[Tensor]) -> Tensor:
    """The picture (H, W, 3) of the camera whose centre is nearest; of equally near ones the first.

    Raises:
        InputError: there is none, or it has another size than the target.
    """
    if not sources:
        raise InputError("a view is compared with its nearest source view, but there is none; give some")
    places = torch.stack([source.c2w[:, 3] for source in sources])
    found = images[int((places - target.c2w[:, 3]).norm(dim=-1).argmin())]
    if tuple(found.shape[:2]) != target.size:
        raise InputError(
            f"the nearest source view has {found.shape[1]}x{found.shape[0]} pixels and the view itself "
            f"{target.size[1]}x{target.size[0]}; use images of one size"
        )
    return found


def on_plane(target: Pinhole, depth: float, source: Pinhole, image: Tensor) -> tuple[Tensor, Tensor]:
    """A source view as the target would see it, were the scene a plane parallel to the target's image.

    Args:
        target: the camera to show it to.
        depth: of the plane along the target's optical axis.
        source: the camera that took the picture.
        image: (h, w, 3) the picture.

    Returns:
        Colours (H, W, 3), bilinear and at the border repeated, and (H, W) bool: within the picture and in front of the
        source camera.
    """
    height, width = target.size
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    right = (x - target.center[0]) / target.focal[0]
    up = -(y - target.center[1]) / target.focal[1]
    points = depth * torch.stack([right, up, -torch.ones_like(x)], dim=-1)
    world = points @ target.c2w[:, :3].T + target.c2w[:, 3]
    local = (world - source.c2w[:, 3]) @ source.c2w[:, :3]
    away = -local[..., 2]
    safe = torch.where(away > 1e-6, away, torch.inf)
    u = source.center[0] + source.focal[0] * local[..., 0] / safe
    v = source.center[1] - source.focal[1] * local[..., 1] / safe
    rows, columns = source.size
    inside = (away > 1e-6) & (u >= 0) & (u <= columns) & (v >= 0) & (v <= rows)
    grid = torch.stack([2 * u / columns - 1, 2 * v / rows - 1], dim=-1)[None]
    picture = image.permute(2, 0, 1)[None].float()
    colors = grid_sample(picture, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return colors[0].permute(1, 2, 0), inside


def plane_blend(target: Pinhole, depth: float, sources: Sequence[Pinhole], images: Sequence[Tensor]) -> Tensor:
    """The mean (H, W, 3) of all source views that see a pixel's point of the plane; of all where none does."""
    total = torch.zeros(*target.size, 3)
    everything, seen = torch.zeros_like(total), torch.zeros(*target.size, 1)
    for source, image in zip(sources, images, strict=True):
        colors, inside = on_plane(target, depth, source, image)
        everything += colors
        total += colors * inside[..., None]
        seen += inside[..., None]
    return torch.where(seen > 0, total / seen.clamp_min(1), everything / max(len(sources), 1))


def best_plane_blend(
    target: Pinhole,
    truth: Tensor,
    sources: Sequence[Pinhole],
    images: Sequence[Tensor],
    near: float,
    far: float,
    planes: int = 64,
) -> PlaneBlend:
    """The blend on the one plane that suits the true picture best: no method of one plane does better.

    Args:
        target: the camera.
        truth: (H, W, 3) its true picture.
        sources: the source cameras.
        images: their pictures, (h, w, 3) each.
        near: nearest plane.
        far: farthest plane.
        planes: tried, evenly spaced in 1 / depth.

    Raises:
        InputError: there are no source views, or no planes between the bounds.
    """
    if not sources:
        raise InputError("source views are to be blended, but there is none; give some")
    if not 0 < near < far or planes < 1:
        raise InputError(f"no plane lies between the depths {near} and {far}; give 0 < near < far and a plane or more")
    best = None
    for share in torch.linspace(0, 1, planes).tolist():
        depth = 1 / ((1 - share) / near + share / far)
        image = plane_blend(target, depth, sources, images)
        error = float((image.clamp(0, 1) - truth).double().square().mean())
        if best is None or error < best.error:
            best = PlaneBlend(image, depth, error)
    assert best is not None
    return best
