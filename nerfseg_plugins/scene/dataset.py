"""Images of a scene."""

import numpy as np
from nerfstudio.data.datasets.base_dataset import InputDataset

from nerfseg_plugins.errors import InputError


class ImageDataset(InputDataset):
    """nerfstudio's images, where a damaged file is named."""

    def get_numpy_image(self, image_idx: int) -> np.ndarray:
        """Image (H, W, 3 or 4) uint8.

        Raises:
            InputError: the file cannot be decoded.
        """
        try:
            return super().get_numpy_image(image_idx)
        except (OSError, SyntaxError) as error:
            path = self.image_filenames[image_idx]
            raise InputError(f"{path} cannot be decoded ({error}); restore it or remove its frame") from error
