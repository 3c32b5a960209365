"""Surface points and occupied voxels of a trained scene.

Everything here is in the scene frame: the normalised frame that cameras, rays and fields share inside nerfstudio. Turn
results into the data's own frame (metres) with the transform of the run.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Optional

import numpy as np
import torch
from torch import Tensor

from nerfseg_plugins.errors import InputError


@dataclass(frozen=True)
class SurfaceView:
    """One rendered view to back-project."""

    origins: np.ndarray
    """(H, W, 3) ray origins."""
    directions: np.ndarray
    """(H, W, 3) ray directions of unit length."""
    depth: np.ndarray
    """(H, W) distance along the ray."""
    accumulation: np.ndarray
    """(H, W) opacity of the ray, 0..1."""
    rgb: np.ndarray
    """(H, W, 3) in [0, 1]."""
    labels: Optional[np.ndarray] = None
    """(H, W) integer label of each pixel; all views of a cloud have labels or none has."""


@dataclass(frozen=True)
class PointCloud:
    """Coloured points, with labels where the views had them."""

    points: np.ndarray
    """(N, 3) float32."""
    colors: np.ndarray
    """(N, 3) uint8."""
    labels: Optional[np.ndarray] = None
    """(N,) int32."""

    def __len__(self) -> int:
        return len(self.points)

    def take(self, index: np.ndarray) -> "PointCloud":
        """The points at `index` (integers or bools), in that order."""
        labels = None if self.labels is None else self.labels[index]
        return PointCloud(self.points[index], self.colors[index], labels)


def unproject(depth: np.ndarray, origins: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Points where rays end.

    Args:
        depth: (...) distance along each ray.
        origins: (..., 3).
        directions: (..., 3) of unit length.

    Returns:
        float32 (..., 3).
    """
    return (origins + depth[..., None] * directions).astype(np.float32)


def depth_edges(depth: np.ndarray, threshold: float) -> np.ndarray:
    """Pixels beside a jump of depth, where rendered depth mixes two surfaces.

    What is compared with the threshold is how far inverse depth is from linear along rows and along columns, as a share
    of itself: on a plane it is linear up to the slight bend of ray distance, however slanted the plane is, so that a
    floor seen at a grazing angle is no edge.

    Args:
        depth: (H, W), positive where it counts.
        threshold: allowed share, such as 0.05.

    Returns:
        bool (H, W), True at edges. The outermost pixels have neighbours on one side only and are as their inner
        neighbour is.
    """
    inverse = 1 / np.maximum(depth, 1e-6)
    edges = np.zeros(depth.shape, bool)
    for axis in (0, 1):
        if depth.shape[axis] < 3:
            continue
        along, marks = np.moveaxis(inverse, axis, 0), np.moveaxis(edges, axis, 0)
        bent = np.abs(along[:-2] - 2 * along[1:-1] + along[2:]) > threshold * along[1:-1]
        marks[1:-1] |= bent
        marks[0] |= bent[0]
        marks[-1] |= bent[-1]
    return edges


def surface_points(
    views: Iterable[SurfaceView],
    num_points: int = 1_000_000,
    min_accumulation: float = 0.9,
    edge_threshold: float = 0.05,
    seed: int = 0,
) -> PointCloud:
    """Back-project the pixels of views that see a surface.

    Args:
        views: rendered views; they are read one by one and may be a generator.
        num_points: at most so many points, drawn evenly from all views, the same for the same seed.
        min_accumulation: rays that absorb less have no surface.
        edge_threshold: as in `depth_edges`; infinity keeps all pixels.
        seed: of the draw.

    Returns:
        The points in the order of views, rows and columns; empty when no pixel qualifies.

    Raises:
        InputError: some views have labels and others do not, or `num_points` is not positive.
    """
    if num_points < 1:
        raise InputError(f"the number of points must be at least 1, not {num_points}")
    rng = np.random.default_rng(seed)
    kept: Optional[PointCloud] = None
    keys = np.zeros(0)
    for view in views:
        cloud = _view_points(view, min_accumulation, edge_threshold)
        if kept is not None and (kept.labels is None) != (cloud.labels is None):
            raise InputError("some views have labels and others do not; render all with the same model")
        # Each point draws a number and the smallest numbers stay: an even choice, with no more than one view beside.
        keys = np.concatenate([keys, rng.random(len(cloud))])
        kept = cloud if kept is None else _joined(kept, cloud)
        if len(kept) > num_points:
            chosen = np.sort(np.argpartition(keys, num_points - 1)[:num_points])
            kept, keys = kept.take(chosen), keys[chosen]
    return kept or PointCloud(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.uint8))


