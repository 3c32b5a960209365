"""Who sees what where: sparse tables of voxels against the segments of all views.

A voxel shows one segment in one view, the one that most of its trusted pixels carry; -1 (unlabelled) shows nothing.
Sizes: V voxels seen, F views, S segments of all views together.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from nerfseg_plugins.segments.lift import VoxelGrid, resize_nearest


@dataclass(frozen=True)
class Incidence:
    """The sparse tables."""

    shows: sparse.csr_matrix
    """(V, S) float32, 1 where the voxel shows the segment."""
    background: sparse.csr_matrix
    """(V, F) float32, 1 where the voxel shows background in the view."""
    view_of: np.ndarray
    """(S,) int64 view of each segment."""
    id_of: np.ndarray
    """(S,) int32 id of each segment in its view's map."""
    pixels_of: np.ndarray
    """(S,) int64 pixels of each segment at the size of the depth maps, untrusted ones included."""
    voxel_of_pixel: list[np.ndarray]
    """F arrays (h, w) int32: row of each pixel's voxel, -1 where depth is unknown; untrusted pixels have one too."""
    keys: np.ndarray
    """(V,) int64 names of the voxels in the grid."""

    @property
    def num_views(self) -> int:
        """F."""
        return len(self.voxel_of_pixel)

    def views_by_segment(self) -> np.ndarray:
        """(S, F) float32, 1 at each segment's own view."""
        table = np.zeros((len(self.view_of), self.num_views), np.float32)
        table[np.arange(len(self.view_of)), self.view_of] = 1
        return table


def build_incidence(
    ids: Sequence[np.ndarray], points: Sequence[np.ndarray], trusted: Sequence[np.ndarray], grid: VoxelGrid
) -> Incidence:
    """Tables from lifted id maps.

    Args:
        ids: F maps (H, W), -1 unlabelled, 0 background, 1.. segments; sampled at the size of the points.
        points: F arrays (h, w, 3) of what each pixel sees; non-finite ones have no voxel.
        trusted: F masks (h, w) of pixels that may vote.
        grid: voxels in the frame of the points.
    """
    names = [_names(view, grid) for view in points]
    keys = np.unique(np.concatenate([view.ravel() for view in names])) if names else np.zeros(0, np.int64)
    keys = keys[keys >= 0]
    segment_rows, segment_columns = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    background_rows, background_columns = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    view_of, id_of, pixels_of, voxels = [], [], [], []
    count = 0
    for view, (own_ids, view_names, mask) in enumerate(zip(ids, names, trusted, strict=True)):
        small = resize_nearest(own_ids, view_names.shape)
        voxel = np.where(view_names >= 0, np.searchsorted(keys, view_names), -1).astype(np.int32)
        voting = mask & (voxel >= 0)
        rows, shown = majority(voxel[voting], small[voting])
        own, pixels = np.unique(small[small > 0], return_counts=True)
        segment_rows.append(rows[shown > 0])
        segment_columns.append(count + np.searchsorted(own, shown[shown > 0]))
        background_rows.append(rows[shown == 0])
        background_columns.append(np.full(int((shown == 0).sum()), view))
        view_of.append(np.full(len(own), view))
        id_of.append(own)
        pixels_of.append(pixels)
        voxels.append(voxel)
        count += len(own)
    return Incidence(
        shows=_indicator(segment_rows, segment_columns, (len(keys), count)),
        background=_indicator(background_rows, background_columns, (len(keys), len(ids))),
        view_of=_joined(view_of, np.int64),
        id_of=_joined(id_of, np.int32),
        pixels_of=_joined(pixels_of, np.int64),
        voxel_of_pixel=voxels,
        keys=keys,
    )


def majority(groups: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The most frequent value of each group; of equally frequent ones the smallest.

    Args:
        groups: (N,) integers >= 0.
        values: (N,) integers >= -1.

    Returns:
        The groups that occur, ascending, and their values: two int64 arrays of one length.
    """
    if len(groups) == 0:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    width = int(values.max()) + 2
    pairs, counts = np.unique(groups.astype(np.int64) * width + values + 1, return_counts=True)
    group, value = pairs // width, pairs % width - 1
    order = np.lexsort((value, -counts, group))
    group, value = group[order], value[order]
    first = np.concatenate([[True], group[1:] != group[:-1]])
    return group[first], value[first]


def _names(points: np.ndarray, grid: VoxelGrid) -> np.ndarray:
    finite = np.asarray(np.isfinite(points).all(axis=-1))
    return np.where(finite, grid.keys(np.where(finite[..., None], points, 0.0)), -1)


def _indicator(rows: list[np.ndarray], columns: list[np.ndarray], shape: tuple[int, int]) -> sparse.csr_matrix:
    row, column = np.concatenate(rows), np.concatenate(columns)
    return sparse.csr_matrix((np.ones(len(row), np.float32), (row, column)), shape)


def _joined(arrays: list[np.ndarray], dtype: type) -> np.ndarray:
    return np.concatenate(arrays).astype(dtype) if arrays else np.zeros(0, dtype)
