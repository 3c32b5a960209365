"""Foreground masks: pictures whose bright pixels are the object."""

from pathlib import Path
from typing import Optional

import numpy as np
from PIL import Image

from nerfseg_plugins.errors import InputError

BRIGHT = 0.5
"""Part of the largest value that a mask's type holds above which a pixel is foreground."""


def read_foreground(path: Path, size: Optional[tuple[int, int]] = None) -> np.ndarray:
    """Which pixels are the object.

    Args:
        path: a picture of 1, 8 or 16 bits, whose brightest channel counts; transparency is ignored.
        size: (height, width) that the view has.

    Returns:
        (H, W) bool.

    Raises:
        InputError: the file is damaged or of another size.
    """
    try:
        with Image.open(path) as image:
            array = np.array(image.convert("RGB") if image.mode in ("P", "RGBA", "LA", "CMYK") else image)
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{path} is not a readable mask ({error}); restore it or remove the folder") from error
    array = array.max(axis=-1) if array.ndim == 3 else array
    if size is not None and array.shape != tuple(size):
        raise InputError(
            f"{path} is {array.shape[1]}x{array.shape[0]} pixels but its image is {size[1]}x{size[0]}; "
            "write the mask at the size of the image"
        )
    if array.dtype == bool:
        return array
    most = 255 if array.dtype == np.uint8 else 65535
    return array > BRIGHT * most
