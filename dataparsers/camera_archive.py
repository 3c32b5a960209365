"""`cameras.npz`: matrices of numbered cameras, as in DVR, IDR and what follows them; and taking them apart."""

import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.linalg import rq

from nerfseg_plugins.errors import InputError

SINGULAR = 1e-12
"""Determinants below this part of the matrix's size cubed are none."""
SKEW_TOLERANCE = 0.01
"""Part of the focal length that the skew of a pinhole camera may have."""


@dataclass(frozen=True)
class CameraArchive:
    """The arrays of a cameras.npz."""

    path: Path
    arrays: dict[str, np.ndarray]

    @classmethod
    def read(cls, path: Path) -> "CameraArchive":
        """Read an archive.

        Raises:
            InputError: it is missing or no archive of arrays of numbers.
        """
        if not path.is_file():
            raise InputError(f"{path} does not exist; restore it")
        try:
            with np.load(path, allow_pickle=False) as stored:
                arrays = {name: np.asarray(stored[name]) for name in stored.files}
        except (OSError, ValueError, EOFError, AttributeError, TypeError, zipfile.BadZipFile) as error:
            raise InputError(f"{path} is no readable archive of arrays ({error}); copy it again") from error
        return cls(path, arrays)

    def numbers(self) -> list[int]:
        """Numbers i of the cameras, for which there is world_mat_i or world_mat_inv_i."""
        found = (re.fullmatch(r"world_mat_(?:inv_)?(\d+)", name) for name in self.arrays)
        return sorted({int(match[1]) for match in found if match})

    def keys_of(self, images: Sequence[Path]) -> list[int]:
        """The camera number of each image: by order where there are as many cameras, else by the number in its name.

        Raises:
            InputError: neither way gives each image its camera.
        """
        numbers = self.numbers()
        if len(numbers) == len(images):
            return numbers
        names = [re.search(r"\d+$", image.stem) for image in images]
        keys = [int(match[0]) if match else -1 for match in names]
        if len(set(keys)) == len(keys) and set(keys) <= set(numbers):
            return keys
        raise InputError(
            f"{self.path} has {len(numbers)} cameras (world_mat_0 and so on) but {images[0].parent} has "
            f"{len(images)} images; each image needs its camera"
        )

    def matrix(self, name: str, index: int) -> np.ndarray:
        """(4, 4) float64 `NAME_INDEX`; a (3, 4) one gets the row 0 0 0 1.

        Raises:
            InputError: it is missing, of another shape or not finite.
        """
        key = f"{name}_{index}"
        if key not in self.arrays:
            raise InputError(f"{self.path} has no {key}; write it, or copy the file again")
        array = self.arrays[key]
        if array.dtype.kind not in "fiu" or array.shape not in ((4, 4), (3, 4), (3, 3)):
            raise InputError(f"{key} of {self.path} is {array.dtype} of shape {array.shape}; write a 4x4 matrix")
        if not np.all(np.isfinite(array)):
            raise InputError(f"{key} of {self.path} is not finite; correct it or remove the view")
        full = np.eye(4)
        full[: array.shape[0], : array.shape[1]] = array
        return full

    def inverse(self, name: str, index: int) -> np.ndarray:
        """(4, 4) float64 `NAME_inv_INDEX`, or the inverse of `NAME_INDEX`.

        Raises:
            InputError: neither is there, or it has no inverse.
        """
        if f"{name}_inv_{index}" in self.arrays:
            return self.matrix(f"{name}_inv", index)
        matrix = self.matrix(name, index)
        check_invertible(matrix, f"{name}_{index} of {self.path}")
        return np.linalg.inv(matrix)


class Decomposed(NamedTuple):
    """A projection matrix taken apart."""

    intrinsics: np.ndarray
    """(3, 3) upper triangular, pixels, 1 in the lower right corner."""
    c2w: np.ndarray
    """(4, 4) camera to world, OpenCV."""


def decompose(projection: np.ndarray, where: str) -> Decomposed:
    """K and the pose of P = K [R | t], up to a factor, by RQ decomposition (Hartley and Zisserman, 6.2.4).

    Args:
        projection: (4, 4) or (3, 4), world to homogeneous pixels.
        where: what it is, for messages.

    Raises:
        InputError: it projects to less than an image, or its pixels are skewed.
    """
    matrix = np.asarray(projection, dtype=np.float64)[:3]
    left = matrix[:, :3]
    check_invertible(left, where)
    if np.linalg.det(left) < 0:  # P and -P are the same projection, and a camera does not mirror
        matrix, left = -matrix, -left
    upper, rotation = rq(left)
    signs = np.diag(np.sign(np.diag(upper)))
    upper, rotation = upper @ signs, signs @ rotation
    c2w = np.eye(4)
    c2w[:3, :3] = rotation.T
    c2w[:3, 3] = -np.linalg.solve(left, matrix[:, 3])
    intrinsics = upper / upper[2, 2]
    if abs(intrinsics[0, 1]) > SKEW_TOLERANCE * intrinsics[0, 0]:
        raise InputError(
            f"{where} has skewed pixels (skew {intrinsics[0, 1]:.4g}, focal length {intrinsics[0, 0]:.4g}); "
            "rectify the images or correct the matrix"
        )
    return Decomposed(intrinsics, c2w)


def read_similarity(matrix: np.ndarray, where: str) -> tuple[float, np.ndarray, np.ndarray]:
    """Scale, rotation (3, 3) and translation (3,) of a scale matrix: x_data = scale R x_unit + translation.

    Raises:
        InputError: it has no inverse, or is none of these.
    """
    linear = np.asarray(matrix, dtype=np.float64)[:3, :3]
    check_invertible(linear, where)
    scale = float(np.cbrt(np.linalg.det(linear)))
    rotation = linear / scale
    if scale < 0 or np.abs(rotation.T @ rotation - np.eye(3)).max() > 1e-3:
        raise InputError(f"{where} mirrors, shears or scales its axes differently; write one scale for all axes")
    return scale, rotation, np.asarray(matrix, dtype=np.float64)[:3, 3]


def check_invertible(matrix: np.ndarray, where: str) -> None:
    """Refuse a matrix without an inverse.

    Raises:
        InputError: naming it as `where`.
    """
    linear = matrix[:3, :3]
    size = float(np.abs(linear).max())
    # Rows of a projection differ in size by the focal length: each is judged against its own.
    rows = np.linalg.norm(linear, axis=1)
    if size == 0 or rows.min() == 0 or abs(np.linalg.det(linear / rows[:, None])) < SINGULAR:
        raise InputError(f"{where} has no inverse; correct it or copy the file again")
