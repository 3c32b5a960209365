"""Pinhole images out of those of other lenses: source views are looked up by projection, which knows no distortion."""

import numpy as np
import torch
from nerfstudio.cameras.cameras import CameraType
from torch import Tensor
from torch.nn.functional import grid_sample

from nerfseg_plugins.errors import InputError

PERSPECTIVE, FISHEYE = CameraType.PERSPECTIVE.value, CameraType.FISHEYE.value


def check_lens(kind: int, scene: str) -> None:
    """Refuse a camera whose image no pinhole camera can have.

    Raises:
        InputError: names the scene.
    """
    if kind not in (PERSPECTIVE, FISHEYE):
        raise InputError(
            f"{scene} has {CameraType(kind).name.lower()} cameras; source views must be perspective or fisheye images"
        )


def distort(points: Tensor, kind: int, distortion: Tensor) -> Tensor:
    """Where a lens images what a pinhole camera images elsewhere.

    Args:
        points: (..., 2) x and y on the plane at distance 1, y down.
        kind: nerfstudio's number of the camera's type, perspective or fisheye (equidistant).
        distortion: (6,) k1, k2, k3, k4, p1, p2 of nerfstudio: radial in even powers of the radius, then tangential.

    Returns:
        (..., 2) in units of the focal length from the principal point.
    """
    if kind == FISHEYE:
        radius = points.norm(dim=-1, keepdim=True).clamp_min(1e-9)
        points = points * (torch.arctan(radius) / radius)
    k1, k2, k3, k4, p1, p2 = distortion.to(points).unbind()
    x, y = points.unbind(-1)
    r = x * x + y * y
    radial = 1 + r * (k1 + r * (k2 + r * (k3 + r * k4)))
    return torch.stack(
        [x * radial + 2 * p1 * x * y + p2 * (r + 2 * x * x), y * radial + 2 * p2 * x * y + p1 * (r + 2 * y * y)], -1
    )


def undistortion(
    size: tuple[int, int], shape: tuple[int, int], focal: Tensor, center: Tensor, kind: int, distortion: Tensor
) -> Tensor:
    """Where the pixels of a pinhole image of the same focal length lie in the image of a lens.

    Args:
        size: (height, width) of the image in pixels.
        shape: (rows, columns) wanted: those of the image, or of a map that spans it.
        focal: (2,) pixels.
        center: (2,) principal point, pixels from the upper left corner.
        kind: see `distort`.
        distortion: see `distort`.

    Returns:
        (rows, columns, 2) x and y as `grid_sample` takes them: -1 and 1 are the image's edges.
    """
    limit = torch.tensor([size[1], size[0]], dtype=torch.float32)
    steps = [(torch.arange(count) + 0.5) / count for count in shape]
    y, x = torch.meshgrid(*steps, indexing="ij")
    pixels = torch.stack([x, y], -1) * limit
    found = distort((pixels - center) / focal, kind, distortion) * focal + center
    return 2 * found / limit - 1


def sampled(image: np.ndarray, grid: Tensor) -> np.ndarray:
    """An image (H, W, C) at the places of a grid, bilinear; beyond its edge the edge's values go on.

    Returns:
        (rows, columns, C) of the same type; integers are rounded.
    """
    values = torch.from_numpy(image).float().permute(2, 0, 1)[None]
    found = grid_sample(values, grid[None], mode="bilinear", padding_mode="border", align_corners=False)[0]
    found = found.permute(1, 2, 0).contiguous().numpy()
    return (np.round(found) if np.issubdtype(image.dtype, np.integer) else found).astype(image.dtype)
