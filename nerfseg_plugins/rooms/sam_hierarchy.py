"""The Blender-HS layout (`sam-hierarchy`): RGBA views from outside and SAM-like masks at every level of a hierarchy."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from nerfseg_plugins.files import write_json
from nerfseg_plugins.rooms.noise import jitter_labels
from nerfseg_plugins.rooms.render import View
from nerfseg_plugins.rooms.rigs import orbit_frame
from nerfseg_plugins.rooms.room import Room
from nerfseg_plugins.rooms.writers import Shots, hierarchy, no_progress, save_ids, save_rgb, whole_folder

_BOX = ("bbox_x0", "bbox_y0", "bbox_w", "bbox_h")
_CROP = ("crop_box_x0", "crop_box_y0", "crop_box_w", "crop_box_h")
COLUMNS = ("id", "area", *_BOX, "point_input_x", "point_input_y", "predicted_iou", "stability_score", *_CROP)
"""Of SAM's `metadata.csv`."""
CONTAINED = 0.95
SAME = 0.9


def write_sam_hierarchy(
    path: Path,
    room: Room,
    shots: Shots,
    noisy: bool = False,
    overwrite: bool = False,
    progress: Callable[[], None] = no_progress,
) -> None:
    """Write an open room in the layout of Blender-HS (Ultrametric Feature Fields, He et al. 2024).

    - `SPLIT/r_0.png`: RGBA with straight alpha.
    - `transforms_SPLIT.json`: OpenGL poses in the nerf_synthetic convention: scene within ±1, cameras at radius 4.
    - `gt_seg/SPLIT/r_0_{parts,objects,collections}.png`: 16-bit ids, 0 background.
    - `SPLIT_seg/r_0/0.png` and so on: masks of parts, objects and groups, largest first; beside them `metadata.csv`.
    - `SPLIT_seg_hierarchy/r_0_{inside,same}.npy`: see `containment`; masks in lexicographic order of their names.
    - `SPLIT_depth/r_0.npy`: float16 z-depth in scene units, 0 background.
    - `hierarchy.json`: part -> object -> group.

    Args:
        path: the folder to make.
        room: an open one (`make_room(..., enclosed=False)`).
        shots: from where, see `rigs.orbit_cameras`.
        noisy: drop 10 % of the masks and move their boundaries by up to 1.5 pixels.
        overwrite: replace a folder that has something in it.
        progress: called after each view.

    Raises:
        InputError: the folder is not empty.
    """
    with whole_folder(path, overwrite) as folder:
        for split in ("train", "val"):
            for name in (split, f"{split}_seg", f"{split}_seg_hierarchy", f"{split}_depth", f"gt_seg/{split}"):
                (folder / name).mkdir(parents=True)
            frames = []
            for index, view in enumerate(shots.views(room, split)):
                rng = np.random.default_rng([room.seed, 43, index, split == "val"]) if noisy else None
                frames.append(_write_view(folder, room, split, index, view, rng))
                progress()
            angle = (list(shots.train) + list(shots.val))[0].angle_x
            head = {"camera_angle_x": angle, "w": shots.width, "h": shots.height}
            write_json(folder / f"transforms_{split}.json", {**head, "frames": frames})
        tree: dict[str, Any] = hierarchy(room)
        for item in tree["objects"].values():
            item["collection"] = item["group"]
        write_json(folder / "hierarchy.json", {**tree, "collections": tree["groups"]})


