"""The layouts of data sets of many objects or scans: SRN, NMR and DVR."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from nerfseg_plugins.rooms.cameras import Camera
from nerfseg_plugins.rooms.category import SPLITS, CategoryObject
from nerfseg_plugins.rooms.render import render_color
from nerfseg_plugins.rooms.room import Room
from nerfseg_plugins.rooms.writers import Shots, no_progress, save_rgb, whole_folder

OPENCV = np.diag([1.0, -1.0, -1.0, 1.0])
"""Between the OpenGL and the OpenCV camera: y and z are reversed."""
Y_UP = np.array([[1.0, 0, 0, 0], [0, 0, 1.0, 0], [0, -1.0, 0, 0], [0, 0, 0, 1.0]])
"""From z-up to the y-up world of the NMR renderings."""
Y_DOWN = np.array([[1.0, 0, 0, 0], [0, 0, -1.0, 0], [0, 1.0, 0, 0], [0, 0, 0, 1.0]])
"""From z-up to the world of DTU, whose y points down."""
MASK_SHARE = 128
"""Alpha from which a pixel belongs to the foreground."""
DVR_CATEGORY = "DTU"
"""Folder of the scans within a data set in DVR's layout, as in rs_dtu_4."""


def write_srn(
    path: Path,
    category: str,
    objects: Sequence[CategoryObject],
    overwrite: bool = False,
    progress: Callable[[], None] = no_progress,
) -> None:
    """Write objects in the layout of Scene Representation Networks (Sitzmann et al. 2019).

    `CATEGORY_SPLIT/OBJECT/rgb/000000.png` (white background), `pose/000000.txt` (camera to world in one row of 16
    numbers, OpenCV, z up) and `intrinsics.txt`.

    Args:
        path: the folder to make.
        category: such as `chairs`.
        objects: what to photograph.
        overwrite: replace a folder that has something in it.
        progress: called after each view.

    Raises:
        InputError: the folder is not empty.
    """
    with whole_folder(path, overwrite) as folder:
        for split in SPLITS:
            (folder / f"{category}_{split}").mkdir()
        for item in objects:
            target, shots = folder / f"{category}_{item.split}" / item.name, item.shots
            for name in ("rgb", "pose"):
                (target / name).mkdir(parents=True)
            focal = shots.train[0].focal(shots.width)
            (target / "intrinsics.txt").write_text(
                f"{focal:.6f} {shots.width / 2:.6f} {shots.height / 2:.6f} 0.\n0. 0. 0.\n1.\n"
                f"{shots.height} {shots.width}\n"
            )
            for index, (camera, rgb, _) in enumerate(_pictures(item.room, shots, 255)):
                save_rgb(target / "rgb" / f"{index:06d}.png", rgb)
                row = (camera.c2w @ OPENCV).ravel()
                (target / "pose" / f"{index:06d}.txt").write_text(" ".join(f"{value:.9g}" for value in row) + "\n")
                progress()


def write_nmr(
    path: Path,
    category: str,
    objects: Sequence[CategoryObject],
    overwrite: bool = False,
    progress: Callable[[], None] = no_progress,
) -> None:
    """Write objects in the layout of the NMR renderings of ShapeNet (Kato et al. 2018, as released by DVR).

    `CATEGORY/softras_SPLIT.lst`, `CATEGORY/OBJECT/image/0000.png` (white background), `mask/0000.png` and
    `cameras.npz`: `world_mat_i` (4, 4) world to camera (OpenCV, y up), `camera_mat_i` (4, 4) with focal lengths in half
    image widths, and the inverses of both.

    Args: see `write_srn`.

    Raises:
        InputError: the folder is not empty.
    """
    with whole_folder(path, overwrite) as folder:
        for split in SPLITS:
            names = [item.name for item in objects if item.split == split]
            _write_list(folder / category / f"softras_{split}.lst", names)
        for item in objects:
            cameras: dict[str, np.ndarray] = {}
            target, shots = folder / category / item.name, item.shots
            for index, (camera, rgb, mask) in enumerate(_pictures(item.room, shots, 255)):
                _save_picture(target, f"{index:04d}.png", rgb, mask)
                world = np.linalg.inv(Y_UP @ camera.c2w @ OPENCV)
                focal = 2 * camera.focal(shots.width)
                intrinsics = np.diag([focal / shots.width, focal / shots.height, 1.0, 1.0])
                _put(cameras, "world_mat", index, world)
                _put(cameras, "camera_mat", index, intrinsics)
                progress()
            np.savez(target / "cameras.npz", **cameras)  # type: ignore[arg-type]


