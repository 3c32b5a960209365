"""What the networks share: images as batches."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def image_batch(
    images: Sequence[np.ndarray], size: tuple[int, int], mean: Sequence[float], std: Sequence[float], device: str
) -> Tensor:
    """(H, W, 3) uint8 images of one size as a normalised batch (B, 3, *size) float32; antialiased where it shrinks."""
    batch = torch.from_numpy(np.stack(images)).to(device).permute(0, 3, 1, 2).float() / 255
    if batch.shape[2:] != size:
        batch = torch.nn.functional.interpolate(batch, size, mode="bicubic", antialias=True).clamp(0, 1)
    return (batch - batch.new_tensor(mean)[:, None, None]) / batch.new_tensor(std)[:, None, None]
