"""Which pixel of one view shows what a pixel of another view shows, by the data's own depth."""

from dataclasses import dataclass
from typing import NamedTuple, Optional

import numpy as np

TOLERANCE = 0.005
"""By which part of its depth a point may miss a surface and still lie on it."""
BACK = 1.5
"""Pixels by which the way there and back may miss."""
_STEPS = 10


@dataclass(frozen=True)
class ViewCamera:
    """A perspective camera; any frame, as long as depth has its units."""

    c2w: np.ndarray
    """(3, 4) or (4, 4) OpenGL camera-to-world: x right, y up, looking along -z."""
    fx: float
    fy: float
    cx: float
    cy: float
    """Pixels; the principal point counts from the image's upper left corner, pixel centres lie at + 0.5."""
    distortion: Optional[tuple[float, ...]] = None
    """k1, k2, k3, k4, p1, p2 of the OpenCV model, as nerfstudio has them."""

    def lift(self, pixels: np.ndarray, depth: np.ndarray) -> np.ndarray:
        """(N, 3) points in the world at pixel positions (N, 2) (column, row) and z-depths (N,)."""
        x = (pixels[:, 0] - self.cx) / self.fx
        y = (pixels[:, 1] - self.cy) / self.fy
        if self.distortion is not None:
            x, y = self._undistort(x, y)
        local = np.stack([x * depth, -y * depth, -depth], axis=1)
        return local @ self.c2w[:3, :3].T + self.c2w[:3, 3]

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pixel positions (N, 2) (column, row) and z-depths (N,) of points (N, 3); depth <= 0 is behind."""
        local = (points - self.c2w[:3, 3]) @ self.c2w[:3, :3]
        depth = -local[:, 2]
        ahead = np.where(depth > 0, depth, np.inf)
        x, y = local[:, 0] / ahead, -local[:, 1] / ahead
        if self.distortion is not None:
            x, y = self._distort(x, y)
        return np.stack([x * self.fx + self.cx, y * self.fy + self.cy], axis=1), depth

    def _distort(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        k1, k2, k3, k4, p1, p2 = self.distortion or (0.0,) * 6
        r = x * x + y * y
        radial = 1 + r * (k1 + r * (k2 + r * (k3 + r * k4)))
        return (
            radial * x + 2 * p1 * x * y + p2 * (r + 2 * x * x),
            radial * y + 2 * p2 * x * y + p1 * (r + 2 * y * y),
        )

    def _undistort(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The inverse by fixed-point steps, which converge for the lenses of ordinary cameras."""
        guess_x, guess_y = x, y
        for _ in range(_STEPS):
            bent_x, bent_y = self._distort(guess_x, guess_y)
            guess_x, guess_y = guess_x + x - bent_x, guess_y + y - bent_y
        return guess_x, guess_y


class Correspondence(NamedTuple):
    """P pixels of view a and where view b shows the same; flat indices, row * width + column."""

    pixels_a: np.ndarray
    """(P,) int64, ascending, each once."""
    pixels_b: np.ndarray
    """(P,) int64."""


def transfer(
    depth_a: np.ndarray, camera_a: ViewCamera, camera_b: ViewCamera, size_b: tuple[int, int]
) -> tuple[Correspondence, np.ndarray]:
    """Where the surfaces of view a fall in view b, hidden or not.

    Args:
        depth_a: (H, W) z-depth, 0 where nothing is.
        camera_a: of it.
        camera_b: of the other view.
        size_b: its (height, width).

    Returns:
        The pixels that fall into view b, and their z-depths (P,) there.
    """
    pixels = np.flatnonzero(depth_a.reshape(-1) > 0)
    positions, depth = camera_b.project(
        camera_a.lift(centres(pixels, depth_a.shape[1]), depth_a.reshape(-1)[pixels].astype(np.float64))
    )
    column, row = np.floor(positions).T
    inside = (depth > 0) & (column >= 0) & (row >= 0) & (column < size_b[1]) & (row < size_b[0])
    there = (row[inside] * size_b[1] + column[inside]).astype(np.int64)
    return Correspondence(pixels[inside], there), depth[inside]


def correspond(
    depth_a: np.ndarray,
    camera_a: ViewCamera,
    depth_b: np.ndarray,
    camera_b: ViewCamera,
    tolerance: float = TOLERANCE,
) -> Correspondence:
    """Pixels that show the same place in both views: what a sees is not hidden in b, and the other way round.

    Args:
        depth_a: (H, W) z-depth of view a, 0 where nothing is; in the units of the cameras' frame.
        camera_a: of it.
        depth_b: of view b.
        camera_b: of it.
        tolerance: by which part of its depth a point may miss the other view's surface.
    """
    forth, depth = transfer(depth_a, camera_a, camera_b, (depth_b.shape[0], depth_b.shape[1]))
    seen = np.abs(depth_b.reshape(-1)[forth.pixels_b] - depth) <= tolerance * depth
    here, there = forth.pixels_a[seen], forth.pixels_b[seen]
    surface = depth_b.reshape(-1)[there].astype(np.float64)
    positions, depth = camera_a.project(camera_b.lift(centres(there, depth_b.shape[1]), surface))
    miss = np.linalg.norm(positions - centres(here, depth_a.shape[1]), axis=1)
    back = (np.abs(depth_a.reshape(-1)[here] - depth) <= tolerance * depth) & (miss <= BACK)
    return Correspondence(here[back], there[back])


def centres(pixels: np.ndarray, width: int) -> np.ndarray:
    """(N, 2) float64 column and row of the middle of flat pixels (N,)."""
    row, column = np.divmod(pixels, width)
    return np.stack([column, row], axis=1) + 0.5
