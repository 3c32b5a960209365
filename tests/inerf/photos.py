"""Photos on disk for the tests of queries."""

import json
from pathlib import Path
from typing import Any, Optional

import numpy as np
from PIL import Image
from scipy.spatial.transform import Rotation

WIDTH, HEIGHT = 16, 12
IDENTITY = np.hstack([np.eye(3), np.zeros((3, 1))])
TURNED = (np.array([[0.0, -1, 0, 1], [1, 0, 0, 2], [0, 0, 1, 3]]), 0.5)
"""A transform: a quarter turn about z, a shift, half the size."""
LENS = {"fl_x": 20.0, "fl_y": 21.0, "cx": 7.5, "cy": 6.5, "w": WIDTH, "h": HEIGHT}


def photo(path: Path, width: int = WIDTH, height: int = HEIGHT, mode: str = "RGB", seed: int = 0) -> Path:
    """Write coloured noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    channels = len(mode)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)
    Image.fromarray(pixels.squeeze()).save(path)
    return path


def pose(seed: int) -> np.ndarray:
    """(4, 4) anywhere."""
    result = np.eye(4)
    result[:3, :3] = Rotation.random(random_state=seed).as_matrix()
    result[:3, 3] = np.random.default_rng(seed).normal(size=3)
    return result


def transforms(
    folder: Path, names: list[str], posed: bool = True, name: str = "transforms.json", meta: Optional[dict] = None
) -> Path:
    """Write photos and a transforms.json that lists them, with the poses `pose(0)`, `pose(1)`, ..."""
    frames: list[dict[str, Any]] = []
    for index, file_path in enumerate(names):
        photo(folder / file_path, seed=index)
        frames.append({"file_path": file_path, **({"transform_matrix": pose(index).tolist()} if posed else {})})
    path = folder / name
    path.write_text(json.dumps({**(LENS if meta is None else meta), "frames": frames}))
    return path
