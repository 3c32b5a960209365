"""Tiny captures on disk for the dataparser tests, and where the real ones lie."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from nerfseg_plugins.segments.masks import write_ids

from .llff_scene import SmallLLFF, rig

WIDTH, HEIGHT = 8, 6
ROOM = [[-2.0, -1.0, 0.0], [4.0, 3.0, 2.0]]


class SmallCapture:
    """A folder with `count` images, masks and a transforms.json; tests change `meta` and `save` it again."""

    def __init__(self, folder: Path, count: int = 10, masks: bool = True):
        self.folder = folder
        rng = np.random.default_rng(7)
        self.meta = {"fl_x": 10.0, "fl_y": 11.0, "cx": 4.0, "cy": 3.0, "w": WIDTH, "h": HEIGHT, "frames": []}
        for index in range(count):
            name = f"{index:04d}.png"
            self.image(f"images/{name}")
            if masks:
                ids = rng.integers(0, 3, (HEIGHT, WIDTH)).astype(np.int32)
                write_ids(folder / "masks" / name, ids)
            self.meta["frames"].append({"file_path": f"images/{name}", "transform_matrix": self.pose(rng)})
        self.save()

    @staticmethod
    def pose(rng: np.random.Generator) -> list[list[float]]:
        """A camera anywhere near the room, upright within some 30 degrees."""
        angles = rng.normal(size=3) * 0.5 + [np.pi / 2, 0, 0]
        pose = np.eye(4)
        pose[:3, :3] = Rotation.from_euler("xyz", angles).as_matrix()
        pose[:3, 3] = rng.uniform(-1, 2, 3)
        return pose.tolist()

    def image(self, name: str, width: int = WIDTH, height: int = HEIGHT) -> Path:
        """Write an image."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((height, width, 3), np.uint8)).save(path)
        return path

    def save(self, name: str = "transforms.json", **changes) -> None:
        """Write `meta`, with changes, as a JSON file of the folder."""
        (self.folder / name).write_text(json.dumps({**self.meta, **changes}))


@pytest.fixture
def capture(tmp_path) -> SmallCapture:
    """Ten views with masks, no room_bbox."""
    return SmallCapture(tmp_path / "data")


@pytest.fixture
def real_data() -> Path:
    """The folder of real captures, or skip."""
    default = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"
    folder = Path(os.environ.get("NERFSEG_DATA") or default).resolve()
    if not folder.is_dir():
        pytest.skip(f"no real captures in {folder} (set NERFSEG_DATA)")
    return folder


@pytest.fixture
def scene(tmp_path: Path) -> SmallLLFF:
    """Ten forward-facing views."""
    return SmallLLFF(tmp_path / "data", rig())
