"""Pixels to places: unprojection of rendered depth, which pixels to trust, and the voxels that they fall in.

Everything takes rays (origins and unit directions), so that any camera model works, and is plain numpy.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional

import numpy as np


def unproject(depth: np.ndarray, origins: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Points that pixels see.

    Args:
        depth: (H, W) distance along the unit-length ray (nerfstudio's `depth`, not z-depth), in any unit.
        origins: (H, W, 3) or (3,) ray origins, same unit.
        directions: (H, W, 3) ray directions, normalised here.

    Returns:
        (H, W, 3) float32 points in the frame of the rays.
    """
    directions = directions / np.linalg.norm(directions, axis=-1, keepdims=True)
    return (origins + depth[..., None] * directions).astype(np.float32)


def trusted_pixels(
    depth: np.ndarray,
    accumulation: Optional[np.ndarray] = None,
    max_bend: float = 0.05,
    min_accumulation: float = 0.5,
) -> np.ndarray:
    """Pixels whose depth is a surface and not the mixture of two.

    A plane's disparity (1 / depth) is very nearly linear in the image however steeply it is seen, so that its second
    difference finds edges without refusing floors. Near an edge a rendered depth is a mean of front and back.

    Args:
        depth: (H, W) positive distances; non-finite or non-positive ones are refused.
        accumulation: (H, W) opacity of each ray in [0, 1], optional.
        max_bend: largest second difference of disparity, relative to the disparity.
        min_accumulation: smallest opacity.

    Returns:
        (H, W) bool.
    """
    known = np.isfinite(depth) & (depth > 0)
    disparity = 1.0 / np.where(known, depth, 1.0)
    padded = np.pad(disparity, 1, mode="reflect", reflect_type="odd")  # goes on in a line, so that borders do not bend
    across = np.abs(padded[1:-1, 2:] + padded[1:-1, :-2] - 2 * disparity)
    along = np.abs(padded[2:, 1:-1] + padded[:-2, 1:-1] - 2 * disparity)
    trusted = known & (np.maximum(across, along) <= max_bend * disparity)
    if accumulation is not None:
        trusted &= np.asarray(accumulation) >= min_accumulation
    return trusted


@dataclass(frozen=True)
class DepthView:
    """What one view sees: rays and how far they go; h and w need not be the size of its id map."""

    depth: np.ndarray
    """(h, w) distance along the unit-length ray, in the unit of the origins."""
    origins: np.ndarray
    """(h, w, 3) or (3,) ray origins."""
    directions: np.ndarray
    """(h, w, 3) ray directions."""
    accumulation: Optional[np.ndarray] = None
    """(h, w) opacity in [0, 1]."""

    def points(self) -> np.ndarray:
        """(h, w, 3) float32 points that the pixels see."""
        return unproject(self.depth, self.origins, self.directions)


def resize_nearest(image: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """The pixel under each new pixel's centre; ids and indices are never mixed.

    Args:
        image: (H, W, ...) array.
        size: (height, width) wanted.
    """
    if image.shape[:2] == tuple(size):
        return image
    rows, columns = (
        np.minimum(((np.arange(new) + 0.5) * old / new).astype(int), old - 1)
        for new, old in zip(size, image.shape[:2], strict=True)
    )
    return image[rows[:, None], columns[None]]


@dataclass(frozen=True)
class VoxelGrid:
    """Voxels of equal size in a cube, growing with distance outside of it.

    Outside points are contracted as in Mip-NeRF 360 (equation 10, with the maximum norm): x -> (2 - 1/|x|) x/|x|. A
    capture without walls then needs no more voxels than a room.
    """

    center: np.ndarray
    """(3,) centre of the cube."""
    half_side: float
    """Half the cube's side."""
    resolution: int
    """Voxels along the cube's side."""

    @staticmethod
    def around(points: np.ndarray, resolution: int) -> "VoxelGrid":
        """A cube around all but the outermost percent of `points` (N, 3), 5 % wider than they are.

        Floaters and glimpses through a window must not set the voxel size.
        """
        if len(points) == 0:
            return VoxelGrid(np.zeros(3), 1.0, resolution)
        low, high = np.percentile(points, (1, 99), axis=0)
        half_side = float((high - low).max()) / 2 * 1.05
        return VoxelGrid((low + high) / 2, half_side if half_side > 0 else 1.0, resolution)

    @property
    def voxel_size(self) -> float:
        """Side of a voxel inside the cube, in the unit of the points."""
        return 2 * self.half_side / self.resolution

    def keys(self, points: np.ndarray) -> np.ndarray:
        """One int64 per point (..., 3) that names its voxel; `coordinates` turns it back."""
        scaled = (points - self.center) / self.half_side
        norm = np.abs(scaled).max(axis=-1, keepdims=True)
        outside = np.maximum(norm, 1.0)
        contracted = scaled * (2 - 1 / outside) / outside
        side = 2 * self.resolution
        index = np.clip(((contracted + 2) * (side / 4)).astype(np.int64), 0, side - 1)
        return (index[..., 0] * side + index[..., 1]) * side + index[..., 2]

    def coordinates(self, keys: np.ndarray) -> np.ndarray:
        """(N, 3) int64 voxel coordinates of keys (N,); the cube spans resolution/2 .. 3*resolution/2."""
        side = 2 * self.resolution
        return np.stack([keys // (side * side), keys // side % side, keys % side], axis=-1)

    def centers(self, keys: np.ndarray) -> np.ndarray:
        """(N, 3) float64 centres of the voxels named by keys (N,), in the frame of the points."""
        contracted = (self.coordinates(keys) + 0.5) * (2 / self.resolution) - 2
        norm = np.abs(contracted).max(axis=-1, keepdims=True)
        # Inverse of the contraction; norm < 2 since the outermost centre is half a voxel from the border.
        stretched = np.where(norm > 1, contracted / np.maximum(norm, 1e-12) / (2 - np.maximum(norm, 1)), contracted)
        return stretched * self.half_side + self.center


def fit_grid(points: Sequence[np.ndarray], trusted: Sequence[np.ndarray], resolution: int) -> VoxelGrid:
    """A grid around the trusted points (H, W, 3) of all views; every 37th is enough for percentiles."""
    return VoxelGrid.around(
        np.concatenate([view[mask][::37] for view, mask in zip(points, trusted, strict=True)] or [np.zeros((0, 3))]),
        resolution,
    )
