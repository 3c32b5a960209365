"""Features that other programs have made: those of the original ISRF and of GSN, matched to images by name.

    features.pt           ISRF: a dict {name of the image: (C, h, w) float tensor}
    FOLDER/<stem>.pt      GSN: a dict of one such tensor for each image

Such files are pickles, which can run code when they are loaded: only tensors are read from them.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.features.extract import Progress, Target, fit_projection, no_progress, write_maps
from nerfseg_plugins.files import sha256_file
from nerfseg_plugins.manifest import hash_images


class ForeignFeatures:
    """Feature maps in the files of another program, by image.

    Attributes:
        model: which kind of files.
        checksum: SHA-256 over them.
        channels: C, equal for all.
    """

    def __init__(self, path: Path, images: Sequence[Path]) -> None:
        """Find the features of every image.

        Args:
            path: ISRF's features.pt, or GSN's folder of .pt files.
            images: by whose names they are found, in whatever order they are kept.

        Raises:
            InputError: the path holds no such features, one would run code, or an image has none or no name of its own.
        """
        _check_names(images)
        self._path = Path(path)
        if self._path.is_dir():
            files = sorted(self._path.glob("*.pt"))
            if not files:
                raise InputError(
                    f"{path} holds no .pt files; give --from GSN's folder of features or ISRF's features.pt"
                )
            self.model, self.checksum = "gsn", hash_images(files)
            self._entries: dict[str, Any] = {file.name: file for file in files}
        elif self._path.is_file():
            self.model, self.checksum = "isrf", sha256_file(self._path)
            self._entries = load_tensors(self._path)
        else:
            raise InputError(f"{path} does not exist; give --from ISRF's features.pt or GSN's folder of features")
        self._keys = {image: self._key(image) for image in images}
        self.channels = self.read(images[0]).shape[2]

    def _key(self, image: Path) -> str:
        keys = {Path(key).name: key for key in self._entries}
        stems = {Path(key).stem: key for key in self._entries}
        key = keys.get(image.name) or keys.get(image.stem) or stems.get(image.stem)
        if key is None:
            there = f"it has {', '.join(sorted(keys)[:3])} ..." if keys else "it is empty"
            raise InputError(f"{self._path} has no features of {image}; {there}; give --from features of these images")
        return key

    def read(self, image: Path) -> np.ndarray:
        """The (h, w, C) float32 features of an image.

        Raises:
            InputError: they are no (C, h, w) numbers, or those of another image shape.
        """
        entry, where = self._entries[self._keys[image]], f"{self._path}: {self._keys[image]}"
        if isinstance(entry, Path):
            tensors, where = list(load_tensors(entry).values()), str(entry)
            if len(tensors) != 1:
                raise InputError(f"{where} holds {len(tensors)} tensors; a file must hold the features of one image")
            entry = tensors[0]
        if entry.ndim == 4 and len(entry) == 1:
            entry = entry[0]
        if entry.ndim != 3 or not entry.is_floating_point() or 0 in entry.shape:
            raise InputError(
                f"{where} is a {entry.dtype} tensor of shape {tuple(entry.shape)}; features must be floats (C, h, w)"
            )
        return entry.float().permute(1, 2, 0).contiguous().numpy()


def load_tensors(path: Path) -> dict[str, Tensor]:
    """A file's dict of tensors, without running what its pickle may hold.

    Raises:
        InputError: the file is damaged or holds anything else.
    """
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises half a dozen kinds for a bad file
        raise InputError(
            f"{path} is not loaded: it is damaged, or holds more than tensors and could run code; save it again as a "
            "dict of tensors with torch.save"
        ) from error
    if not isinstance(found, dict) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in found.items()
    ):
        raise InputError(f"{path} holds no dict of tensors by name; save the features as such with torch.save")
    return found


def import_features(
    foreign: ForeignFeatures,
    targets: Sequence[Target],
    folder: Path,
    channels: int = 64,
    progress: Progress = no_progress,
) -> int:
    """Write foreign features as maps of ours; they are projected where they have more channels than are kept.

    Args:
        foreign: where they are.
        targets: all images.
        folder: holds the manifest already.
        channels: to keep.
        progress: shows how far it is.

    Returns:
        How many maps were written.

    Raises:
        InputError: features are not finite, have another shape than their image, or another number of channels than the
            others.
    """

    def described(batch: Sequence[Target]) -> list[np.ndarray]:
        maps = [foreign.read(target.image) for target in batch]
        for target, features in zip(batch, maps, strict=True):
            _check_shape(features, target, foreign.channels)
        return maps

    pca = None
    if foreign.channels > channels:
        pca = fit_projection(described, targets, folder, foreign.channels, channels, len(targets), progress=progress)
    return write_maps(described, targets, folder, pca, progress=progress)


def _check_names(images: Sequence[Path]) -> None:
    owners: dict[str, Path] = {}
    for image in images:
        if owners.setdefault(image.stem, image) != image:
            raise InputError(
                f"{owners[image.stem]} and {image} have the same name, by which features are found; rename one"
            )


def _check_shape(features: np.ndarray, target: Target, channels: int) -> None:
    rows, columns, found = features.shape
    if found != channels:
        raise InputError(f"the features of {target.image} have {found} channels, others {channels}; make them alike")
    height, width = target.size
    # A grid of whole cells may miss up to a cell along either axis.
    if abs(rows / height * width - columns) > 1 + columns / rows:
        raise InputError(
            f"the features of {target.image} are {columns}x{rows} cells, which is not the shape of its "
            f"{width}x{height} pixels; give --from features of this image"
        )
