"""Camera poses moved by twists about a pivot, and how rays and colours follow.

A pose is c2w (..., 3, 4), OpenGL axes. A twist moves the whole camera rigidly, in world axes, about a pivot p:
c2w' = Tr(p) exp(twist) Tr(-p) c2w. With the pivot at the camera, rotation and translation are as independent as they
can be; at the scene point that the camera looks at, the camera orbits it and keeps it in view.
"""

from typing import Literal

import torch
from torch import Tensor

from nerfseg_plugins.inerf.se3 import exp_se3

Pivot = Literal["camera", "origin", "scene"]


def moved(c2w: Tensor, twist: Tensor, pivot: Tensor) -> Tensor:
    """Poses after a twist about a pivot.

    Args:
        c2w: (..., 3, 4).
        twist: (..., 6), (v, omega) in scene units and radians, world axes.
        pivot: (..., 3), scene frame.

    Returns:
        (..., 3, 4).
    """
    motion = exp_se3(twist)
    rotation = motion[..., :3] @ c2w[..., :3]
    position = pivot + (motion[..., :3] @ (c2w[..., 3] - pivot)[..., None])[..., 0] + motion[..., 3]
    return torch.cat([rotation, position[..., None]], dim=-1)


def pivot_points(c2w: Tensor, pivot: Pivot, depth: Tensor | float = 0.0) -> Tensor:
    """Pivots (..., 3) of poses (..., 3, 4).

    Args:
        c2w: the poses.
        pivot: the camera's centre, the scene's origin, or the scene point under the image's centre.
        depth: (...) distance of that point along the optical axis, for "scene" alone.
    """
    centre = c2w[..., 3]
    if pivot == "camera":
        return centre
    if pivot == "origin":
        return torch.zeros_like(centre)
    return centre - c2w[..., 2] * torch.as_tensor(depth, dtype=c2w.dtype, device=c2w.device)[..., None]


def world_rays(c2w: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    """Origins and directions in the scene frame.

    Args:
        c2w: (..., 3, 4).
        directions: (..., R, 3) unit directions in the camera's frame.

    Returns:
        origins (..., R, 3) and unit directions (..., R, 3).
    """
    turned = directions @ c2w[..., :3].transpose(-1, -2)
    return c2w[..., None, :, 3].expand_as(turned), turned


def twist_jacobian(
    origins: Tensor, directions: Tensor, pivot: Tensor, by_origin: Tensor, by_direction: Tensor
) -> Tensor:
    """Derivatives of per-ray values by the camera's twist, at twist zero.

    A twist (v, omega) moves an origin by v + omega x (o - p) and a direction by omega x d, so a value f(o, d) has
    df/dv = df/do and df/domega = (o - p) x df/do + d x df/dd.

    Args:
        origins: (R, 3).
        directions: (R, 3).
        pivot: (3,).
        by_origin: (R, C, 3) derivatives of C values of each ray by its origin.
        by_direction: (R, C, 3) by its direction.

    Returns:
        (R, C, 6).
    """
    lever = (origins - pivot)[:, None].expand_as(by_origin)
    turning = torch.linalg.cross(lever, by_origin) + torch.linalg.cross(
        directions[:, None].expand_as(by_direction), by_direction
    )
    return torch.cat([by_origin, turning], dim=-1)