def write_dvr(
    path: Path,
    scans: Iterable[tuple[str, str, Room, Shots]],
    overwrite: bool = False,
    progress: Callable[[], None] = no_progress,
) -> None:
    """Write scans in the layout of DVR's DTU (Niemeyer et al. 2020), `rs_dtu_4`.

    `DTU/new_SPLIT.lst`, `DTU/SCAN/image/000000.png` (black background), `mask/000000.png` and `cameras.npz`:
    `world_mat_i` (4, 4) = K [R | t], world (metres, y down) to pixels, and `scale_mat_i` (4, 4) from a frame in which
    the scan fits the unit sphere to the world.

    Args:
        path: the folder to make.
        scans: (name, split, room, cameras) of each scan; made one after another, so that they need not all exist.
        overwrite: replace a folder that has something in it.
        progress: called after each view.

    Raises:
        InputError: the folder is not empty.
    """
    with whole_folder(path, overwrite) as folder:
        names: dict[str, list[str]] = {split: [] for split in SPLITS}
        for name, split, room, shots in scans:
            names[split].append(name)
            cameras: dict[str, np.ndarray] = {}
            target = folder / DVR_CATEGORY / name
            unit = unit_sphere(room)
            for index, (camera, rgb, mask) in enumerate(_pictures(room, shots, 0)):
                _save_picture(target, f"{index:06d}.png", rgb, mask)
                _put(cameras, "world_mat", index, projection(camera, shots.width, shots.height) @ Y_DOWN.T)
                _put(cameras, "scale_mat", index, unit)
                progress()
            np.savez(target / "cameras.npz", **cameras)  # type: ignore[arg-type]
        for split, chosen in names.items():
            _write_list(folder / DVR_CATEGORY / f"new_{split}.lst", chosen)


def projection(camera: Camera, width: int, height: int) -> np.ndarray:
    """(4, 4) whose first three rows take world points to homogeneous pixels; (0, 0) is the first pixel's centre."""
    focal = camera.focal(width)
    intrinsics = np.eye(4)
    intrinsics[:2, :3] = [[focal, 0, width / 2 - 0.5], [0, focal, height / 2 - 0.5]]
    return intrinsics @ np.linalg.inv(camera.c2w @ OPENCV)


def unit_sphere(room: Room) -> np.ndarray:
    """(4, 4) from a frame in which the room fits the unit sphere, with 5 % to spare, to the world whose y is down."""
    vertices = room.surfaces.vertices @ Y_DOWN[:3, :3].T
    centre = (vertices.min(0) + vertices.max(0)) / 2
    radius = 1.05 * float(np.linalg.norm(vertices - centre, axis=1).max())
    matrix = np.diag([radius, radius, radius, 1.0])
    matrix[:3, 3] = centre
    return matrix


def over(rgb: np.ndarray, alpha: np.ndarray, background: int) -> np.ndarray:
    """(H, W, 3) uint8: colours of straight `alpha` (H, W) uint8 over a grey `background` in 0..255."""
    share = alpha[..., None].astype(float) / 255
    return (rgb * share + background * (1 - share) + 0.5).astype(np.uint8)


def _pictures(room: Room, shots: Shots, background: int) -> Iterable[tuple[Camera, np.ndarray, np.ndarray]]:
    """(camera, (H, W, 3) uint8, (H, W) bool foreground) of each camera, one after another."""
    for camera in shots.train:
        rgb, alpha = render_color(room, camera, shots.width, shots.height)
        yield camera, over(rgb, alpha, background), alpha >= MASK_SHARE


def _save_picture(target: Path, name: str, rgb: np.ndarray, mask: np.ndarray) -> None:
    for folder in ("image", "mask"):
        (target / folder).mkdir(parents=True, exist_ok=True)
    save_rgb(target / "image" / name, rgb)
    Image.fromarray(mask.astype(np.uint8) * 255).save(target / "mask" / name)


def _put(cameras: dict[str, np.ndarray], name: str, index: int, matrix: np.ndarray) -> None:
    cameras[f"{name}_{index}"] = matrix
    cameras[f"{name}_inv_{index}"] = np.linalg.inv(matrix)


def _write_list(path: Path, names: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{name}\n" for name in names))
