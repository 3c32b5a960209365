"""Feature maps on disk, one npz an image.

    FOLDER/manifest.json    what made them
    FOLDER/pca.npz          the projection to the channels that are kept; absent where nothing was projected
    FOLDER/<stem>.npz       features (h, w, C) float16, unit vectors; image_size (height, width); image_hash; origin

Maps stay at the resolution of their cells, are never enlarged, and are not compressed: float16 hardly shrinks.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Union
from zipfile import BadZipFile, ZipFile

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.features.pca import unit
from nerfseg_plugins.files import atomic_path, sha256_file
from nerfseg_plugins.manifest import MANIFEST, check_manifest

PCA_FILE = "pca.npz"
UNITS = 1e-2
"""How far lengths in a file may be from 1, or from 0 where nothing is described."""


@dataclass(frozen=True)
class FeatureMap:
    """The features of one image."""

    features: np.ndarray
    """(h, w, C) float16, of length 1 (0 where nothing is described); the image spans the grid exactly."""
    image_size: tuple[int, int]
    """(height, width) in pixels of the image."""
    image_hash: str
    """SHA-256 of the image file."""
    origin: str
    """`origin_of` the folder that it was written into: which manifest and projection it belongs to."""


def origin_of(folder: Path) -> str:
    """SHA-256 over a folder's manifest and projection, kept in its maps: a map of another folder shows."""
    digest = hashlib.sha256()
    for name in (MANIFEST, PCA_FILE):
        path = folder / name
        digest.update(f"{name} {sha256_file(path) if path.is_file() else None}\n".encode())
    return digest.hexdigest()


def write_map(path: Path, features: np.ndarray, image: Path, image_size: tuple[int, int], origin: str) -> None:
    """Write the features of an image, brought to length 1, whole or not at all.

    Args:
        path: .npz.
        features: (h, w, C).
        image: the image file.
        image_size: its (height, width).
        origin: `origin_of` the folder.

    Raises:
        InputError: the features are not finite.
        ValueError: they are no such array.
    """
    features = np.asarray(features)
    if features.ndim != 3 or 0 in features.shape:
        raise ValueError(f"features must be (h, w, C), not {features.shape}")
    check_finite(features, image)
    with atomic_path(path) as temporary:
        np.savez(
            temporary,
            features=unit(features.astype(np.float32)).astype(np.float16),
            image_size=np.array(image_size, np.int32),
            image_hash=np.array(sha256_file(image)),
            origin=np.array(origin),
        )


def check_finite(features: np.ndarray, image: Path) -> None:
    """Refuse features that are no numbers.

    Raises:
        InputError: names the image.
    """
    if not np.isfinite(features).all():
        bad = int((~np.isfinite(features)).any(axis=-1).sum())
        raise InputError(
            f"the features of {image} are not finite in {bad} of {features[..., 0].size} cells; use other weights "
            "(these are damaged, or overflow) or another --source"
        )


