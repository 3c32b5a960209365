"""The LLFF layout: `poses_bounds.npy` beside folders of images at falling resolutions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from nerfseg_plugins.files import write_json
from nerfseg_plugins.rooms.noise import NoiseLevel, noisy_ids
from nerfseg_plugins.rooms.room import Room
from nerfseg_plugins.rooms.writers import Shots, hierarchy, no_progress, save_ids, save_rgb, whole_folder

FACTORS = (2, 4)
"""`images_2` and `images_4` are written beside `images`."""


def write_llff(
    path: Path,
    room: Room,
    shots: Shots,
    noisy: bool = False,
    overwrite: bool = False,
    progress: Callable[[], None] = no_progress,
) -> None:
    """Write a room in the layout of LLFF (Mildenhall et al. 2019).

    `poses_bounds.npy`, `images/image000.png`, `images_2/`, `images_4/`, and beside them what LLFF does not know:
    `masks/` and `parts/` (16-bit ids at full size), `depth/` (float16, z-depth, metres), `hierarchy.json` and
    `splits.json` with the file names of `train` and `val`; with `noisy` also `masks_noisy/`. Held-out views are spread
    evenly and start with the first, as in LLFF, where every eighth is held out.

    Args:
        path: the folder to make.
        room: what to photograph.
        shots: from where, see `rigs.forward_cameras`.
        noisy: also write what an imperfect 2D network would say.
        overwrite: replace a folder that has something in it.
        progress: called after each view.

    Raises:
        InputError: the folder is not empty.
    """
    level = NoiseLevel.for_width(shots.width)
    size = (shots.width, shots.height)
    smaller = [factor for factor in FACTORS if min(size) // factor >= 8]
    folders = ["images", "masks", "parts", "depth"] + [f"images_{factor}" for factor in smaller]
    with whole_folder(path, overwrite) as folder:
        for name in folders + (["masks_noisy"] if noisy else []):
            (folder / name).mkdir()
        splits: dict[str, list[str]] = {"train": [], "val": []}
        rows = []
        order = _held_out_first(len(shots.train), len(shots.val))
        sources = {"train": shots.views(room, "train"), "val": shots.views(room, "val")}
        for index, split in enumerate(order):
            view, stem = next(sources[split]), f"image{index:03d}"
            splits[split].append(f"{stem}.png")
            save_rgb(folder / "images" / f"{stem}.png", view.rgb)
            for factor in smaller:
                small = Image.fromarray(view.rgb).resize((size[0] // factor, size[1] // factor), Image.Resampling.BOX)
                save_rgb(folder / f"images_{factor}" / f"{stem}.png", np.asarray(small))
            save_ids(folder / "masks" / f"{stem}.png", view.instances)
            save_ids(folder / "parts" / f"{stem}.png", view.parts)
            np.save(folder / "depth" / f"{stem}.npy", view.depth.astype(np.float16))
            if noisy:
                rng = np.random.default_rng([room.seed, 47, index])
                ids, segments = noisy_ids(view.instances, room.object_to_class, level, rng)
                save_ids(folder / "masks_noisy" / f"{stem}.png", ids)
                write_json(folder / "masks_noisy" / f"{stem}.json", segments)
            bounds = (0.9 * float(view.depth.min()), 1.05 * float(view.depth.max()))
            rows.append(pose_row(view.camera.c2w, view.camera.focal(shots.width), shots.width, shots.height, bounds))
            progress()
        np.save(folder / "poses_bounds.npy", np.stack(rows))
        write_json(folder / "splits.json", splits)
        write_json(folder / "hierarchy.json", hierarchy(room))


def pose_row(c2w: np.ndarray, focal: float, width: int, height: int, bounds: tuple[float, float]) -> np.ndarray:
    """One row of `poses_bounds.npy`.

    Args:
        c2w: (4, 4) OpenGL camera to world (x right, y up, z back).
        focal: pixels.
        width: pixels.
        height: pixels.
        bounds: nearest and farthest z-depth.

    Returns:
        (17,): a 3x5 matrix row by row, whose columns are the camera's down, right and back axes, its position and
        (height, width, focal); then the two bounds.
    """
    right, up, back, position = c2w[:3, :4].T
    matrix = np.stack([-up, right, back, position, np.array([height, width, focal])], 1)
    return np.concatenate([matrix.ravel(), bounds])


def pose_from_row(row: np.ndarray) -> np.ndarray:
    """(4, 4) OpenGL camera to world of a (17,) row of `poses_bounds.npy`: the inverse of `pose_row`."""
    down, right, back, position = np.asarray(row)[:15].reshape(3, 5).T[:4]
    c2w = np.eye(4)
    c2w[:3, :4] = np.stack([right, -down, back, position], 1)
    return c2w


def _held_out_first(num_train: int, num_val: int) -> list[str]:
    """The split of each image: `val` at 0, h, 2h, ... with the largest step h that fits all of them."""
    total = num_train + num_val
    step = max(1, total // max(num_val, 1))
    return ["val" if index % step == 0 and index // step < num_val else "train" for index in range(total)]
