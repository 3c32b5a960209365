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
        pixels: (B, V, P, 2), see `Projected`; in as many digits as they need, whatever those of the maps.
        size: (H, W) of the images that the pixels refer to.
        padding: beyond the outermost centres "border" repeats the last value, "zeros" fades to 0.

    Returns:
        (B, V, P, C).
    """
    scenes, views = maps.shape[:2]
    maps, pixels = maps.flatten(0, 1), pixels.flatten(0, 1)
    # On processors torch's own lookup takes twice as long, and leaves channels where nobody wants them; but few pixels
    # of large maps are not worth bringing the channels of each cell together.
    together = maps.stride(1) == 1 or 4 * pixels.shape[1] >= maps.shape[-2] * maps.shape[-1]
    way = _weighted_cells if maps.device.type == "cpu" and together else _grid_sample
    return way(maps, pixels, size, padding).unflatten(0, (scenes, views))


def _grid_sample(maps: Tensor, pixels: Tensor, size: tuple[int, int], padding: str) -> Tensor:
    """The same of maps (N, C, h, w) and pixels (N, P, 2): (N, P, C)."""
    grid = pixels * pixels.new_tensor([2 / size[1], 2 / size[0]]) - 1
    # In the pixels' digits: bfloat16 cannot tell neighbouring pixels apart.
    found = torch.nn.functional.grid_sample(
        maps.to(grid.dtype), grid[:, :, None], mode="bilinear", padding_mode=padding, align_corners=False
    )
    return found[..., 0].transpose(1, 2).to(maps.dtype)


def _weighted_cells(maps: Tensor, pixels: Tensor, size: tuple[int, int], padding: str) -> Tensor:
    """The same as sums of the four cells around a pixel, taken from a table."""
    count, channels, height, width = maps.shape
    border = padding == "border"
    cells = pixels * pixels.new_tensor([width / size[1], height / size[0]]) - 0.5
    last = cells.new_tensor([width - 1, height - 1])
    # Farther out than by one cell nothing changes, and all numbers of cells stay small.
    cells = cells.clamp(cells.new_zeros(2), last) if border else cells.clamp(cells.new_full((2,), -1), last + 1)
    first = cells.detach().floor()
    part = cells - first
    rows, weights = [], []
    begin = (torch.arange(count, device=maps.device) * height * width)[:, None]
    for across, down in ((0, 0), (1, 0), (0, 1), (1, 1)):
        x, y = (first + first.new_tensor([across, down])).unbind(-1)
        weight = (part[..., 0] if across else 1 - part[..., 0]) * (part[..., 1] if down else 1 - part[..., 1])
        if not border:
            weight = weight * ((x >= 0) & (x < width) & (y >= 0) & (y < height))
        x, y = x.clamp(0, width - 1).long(), y.clamp(0, height - 1).long()
        rows.append(begin + y * width + x)
        weights.append(weight)
    table = maps.permute(0, 2, 3, 1).reshape(-1, channels)
    bags, each = torch.stack(rows, dim=-1).view(-1, 4), torch.stack(weights, dim=-1).view(-1, 4)
    found = torch.nn.functional.embedding_bag(bags, table, mode="sum", per_sample_weights=each.to(table.dtype))
    return found.view(count, -1, channels)