def voxel_downsample(cloud: PointCloud, voxel_size: float) -> PointCloud:
    """One point per occupied cell of a grid: mean position, mean colour, most frequent label (the smaller when even).

    Args:
        cloud: any points.
        voxel_size: edge of a cell, in the unit of the points; cells start at multiples of it.

    Returns:
        The points ordered by cell: x first, then y, then z.

    Raises:
        InputError: `voxel_size` is not positive.
    """
    if not voxel_size > 0:
        raise InputError(f"the voxel size must be positive, not {voxel_size}")
    if not len(cloud):
        return cloud
    cells = np.floor(cloud.points.astype(np.float64) / voxel_size).astype(np.int64)
    _, cell, count = np.unique(cells, axis=0, return_inverse=True, return_counts=True)
    cell = cell.reshape(-1)

    def mean(values: np.ndarray) -> np.ndarray:
        sums = [np.bincount(cell, weights=column, minlength=len(count)) for column in values.T.astype(np.float64)]
        return np.stack(sums, axis=1) / count[:, None]

    labels = None if cloud.labels is None else _majority(cell, cloud.labels, len(count))
    colors = np.floor(mean(cloud.colors) + 0.5).astype(np.uint8)
    return PointCloud(mean(cloud.points).astype(np.float32), colors, labels)


def voxel_grid(aabb: np.ndarray, resolution: int) -> tuple[tuple[int, int, int], float]:
    """Cubic voxels that fill a box.

    Args:
        aabb: (2, 3) lowest and highest corner.
        resolution: voxels along the longest side.

    Returns:
        The number of voxels along x, y, z, and their edge. Shorter sides are rounded up, so the last voxel may reach
        over the box.

    Raises:
        InputError: the box is empty or not finite, or the resolution is not positive.
    """
    extent = np.asarray(aabb, np.float64)[1] - np.asarray(aabb, np.float64)[0]
    if not np.isfinite(extent).all() or (extent <= 0).any() or resolution < 1:
        raise InputError(
            f"cannot fill the box {np.asarray(aabb).tolist()} with {resolution} voxels along its longest side"
        )
    edge = float(extent.max()) / resolution
    # Minus a little, or rounding errors would add a layer of voxels outside the box.
    nx, ny, nz = (max(1, int(np.ceil(side / edge - 1e-6))) for side in extent)
    return (nx, ny, nz), edge


def occupied_voxels(
    density_fn: Callable[[Tensor], Tensor],
    aabb: np.ndarray,
    resolution: int,
    threshold: float,
    chunk: int = 1 << 18,
    device: Optional[torch.device] = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Voxels whose centre is denser than a threshold.

    Args:
        density_fn: positions (M, 3) float32 -> density (M,) or (M, 1), in 1 / scene unit.
        aabb: (2, 3) lowest and highest corner of the box, scene frame.
        resolution: voxels along the longest side of the box.
        threshold: density that counts as occupied. A ray that crosses a voxel of edge e is absorbed to
            1 - exp(-density * e), which tells what density a voxel needs.
        chunk: positions asked at a time.
        device: where positions are made; the CPU by default.

    Returns:
        coords: int32 (N, 3) indices of the voxels along x, y, z, in lexicographic order.
        centres: float32 (N, 3) their centres, scene frame: corner + (index + 1/2) * edge.

    Raises:
        InputError: the box is empty or not finite, or the resolution is not positive.
    """
    shape, edge = voxel_grid(aabb, resolution)
    low = np.asarray(aabb, np.float64)[0]
    total = int(np.prod(shape))
    found: list[np.ndarray] = []
    for start in range(0, total, chunk):
        coords = np.stack(np.unravel_index(np.arange(start, min(start + chunk, total)), shape), axis=1)
        centres = (low + (coords + 0.5) * edge).astype(np.float32)
        with torch.no_grad():
            density = density_fn(torch.from_numpy(centres).to(device or torch.device("cpu")))
        found.append(coords[(density.reshape(-1) > threshold).cpu().numpy()].astype(np.int32))
    coords = np.concatenate(found)
    return coords, (low + (coords + 0.5) * edge).astype(np.float32)


def _view_points(view: SurfaceView, min_accumulation: float, edge_threshold: float) -> PointCloud:
    kept = np.isfinite(view.depth) & (view.depth > 0) & (view.accumulation >= min_accumulation)
    kept &= ~depth_edges(np.where(kept, view.depth, 0), edge_threshold)
    return PointCloud(
        unproject(view.depth[kept], view.origins[kept], view.directions[kept]),
        (view.rgb[kept].clip(0, 1) * 255 + 0.5).astype(np.uint8),
        None if view.labels is None else view.labels[kept].astype(np.int32),
    )


def _joined(first: PointCloud, second: PointCloud) -> PointCloud:
    labels = None
    if first.labels is not None and second.labels is not None:
        labels = np.concatenate([first.labels, second.labels])
    return PointCloud(
        np.concatenate([first.points, second.points]), np.concatenate([first.colors, second.colors]), labels
    )


def _majority(cell: np.ndarray, labels: np.ndarray, num_cells: int) -> np.ndarray:
    """Most frequent label of each cell, the smallest when even; int32 (num_cells,)."""
    names, code = np.unique(labels, return_inverse=True)
    pairs, votes = np.unique(cell * len(names) + code.reshape(-1), return_counts=True)
    # Ascending votes, and descending labels among equals: the last one written into a cell wins.
    order = np.lexsort((-(pairs % len(names)), votes))
    winner = np.zeros(num_cells, np.int32)
    winner[pairs[order] // len(names)] = names[pairs[order] % len(names)]
    return winner
