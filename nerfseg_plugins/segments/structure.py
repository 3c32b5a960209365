"""Walls, floor and ceiling by geometry: large planes that hardly anything lies behind.

A table top is as flat as a floor, but things lie on both of its sides. What bounds a scene has the cameras and all
things in front of it, whatever its size in metres, so that no scale needs to be known.
"""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import KDTree


@dataclass(frozen=True)
class Plane:
    """Points x with normal . x = offset; the normal points to the side that the cameras are on."""

    normal: np.ndarray
    """(3,) unit length."""
    offset: float

    def height(self, points: np.ndarray) -> np.ndarray:
        """(N,) signed distances of points (N, 3), positive on the cameras' side."""
        return points @ self.normal - self.offset


def bounding_planes(
    points: np.ndarray,
    cameras: np.ndarray,
    tolerance: float,
    min_share: float = 0.04,
    max_behind: float = 0.06,
    max_planes: int = 8,
    seed: int = 0,
) -> list[Plane]:
    """Planes that bound a scene.

    Every hypothesis is one surface point with the normal of its neighbourhood. The one with most points is taken, its
    points are removed, and so on.

    Args:
        points: (N, 3) surface, evenly sampled (voxel centres).
        cameras: (M, 3) camera positions, same frame.
        tolerance: points so near belong to a plane.
        min_share: part of all points that a plane must hold.
        max_behind: part of all points that may lie behind it, beyond twice the tolerance: windows let some in.
        max_planes: stop after so many.
        seed: of the draws.

    Returns:
        The planes, largest first.
    """
    if len(points) < 50:
        return []
    rng = np.random.default_rng(seed)
    sample = points[rng.permutation(len(points))[:20000]]
    normals = local_normals(sample)
    free = np.ones(len(sample), bool)
    planes: list[Plane] = []
    for _ in range(max_planes):
        candidates = np.flatnonzero(free)
        if len(candidates) < min_share * len(sample):
            break
        best, best_count = None, 0
        for index in rng.permutation(candidates)[:300]:
            plane = _towards(cameras, normals[index], float(normals[index] @ sample[index]))
            height = plane.height(sample)
            count = int((free & (np.abs(height) <= tolerance)).sum())
            if count > best_count and np.mean(height < -2 * tolerance) <= max_behind:
                best, best_count = plane, count
        if best is None or best_count < min_share * len(sample):
            break
        best = _refit(best, sample[free], cameras, tolerance)
        planes.append(best)
        free &= np.abs(best.height(sample)) > 2 * tolerance
    return planes


def on_planes(points: np.ndarray, planes: list[Plane], tolerance: float) -> np.ndarray:
    """(N,) bool: points (N, 3) that lie on one of the planes or behind it."""
    found = np.zeros(len(points), bool)
    for plane in planes:
        found |= plane.height(points) <= tolerance
    return found


def local_normals(points: np.ndarray, neighbours: int = 24) -> np.ndarray:
    """(N, 3) unit normals, of either sign: the direction in which each point's neighbourhood is thinnest."""
    _, index = KDTree(points).query(points, k=min(neighbours, len(points)))
    around = points[index] - points[index].mean(axis=1, keepdims=True)
    _, vectors = np.linalg.eigh(np.einsum("nki,nkj->nij", around, around))
    return vectors[:, :, 0]


def _towards(cameras: np.ndarray, normal: np.ndarray, offset: float) -> Plane:
    if np.median(cameras @ normal) < offset:
        return Plane(-normal, -offset)
    return Plane(normal, offset)


def _refit(plane: Plane, points: np.ndarray, cameras: np.ndarray, tolerance: float) -> Plane:
    """Least-squares plane through the points near `plane`."""
    near = points[np.abs(plane.height(points)) <= tolerance]
    center = near.mean(axis=0)
    _, vectors = np.linalg.eigh((near - center).T @ (near - center))
    return _towards(cameras, vectors[:, 0], float(vectors[:, 0] @ center))
