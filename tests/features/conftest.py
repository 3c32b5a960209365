"""A folder of small photos whose features take no time."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three photos of 48x36 of a square before a ground, in images/; no transforms.json."""
    folder = tmp_path / "data"
    (folder / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for index in range(3):
        image = rng.normal(90, 4, (36, 48, 3))
        image[8:24, 8 + 4 * index : 24 + 4 * index] += [90, -30, -50]
        Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)).save(folder / "images" / f"{index}.png")
    return folder
