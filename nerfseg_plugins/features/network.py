"""What the networks share: weights from their publisher, and images as batches."""

from collections.abc import Sequence
from pathlib import Path
from typing import Optional

import numpy as np
import torch
from torch import Tensor

from nerfseg_plugins.errors import InputError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def fetch(url: str, name: str, file: Optional[str] = None) -> Path:
    """The file of published weights, from torch's cache or downloaded into it.

    Args:
        url: where it is published.
        name: of the source, for messages.
        file: its name in the cache; None for that in the url.

    Raises:
        InputError: it cannot be downloaded; says what to download elsewhere and how to pass it.
    """
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    path = folder / (file or url.rpartition("/")[2])
    if not path.is_file():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path))
        except (OSError, RuntimeError) as error:  # urllib's URLError is an OSError
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise InputError(
                f"the weights of {name} could not be fetched ({reason}); download {url} on another machine and pass "
                "the file with --checkpoint"
            ) from error
    return path


def image_batch(
    images: Sequence[np.ndarray], size: tuple[int, int], mean: Sequence[float], std: Sequence[float], device: str
) -> Tensor:
    """(H, W, 3) uint8 images of one size as a normalised batch (B, 3, *size) float32; antialiased where it shrinks."""
    batch = torch.from_numpy(np.stack(images)).to(device).permute(0, 3, 1, 2).float() / 255
    if batch.shape[2:] != size:
        batch = torch.nn.functional.interpolate(batch, size, mode="bicubic", antialias=True).clamp(0, 1)
    return (batch - batch.new_tensor(mean)[:, None, None]) / batch.new_tensor(std)[:, None, None]
