"""From clicks in a viewer to rays under a brush.

A viewer tells of a click only the ray through it. Rays that start at one place are points on a plane in front of it, so
strokes are drawn there, with the brush of strokes in photos, and become rays again.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor
from torch.nn.functional import normalize

from nerfseg_plugins.errors import InputError

Stamp = Callable[[Sequence[tuple[float, float]], float, tuple[int, int]], np.ndarray]
"""Draws a round brush: (x, y) of places, its radius in pixels and a picture's (height, width) -> the pixels (P, 2) that
it marks, row and column; see `segments.strokes`."""

MAX_RAYS = 4096
"""A stroke of more rays is thinned: features beside each other say the same."""
WIDEST = math.cos(math.radians(70))
"""Cosine of the angle between a click and the middle of its stroke beyond which there is no plane for both."""


@dataclass(frozen=True)
class Click:
    """The ray through a place that was clicked on, scene frame."""

    origin: tuple[float, ...]
    """(x, y, z) of the camera."""
    direction: tuple[float, ...]
    """(x, y, z) of any length but 0."""


@dataclass(frozen=True)
class Rays:
    """Where to look for what is under a stroke, scene frame."""

    origins: Tensor
    """(P, 3) float32."""
    directions: Tensor
    """(P, 3) float32 of unit length."""

    def __len__(self) -> int:
        return len(self.origins)

    def thinned(self, most: int = MAX_RAYS) -> "Rays":
        """At most so many of them, evenly chosen."""
        if len(self) <= most:
            return self
        kept = torch.linspace(0, len(self) - 1, most, dtype=torch.float64).round().long()
        return Rays(self.origins[kept], self.directions[kept])


def pixel_size(fov: float, height: int) -> float:
    """Side of a pixel on the plane at distance 1, for a camera of a vertical field of view (radians)."""
    return 2 * math.tan(fov / 2) / height


def brush_rays(clicks: Sequence[Click], pixel: float, radius: float, stamp: Stamp) -> Rays:
    """The rays through the pixels that a round brush marks.

    Args:
        clicks: where it was clicked, in order. Those of different origins are not joined: nobody draws a line while
            the camera moves.
        pixel: side of a pixel on the plane at distance 1 from the camera.
        radius: of the brush in pixels.
        stamp: draws the brush, from click to click or on each.

    Returns:
        One ray for each pixel; thinned where they are very many.

    Raises:
        InputError: there is no click, one has no direction, two are too far apart to be seen at once, or the radius is
            negative.
    """
    if not clicks:
        raise InputError("nothing was drawn; click on a thing in the scene first")
    strokes = [list(group) for _, group in groupby(clicks, key=lambda click: click.origin)]
    parts = [_brush_at(stroke, pixel, radius, stamp) for stroke in strokes]
    return Rays(torch.cat([part.origins for part in parts]), torch.cat([part.directions for part in parts])).thinned()


def _brush_at(clicks: Sequence[Click], pixel: float, radius: float, stamp: Stamp) -> Rays:
    """`brush_rays` of clicks with one origin."""
    numbers = torch.tensor([[*click.origin, *click.direction] for click in clicks], dtype=torch.float64)
    directions = normalize(numbers[:, 3:], dim=-1)
    forward = normalize(directions.sum(dim=0), dim=0)
    if not numbers.isfinite().all() or not directions.any(dim=-1).all():
        raise InputError("a click came without a direction; click again")
    ahead = directions @ forward
    if not ahead.min() >= WIDEST:  # nor for opposite ones, whose middle is not a number
        raise InputError("the clicks of this stroke are too far apart to be seen at once; draw it as two strokes")
    right = normalize(torch.linalg.cross(forward, torch.eye(3, dtype=torch.float64)[forward.abs().argmin()]), dim=0)
    axes = torch.stack([right, torch.linalg.cross(forward, right)])
    places = ((directions @ axes.T) / ahead[:, None] / pixel).numpy()
    corner = np.floor(places.min(axis=0)) - math.ceil(radius) - 1
    width, height = (np.ceil(places.max(axis=0)) + math.ceil(radius) + 2 - corner).astype(int)
    points = [(float(x), float(y)) for x, y in places - corner]
    pixels = stamp(points, radius, (int(height), int(width)))[:, ::-1] + corner
    marked = normalize(forward + torch.from_numpy(pixels * pixel) @ axes, dim=-1)
    return Rays(numbers[:1, :3].float().expand(len(marked), 3), marked.float())


def rectangle_rays(camera: Cameras, low: Sequence[float], high: Sequence[float]) -> Rays:
    """The rays through the pixels of a rectangle.

    Args:
        camera: one camera (batch of 1), scene frame.
        low: (x, y) of its upper left corner, 0 to 1 from the picture's left to its right and from its top to its
            bottom; what lies beyond is cut off.
        high: (x, y) of its lower right corner.

    Returns:
        One ray for each pixel; thinned where they are very many.

    Raises:
        InputError: there is no pixel in the rectangle.
    """
    height, width = int(camera.height), int(camera.width)
    corners = np.clip(np.array([low, high], np.float64), 0, 1) * [width, height] - 0.5
    corners = np.clip(corners, 0, [width - 1, height - 1])
    (left, top), (right, bottom) = np.ceil(corners.min(axis=0)), np.floor(corners.max(axis=0))
    rows, columns = np.mgrid[int(top) : int(bottom) + 1, int(left) : int(right) + 1]
    if not rows.size:
        raise InputError("the rectangle is too small to hold a pixel; draw a larger one")
    chosen = torch.from_numpy(np.stack([rows.ravel(), columns.ravel()], axis=1))
    if len(chosen) > MAX_RAYS:
        chosen = chosen[torch.linspace(0, len(chosen) - 1, MAX_RAYS, dtype=torch.float64).round().long()]
    bundle = camera.generate_rays(camera_indices=0, coords=chosen.float() + 0.5)
    return Rays(bundle.origins.reshape(-1, 3).float(), normalize(bundle.directions.reshape(-1, 3).float(), dim=-1))
