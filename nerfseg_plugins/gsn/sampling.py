"""Points on rays, and what the source views hold of them.

R rays are those of B scenes, one scene after another and as many of each; each has S points, each point V views.
"""

import math
from typing import NamedTuple, Optional

import torch
from torch import Tensor
from torch.nn.functional import normalize

from nerfseg_plugins.image_based.projection import lookup, project
from nerfseg_plugins.image_based.views import SourceViews


class PointsSeen(NamedTuple):
    """What V source views hold of S points of each of R rays."""

    colors: Tensor
    """(R, S, V, 3 + D): colour and the encoder's features; 0 where a view does not see the point."""
    features: Optional[Tensor]
    """(R, S, V, C) the views' 2D features, likewise; None where the views have none."""
    ray_diff: Tensor
    """(R, S, V, 4), see `direction_differences`."""
    mask: Tensor
    """(R, S, V) bool: the point is in front of the view's camera and within its image."""


def inverse_depths(nears: Tensor, fars: Tensor, count: int, jitter: bool) -> Tensor:
    """Distances between two bounds, evenly spaced in 1 / distance, the bounds among them.

    Args:
        nears: (R, 1) above 0, distances along unit rays.
        fars: (R, 1).
        count: S, 2 or more.
        jitter: draw each one between its neighbours' midpoints (from torch's generator) instead.

    Returns:
        (R, S), rising.
    """
    steps = torch.linspace(0, 1, count, device=nears.device, dtype=nears.dtype)
    distances = 1 / (1 / nears * (1 - steps) + 1 / fars * steps)
    if not jitter:
        return distances
    middles = (distances[:, 1:] + distances[:, :-1]) / 2
    lower = torch.cat([distances[:, :1], middles], dim=1)
    upper = torch.cat([middles, distances[:, -1:]], dim=1)
    return lower + (upper - lower) * torch.rand_like(distances)


def points_on(origins: Tensor, directions: Tensor, distances: Tensor) -> Tensor:
    """Points (R, S, 3) at distances (R, S) on rays (R, 3) of unit directions (R, 3)."""
    return origins[:, None] + distances[..., None] * directions[:, None]


def positions_along(distances: Tensor, nears: Tensor, fars: Tensor) -> Tensor:
    """Where on their rays points lie, as three numbers from 0 to 1 that know nothing of the scene's frame and scale.

    Args:
        distances: (R, S) along the unit rays.
        nears: (R, 1).
        fars: (R, 1).

    Returns:
        (R, S, 3): the part of the way from near to far in 1 / distance, near / distance and distance / far.
    """
    inverse = 1 / distances
    part = (1 / nears - inverse) / (1 / nears - 1 / fars)
    return torch.stack([part, nears * inverse, distances / fars], dim=-1)


def scaled_at_random(bounds: Tensor, factors: tuple[float, float], scenes: int) -> Tensor:
    """Bounds (R, 1) of rays, all those of a scene times one factor that is drawn from torch's generator.

    Args:
        bounds: of the rays of several scenes, one after another and as many of each.
        factors: between which the factor is drawn, evenly in its logarithm.
        scenes: B.
    """
    low, high = (math.log(factor) for factor in factors)
    drawn = torch.exp(low + (high - low) * torch.rand(scenes, 1, device=bounds.device))
    return bounds * drawn.repeat_interleave(len(bounds) // scenes, dim=0)


def direction_differences(points: Tensor, origins: Tensor, centers: Tensor) -> Tensor:
    """How the direction to a point's own camera and those to its source cameras differ.

    Args:
        points: (R, S, 3).
        origins: (R, 3) of the rays.
        centers: (R, V, 3) of the source cameras; an expanded view of (B, V, 3) will do.

    Returns:
        (R, S, V, 4): the unit vector along (direction to the ray's origin) - (direction to the source camera), 0 where
        both agree, and the two directions' dot product.
    """
    own = normalize(origins[:, None] - points, dim=-1)[:, :, None]
    theirs = normalize(centers[:, None] - points[:, :, None], dim=-1)
    difference = own - theirs
    unit = difference / difference.norm(dim=-1, keepdim=True).clamp_min(1e-6)
    return torch.cat([unit, (own * theirs).sum(dim=-1, keepdim=True)], dim=-1)


def see(points: Tensor, origins: Tensor, views: SourceViews, with_features: bool = False) -> PointsSeen:
    """Look points up in the source views of their scenes.

    Args:
        points: (R, S, 3), scene frame.
        origins: (R, 3) of their rays.
        views: of B scenes, with maps.
        with_features: whether the views' 2D features are wanted, too.
    """
    scenes, (rays, samples) = views.num_scenes, points.shape[:2]
    assert views.maps is not None
    projected = project(points.reshape(scenes, -1, 3), views)

    def per_point(values: Tensor) -> Tensor:
        """(B, V, P, ...) -> (R, S, V, ...)."""
        return values.transpose(1, 2).reshape(rays, samples, views.num_views, *values.shape[3:])

    def held(maps: Tensor) -> Tensor:
        return per_point(lookup(maps, projected.pixels, views.size))

    mask = per_point(projected.inside)
    colors = torch.cat([held(views.images), held(views.maps)], dim=-1) * mask[..., None]
    features = None
    if with_features and views.features is not None:
        features = held(views.features.to(colors.dtype)) * mask[..., None]
    centers = views.c2w[:, :, :, 3].repeat_interleave(rays // scenes, dim=0)
    return PointsSeen(colors, features, direction_differences(points, origins, centers), mask)
