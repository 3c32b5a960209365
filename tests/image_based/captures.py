"""Small captures on disk: every pixel has a colour of its own, so that what is looked up tells where it was found."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

import numpy as np
from PIL import Image

from nerfseg_plugins.dataparsers.front3d import Front3DDataParserConfig
from nerfseg_plugins.dataparsers.llff import LLFFDataParserConfig
from nerfseg_plugins.dataparsers.srn import SRNDataParserConfig

DISTANCE = 4.0
"""Of the cameras from the middle of a capture."""
OPENCV = np.diag([1.0, -1, -1, 1])


def looking_inwards(count: int, seed: int = 0, distance: float = DISTANCE) -> np.ndarray:
    """(N, 4, 4) OpenGL cameras on a circle, each a little above or below it, that look at the origin; z is up."""
    rng = np.random.default_rng(seed)
    poses = []
    for angle in np.arange(count) * 2 * np.pi / count:
        back = np.array([np.cos(angle), np.sin(angle), rng.uniform(-0.4, 0.4)])
        back /= np.linalg.norm(back)
        right = np.cross([0, 0, 1], back)
        right /= np.linalg.norm(right)
        columns = np.stack([right, np.cross(back, right), back, distance * back], axis=1)
        poses.append(np.concatenate([columns, [[0, 0, 0, 1]]]))
    return np.stack(poses)


def noise(height: int, width: int, seed: int) -> np.ndarray:
    """(H, W, 3) uint8; no two pixels alike, nearly."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def write_capture(
    folder: Path, sizes: Sequence[tuple[int, int]], images: Optional[Sequence[np.ndarray]] = None, **lens: Any
) -> Path:
    """A capture that `front3d-data` and `nerfstudio-data` read: a camera for each (height, width).

    The focal length is 1.2 times the image's width, the principal point a little beside the middle.
    """
    (folder / "images").mkdir(parents=True)
    frames = []
    for index, ((height, width), c2w) in enumerate(zip(sizes, looking_inwards(len(sizes)), strict=True)):
        name = f"images/{index:04d}.png"
        Image.fromarray(noise(height, width, index) if images is None else images[index]).save(folder / name)
        frame = {"file_path": name, "transform_matrix": c2w.tolist(), "w": width, "h": height, **lens}
        focal = {"fl_x": 1.2 * width, "fl_y": 1.3 * width, "cx": 0.48 * width, "cy": 0.53 * height}
        frames.append({**frame, **focal})
    (folder / "transforms.json").write_text(json.dumps({"frames": frames, "camera_model": "OPENCV"}))
    return folder


def capture_parser(folder: Path, **options: Any) -> Front3DDataParserConfig:
    """`front3d-data` without a change of the frame: points of the data are points of the scene, but for the scale."""
    plain = {"orientation_method": "none", "center_method": "none", "eval_mode": "interval", "eval_interval": 4}
    return Front3DDataParserConfig(data=folder, **{**plain, **options})


def write_llff(folder: Path, count: int = 9, height: int = 12, width: int = 16, seed: int = 0) -> Path:
    """A capture that `llff-data` reads; every eighth view is held out, beginning with the first."""
    (folder / "images").mkdir(parents=True)
    rng, rows = np.random.default_rng(seed), []
    for index in range(count):
        Image.fromarray(noise(height, width, 100 * seed + index)).save(folder / "images" / f"{index:03d}.png")
        position = [*rng.uniform(-1, 1, 2), 0.0]
        columns = np.stack([[0, -1, 0], [1, 0, 0], [0, 0, 1], position, [height, width, 20.0]], axis=1)
        rows.append(np.r_[columns.ravel(), 2.0, 10.0])
    np.save(folder / "poses_bounds.npy", np.array(rows))
    return folder


def llff_parser(folder: Path) -> LLFFDataParserConfig:
    """`llff-data`, as it is by default."""
    return LLFFDataParserConfig(data=folder)


def write_object(folder: Path, views: int = 6, side: int = 16, seed: int = 0) -> Path:
    """An object that `srn-data` reads: noise in the middle of white, rows 4 to 10 and columns 5 to 12."""
    for name in ("rgb", "pose"):
        (folder / name).mkdir(parents=True)
    for index, c2w in enumerate(looking_inwards(views, seed, 2.0)):
        image = np.full((side, side, 3), 255, np.uint8)
        image[4:10, 5:12] = noise(6, 7, 1000 * seed + index) % 200
        Image.fromarray(image).save(folder / "rgb" / f"{index:06d}.png")
        (folder / "pose" / f"{index:06d}.txt").write_text(" ".join(map(str, (c2w @ OPENCV).ravel())))
    (folder / "intrinsics.txt").write_text(f"20. {side / 2} {side / 2} 0.\n0. 0. 0.\n1.\n{side} {side}\n")
    return folder


def write_category(folder: Path, counts: Sequence[int] = (4, 2, 1), views: int = 6) -> Path:
    """Chairs c0, c1 ... in the splits train, val and test."""
    number = 0
    for split, count in zip(("train", "val", "test"), counts, strict=True):
        for _ in range(count):
            write_object(folder / f"chairs_{split}" / f"c{number}", views, seed=number)
            number += 1
    return folder


def category_parser(folder: Path, **options: Any) -> SRNDataParserConfig:
    """`srn-data`."""
    return SRNDataParserConfig(data=folder, **options)