def smallest_mask(pixels: int) -> int:
    """Pixels below which a mask is left out, in an image of so many."""
    return max(8, pixels // 1600)


def segment_masks(levels: Sequence[np.ndarray], min_area: int, rng: np.random.Generator | None = None) -> np.ndarray:
    """SAM-like masks of a view.

    Args:
        levels: (H, W) exact ids of groups, objects and parts, coarse to fine; 0 and below are none.
        min_area: pixels below which a mask is left out.
        rng: of dropping 10 % of the masks and moving boundaries by up to 1.5 pixels; exact masks without it.

    Returns:
        (M, H, W) bool, largest first; of masks whose IoU exceeds 0.9 only the first is kept.
    """
    masks = []
    for labels in levels:
        for label in np.unique(labels[labels > 0]):
            mask = labels == label
            if rng is not None:
                mask = jitter_labels(mask, 1.5, rng)
                if rng.uniform() < 0.1:
                    continue
            if mask.sum() >= min_area:
                masks.append(mask)
    if not masks:
        return np.zeros((0, *levels[0].shape), dtype=bool)
    order = np.argsort([-int(mask.sum()) for mask in masks], kind="stable")
    stack = np.stack(masks)[order]
    _, same = containment(stack)
    keep: list[int] = []
    for index in range(len(stack)):
        if not same[index, keep].any():
            keep.append(index)
    return stack[keep]


def containment(masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which mask lies in which.

    Args:
        masks: (M, H, W) bool.

    Returns:
        inside (M, M): |i ∩ j| / |i| > 0.95 and IoU < 0.9, so i is a child of j; same (M, M): IoU > 0.9.
    """
    flat = masks.reshape(len(masks), -1).astype(np.float32)
    shared = (flat @ flat.T).astype(float)
    area = np.diag(shared)
    iou = shared / np.maximum(area[:, None] + area[None] - shared, 1)
    return (shared / np.maximum(area[:, None], 1) > CONTAINED) & (iou < SAME), iou > SAME


def _write_view(
    folder: Path, room: Room, split: str, index: int, view: View, rng: np.random.Generator | None
) -> dict[str, Any]:
    """Write all files of a view and return its entry of `transforms_SPLIT.json`."""
    name = f"r_{index}"
    centre, scale = orbit_frame(room)
    save_rgb(folder / split / f"{name}.png", np.concatenate([view.rgb, view.alpha[..., None]], -1))
    np.save(folder / f"{split}_depth" / f"{name}.npy", (view.depth * scale).astype(np.float16))
    levels = {"parts": view.parts, "objects": view.instances, "collections": view.groups}
    for level, ids in levels.items():
        save_ids(folder / "gt_seg" / split / f"{name}_{level}.png", ids)
    masks = segment_masks((view.groups, view.instances, view.parts), smallest_mask(view.parts.size), rng)
    segments = folder / f"{split}_seg" / name
    segments.mkdir()
    for number, mask in enumerate(masks):
        Image.fromarray(mask.astype(np.uint8) * 255).save(segments / f"{number}.png")
    _write_metadata(segments / "metadata.csv", masks)
    # Readers index the matrices by file names in lexicographic order: 0, 1, 10, 11, 2, ...
    order = np.array(sorted(range(len(masks)), key=str), dtype=int)
    inside, same = containment(masks[order])
    np.save(folder / f"{split}_seg_hierarchy" / f"{name}_inside.npy", inside)
    np.save(folder / f"{split}_seg_hierarchy" / f"{name}_same.npy", same)
    c2w = view.camera.c2w.copy()
    c2w[:3, 3] = (c2w[:3, 3] - centre) * scale
    return {
        "file_path": f"./{split}/{name}",
        "rotation": 0.0,
        "transform_matrix": c2w.tolist(),
        "depth_file_path": f"./{split}_depth/{name}.npy",
    }


def _write_metadata(path: Path, masks: np.ndarray) -> None:
    height, width = masks.shape[1:]
    with open(path, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        for number, mask in enumerate(masks):
            rows, columns = np.nonzero(mask)
            middle = len(rows) // 2
            box = (columns.min(), rows.min(), np.ptp(columns), np.ptp(rows))
            # Exact masks have no predicted quality: 1.0 marks them as such.
            writer.writerow([number, len(rows), *box, columns[middle], rows[middle], 1.0, 1.0, 0, 0, width, height])
