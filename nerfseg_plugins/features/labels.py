"""A stand-in for a network's features, made from true labels: for trying methods and measuring them without weights.

Every class and every kind of part has a fixed random direction; a pixel is described by that of its class plus half of
that of its part, so two chairs are alike and their legs more so, as with DINO. Cells average their pixels, and noise,
some of it smooth, is laid over them.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from nerfseg_plugins.features.classical import grid_of, pool
from nerfseg_plugins.features.extract import Progress, Target, no_progress, write_maps
from nerfseg_plugins.features.pca import unit
from nerfseg_plugins.manifest import MANIFEST, Manifest, check_manifest, hash_images, write_manifest

SOURCE = "labels"
PART_WEIGHT = 0.5
SMOOTH_SIGMA = 4.0
"""Of the smooth noise, in cells."""


@dataclass(frozen=True)
class LabelOptions:
    """How good the stand-in is."""

    channels: int = 64
    """Of the features."""
    stride: int = 4
    """Pixels between neighbouring cells."""
    noise: float = 0.3
    """Length of the noise that is drawn for each cell; features have length 1."""
    smooth_noise: float = 0.2
    """Length of the noise that varies slowly over the image."""
    seed: int = 0
    """Of directions and noise."""


def write_label_features(
    folder: Path,
    images: Sequence[Path],
    class_maps: Sequence[np.ndarray],
    part_maps: Sequence[np.ndarray],
    options: LabelOptions = LabelOptions(),
    files: Sequence[Path] = (),
    labels: str = "",
    command: str = "nerfseg features --source labels --overwrite",
    progress: Progress = no_progress,
) -> int:
    """Write features and their manifest for images with known labels; what is there already stays.

    Args:
        folder: such as DATA/features/labels.
        images: N image files.
        class_maps: N arrays (H', W') of class ids, at the images' size or another of the same shape.
        part_maps: N arrays (H', W') of kinds of parts: equal numbers for parts that are alike, whosoever they are.
        options: noise and resolution.
        files: N names of maps below the folder; none for the images' own names.
        labels: a checksum of the labels for the manifest.
        command: that makes the folder anew, for messages.
        progress: shows how far it is.

    Returns:
        How many maps were written.

    Raises:
        InputError: the folder holds features of other images, labels or options.
        ValueError: labels and images are not equally many.
    """
    if not len(images) == len(class_maps) == len(part_maps):
        raise ValueError(f"{len(images)} images have {len(class_maps)} class maps and {len(part_maps)} part maps")
    names = files or [Path(f"{image.stem}.npz") for image in images]
    sizes = [_image_size(image) for image in images]
    manifest = label_manifest(images, sizes[0], options, labels)
    if (folder / MANIFEST).exists():
        check_manifest(folder, manifest, command)
    else:
        write_manifest(folder, manifest)
    targets = [Target(image, folder / name, size) for image, name, size in zip(images, names, sizes, strict=True)]
    places = {target.file: place for place, target in enumerate(targets)}

    def described(batch: Sequence[Target]) -> list[np.ndarray]:
        found = (places[target.file] for target in batch)
        return [
            label_features(class_maps[place], part_maps[place], grid_of(sizes[place], options.stride), place, options)
            for place in found
        ]

    return write_maps(described, targets, folder, progress=progress)


def _image_size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.height, image.width


def label_manifest(
    images: Sequence[Path], image_size: tuple[int, int], options: LabelOptions, labels: str = ""
) -> Manifest:
    """What features from labels come from."""
    parameters = {**asdict(options), "labels": labels}
    return Manifest(SOURCE, "class-part-directions-1", None, image_size, hash_images(images), parameters)


def label_features(
    classes: np.ndarray, kinds: np.ndarray, grid: tuple[int, int], place: int, options: LabelOptions
) -> np.ndarray:
    """The features of one image.

    Args:
        classes: (H', W') ids.
        kinds: (H', W') kinds of parts.
        grid: (h, w) rows and columns of cells.
        place: of the image among all; its noise follows from it.
        options: noise and resolution.

    Returns:
        (h, w, C) float32 unit vectors.
    """
    pairs, index = np.unique(np.stack([classes.ravel(), kinds.ravel()]), axis=1, return_inverse=True)
    shares = np.eye(pairs.shape[1], dtype=np.float32)[index.reshape(classes.shape)]
    rows, columns = grid
    directions = np.stack([embedding(int(one), int(kind), options) for one, kind in pairs.T])
    rng = np.random.default_rng([options.seed, 2, place])
    rough, smooth = rng.normal(size=(2, rows, columns, options.channels)).astype(np.float32)
    smooth = cv2.GaussianBlur(smooth, (0, 0), SMOOTH_SIGMA)
    noise = options.noise * unit(rough) + options.smooth_noise * unit(smooth)
    return unit(unit(pool(shares, rows, columns) @ directions) + noise).astype(np.float32)


def embedding(class_id: int, kind: int, options: LabelOptions) -> np.ndarray:
    """(C,) float32 unit vector of a kind of part of a class."""
    of_class, of_kind = (
        unit(np.random.default_rng([options.seed, which, number % 2**32]).normal(size=options.channels))
        for which, number in enumerate((class_id, kind))
    )
    return unit(of_class + PART_WEIGHT * of_kind).astype(np.float32)
