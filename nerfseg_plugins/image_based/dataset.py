"""The views of a scene as nerfstudio's viewer and commands want them."""

import numpy as np
from nerfstudio.data.datasets.base_dataset import InputDataset

from nerfseg_plugins.image_based.images import resized
from nerfseg_plugins.image_based.scene import Scene


class SceneDataset(InputDataset):
    """Photos of a `Scene`, in front of its background, as they are compared with renderings."""

    def __init__(self, scene: Scene, scale_factor: float = 1.0) -> None:
        super().__init__(scene.outputs, scale_factor)
        self.scene = scene

    def get_numpy_image(self, image_idx: int) -> np.ndarray:
        """Image (H, W, 3) uint8.

        Raises:
            InputError: the file cannot be decoded.
        """
        image = self.scene.image(image_idx)
        if self.scale_factor == 1.0:
            return image
        height, width = image.shape[:2]
        return resized(image, (int(height * self.scale_factor), int(width * self.scale_factor)))
