"""Given 3D instance masks as an id grid: what NeRF-RCNN predicts (`masks/<scene>.npz`) or a voxel grid of ids.

A grid has W, L, H voxels along x, y, z of a box in the data frame (`room_bbox`), voxel (0, 0, 0) at its lower corner.
"""

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

import numpy as np

from nerfseg_plugins.errors import InputError

NUM_LABELS = 10
"""Labels that NeRF-RCNN predicts, 1..10."""
LABEL_CLASSES = (3, 4, 5, 6, 7, 10, 14, 32, 35, 39)
"""NYU40 class of label 1..10: cabinet, bed, chair, sofa, table, bookshelf, desk, nightstand, lamp, other furniture."""


@dataclass(frozen=True)
class IdGrid:
    """Instance ids of voxels."""

    ids: np.ndarray
    """(W, L, H) int32: 0 free or background, 1..N instances."""
    box: np.ndarray
    """(2, 3) float64 lower and upper corner, data frame."""
    classes: dict[int, int]
    """Instance id -> NYU40 class; ids of unknown class are left out."""

    @property
    def voxel_size(self) -> np.ndarray:
        """(3,) sides of a voxel."""
        return (self.box[1] - self.box[0]) / self.ids.shape

    def at(self, points: np.ndarray) -> np.ndarray:
        """(...,) int32 ids at points (..., 3), 0 outside of the box."""
        index = np.floor((points - self.box[0]) / self.voxel_size)
        inside = ((index >= 0) & (index < self.ids.shape)).all(axis=-1)
        x, y, z = np.moveaxis(np.where(inside[..., None], index, 0).astype(np.int64), -1, 0)
        return np.where(inside, self.ids[x, y, z], 0)


def merge_masks(masks: np.ndarray, scores: np.ndarray, min_score: float = 0.5) -> np.ndarray:
    """One id per voxel from overlapping masks: ids count the masks that are kept, from 1, and the higher score wins.

    Args:
        masks: (N, W, L, H) bool.
        scores: (N,) confidence.
        min_score: masks that do not exceed it are left out.

    Returns:
        (W, L, H) int32; of equal scores the first mask wins, ids are never added up.
    """
    kept = np.flatnonzero(scores > min_score)
    ids = np.zeros(masks.shape[1:], np.int32)
    # From the worst to the best, and among equals from the last to the first, so that what is better overwrites.
    for place in np.lexsort((-np.arange(len(kept)), scores[kept])):
        ids[masks[kept[place]]] = place + 1
    return ids


def read_masks3d(path: Path, box: Optional[np.ndarray], min_score: float = 0.5) -> IdGrid:
    """Read 3D masks.

    Args:
        path: `.npz` with `masks` (N, W, L, H) bool and `scores` (N,), optionally `labels` (N,) 1..10 and `bbox_min`,
            `bbox_max` (3,); or `.npy` with (W, L, H) integer ids.
        box: (2, 3) box of the grid in the data frame, for a file that does not say it.
        min_score: masks that do not exceed it are left out.

    Raises:
        InputError: the file is missing, damaged, lacks a key, has a wrong shape, or no box is known.
    """
    path = Path(path)
    if path.suffix.lower() not in (".npz", ".npy"):
        raise InputError(f"{path} is no 3D mask file; give NeRF-RCNN's .npz or a .npy grid of ids")
    arrays = _load(path)
    if "bbox_min" in arrays and "bbox_max" in arrays:
        box = np.stack([arrays["bbox_min"], arrays["bbox_max"]])
    if box is None:
        raise InputError(f"{path} does not say which box it fills and the data have no room_bbox; give --masks3d-box")
    box = np.asarray(box, np.float64)
    if box.shape != (2, 3) or not np.isfinite(box).all() or not (box[0] < box[1]).all():
        raise InputError(f"the box of {path} is {box.tolist()}; its lower corner must be below its upper one")
    if path.suffix.lower() == ".npy":
        ids = arrays["ids"]
        if ids.ndim != 3 or ids.size == 0 or ids.dtype.kind not in "iu":
            raise InputError(f"{path} has shape {ids.shape} of {ids.dtype}; an id grid is (W, L, H) integers")
        return IdGrid(np.maximum(ids, 0).astype(np.int32), box, {})
    masks, scores = _masks_and_scores(arrays, path)
    classes: dict[int, int] = {}
    if "labels" in arrays:
        labels = arrays["labels"]
        if labels.shape != scores.shape or np.any((labels < 1) | (labels > NUM_LABELS)):
            raise InputError(f"{path} must give each mask a label from 1 to {NUM_LABELS}; write `labels` again")
        kept_labels = labels[scores > min_score].tolist()
        classes = {place + 1: LABEL_CLASSES[int(label) - 1] for place, label in enumerate(kept_labels)}
    return IdGrid(merge_masks(masks, scores, min_score), box, classes)


def _load(path: Path) -> dict[str, np.ndarray]:
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {"ids": loaded}
        with loaded as archive:
            return {key: archive[key] for key in archive.files}
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; check --masks3d") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is damaged or truncated ({error}); write or copy it again") from error


def _masks_and_scores(arrays: dict[str, np.ndarray], path: Path) -> tuple[np.ndarray, np.ndarray]:
    for key in ("masks", "scores"):
        if key not in arrays:
            found = ", ".join(arrays) or "nothing"
            raise InputError(f"{path} has no {key!r}, only {found}; save masks (N, W, L, H) and scores (N,)")
    masks, scores = arrays["masks"], arrays["scores"]
    if masks.ndim != 4 or masks.dtype.kind not in "biu" or scores.shape != (len(masks),):
        raise InputError(
            f"{path} has masks of shape {masks.shape} and scores of shape {scores.shape}; save (N, W, L, H) and (N,)"
        )
    if not np.isfinite(scores).all():
        raise InputError(f"{path} has a score that is not finite; write it again")
    return masks.astype(bool), scores.astype(np.float64)
