"""The image encoder of Segment Anything (arXiv 2304.02643): 256 channels, 64 cells along the longer side."""

from collections.abc import Sequence
from typing import Any, Optional

import numpy as np
import torch

from nerfseg_plugins.features.network import image_batch
from nerfseg_plugins.features.sources import FeatureOptions
from nerfseg_plugins.sam import load_sam

LONG_SIDE, PATCH = 1024, 16
"""Pixels."""
MEAN = tuple(value / 255 for value in (123.675, 116.28, 103.53))
STD = tuple(value / 255 for value in (58.395, 57.12, 57.375))


class SamFeatures:
    """segment-anything's encoder with a local checkpoint of SAM (vit_b, vit_l or vit_h)."""

    name = "sam"
    channels = 256
    centre = True

    def __init__(self, options: FeatureOptions) -> None:
        """Load the encoder.

        Raises:
            InputError: segment-anything is not installed, or the checkpoint is missing, damaged or of another network.
        """
        loaded = load_sam(options.checkpoint, options.device, encoder_alone=True)
        self.model = f"sam-{loaded.variant}"
        self.checkpoint: Optional[str] = loaded.checkpoint
        self.parameters: dict[str, Any] = {}
        self.batch_size = options.batch_size
        self._device = options.device
        self._encoder = loaded.network

    def __call__(self, rgb: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 -> (h, w, 256) float32."""
        return self.many([rgb])[0]

    @torch.no_grad()
    def many(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        """(H, W, 3) uint8 images of one size -> their (h, w, 256) float32 maps, without what only padding fills."""
        rows, columns = cells_of((images[0].shape[0], images[0].shape[1]))
        batch = image_batch(images, (rows * PATCH, columns * PATCH), MEAN, STD, self._device)
        missing = [LONG_SIDE - side for side in batch.shape[2:]]
        encoded = self._encoder(torch.nn.functional.pad(batch, (0, missing[1], 0, missing[0])))
        return list(encoded[:, :, :rows, :columns].permute(0, 2, 3, 1).contiguous().cpu().numpy())


def cells_of(size: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns that an image of (height, width) pixels fills.

    The shorter side is rounded to whole cells, so that the image spans them exactly: its shape changes by 1 % or less.
    """
    rows, columns = (max(round(side * LONG_SIDE / max(size) / PATCH), 1) for side in size)
    return rows, columns
