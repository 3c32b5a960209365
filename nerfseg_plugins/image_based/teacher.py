"""Teacher features of a scene's views, read when they are asked for."""

import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.features.find import find_features
from nerfseg_plugins.features.store import FeatureMaps, check_belongs, find_map, origin_of, read_map
from nerfseg_plugins.image_based.images import ImageCache
from nerfseg_plugins.manifest import check_manifest


class TeacherFeatures:
    """The feature maps of some images.

    Args:
        data: folder of the data, whose features/ they lie in.
        wanted: "auto" for the only folder there, or the name of one, or a path.
        images: image files; their order is that of the numbers below.
        cache: keeps maps.

    Raises:
        InputError: there are no such features, or they have no manifest; tells the command that makes them.
    """

    def __init__(self, data: Path, wanted: str, images: Sequence[Path], cache: ImageCache) -> None:
        self.folder = find_features(data, wanted)
        self.command = shlex.join(["nerfseg", "features", "--data", str(data), "--source", self.folder.name])
        check_manifest(self.folder, {}, self.command)
        self._origin = origin_of(self.folder)
        self._images, self._cache = list(images), cache

    @property
    def channels(self) -> int:
        """C.

        Raises:
            InputError: the first image has no features.
        """
        return self.map(0).shape[2]

    def map(self, index: int) -> np.ndarray:
        """Features (h, w, C) float16 of an image, which they span exactly.

        Raises:
            InputError: it has none, or they are damaged or of another image; names the image and the command.
        """
        return self._cache.get((self.folder, self._images[index]), lambda: self._read(index))

    def _read(self, index: int) -> np.ndarray:
        image = self._images[index]
        path = find_map(self.folder, image)
        if path is None:
            raise InputError(f"{self.folder} has no features of {image}; make them with: {self.command}")
        try:
            found = read_map(path)
        except InputError as error:
            raise InputError(f"the features of {image} cannot be used: {error}") from error
        check_belongs(found, path, image, self._origin, found.features.shape[2], self.command)
        return found.features

    def sample(self, view: np.ndarray, row: np.ndarray, column: np.ndarray, sizes: np.ndarray) -> Tensor:
        """Features at pixels.

        Args:
            view: (R,) number of the image.
            row: (R,) of the pixel.
            column: (R,) of the pixel.
            sizes: (N, 2) height and width of each image.

        Returns:
            (R, C) float32, of length 1 (0 where nothing is described).
        """
        used, place = np.unique(view, return_inverse=True)
        maps = [self.map(int(index)) for index in used]
        joined = FeatureMaps(
            torch.from_numpy(np.concatenate([found.reshape(-1, found.shape[2]) for found in maps])),
            torch.tensor([found.shape[:2] for found in maps]),
            torch.from_numpy(sizes[used]),
        )
        return joined.sample(torch.from_numpy(np.stack([place, row, column], axis=1)))
