"""Per-view segments to scene-wide instances where 3D masks are given: project the masks, compare, assign.

What occludes is the scene's own rendered depth: a pixel shows the instance whose voxel its surface point lies in.
Splatting voxels, as the original implementation does, lets walls show what is behind them.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.segments.lift import DepthView, resize_nearest
from nerfseg_plugins.segments.masks import UNLABELLED, Segments
from nerfseg_plugins.segments.masks3d import IdGrid
from nerfseg_plugins.segments.match import MatchedInstance, MatchResult
from nerfseg_plugins.segments.match_config import DEFAULT_ASSIGN, AssignConfig


def project_grid(grid: IdGrid, view: DepthView, reach: float = 1.0) -> np.ndarray:
    """Ids of a grid as a view sees them.

    Masks are coarse and surfaces lie on their rim: where a surface point is in no mask, points along the ray and then
    the voxels next to it are tried, nearest first, at most `reach` voxels away.

    Args:
        grid: voxels in the frame of the rays.
        view: rays and depth.
        reach: in voxels.

    Returns:
        (h, w) int32, 0 where there is no instance or no depth.
    """
    points = view.points()
    known = np.isfinite(points).all(axis=-1) & (view.depth > 0)
    points = np.where(known[..., None], points, np.inf)
    ids = grid.at(np.where(known[..., None], points, grid.box[0] - 1))
    step = float(grid.voxel_size.min())
    directions = view.directions / np.linalg.norm(view.directions, axis=-1, keepdims=True)
    shifts = [directions * (part * reach * step) for part in (0.5, 1.0, -0.5, -1.0)]
    axes = np.concatenate([np.eye(3), -np.eye(3)]) * grid.voxel_size * reach
    for shift in [*shifts, *axes]:
        empty = known & (ids == 0)
        if not empty.any():
            break
        moved = points[empty] + (shift[empty] if shift.ndim == 3 else shift)
        ids[empty] = grid.at(moved)
    return ids


def overlap_iou(segment_map: np.ndarray, instance_map: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """IoU of every segment with every projected instance of one view.

    Args:
        segment_map: (H, W) ids, those below 1 are no segments.
        instance_map: (H, W) ids, 0 is no instance.

    Returns:
        (S,) segment ids, (N,) instance ids, both ascending, and (S, N) float64 IoU.
    """
    segments, segment = np.unique(segment_map.ravel(), return_inverse=True)
    instances, instance = np.unique(instance_map.ravel(), return_inverse=True)
    shared = np.zeros((len(segments), len(instances)), np.int64)
    np.add.at(shared, (segment.ravel(), instance.ravel()), 1)
    union = shared.sum(axis=1, keepdims=True) + shared.sum(axis=0, keepdims=True) - shared
    iou = shared / np.maximum(union, 1)
    return segments[segments > 0], instances[instances > 0], iou[np.ix_(segments > 0, instances > 0)]


def assign_segments(
    segments: Segments, projected: np.ndarray, classes: Mapping[int, int], config: AssignConfig = DEFAULT_ASSIGN
) -> dict[int, int]:
    """Instance of each segment of one view.

    Args:
        segments: of the view.
        projected: (H, W) instance ids as the view sees them.
        classes: instance id -> class; 0 or absent is unknown, and unknown classes agree with all.
        config: mode and thresholds.

    Returns:
        Segment id -> instance id, or -1 where none overlaps enough.
    """
    segment_ids, instance_ids, iou = overlap_iou(segments.ids, projected)
    lookup = {int(segment): UNLABELLED for segment in segment_ids}
    if iou.size == 0:
        return lookup
    if config.mode == "many-to-one":
        pairs = list(enumerate(iou.argmax(axis=1)))
    else:
        class_of = dict(zip(segments.segment_ids.tolist(), segments.class_ids.tolist(), strict=True))
        of_segment = np.array([class_of.get(int(segment), 0) for segment in segment_ids])[:, None]
        of_instance = np.array([classes.get(int(instance), 0) for instance in instance_ids])[None]
        differ = (of_segment > 0) & (of_instance > 0) & (of_segment != of_instance)
        gain = np.where(iou > config.min_iou, iou * np.where(differ, config.other_class_weight, 1.0), 0.0)
        pairs = list(zip(*linear_sum_assignment(gain, maximize=True), strict=True))
    for row, column in pairs:
        if iou[row, column] > config.min_iou:
            lookup[int(segment_ids[row])] = int(instance_ids[column])
    return lookup


def match_masks3d(
    segments: Sequence[Segments], views: Sequence[DepthView], grid: IdGrid, config: AssignConfig = DEFAULT_ASSIGN
) -> MatchResult:
    """Give the segments of all views the ids of a grid; background (0) stays, what is assigned to none is unlabelled.

    Args:
        segments: one per view.
        views: rays and depth of the same views, in the frame of the grid.
        grid: 3D masks.
        config: mode and thresholds.

    Raises:
        InputError: the numbers of segments and views differ, or no view sees an instance of the grid.
    """
    if len(segments) != len(views):
        raise InputError(
            f"{len(segments)} segment maps and {len(views)} depth maps were given; match needs one of each"
        )
    maps, lookups, seen = [], [], False
    for own, view in zip(segments, views, strict=True):
        projected = resize_nearest(project_grid(grid, view, config.reach), own.ids.shape)
        seen |= bool((projected > 0).any())
        lookup = assign_segments(own, projected, grid.classes, config)
        table = np.full(int(own.ids.max(initial=0)) + 2, UNLABELLED, np.int32)
        table[0] = 0
        table[list(lookup)] = list(lookup.values())
        maps.append(table[own.ids])
        lookups.append(lookup)
    if not seen:
        raise InputError("no view sees an instance of the 3D masks; check that their box is in the data's own frame")
    return MatchResult(maps, _describe(maps, grid), lookups)


def _describe(maps: list[np.ndarray], grid: IdGrid) -> list[MatchedInstance]:
    """Instances of the grid in the order of their ids; those that no view got are listed with 0 views."""
    instances = []
    for number in np.unique(grid.ids[grid.ids > 0]).tolist():
        pixels = [int((ids == number).sum()) for ids in maps]
        voxels = np.argwhere(grid.ids == number)
        box = grid.box[0] + np.stack([voxels.min(axis=0), voxels.max(axis=0) + 1]) * grid.voxel_size
        num_views = sum(count > 0 for count in pixels)
        instances.append(MatchedInstance(number, grid.classes.get(number, 0), num_views, sum(pixels), box))
    return instances
