"""The visual hull of masks (Laurentini 1994), as a test of cameras: only with true ones does it reproject onto all."""

from __future__ import annotations

import numpy as np
from nerfstudio.cameras.cameras import Cameras

from nerfseg_plugins.errors import InputError

SEEN = 0.5
"""Part of the views that must see a voxel: one that few see is hardly tested, and would fill their masks whatever the
cameras are."""
CHUNK = 1 << 20
"""Voxels that are projected at once."""


def hull_iou(cameras: Cameras, masks: np.ndarray, box: np.ndarray, resolution: int) -> np.ndarray:
    """Carve the hull of all masks and compare what each camera sees of it with its mask.

    Args:
        cameras: N pinhole cameras.
        masks: (N, H, W) bool, the object in each view.
        box: (2, 3) lower and upper corner of where the object is, in the cameras' frame.
        resolution: voxels along the longest side of the box; voxels are cubes.

    Returns:
        (N,) intersection over union of each view's mask and the reprojected hull.

    Raises:
        InputError: masks, cameras or box do not fit together.
    """
    _check(cameras, masks, box, resolution)
    points, side = carve_hull(cameras, masks, box, resolution)
    return np.array([_iou(masks[view], draw_voxels(cameras, view, points, side)) for view in range(len(masks))])


def carve_hull(cameras: Cameras, masks: np.ndarray, box: np.ndarray, resolution: int) -> tuple[np.ndarray, float]:
    """Voxels whose centres no mask excludes. A camera that does not see a point says nothing about it; a point that
    no camera sees is excluded.

    Args: see `hull_iou`.

    Returns:
        (M, 3) float32 centres, and the side length of a voxel.
    """
    low, high = np.asarray(box, dtype=np.float64)
    side = float((high - low).max()) / resolution
    axes = [np.arange(lower + side / 2, upper, side) for lower, upper in zip(low, high, strict=True)]
    sizes = [len(axis) for axis in axes]
    kept = []
    for start in range(0, int(np.prod(sizes)), CHUNK):
        index = np.unravel_index(np.arange(start, min(start + CHUNK, int(np.prod(sizes)))), sizes)
        points = np.stack([axis[item] for axis, item in zip(axes, index, strict=True)], axis=-1)
        seen = np.zeros(len(points), dtype=np.int64)
        for view in range(len(masks)):
            pixels, depth = _project(cameras, view, points)
            columns, rows = np.floor(pixels).astype(np.int64).T
            height, width = masks[view].shape
            inside = (depth > 0) & (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
            keep = ~inside
            keep[inside] = masks[view][rows[inside], columns[inside]]
            points, seen = points[keep], (seen + inside)[keep]
        kept.append(points[seen >= SEEN * len(masks)].astype(np.float32))
    return np.concatenate(kept), side


def draw_voxels(cameras: Cameras, view: int, points: np.ndarray, side: float) -> np.ndarray:
    """What a camera sees of voxels, each drawn as the square that its front face has there, at least one pixel wide.

    Args:
        cameras: pinhole cameras.
        view: which of them.
        points: (M, 3) centres of the voxels.
        side: their side length.

    Returns:
        (H, W) bool.
    """
    height, width = int(cameras.height[view]), int(cameras.width[view])
    image = np.zeros((height, width), dtype=bool)
    pixels, depth = _project(cameras, view, points)
    pixels, depth = pixels[depth > 0], depth[depth > 0]
    if len(depth) == 0:
        return image
    focal = np.array([float(cameras.fx[view]), float(cameras.fy[view])])
    half = np.maximum(focal * side / depth[:, None], 1.0) / 2
    # Pixels whose centre (i + 0.5) lies within the square.
    first, last = np.ceil(pixels - half - 0.5).astype(np.int64), np.floor(pixels + half - 0.5).astype(np.int64)
    first, last = np.maximum(first, 0), np.minimum(last, [width - 1, height - 1])
    spans = np.maximum(last - first + 1, 0)
    for x in range(int(spans[:, 0].max())):
        for y in range(int(spans[:, 1].max())):
            drawn = (x < spans[:, 0]) & (y < spans[:, 1])
            image[first[drawn, 1] + y, first[drawn, 0] + x] = True
    return image


def _project(cameras: Cameras, view: int, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(M, 2) pixels ((0, 0) is the image's corner) and (M,) depth along the optical axis of (M, 3) points."""
    c2w = cameras.camera_to_worlds[view].cpu().numpy().astype(np.float64)
    local = (points - c2w[:, 3]) @ c2w[:, :3]
    depth = -local[:, 2]
    safe = np.where(depth > 0, depth, 1.0)
    x = float(cameras.cx[view]) + float(cameras.fx[view]) * local[:, 0] / safe
    y = float(cameras.cy[view]) - float(cameras.fy[view]) * local[:, 1] / safe
    return np.stack([x, y], axis=-1), depth


def _iou(first: np.ndarray, second: np.ndarray) -> float:
    either = int((first | second).sum())
    return int((first & second).sum()) / either if either else 1.0


def _check(cameras: Cameras, masks: np.ndarray, box: np.ndarray, resolution: int) -> None:
    if masks.ndim != 3 or masks.dtype != bool or len(masks) != len(cameras) or len(masks) == 0:
        raise InputError(f"masks are {masks.dtype} of shape {masks.shape}; give {len(cameras)} bool masks (N, H, W)")
    sizes = np.stack([cameras.height.flatten().cpu().numpy(), cameras.width.flatten().cpu().numpy()], axis=-1)
    wrong = np.flatnonzero((sizes != masks.shape[1:]).any(axis=1))
    if len(wrong):
        height, width = sizes[wrong[0]]
        raise InputError(
            f"camera {wrong[0]} has {width}x{height} pixels but the masks {masks.shape[2]}x{masks.shape[1]}; "
            "scale one to the other"
        )
    if cameras.distortion_params is not None and bool(cameras.distortion_params.any()):
        raise InputError("the cameras have lens distortion; undistort the masks first")
    box = np.asarray(box)
    if box.shape != (2, 3) or not np.all(box[0] < box[1]) or resolution < 1:
        raise InputError(f"box is {box.tolist()} and resolution {resolution}; give two corners and 1 or more voxels")
