"""Small LLFF captures, and how tests read them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from PIL import Image

from nerfseg_plugins.dataparsers.llff import LLFFDataParserConfig
from nerfseg_plugins.errors import InputError

WIDTH, HEIGHT, FOCAL = 16, 12, 20.0


def row(c2w: np.ndarray, near: float = 2.0, far: float = 10.0, focal: float = FOCAL) -> np.ndarray:
    """A row of poses_bounds.npy from an OpenGL camera-to-world pose."""
    right, up, back, position = c2w[:3, :4].T
    return np.r_[np.stack([-up, right, back, position, [HEIGHT, WIDTH, focal]], 1).ravel(), near, far]


def looking(position: Any, target: Any, up: Any = (0, 0, 1)) -> np.ndarray:
    """(4, 4) OpenGL camera-to-world of a camera at `position` that looks at `target`."""
    position = np.array(position, dtype=float)
    back = position - target
    back /= np.linalg.norm(back)
    right = np.cross(up, back)
    right /= np.linalg.norm(right)
    return np.block([[np.stack([right, np.cross(back, right), back, position], 1)], [0, 0, 0, 1]])


def rig(count: int = 10) -> np.ndarray:
    """(N, 4, 4) hand-held cameras in a patch before z = -8, none looking quite where another does."""
    rng = np.random.default_rng(3)
    poses = [
        looking([*rng.uniform(-1, 1, 2), rng.uniform(-0.1, 0.1)], [*rng.uniform(-1, 1, 2), -8], up=(0, 1, 0))
        for _ in range(count)
    ]
    return np.stack(poses)


def ring(count: int = 8, centre: Any = (5.0, -3.0, 2.0), radius: float = 4.0, height: float = 3.0) -> np.ndarray:
    """(N, 4, 4) cameras on a circle above a point, all looking at it; each is 5 from it."""
    angles = np.arange(count) * 2 * np.pi / count
    circle = np.stack([radius * np.cos(angles), radius * np.sin(angles), np.full(count, height)], 1)
    return np.stack([looking(centre + offset, centre) for offset in circle])


class SmallLLFF:
    """A folder in LLFF's layout; tests change `rows` and `save` it again."""

    def __init__(self, folder: Path, c2w: np.ndarray):
        self.folder, self.rows = folder, np.stack([row(pose) for pose in c2w])
        self.path = folder / "poses_bounds.npy"
        for index in range(len(c2w)):
            self.image(f"images/image{index}.png")
        self.save()

    def image(self, name: str, width: int = WIDTH, height: int = HEIGHT) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((height, width, 3), np.uint8)).save(path)
        return path

    def save(self) -> None:
        np.save(self.path, self.rows)


def parse(folder: Path, split: str = "train", **settings: Any) -> DataparserOutputs:
    return LLFFDataParserConfig(data=folder, **settings).setup().get_dataparser_outputs(split)


def refusal(folder: Path, **settings: Any) -> str:
    """The message with which the capture is refused."""
    with pytest.raises(InputError) as caught:
        parse(folder, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def names(outputs: DataparserOutputs) -> list[str]:
    return [path.name for path in outputs.image_filenames]


# Registration --------------------------------------------------------------------------------------------------------
