"""Points on the surface of a trained scene, evenly thinned, and what the feature field says there."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Optional

import numpy as np
import torch
from nerfstudio.cameras.cameras import Cameras
from scipy.spatial import KDTree

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.scene.depth_pictures import depth_pictures
from nerfseg_plugins.scene.points import depth_edges
from nerfseg_plugins.ultrametric.hierarchy_config import SurfaceConfig

CHUNK = 1 << 16
Contraction = Callable[[np.ndarray], np.ndarray]
"""Points (N, 3) of the scene frame -> (N, 3) where the field's cells are even; only far points of unbounded scenes
move."""


@dataclass(frozen=True)
class Cells:
    """Sums of the points in each occupied cell of a grid."""

    codes: np.ndarray
    """(M, 3) int64 indices of the cells, in lexicographic order."""
    sums: np.ndarray
    """(M, 3) float64 sum of the points, scene frame."""
    counts: np.ndarray
    """(M,) int64."""

    @classmethod
    def of(cls, points: np.ndarray, places: np.ndarray, edge: float) -> "Cells":
        """Points (N, 3) float and their places (N, 3) in the grid, sorted into cells of an edge."""
        return cls._merged(np.floor(places / edge).astype(np.int64), points.astype(np.float64), None)

    @classmethod
    def joined(cls, parts: "Iterable[Cells]") -> "Cells":
        """Cells of several sets of points."""
        parts = list(parts)
        codes, sums, counts = (
            np.concatenate([getattr(part, name) for part in parts]) for name in ("codes", "sums", "counts")
        )
        return cls._merged(codes, sums, counts)

    @classmethod
    def _merged(cls, codes: np.ndarray, sums: np.ndarray, counts: Optional[np.ndarray]) -> "Cells":
        order = np.lexsort(codes.T[::-1])
        codes = codes[order]
        first = np.flatnonzero(np.concatenate([[True], (codes[1:] != codes[:-1]).any(axis=1)])[: len(codes)])
        if not len(first):
            return cls(codes, np.zeros((0, 3)), np.zeros(0, np.int64))
        ones = np.ones(len(codes), np.int64) if counts is None else counts[order]
        return cls(codes[first], np.add.reduceat(sums[order], first, axis=0), np.add.reduceat(ones, first))

    def __len__(self) -> int:
        return len(self.codes)

    def means(self) -> np.ndarray:
        """(M, 3) float32 mean of the points of each cell."""
        return (self.sums / self.counts[:, None]).astype(np.float32)


def surface_of(
    model: Any,
    cameras: Cameras,
    config: SurfaceConfig,
    progress: Optional[Callable[[Iterator[Any], int], Iterator[Any]]] = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Points of the surface that the training views see, and their features.

    Args:
        model: an `UltrametricModel` with a trained head.
        cameras: those of the training views, scene frame.
        config: which points.
        progress: passes the views on and shows how many are done.

    Returns:
        points (N, 3) float32, scene frame, and features (N, C) float16 of unit length.

    Raises:
        InputError: the training views see no surface.
    """
    contract = contraction_of(model)
    aabb = model.scene_box.aabb
    edge = config.voxel * float((aabb[1] - aabb[0]).max())
    num_pixels = int((cameras.width.long() * cameras.height.long()).sum())
    downscale = min(config.downscale, (config.max_rays / num_pixels) ** 0.5)
    pictures = depth_pictures(model, cameras, downscale, config.min_opacity)
    parts = []
    for picture in pictures if progress is None else progress(pictures, len(cameras)):
        depth = picture.depth.cpu().numpy()
        seen = np.isfinite(depth)
        # What lies beside nothing is no edge: thin parts would be left with no pixel at all.
        smooth = ~depth_edges(depth, config.edge_threshold)[seen]
        points = picture.points.cpu().numpy()[smooth]
        parts.append(Cells.of(points, contract(points), edge))
    points = thinned(Cells.joined(parts), contract, edge, config.max_points)
    if not len(points):
        raise InputError(
            "the training views see no surface, so there is nothing to make a hierarchy of; train the run for longer"
        )
    return points, features_of(model, points)


def thinned(cells: Cells, contract: Contraction, edge: float, max_points: int) -> np.ndarray:
    """One point per cell, at most so many, without those that float alone.

    Args:
        cells: of a fine grid.
        contract: see `Contraction`.
        edge: of that grid.
        max_points: cells are merged until there are no more.

    Returns:
        points (N, 3) float32, ordered by cell.
    """
    while len(cells) > max_points:
        # Of a surface, the number of cells falls with the square of their edge.
        edge *= max(1.05, (len(cells) / max_points) ** 0.5)
        points = cells.means()
        cells = Cells.of(points, contract(points), edge)
    points = cells.means()
    return points[~isolated(contract(points), edge)]


def isolated(places: np.ndarray, edge: float) -> np.ndarray:
    """(N,) which of the points (N, 3) have no other one near: within two cells, or thrice what is usual."""
    if len(places) < 2:
        return np.zeros(len(places), bool)
    nearest = KDTree(places).query(places, k=2)[0][:, 1]
    return nearest > max(2 * edge, 3 * float(np.median(nearest)))


@torch.no_grad()
def features_of(model: Any, points: np.ndarray) -> np.ndarray:
    """Features (N, C) float16 of unit length at points (N, 3) of the scene frame."""
    positions = torch.from_numpy(np.ascontiguousarray(points, np.float32))
    parts = [model.features_at(part.to(model.device)).half().cpu() for part in positions.split(CHUNK)]
    return torch.cat(parts).numpy()


def contraction_of(model: Any) -> Contraction:
    """How a model's field sees far points; the same points in a scene that ends at its box."""
    distortion = model.field.spatial_distortion
    if distortion is None:
        return lambda points: points

    def contract(points: np.ndarray) -> np.ndarray:
        return distortion(torch.from_numpy(np.asarray(points, np.float32))).numpy()

    return contract
