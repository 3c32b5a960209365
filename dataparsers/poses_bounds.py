"""LLFF's files, checked at the door: `poses_bounds.npy`, the folders of images beside it, and our `splits.json`.

Needs numpy and Pillow alone. Poses leave as float64 camera-to-world matrices in the OpenGL convention (x right, y up,
looking along -z), in the units of the file.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional
from zipfile import BadZipFile

import numpy as np

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.files import read_json

from .frame_values import Intrinsics, image_size, read_pose
from .transforms import IMAGE_SUFFIXES, natural_key

POSES_FILE = "poses_bounds.npy"
SPLITS_FILE = "splits.json"
COLUMNS = 17
LONG_SIDE = 1600
"""Where no factor is asked for, no larger images than this are read, if there are smaller ones."""


@dataclass(frozen=True)
class PosesBounds:
    """What `poses_bounds.npy` says of N views."""

    c2w: np.ndarray
    """(N, 4, 4) float64 camera-to-world, OpenGL, data units."""
    sizes: np.ndarray
    """(N, 2) width and height, pixels, that the focal lengths refer to."""
    focals: np.ndarray
    """(N,) focal lengths, pixels."""
    bounds: np.ndarray
    """(N, 2) nearest and farthest depth along the optical axis, data units."""


def read_poses_bounds(path: Path) -> PosesBounds:
    """Read `poses_bounds.npy`: per view a 3x5 matrix row by row, [down, right, back, position, (h, w, f)], then bounds.

    Raises:
        InputError: the file is missing, is no such array, or a row holds an impossible value.
    """
    rows = _read_rows(path)
    for index in np.flatnonzero(~np.isfinite(rows).all(axis=1))[:1]:
        raise InputError(f"row {index} of {path} is not finite; correct it, or remove it and its image")
    matrices, bounds = rows[:, :15].reshape(-1, 3, 5), rows[:, 15:]
    down, right, back, positions, camera = np.moveaxis(matrices, 2, 0)
    for index in np.flatnonzero(~(camera > 0).all(axis=1))[:1]:
        raise InputError(f"row {index} of {path} has height, width, focal length {camera[index]}; all must be positive")
    for index in np.flatnonzero(~((bounds[:, 0] > 0) & (bounds[:, 0] < bounds[:, 1])))[:1]:
        near, far = bounds[index]
        raise InputError(
            f"row {index} of {path} has the bounds near {near:.6g}, far {far:.6g}; write depths with 0 < near < far "
            "into its last two columns"
        )
    c2w = np.stack([right, -down, back, positions], axis=2)
    checked = [read_pose(matrix, f"row {index} of {path}") for index, matrix in enumerate(c2w)]
    return PosesBounds(np.stack(checked), camera[:, [1, 0]], camera[:, 2], bounds)


def _read_rows(path: Path) -> np.ndarray:
    """(N, 17) float64, N > 0."""
    if not path.is_file():
        raise InputError(
            f"{path} does not exist; give --data the folder that holds {POSES_FILE}, or make it with LLFF's imgs2poses"
        )
    try:
        rows = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError, BadZipFile) as error:
        raise InputError(
            f"{path} is no readable array of numbers ({str(error).splitlines()[0]}); save it again with numpy.save, "
            "as floats"
        ) from error
    if not isinstance(rows, np.ndarray) or rows.dtype.kind not in "fiu":
        raise InputError(f"{path} is no array of numbers; save an (N, {COLUMNS}) float array with numpy.save")
    if rows.ndim != 2 or rows.shape[1] != COLUMNS or len(rows) == 0:
        raise InputError(
            f"{path} has the shape {rows.shape}; write one row of {COLUMNS} numbers for each image: a 3x5 matrix with "
            "pose, height, width and focal length, then near and far"
        )
    return rows.astype(np.float64)


def find_images(data: Path, factor: Optional[int]) -> list[Path]:
    """The images of one resolution, in natural order of their names.

    Args:
        data: the folder that holds `images/`, `images_4/` ...
        factor: N for `images_N/`, 1 for `images/`; None for the largest images whose long side is at most
            `LONG_SIDE`, else the smallest there are.

    Raises:
        InputError: there are none, or none of that factor.
    """
    found = {1: list_images(data / "images")}
    for folder in data.glob("images_*"):
        number = folder.name.removeprefix("images_")
        if number.isascii() and number.isdigit():
            found[int(number)] = list_images(folder)
    found = {number: images for number, images in sorted(found.items()) if images}
    if not found:
        raise InputError(f"{data} has no png or jpg in images/ or images_N/; put the images there")
    if factor is None:
        fitting = (number for number, images in found.items() if max(image_size(images[0])) <= LONG_SIDE)
        factor = next(fitting, max(found))
    if factor not in found:
        there = ", ".join(str(number) for number in found)
        raise InputError(
            f"{data / (f'images_{factor}' if factor != 1 else 'images')} has no images; write them, or pass "
            f"--downscale-factor with one that exists: {there}"
        )
    return found[factor]


def list_images(folder: Path) -> list[Path]:
    """The png and jpg files of a folder, in natural order; hidden ones and a missing folder count as nothing."""
    if not folder.is_dir():
        return []
    images = [path for path in folder.iterdir() if path.suffix in IMAGE_SUFFIXES and not path.name.startswith(".")]
    return sorted(images, key=lambda path: natural_key(path.name))


def check_count(images: list[Path], poses: PosesBounds, path: Path) -> None:
    """Refuse images that cannot belong to the rows of `poses_bounds.npy`, which names none of them.

    Raises:
        InputError: another number of images than rows.
    """
    if len(images) != len(poses.c2w):
        raise InputError(
            f"{path} has {len(poses.c2w)} rows but {images[0].parent} has {len(images)} images; each row needs its "
            "image, in the order of their names"
        )


def scaled_intrinsics(image: Path, size: np.ndarray, focal: float, where: str) -> Intrinsics:
    """The camera of an image as it is on disk.

    Args:
        image: one image of any resolution.
        size: (2,) width and height that the focal length refers to.
        focal: pixels.
        where: the row, for messages.

    Raises:
        InputError: the image is unreadable or has another shape than the row says.
    """
    width, height = image_size(image)
    # Making an image smaller rounds each side by less than a pixel.
    if abs(width * size[1] - height * size[0]) > size.sum():
        raise InputError(
            f"{image} is {width}x{height} pixels, which is no smaller version of the {size[0]:g}x{size[1]:g} of "
            f"{where}; restore the image or correct the row"
        )
    fx, fy = focal * width / size[0], focal * height / size[1]
    return Intrinsics(fx, fy, width / 2, height / 2, width, height, (0.0,) * 6, "PINHOLE")


def read_splits(path: Path, images: list[Path]) -> list[Optional[str]]:
    """The split of each image as `splits.json` says: {"train": [names], "val": [names], optionally "test": [names]}.

    A name that no image has may differ in its suffix, since smaller versions are often saved in another format.

    Returns:
        Per image "train", "val", "test", or None for an image that the file leaves out.

    Raises:
        InputError: the file is no such object, names an unknown image, or one image twice, or leaves a side empty.
    """
    listed: Any = read_json(path)
    if not isinstance(listed, dict) or not all(isinstance(listed.get(key), list) for key in ("train", "val")):
        raise InputError(f'{path} must hold {{"train": [...], "val": [...]}} with names of images; write it so')
    names = {image.name: index for index, image in enumerate(images)}
    stems = {image.stem: index for index, image in enumerate(images)}
    splits: list[Optional[str]] = [None] * len(images)
    for split in ("train", "val", "test"):
        for name in listed.get(split) or []:
            index = names.get(str(name), stems.get(Path(str(name)).stem))
            if index is None:
                raise InputError(f"{path} names {name!r}, which {images[0].parent} does not hold; correct the name")
            if splits[index] is not None:
                raise InputError(f"{path} names {images[index].name} twice; a view is either trained on or held out")
            splits[index] = split
    for split in ("train", "val"):
        if split not in splits:
            raise InputError(f"{path} names no image for {split}; name at least one")
    return splits
