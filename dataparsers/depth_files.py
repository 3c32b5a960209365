"""True depth and visibility of views, which the evaluation of view consistency needs; nothing is trained on them."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Optional

import numpy as np
from PIL import Image

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.files import inside

from .transforms import Frame, find_image, read_transforms

FARTHEST = 8.0
"""Depth of a black pixel in the 8-bit depth pictures of Blender-HS, data units."""
MILLIMETRE = 1e-3
"""16-bit depth pictures count millimetres, as everywhere in nerfstudio."""
VISIBLE_SIZE = 200
"""The released visibility masks lie in the lower right corner of their pictures, at this width and height."""


def depth_files(folder: Path, transforms: Iterable[Path], frames: Sequence[Frame]) -> list[Optional[Path]]:
    """The z-depth of each view: what `depth_file_path` names, else SPLIT_depth/NAME or depth/NAME; None without.

    Args:
        folder: the data folder.
        transforms: its JSON files, none where the frames come from elsewhere.
        frames: one split.

    Raises:
        InputError: a `depth_file_path` leaves the data folder.
    """
    listed = _listed(folder, transforms)
    files = []
    for frame in frames:
        stem, places = Path(frame.name).stem, [folder / "depth"]
        if frame.split is not None:
            places.insert(0, folder / f"{frame.split}_depth")
        names = (f"{stem}.npy", f"{stem}.png", f"{stem}_depth.png")
        candidates = [listed.get(frame.image), *(place / name for place in places for name in names)]
        files.append(next((path for path in candidates if path is not None and path.is_file()), None))
    return files


def read_depth(path: Path, size: Optional[tuple[int, int]] = None) -> np.ndarray:
    """Depth along the camera's -z axis.

    Args:
        path: `.npy` in data units; an 8-bit picture of Blender-HS, whose first channel v means 8 (1 - v / 256); or a
            16-bit picture in thousandths.
        size: (height, width) that the view has.

    Returns:
        (H, W) float32 in data units, 0 where nothing is.

    Raises:
        InputError: the file is damaged or of another size than the view.
    """
    try:
        if path.suffix.lower() == ".npy":
            array = np.load(path, allow_pickle=False)
        else:
            with Image.open(path) as image:
                array = np.array(image)
    except Exception as error:  # damaged headers end in all sorts of exceptions
        raise InputError(f"{path} is damaged or no depth map ({error}); write or copy it again") from error
    array = array[..., 0] if array.ndim == 3 else array
    if array.ndim != 2 or array.dtype.kind not in "fiu":
        raise InputError(f"{path} holds {array.dtype} values of shape {array.shape}; depth is one number per pixel")
    if size is not None and array.shape != tuple(size):
        raise InputError(
            f"{path} is {array.shape[1]}x{array.shape[0]} pixels but its image is {size[1]}x{size[0]}; "
            "render the depth at the size of the images"
        )
    if array.dtype == np.uint8:
        depth = np.where(array == 0, 0.0, FARTHEST * (1 - array / 256.0))
    elif path.suffix.lower() == ".npy":
        depth = array.astype(np.float32)
    else:
        depth = array * MILLIMETRE
    return np.where(np.isfinite(depth) & (depth > 0), depth, 0).astype(np.float32)


def visible_files(folder: Path, frames: Sequence[Frame], split: str) -> list[Optional[Path]]:
    """`val_visible/NAME.png`: which pixels of a view its rotated view sees too; of rotated views `NAME_rotate.png`."""
    suffix = "_rotate.png" if split == "rotate" else ".png"
    names = [Path(frame.name).stem.removesuffix("_rotate_90").removesuffix("_rotate") for frame in frames]
    files = [folder / "val_visible" / f"{name}{suffix}" for name in names]
    return [path if path.is_file() else None for path in files]


def read_visible(path: Path, size: tuple[int, int]) -> np.ndarray:
    """(H, W) bool at `size` (nearest pixel): which pixels are seen from both views.

    Raises:
        InputError: the picture is damaged.
    """
    try:
        with Image.open(path) as image:
            array = np.array(image)
    except Exception as error:  # as above
        raise InputError(f"{path} is damaged or no picture ({error}); copy it again") from error
    array = array[..., 0] if array.ndim == 3 else array
    if array.shape != tuple(size):
        array = array[-VISIBLE_SIZE:, -VISIBLE_SIZE:]
    rows = (np.arange(size[0]) + 0.5) * array.shape[0] / size[0]
    columns = (np.arange(size[1]) + 0.5) * array.shape[1] / size[1]
    return array[rows.astype(int)][:, columns.astype(int)] > 0


def _listed(folder: Path, transforms: Iterable[Path]) -> dict[Path, Path]:
    """Image -> the file that its frame names as `depth_file_path`."""
    found = {}
    for path in transforms:
        for entry in read_transforms(path)["frames"]:
            image = find_image(folder, entry["file_path"])
            if image is not None and isinstance(entry.get("depth_file_path"), str):
                found[image] = inside(folder, entry["depth_file_path"])
    return found