def read_map(path: Path) -> FeatureMap:
    """Read what `write_map` wrote.

    Raises:
        InputError: the file is missing, damaged, something else, or holds what is not finite.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            features = archive["features"]
            height, width = (int(side) for side in archive["image_size"])
            found = FeatureMap(features, (height, width), str(archive["image_hash"]), str(archive["origin"]))
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; make it with nerfseg features") from error
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile) as error:
        raise InputError(f"{path} is no readable feature map ({error}); remove it and run nerfseg features") from error
    if features.ndim != 3 or 0 in features.shape or features.dtype != np.float16 or min(height, width) < 1:
        raise InputError(f"{path} holds no (h, w, C) float16 features; remove it and run nerfseg features")
    if not np.isfinite(features).all():
        raise InputError(f"{path} holds features that are not finite; remove it and run nerfseg features")
    lengths = np.linalg.norm(features.astype(np.float32), axis=-1)
    if (np.minimum(np.abs(lengths - 1), lengths) > UNITS).any():
        raise InputError(f"{path} holds features that are no unit vectors; remove it and run nerfseg features")
    return found


def is_whole(path: Path, image: Path, image_size: tuple[int, int], origin: str) -> bool:
    """Whether a map is there, readable and of this image and folder; another is simply made again."""
    if not path.is_file():
        return False
    try:
        found = read_map(path)
    except InputError:
        return False
    return (found.image_size, found.origin) == (image_size, origin) and found.image_hash == sha256_file(image)


def find_map(folder: Path, image: Path) -> Optional[Path]:
    """The map of an image, if there is one.

    Maps lie in subfolders as their images do, so of `x/train/r_0.png` it is `train/r_0.npz` before `r_0.npz`.
    """
    parents = image.parent.parts[1:] if image.is_absolute() else image.parent.parts
    for start in range(len(parents) + 1):
        path = folder.joinpath(*parents[start:], f"{image.stem}.npz")
        if path.is_file() and path != folder / PCA_FILE:
            return path
    return None


class FeatureMaps:
    """The maps of many images in memory: float16, one after another, never enlarged; sampled at pixels.

    Attributes:
        features: (cells of all images, C) float16.
        shapes: (N, 2) long: rows and columns of each map.
        sizes: (N, 2) long: height and width in pixels of each image.
        starts: (N,) long: where each map begins in `features`.
    """

    def __init__(self, features: Tensor, shapes: Tensor, sizes: Tensor) -> None:
        """See the attributes; `starts` follows from the shapes."""
        self.features = features
        self.shapes = shapes
        self.sizes = sizes
        cells = shapes.prod(dim=1)
        self.starts = cells.cumsum(0) - cells

    @classmethod
    def load(cls, folder: Path, images: Sequence[Path], command: str) -> "FeatureMaps":
        """Read the maps of some images, straight to where they stay.

        Args:
            folder: with manifest.json.
            images: image files; their order is that of the image index in `sample`.
            command: that makes the folder anew, for messages.

        Raises:
            InputError: a map is missing or damaged, or is of another image, size or folder than it should be.
        """
        check_manifest(folder, {}, command)
        origin = origin_of(folder)
        paths = []
        for image in images:
            path = find_map(folder, image)
            if path is None:
                raise InputError(f"{folder} has no features of {image}; make them with: {command}")
            paths.append(path)
        shapes = [_read_shape(path, command) for path in paths]
        total, channels = sum(rows * columns for rows, columns, _ in shapes), shapes[0][2] if shapes else 0
        features = torch.empty(total, channels, dtype=torch.float16)
        sizes, start = [], 0
        for image, path in zip(images, paths, strict=True):
            try:
                found = read_map(path)
            except InputError as error:
                raise InputError(f"the features of {image} cannot be used: {error}") from error
            check_belongs(found, path, image, origin, channels, command)
            cells = found.features.shape[0] * found.features.shape[1]
            features[start : start + cells] = torch.from_numpy(found.features.reshape(cells, channels))
            sizes.append(found.image_size)
            start += cells
        grid = torch.tensor([shape[:2] for shape in shapes], dtype=torch.long).reshape(-1, 2)
        return cls(features, grid, torch.tensor(sizes, dtype=torch.long).reshape(-1, 2))

    @property
    def channels(self) -> int:
        """C."""
        return self.features.shape[1]

    @property
    def num_bytes(self) -> int:
        """Memory that the features take."""
        return self.features.numel() * self.features.element_size()

    def __len__(self) -> int:
        return len(self.shapes)

    def to(self, device: Union[str, torch.device]) -> "FeatureMaps":
        """The maps on another device."""
        return FeatureMaps(self.features.to(device), self.shapes.to(device), self.sizes.to(device))

    def sample(self, indices: Tensor) -> Tensor:
        """Features at pixel centres, bilinear between the centres of cells, constant beyond the outermost.

        Args:
            indices: (R, 3) long: image, row, column.

        Returns:
            (R, C) float32 on the device of the maps, of length 1 (0 where nothing is described).
        """
        image, row, column = indices.to(self.features.device).unbind(dim=1)
        y, x = (
            ((pixel + 0.5) / self.sizes[image, axis] * self.shapes[image, axis] - 0.5).clamp_min(0)
            for axis, pixel in enumerate((row, column))
        )
        last_row, last_column = (self.shapes[image, axis] - 1 for axis in range(2))
        top, left = y.long().minimum(last_row), x.long().minimum(last_column)
        down, right = (top + 1).minimum(last_row), (left + 1).minimum(last_column)
        # Beyond the last centre both neighbours are the same cell, whatever the shares are.
        v, u = (y - top)[:, None], (x - left)[:, None]
        first, width = self.starts[image], self.shapes[image, 1]
        upper, lower = first + top * width, first + down * width
        sampled = (1 - v) * ((1 - u) * self.features[upper + left] + u * self.features[upper + right])
        sampled = sampled + v * ((1 - u) * self.features[lower + left] + u * self.features[lower + right])
        return torch.nn.functional.normalize(sampled, dim=-1)


def check_belongs(found: FeatureMap, path: Path, image: Path, origin: str, channels: int, command: str) -> None:
    """Refuse a map of something else."""
    with Image.open(image) as opened:
        size = (opened.height, opened.width)
    if found.image_size != size:
        raise InputError(
            f"{path} is of an image of {found.image_size[1]}x{found.image_size[0]} pixels, but {image} has "
            f"{size[1]}x{size[0]}; make it again with: {command}"
        )
    if found.image_hash != sha256_file(image):
        raise InputError(f"{path} is of another image than {image}; make it again with: {command}")
    if found.origin != origin or found.features.shape[2] != channels:
        raise InputError(
            f"{path} was not made with the {MANIFEST} and {PCA_FILE} beside it; make it again with: {command}"
        )


def _read_shape(path: Path, command: str) -> tuple[int, int, int]:
    """(h, w, C) from the header of a map, without reading its values."""
    try:
        with ZipFile(path) as archive, archive.open("features.npy") as stream:
            version = np.lib.format.read_magic(stream)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            rows, columns, channels = read(stream)[0]
            return rows, columns, channels
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise InputError(f"{path} is no readable feature map ({error}); make it again with: {command}") from error
